"""The documents that pypid stores, as JSON: one format, versioned.

Each file has a *record* of what never changes; yank, tombstone and project status are small
documents of their own. The rows of the catalog are whole projects (`dump_project`). Keys are
those of the Simple API and the upload API where they have one. Optional keys are omitted, never
null. A reader refuses a higher ``format`` and ignores unknown keys.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TypeVar

import msgspec
from msgspec.structs import asdict, replace

from pypid.core.errors import BadName, Unreadable
from pypid.core.model import (
    Event,
    File,
    FileHistory,
    ListedFile,
    LocalProject,
    Project,
    RecordedFile,
    Status,
    StoredFile,
)
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.layout import OURS_AS_A_WHOLE, project_of

FORMAT = 1


class _Record(msgspec.Struct, rename="kebab", frozen=True):
    format: int
    project: str
    file: RecordedFile


class _Project(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    name: str
    serial: int = 0
    status: str = "active"
    status_reason: str = ""
    history: tuple[FileHistory, ...] = ()
    files: tuple[RecordedFile, ...] = ()


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A stored document; `format` is its last key."""

    format: int = FORMAT


class Yanked(Document, frozen=True):
    """The document beside a yanked file; `reason` may be empty (PEP 592)."""

    reason: str


class Deleted(Document, frozen=True):
    """A tombstone: only bytes of this hash (lower-case hex) may have the name again."""

    sha256: str
    deleted: datetime
    by: str = ""


class History(Document, frozen=True):
    """The history of a local file name, also of a deleted one. An older pypid ignores it."""

    events: tuple[Event, ...]


class ProjectStatus(Document, frozen=True):
    """The document of a project: its status (PEP 792). Its existence makes the project local."""

    status: Status = Status.ACTIVE
    reason: str = ""


class StorageIdentity(Document, frozen=True):
    """The identity of a storage, written once into a new one, so that a dump of another storage is
    never mistaken for this one's.
    """

    identity: str
    recorded: datetime | msgspec.UnsetType = msgspec.UNSET
    """Since when yanks and deletes have times; unset in older storages (`Recording`)."""


class KnownAccountsDocument(Document, frozen=True):
    """The random id of the accounts database whose rights belong to this storage."""

    accounts: int


class NotedOwner(Document, frozen=True):
    """The owner of a project, as in the accounts (`core.accounts.rights.ProjectOwner`)."""

    account: str
    is_claimed: bool


class Recording(Document, frozen=True):
    """Since when changes are recorded in a storage older than this feature."""

    since: datetime


class DecisionsStamp(Document, frozen=True):
    """A random value that changes with the documents of decisions."""

    value: str


class BlockDocument(Document, omit_defaults=True, frozen=True):
    """A block: files that `spec` names are withheld (`core.packaging.block_spec`)."""

    spec: str
    reason: str
    created: datetime
    by: str = ""
    advisory: str = ""


_T = TypeVar("_T")
_project_decoder = msgspec.json.Decoder(_Project)
_encoder = msgspec.json.Encoder()


def dump(document: msgspec.Struct) -> bytes:
    """Return one of the documents above as bytes."""
    return _encoder.encode(document) + b"\n"


def load(kind: type[_T], data: bytes, what: str, formats: Collection[int] = (FORMAT,)) -> _T:
    """Return the document in `data`. Raises `Unreadable`, naming `what`, for anything torn, foreign
    or of other `formats`.
    """
    document = decoded(msgspec.json.Decoder(kind), data, what)
    if getattr(document, "format", FORMAT) not in formats:
        known = " or ".join(map(str, formats))
        raise Unreadable(what, f"format {getattr(document, 'format', None)!r} is not {known}")
    return document


def dump_record(file: File) -> bytes:
    """Return the record of `file`: all that never changes (not: yanked, archived)."""
    return dump(_Record(format=FORMAT, project=file.project, file=stored(file, changing=False)))


def load_record(data: bytes, what: str) -> StoredFile:
    """Return the file of a record. Raises `Unreadable`."""
    record = load(_Record, data, what)
    try:
        return stored_file(project_name(record.project), record.file)
    except (BadName, ValueError) as error:
        raise Unreadable(what, str(error)) from None


def dump_project(project: LocalProject, key: str = "") -> bytes:
    """Return the project as one line of JSON, without a line end. `key` is that of the catalog's
    table (`table_keys`), where that is not the project's name.
    """
    return _encoder.encode(
        _Project(
            name=key or project.name,
            serial=project.serial,
            status=project.status.value,
            status_reason=project.status_reason,
            history=project.history,
            files=tuple(stored(file) for file in project.files),
        )
    )


def load_project(line: bytes) -> LocalProject:
    """Return the project of a line. Raises `Unreadable`."""
    document = decoded(_project_decoder, line, "a project's line")
    try:
        name = project_name(project_of(document.name))
        return Project(
            name=name,
            files=tuple(stored_file(name, file) for file in document.files),
            status=Status(document.status),
            status_reason=document.status_reason,
            serial=document.serial,
            history=document.history,
        )
    except (BadName, ValueError) as error:
        raise Unreadable("a project's line", str(error)) from None


def decoded(decoder: msgspec.json.Decoder[_T], data: bytes, what: str) -> _T:
    """Return the decoded document. Raises `Unreadable`, naming `what`."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(what, str(error)) from None


def stored(file: File, changing: bool = True) -> RecordedFile:
    """Return the file as it is stored, or (not `changing`) only the part that never changes."""
    recorded = msgspec.convert(file, RecordedFile, from_attributes=True)
    return recorded if changing else replace(recorded, yanked=None, archived=False)


def stored_file(project: ProjectName, file: RecordedFile) -> StoredFile:
    """Return the project's stored file. Raises `ValueError` without key, hash or size."""
    if file.key is None or file.sha256 is None or file.size is None:
        raise ValueError(f"the key, the hash or the size of {file.filename!r} is missing")
    return StoredFile(project=project, **asdict(file))


def listed_file(project: ProjectName, file: RecordedFile) -> ListedFile:
    """Return the listed file of the upstream project. Raises `ValueError` if its URL is missing."""
    if file.source is None:
        raise ValueError(f"the URL of {file.filename!r} is missing")
    return ListedFile(project=project, **asdict(file))


# The documents of promotions: releases that one index lists from another one.
#
# ::
#
#     .pypid/promotions/open/<id>.json    written before anything else; removed when the promotion
#   is
#                                         done
#     .pypid/promotions/<id>.json         written only if absent: the decision. It commits the
#                                         promotion, or gives it up
#
# Between the two, the bytes get their keys in the target; no record names them yet. A promotion
# that is open and committed is rolled forward by any process, one that is open and not committed
# belongs to a process that works on it or has died.

PROMOTIONS = f"{OURS_AS_A_WHOLE}promotions/"
OPEN_PROMOTIONS = f"{PROMOTIONS}open/"
LARGEST = 32 << 20
"""Largest document in bytes."""
MOST_FILES = 20_000
"""Largest number of files of one promotion."""
FIRST_YEAR = 2026
"""The year of the first promotion of any pypid."""
_ID = re.compile(r"[0-9]{8}t[0-9]{6}-[0-9a-f]{16}\Z")
_SUFFIX = ".json"


class PromotionState(Enum):
    """The decision about a promotion."""

    COMMITTED = "committed"
    GIVEN_UP = "given-up"
    """Its process died, or was refused, before the commit: the files are not listed."""


class PromotedFile(msgspec.Struct, frozen=True, omit_defaults=True, rename="kebab"):
    """One file: its project, its record in the target index, and where its bytes were."""

    project: str
    file: RecordedFile
    source: str
    """The key of the bytes in the whole storage."""


class PromotionDocument(Document, omit_defaults=True, rename="kebab", frozen=True):
    """A promotion. `source` and `target` are names of indexes."""

    id: str
    source: str
    target: str
    created: datetime
    by: str
    files: tuple[PromotedFile, ...]
    state: PromotionState = PromotionState.COMMITTED


def promotion_id(now: datetime, chance: bytes) -> str:
    """Return a new id; ids are in the order of their times."""
    return f"{now.astimezone(UTC):%Y%m%dt%H%M%S}-{chance[:8].hex()}"


def promotion_key(id: str) -> str:
    """Return the key of the decision about the promotion."""
    return f"{PROMOTIONS}{id}{_SUFFIX}"


def open_promotion_key(id: str) -> str:
    """Return the key of the document that exists while the promotion is under way."""
    return f"{OPEN_PROMOTIONS}{id}{_SUFFIX}"


def id_of_key(where: str) -> str | None:
    """Return the id of the promotion, open or decided, whose document has this key; else None."""
    id = where.removeprefix(OPEN_PROMOTIONS).removeprefix(PROMOTIONS).removesuffix(_SUFFIX)
    return id if _ID.match(id) and where in (promotion_key(id), open_promotion_key(id)) else None


def load_promotion(data: bytes, what: str) -> PromotionDocument:
    """Return the document in `data`. Raises `Unreadable`."""
    return load(PromotionDocument, data, what)


def promoted(file: StoredFile, source: str) -> PromotedFile:
    """Return `file`, as the target index records it; `source` is the key of its bytes."""
    return PromotedFile(file.project, stored(file, changing=False), source)


def files_of(document: PromotionDocument) -> Sequence[StoredFile]:
    """Return the files as the target index records them. Raises `Unreadable`."""
    try:
        return [stored_file(project_name(each.project), each.file) for each in document.files]
    except (BadName, ValueError) as error:
        raise Unreadable(f"the promotion {document.id}", str(error)) from None

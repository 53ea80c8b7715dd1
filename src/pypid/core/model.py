"""The values that travel through pypid. All frozen; containers inside are tuples.

Sources: "Simple repository API" (packaging.python.org) for files and projects; PEP 592 (yank), PEP
658/714 (core metadata), PEP 700 (size, upload time, versions), PEP 792 (project status).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic

import msgspec
from attrs import field, frozen
from msgspec.structs import asdict
from typing_extensions import TypeVar

from pypid.core.packaging.names import Distribution, ProjectName, version_key

# The history of a file since it first existed: yanked, un-yanked, deleted, restored. Stored, and
# bounded.
#
# The upload time of a file is known without this, so most files have no history. Events of local
# files are recorded by the code that makes the change, those of upstream files when a changed
# listing is seen. `core.records.history` reconstructs former states from it.

MOST_EVENTS = 32
"""Events per file; the oldest are dropped: `was` is the state before the oldest known."""
MOST_DELETED = 100
"""Deleted files of a project whose history is held: the most recent ones."""


class Event(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    """One change. Each has the yank before and after it: `was` and `yanked`, as `File.yanked`.

    `gone`: from then on the file did not exist, or had other bytes; the former ones, of the hash
    `sha256`, had existed since `begun` (None: always). `back`: from then on it existed again,
    though it has another upload time (upstream files, and local ones that were promoted from
    another index: an uploaded file that comes back has a new one).
    """

    at: datetime
    was: str | None = None
    yanked: str | None = None
    gone: bool = False
    back: bool = False
    sha256: str | None = None
    begun: datetime | None = None


class FileHistory(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    """The history of one file, in order. For upstream, without a `filename` the project's."""

    filename: str
    events: tuple[Event, ...] = ()

    def since(self, uploaded: datetime | None) -> datetime | None:
        """Return when the file last appeared, if `uploaded` is its upload time; None: unknown."""
        for event in reversed(self.events):
            if event.back:
                return event.at
            if event.gone:
                break
        return uploaded


def with_event(history: FileHistory, event: Event) -> FileHistory:
    """Return `history` with one more event.

    A change is recorded before it is made, and may then not have been made: the last event is
    dropped if the yank after it is not the one before this event, or if both remove the same bytes.
    """
    events = history.events
    if events and _is_void(events[-1], event):
        events = events[:-1]
    return FileHistory(history.filename, (*events, event)[-MOST_EVENTS:])


def _is_void(last: Event, event: Event) -> bool:
    if last.gone:
        return event.gone and last.begun == event.begun
    return last.yanked != event.was


def of_file(history: Iterable[FileHistory], filename: str) -> FileHistory:
    """Return the history of the file of this name; an empty one if it has none."""
    return next(
        (file_history for file_history in history if file_history.filename == filename),
        FileHistory(filename),
    )


def in_bounds(
    history: Iterable[FileHistory], there: Collection[str], most: int | None = None
) -> tuple[FileHistory, ...]:
    """Return the histories by name, each once (the last one counts), without the oldest of files
    that are not `there`.

    With `most`, only that many are kept, the most recently changed ones.
    """
    by_name = {
        file_history.filename: file_history for file_history in history if file_history.events
    }
    gone = sorted(
        (file_history.events[-1].at, name)
        for name, file_history in by_name.items()
        if name not in there
    )
    for _, name in gone[:-MOST_DELETED]:
        del by_name[name]
    if most is not None and len(by_name) > most:
        oldest = sorted(
            (file_history.events[-1].at, name) for name, file_history in by_name.items()
        )
        for _, name in oldest[:-most]:
            del by_name[name]
    return tuple(by_name[name] for name in sorted(by_name))


class Status(Enum):
    """Project status markers (PEP 792); the values are those of the specification."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"

    @property
    def takes_uploads(self) -> bool:
        """Whether the status allows uploads: archived and quarantined projects MUST refuse them."""
        return self in (Status.ACTIVE, Status.DEPRECATED)

    @property
    def offers_files(self) -> bool:
        """Whether the status allows downloads: quarantined projects MUST NOT offer files."""
        return self is not Status.QUARANTINED


def _stored_key(name: str) -> str:
    return _OTHER_KEYS.get(name, name.replace("_", "-"))


_OTHER_KEYS = {
    "uploaded": "upload-time",
    "metadata_sha256": "core-metadata",
    "provenance_url": "provenance",
}
"""The keys of attributes that have another name in JSON."""


class RecordedFile(
    msgspec.Struct, omit_defaults=True, rename=_stored_key, frozen=True, kw_only=True, gc=False
):
    """What is stored of a `File` beside its project, in a record or in a line of the catalog."""

    filename: str
    version: str
    sha256: str | None = None
    size: int | None = None
    uploaded: datetime | None = None
    requires_python: str | None = None
    metadata_sha256: str | None = None
    """Set if core metadata is stored and served as ``<file>.metadata`` (PEP 658/714)."""
    yanked: str | None = None
    """None: not yanked; "": yanked without a reason (PEP 592)."""
    source: str | None = None
    """The upstream URL; None for a local file."""
    key: str | None = None
    """The key of the bytes in the `Blobs`; None for a file that is not stored."""
    md5: str | None = None
    blake2b_256: str | None = None
    uploader: str | None = None
    summary: str | None = None
    attested: bool = False
    """Whether a provenance object is stored and served (PEP 740)."""
    seen: datetime | None = None
    """When an upstream file was first seen here: its age, if it has no upload time."""
    provenance_url: str | None = None
    """Where upstream serves the provenance object of an upstream file."""
    digest: str | None = None
    """Of an upstream file without sha256: the strongest other hash, ``<hashlib's name>=<hex>``."""
    metadata_offered: bool = False
    """Whether upstream states that ``<source>.metadata`` exists; its hash may be unknown (PEP 714
    allows a mere ``true``).
    """
    archived: bool = False
    """Whether the bytes are in an archive (`Blob.archived`)."""


class File(RecordedFile, frozen=True, kw_only=True, gc=False):
    """One distribution file of a project page: a `StoredFile` or a `ListedFile`.
    `msgspec.structs.replace` makes changed copies.

    Unlike all other values it is not an attrs class: a page has ten thousand, this is created ten
    times faster, and the garbage collector does not pause to visit each of them.

    `sha256`, `md5`, `blake2b_256` and `metadata_sha256` are lower-case hex. `size` is in bytes.
    `uploaded` is aware, UTC; it is always known of local files.
    """

    project: ProjectName
    sha256: str | None
    size: int | None


class StoredFile(File, frozen=True, kw_only=True, gc=False):
    """A file whose bytes are in the storage: a local file, or a cached file of an upstream project,
    which also has what upstream says of it (`source`, ...).
    """

    sha256: str
    size: int
    key: str


class ListedFile(File, frozen=True, kw_only=True, gc=False):
    """A file that an upstream index lists, without the bytes."""

    source: str
    """The upstream URL."""


def as_stored(file: File, **fields: Any) -> StoredFile:
    """Return `file` as a stored file: with these fields, `key` among them."""
    return StoredFile(**{**asdict(file), **fields})


def as_listed(file: File) -> ListedFile:
    """Return `file` as upstream lists it, without the bytes."""
    fields = {**asdict(file), "source": file.source or ""}
    return ListedFile(**{name: fields[name] for name in fields if name not in _OF_STORED_FILES})


_OF_STORED_FILES = {"key", "uploader", "summary", "attested", "archived"}


F = TypeVar("F", bound=File)
F_co = TypeVar("F_co", bound=File, covariant=True, default=File)


class Files(Sequence[F_co], ABC):
    """Files that are decoded when they are asked for: use `Project.file`, not a search."""

    @abstractmethod
    def named(self, filename: str) -> F_co | None:
        """Return the file of this name, or None."""

    @property
    @abstractmethod
    def attested(self) -> bool:
        """Whether the provenance of any file is stored here."""

    @property
    @abstractmethod
    def runs(self) -> tuple[tuple[str, int], ...]:
        """The versions, with the numbers of consecutive files that have them."""


def file_named(files: Sequence[F], filename: str) -> F | None:
    """Return the file of this name, or None."""
    if isinstance(files, Files):
        return files.named(filename)
    return next((file for file in files if file.filename == filename), None)


def any_attested(files: Sequence[File]) -> bool:
    """Return whether the provenance of any file is stored here."""
    return files.attested if isinstance(files, Files) else any(file.attested for file in files)


def in_order(files: Iterable[F]) -> tuple[F, ...]:
    """Return `files` in the order of a page: by version (PEP 440), then by name."""
    # versions are slow to compare, and ten thousand files have only a hundred
    versions: dict[str, list[F]] = {}
    for file in files:
        versions.setdefault(file.version, []).append(file)
    spellings: dict[tuple[int, Any], list[F]] = {}
    for version, its in versions.items():
        spellings.setdefault(version_key(version), []).extend(its)
    ordered: list[F] = []
    for key in sorted(spellings):
        ordered.extend(sorted(spellings[key], key=lambda file: file.filename))
    return tuple(ordered)


@frozen(kw_only=True)
class Project(Generic[F_co]):
    """The known, or the visible, state of one project. `files` are `in_order`."""

    name: ProjectName
    files: Sequence[F_co] = ()
    """A tuple or `Files`; immutable."""
    status: Status = Status.ACTIVE
    status_reason: str = ""
    serial: int = 0
    """The catalog's serial number of the last change; grows with every change of any project."""
    history: tuple[FileHistory, ...] = field(default=(), repr=False)
    """The changes of local files, also of some that are deleted, `in_bounds`."""

    def file(self, filename: str) -> F_co | None:
        """Return the file of this name, or None."""
        return file_named(self.files, filename)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of all files, each once, in order."""
        if isinstance(self.files, Files):
            return tuple(dict.fromkeys(version for version, _ in self.files.runs))
        return tuple(dict.fromkeys(file.version for file in self.files))


LocalProject = Project[StoredFile]
"""A project as the catalog has it: all files are stored."""


@frozen(kw_only=True)
class Listing:
    """An upstream index's last answer about a project.

    `files` are `in_order`, without keys, and immutable (`simple_api.listed_files`); None: upstream
    does not have the project (a 404 is knowledge). `confirmed` is when it last answered so (aware,
    UTC); `etag` is for revalidation; `index` is the base URL of the index that answered, without
    credentials.
    """

    name: ProjectName
    files: Sequence[ListedFile] | None
    confirmed: datetime
    index: str
    etag: str | None = None
    status: Status = Status.ACTIVE
    status_reason: str = ""
    serial: int = 0
    """The catalog's serial of the last change of the listing."""
    is_doubtful: bool = False
    """Whether it may be an error page (`ParsedListing.is_doubtful`); never set when stored."""


@frozen(kw_only=True)
class UpstreamEntry:
    """What is known of an upstream project: its `listing`, and cached files in `kept`."""

    name: ProjectName
    listing: Listing | None = None
    kept: tuple[StoredFile, ...] = ()
    serial: int = 0
    touched: tuple[tuple[str, int], ...] = ()
    """When cached files were last requested: file name, hours since 1970. Never shown."""
    history: tuple[FileHistory, ...] = field(default=(), repr=False)
    """The changes of the listing, `in_bounds`."""
    since: datetime | None = None
    """The time from which changes of the listing were recorded."""

    def kept_file(self, filename: str) -> StoredFile | None:
        """Return the cached file of this name, or None."""
        return next((file for file in self.kept if file.filename == filename), None)


class Presence(Enum):
    """The result of `Catalog.local_project` without a project to show: unknown is not absent."""

    ABSENT = "absent"
    """Proven: the storage was reconciled since this process started, and the name is not local."""
    UNKNOWN = "unknown"
    """The catalog does not have the name, and the storage is not reconciled yet."""
    ELSEWHERE = "elsewhere"
    """Not local in this index, but local in another index of this pypid: the name is private."""


class Summary(msgspec.Struct, frozen=True, gc=False):
    """One line of the list of projects. `serial` as in `Project.serial`. Not an attrs class, for
    the reasons given at `File`.
    """

    name: ProjectName
    serial: int
    status: Status = Status.ACTIVE
    kept: bool = False
    """Whether files of an upstream project are cached."""
    gone: bool = False
    """Whether upstream has removed an upstream project."""


@frozen
class Span:
    """A part of a blob: bytes `start` up to, not including, `stop`."""

    start: int
    stop: int


@frozen
class Blob:
    """The entry of one blob in a storage listing. `size` in bytes; `modified` aware UTC.

    `etag` changes whenever the bytes are rewritten; it is compared only with an `etag` seen before.
    `archived`: the blob is in an archive storage class, and is readable only while a restored copy
    exists, which no listing shows. `provisional`: a publish wrote it that has not committed it
    (`ports.Provisional`).
    """

    key: str
    size: int
    modified: datetime
    etag: str
    archived: bool = False
    provisional: bool = False
    linked: datetime | None = field(default=None, eq=False, repr=False)
    """When bytes that are stored under several keys got the last one; None if it is unknown."""

    def is_younger(self, than: timedelta, now: datetime) -> bool:
        """Return whether the bytes were written, or got a key, less than this time ago."""
        return now - max(self.modified, self.linked or self.modified) < than


@frozen(kw_only=True)
class ArchiveState:
    """The state of a blob in a store that has storage classes. `readable`: it can be read now."""

    storage_class: str
    size: int
    readable: bool


@frozen
class SignedUrl:
    """A signed URL that serves a blob to any client that has it, until `expires`. `signer`
    identifies the keys that signed it.
    """

    url: str = field(repr=False)
    expires: datetime
    signer: str = field(default="", eq=False, repr=False)


class Checksum(Enum):
    """The hashes other than SHA-256 that upload forms and JSON documents have; the values are their
    names in `Digests`.
    """

    MD5 = "md5"
    BLAKE2B_256 = "blake2b_256"


@frozen
class Digests:
    """The hashes of one body, lower-case hex, and its length in bytes. None: that `Checksum` was
    not requested.
    """

    sha256: str
    md5: str | None
    blake2b_256: str | None
    size: int


@frozen
class RenderedPage:
    """A finished page: its bytes, its exact Content-Type, and a strong ETag (with its quotes)."""

    body: bytes = field(repr=False)
    content_type: str
    etag: str


@frozen(kw_only=True)
class Upload:
    """A received and checked distribution: `policy.admits` judges it, `Index.publish` stores it."""

    distribution: Distribution
    version: str
    """As the metadata inside the file spells it, PEP 440 normalised."""
    digests: Digests
    metadata: bytes | None = field(default=None, repr=False)
    """The exact bytes of ``<file>.metadata`` (wheels: METADATA); None: clients read the file."""
    requires_python: str | None = None
    summary: str | None = None
    attestations: tuple[bytes, ...] = field(default=(), repr=False)
    """PEP 740 attestation objects, the exact JSON received: they are about this file, but the
    signatures are not verified yet.
    """
    provenance: bytes | None = field(default=None, repr=False)
    """The provenance object to serve, made from attestations with verified signatures
    (`pypid.attestations.verification`).
    """

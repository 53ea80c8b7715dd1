"""The values that travel through pypid. All frozen; containers inside are tuples.

Sources: "Simple repository API" (packaging.python.org) for what a file and a project are; PEP 592
(yank), PEP 658/714 (core metadata), PEP 700 (size, upload time, versions), PEP 792 (project
status).
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

import msgspec
from attrs import field, frozen

from pypid.core.packaging.names import Distribution, ProjectName, version_key
from pypid.core.records.file_history import FileHistory


class Status(Enum):
    """Project status markers (PEP 792); the values are those of the specification."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"

    @property
    def takes_uploads(self) -> bool:
        """Archived and quarantined projects MUST refuse uploads."""
        return self in (Status.ACTIVE, Status.DEPRECATED)

    @property
    def offers_files(self) -> bool:
        """Quarantined projects MUST NOT offer files."""
        return self is not Status.QUARANTINED


class File(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One distribution file, ours or theirs; `msgspec.structs.replace` makes others of it.

    No attrs class as all other values: a page has ten thousand, this is made ten times faster, and
    the garbage collector, which would stop us to look at each again and again, leaves it alone.

    `sha256`, `md5`, `blake2b_256` and `metadata_sha256` are lower-case hex. `size` is in bytes.
    `uploaded` is aware, UTC. For files of ours `sha256`, `size`, `uploaded` and `key` are always
    known.
    """

    project: ProjectName
    filename: str
    version: str
    sha256: str | None
    size: int | None
    uploaded: datetime | None = None
    requires_python: str | None = None
    metadata_sha256: str | None = None
    """Set if core metadata is stored beside the file and served as ``<file>.metadata`` (PEP
    658/714).
    """
    yanked: str | None = None
    """None: not yanked; "": yanked without a reason (PEP 592)."""
    source: str | None = None
    """The upstream URL; None means ours."""
    key: str | None = None
    """Where the bytes lie in the `Blobs`; None for a file of theirs that is not kept."""
    md5: str | None = None
    blake2b_256: str | None = None
    uploader: str | None = None
    summary: str | None = None
    signed: bool = False
    """A PGP signature is stored beside the file and served as ``<file>.asc``."""
    attested: bool = False
    """A provenance object is stored and served (PEP 740)."""
    seen: datetime | None = None
    """Of theirs: when it was first seen here; a file without upload time has its age from this."""
    provenance_url: str | None = None
    """Of theirs: where upstream serves its provenance object."""
    digest: str | None = None
    """Of theirs, where no sha256 is known: the strongest other hash, ``<hashlib's name>=<lower-case
    hex>``.
    """
    metadata_offered: bool = False
    """Of theirs: upstream says that ``<source>.metadata`` is there; its hash may be unknown (PEP
    714 allows a mere ``true``).
    """
    archived: bool = False
    """The bytes lie in an archive (`Blob.archived`)."""


def file_order(file: File) -> tuple[tuple[int, Any], str]:
    """The order of files on a page: by version (PEP 440), then by name."""
    return (version_key(file.version), file.filename)


def in_order(files: tuple[File, ...]) -> tuple[File, ...]:
    """`files` as a `Project` holds them."""
    versions: dict[
        str, list[File]
    ] = {}  # of ten thousand files there are a hundred: versions are slow to compare
    for file in files:
        versions.setdefault(file.version, []).append(file)
    spellings: dict[tuple[int, Any], list[File]] = {}
    for version, its in versions.items():
        spellings.setdefault(version_key(version), []).extend(its)
    ordered: list[File] = []
    for key in sorted(spellings):
        ordered.extend(sorted(spellings[key], key=lambda file: file.filename))
    return tuple(ordered)


@frozen(kw_only=True)
class Project:
    """What is known, or visible, of one project. `files` are `in_order`."""

    name: ProjectName
    files: tuple[File, ...] = ()
    status: Status = Status.ACTIVE
    status_reason: str = ""
    serial: int = 0
    """The catalog's serial number of the last change; grows with every change of any project."""
    history: tuple[FileHistory, ...] = field(default=(), repr=False)
    """What happened to files of ours, `in_bounds`; also to some that are deleted."""

    def file(self, filename: str) -> File | None:
        """The file of this name, or None."""
        return next((file for file in self.files if file.filename == filename), None)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of all files, each once, in order."""
        return tuple(dict.fromkeys(file.version for file in self.files))


@frozen(kw_only=True)
class Listing:
    """What another index said of a project, the last time that it answered.

    `files` are `in_order`, without keys; None: it does not have the project (a 404 is knowledge).
    `asked` is when it last said so (aware, UTC); `etag` is what to revalidate with; `index` the
    base URL of the index that answered, without credentials.
    """

    name: ProjectName
    files: tuple[File, ...] | None
    asked: datetime
    index: str
    etag: str | None = None
    status: Status = Status.ACTIVE
    status_reason: str = ""
    serial: int = 0
    """The catalog's serial of the last change of what was said."""
    is_doubtful: bool = False
    """Whether it may be an error page (`Listing.is_doubtful`); so of an answer only, never of what
    is stored.
    """


@frozen(kw_only=True)
class UpstreamEntry:
    """All that we know of a project of theirs: what was `said`, and the files that are `kept` (with
    their keys).
    """

    name: ProjectName
    said: Listing | None = None
    kept: tuple[File, ...] = ()
    serial: int = 0
    touched: tuple[tuple[str, int], ...] = ()
    """When kept files were last wanted: file name, hours since 1970. Nobody sees it."""
    history: tuple[FileHistory, ...] = field(default=(), repr=False)
    """How what was said has changed, `in_bounds`."""
    since: datetime | None = None
    """From when on such changes were noticed."""

    def kept_file(self, filename: str) -> File | None:
        """The kept file of this name, or None."""
        return next((file for file in self.kept if file.filename == filename), None)


class Presence(Enum):
    """What `Catalog.ours` says where it has no project to show (house rule: unknown
    is not absent).
    """

    ABSENT = "absent"
    """Proven: the storage has been compared since this process started, and the name is not ours.
    """
    UNKNOWN = "unknown"
    """The catalog does not hold it, and nobody has compared the storage yet."""


class Summary(msgspec.Struct, frozen=True, gc=False):
    """One line of the list of projects. `serial` as `Project.serial`. No attrs class, for the
    reasons of `File`.
    """

    name: ProjectName
    serial: int
    status: Status = Status.ACTIVE
    kept: bool = False
    """Of theirs: files of it are stored."""
    gone: bool = False
    """Of theirs: the other index has it no more."""


@frozen
class Span:
    """A part of a blob: bytes `start` up to, not including, `stop`."""

    start: int
    stop: int


@frozen
class Blob:
    """What a listing says of one blob. `size` in bytes; `modified` aware UTC.

    `etag` changes whenever the bytes are written again; it is compared only with an `etag` seen
    before. `archived`: it lies in an archive storage class, and can be read only while a restored
    copy of it is there, which no listing tells.
    """

    key: str
    size: int
    modified: datetime
    etag: str
    archived: bool = False


@frozen(kw_only=True)
class ArchiveState:
    """Where a blob stands in a store that has storage classes. `readable`: it can be read now."""

    storage_class: str
    size: int
    readable: bool


@frozen
class Unfinished:
    """An upload in parts that was begun, and neither ended nor taken away: it takes up space, and
    no listing shows it.
    """

    key: str
    upload: str = field(repr=False)
    begun: datetime


@frozen
class SignedUrl:
    """A signed URL that gives a blob to whoever holds it, until `expires`. `signer` identifies the
    keys that signed it.
    """

    url: str = field(repr=False)
    expires: datetime
    signer: str = field(default="", eq=False, repr=False)


class Checksum(Enum):
    """The hashes beside SHA-256 that upload forms and JSON documents know; the values are their
    names in `Digests`.
    """

    MD5 = "md5"
    BLAKE2B_256 = "blake2b_256"


@frozen
class Digests:
    """The hashes of one body, lower-case hex, and its length in bytes. None: nobody wanted that
    `Checksum`.
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
    """A distribution that was received whole and checked: what `policy.admits` judges and
    `Index.publish` stores.
    """

    distribution: Distribution
    version: str
    """As the metadata inside the file spells it, PEP 440 normalised."""
    digests: Digests
    metadata: bytes | None = field(default=None, repr=False)
    """The exact bytes to serve as ``<file>.metadata`` (wheels: METADATA), or None where clients
    must read the file.
    """
    requires_python: str | None = None
    summary: str | None = None
    signature: bytes | None = field(default=None, repr=False)
    """A PGP signature, served as ``<file>.asc``."""
    attestations: tuple[bytes, ...] = field(default=(), repr=False)
    """PEP 740 attestation objects, the exact JSON that came: they are about this file; who signed
    them is not known yet.
    """
    provenance: bytes | None = field(default=None, repr=False)
    """The provenance object to serve, made of attestations whose signatures were verified
    (`pypid.attestations.verification`).
    """

"""Where things lie in a `Blobs`: keys, and back from keys.

Beside the artifact ``<project>/<filename>`` lie small objects whose suffixes no distribution can have::

    <project>/<filename>                 the bytes
    <project>/<filename>.metadata        core metadata (PEP 658)
    <project>/<filename>.record.json     the record: written last, only if absent; it is the commit
    <project>/<filename>.yanked.json     there while the file is yanked
    <project>/<filename>.deleted.json    a tombstone: the name was used
    <project>/<filename>.asc             a PGP signature
    <project>/<filename>.provenance.json provenance (PEP 740)
    <project>/<filename>.at-<hex>        the bytes of an overwrite (the record names its key); what belongs to these
                                         bytes (metadata, signature, provenance) lies beside them: .at-<hex>.metadata
    <project>/project.json               project status; a project with this alone is ours and empty
    .pypid/...                           what belongs to the storage as a whole
    .pypid/set-aside/<project>/<hex>/<filename>   bytes that lay where a publish had to write (see decision 0002)

No project's name begins with a dot, so ``.pypid`` cannot be one. Below ``.kept/`` lie the files of other indexes, laid out in
the same way (bytes, metadata, record): whatever is lost, or breaks off, they can never be taken for ours::

    .kept/<project>/<filename>           the bytes; .metadata and .record.json beside them
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from attrs import frozen

from pypid.core.errors import BadFilename, BadName
from pypid.core.model import File
from pypid.core.names import ProjectName, parse_filename, project_name

OURS_AS_A_WHOLE = ".pypid/"
STORAGE_IDENTITY = f"{OURS_AS_A_WHOLE}storage.json"
SET_ASIDE = f"{OURS_AS_A_WHOLE}set-aside/"
SNAPSHOT = f"{OURS_AS_A_WHOLE}snapshot/ours.jsonl.gz"
"""What the records of all our projects say, for a new machine (`catalog.faraway`)."""
THEIR_SNAPSHOT = f"{OURS_AS_A_WHOLE}snapshot/theirs.jsonl.gz"
"""The same of what is kept of theirs."""
OF_RECORD = f"{OURS_AS_A_WHOLE}of-record/"
"""Sealed copies of what is of record below `state` (`safekeeping`)."""
KEPT = ".kept/"


class Kind(Enum):
    """What a key below a project holds; the values are the suffixes after the file name."""

    ARTIFACT = ""
    METADATA = ".metadata"
    RECORD = ".record.json"
    YANKED = ".yanked.json"
    DELETED = ".deleted.json"
    SIGNATURE = ".asc"
    PROVENANCE = ".provenance.json"
    OVERWRITE = ".at-"
    PROJECT = "project.json"


_SUFFIXED = (Kind.RECORD, Kind.YANKED, Kind.DELETED, Kind.PROVENANCE, Kind.METADATA, Kind.SIGNATURE)
_OVERWRITE = re.compile(r"(?P<filename>.+)\.at-[0-9a-f]{16}(?P<beside>\.metadata|\.asc|\.provenance\.json)?\Z")


@frozen
class Place:
    """What a key means. `filename` is empty for `Kind.PROJECT`."""

    project: ProjectName
    filename: str
    kind: Kind


def key(project: ProjectName, filename: str, kind: Kind = Kind.ARTIFACT) -> str:
    """The key of the object of this kind that belongs to the file."""
    if kind is Kind.PROJECT:
        return f"{project}/{kind.value}"
    return f"{project}/{filename}{kind.value}"


def overwrite_key(project: ProjectName, filename: str, sha256: str) -> str:
    """The key of bytes that take an older file's place."""
    return f"{project}/{filename}{Kind.OVERWRITE.value}{sha256[:16]}"


def beside_key(file: File, kind: Kind) -> str:
    """Where the metadata, signature or provenance of the file lies: beside the very bytes that it belongs to."""
    beside = file.key if file.key is not None and _OVERWRITE.match(file.key) else key(file.project, file.filename)
    return beside + kind.value


def metadata_key(file: File) -> str:
    """Where the file's core metadata lies; see `beside_key`."""
    return beside_key(file, Kind.METADATA)


def aside_key(project: ProjectName, filename: str, sha256: str) -> str:
    """Where bytes are kept that had no record and lay where a publish has to write."""
    return f"{SET_ASIDE}{project}/{sha256[:16]}/{filename}"


def folder(project: ProjectName) -> str:
    """The prefix of all that belongs to the project."""
    return f"{project}/"


def kept_key(project: ProjectName, filename: str, kind: Kind = Kind.ARTIFACT) -> str:
    """The key of the object of this kind that belongs to a kept file of theirs."""
    return KEPT + key(project, filename, kind)


def kept_beside_key(project: ProjectName, filename: str, sha256: str) -> str:
    """The key of a kept file's bytes where other bytes lie under its name."""
    return KEPT + overwrite_key(project, filename, sha256)


def kept_folder(project: ProjectName) -> str:
    """The prefix of all that is kept of the project of theirs."""
    return KEPT + folder(project)


def kept_place(key: str) -> Place | None:
    """What a key below `KEPT` means, or None for what is not in its layout. (`place` knows none of them.)"""
    return place(key.removeprefix(KEPT)) if key.startswith(KEPT) else None


def place(key: str) -> Place | None:
    """What `key` means, or None for what is not in our layout (foreign objects, files that someone dropped elsewhere)."""
    project_text, slash, rest = key.partition("/")
    if not slash or "/" in rest:
        return None
    try:
        project = project_name(project_text)
        if project != project_text:
            return None
        if rest == Kind.PROJECT.value:
            return Place(project, "", Kind.PROJECT)
        filename, kind = _split(rest)
        if _project_of(filename) != project:
            return None
    except (BadName, BadFilename):
        return None
    return Place(project, filename, kind)


@lru_cache(maxsize=64)
def _project_of(filename: str) -> ProjectName:
    """The project that the file name tells; raises `BadFilename`. In a listing, what belongs to one file lies together."""
    return parse_filename(filename).project


def _split(rest: str) -> tuple[str, Kind]:
    overwrite = _OVERWRITE.match(rest)
    if overwrite:
        return overwrite["filename"], Kind.OVERWRITE
    for kind in _SUFFIXED:
        if rest.endswith(kind.value):
            return rest.removesuffix(kind.value), kind
    return rest, Kind.ARTIFACT

"""The layout of a `Blobs`: from objects to keys, and back from keys.

Beside the artifact ``<project>/<filename>`` are small objects whose suffixes no distribution can
have::

    <project>/<filename>                 the bytes
    <project>/<filename>.metadata        core metadata (PEP 658)
    <project>/<filename>.record.json     the record: written last, only if absent; it is the commit
    <project>/<filename>.yanked.json     exists while the file is yanked
    <project>/<filename>.deleted.json    a tombstone: the name was used
    <project>/<filename>.history.json    when it was yanked, un-yanked, deleted; stays with the
                                         tombstone
    <project>/<filename>.asc             a PGP signature of a former upload
    <project>/<filename>.provenance.json provenance (PEP 740)
    <project>/<filename>.at-<hex>        the bytes of an overwrite (the record names its key);
                                         metadata, signature and provenance of these bytes are
                                         beside them: .at-<hex>.metadata
    <project>/project.json               project status; a project with this alone is local and
                                         empty
    .pypid/...                           objects of the storage as a whole
    .pypid/set-aside/<project>/<hex>/<filename>
                                         bytes that were found where a publish had to write
                                         (see docs/project/decisions)
    .pypid/held/<block>/<key>            the bytes of a blocked file, moved here by older versions
                                         from <key>
    .pypid/index/<name>/...              the files of a named index, in this same layout
    .pypid/upstream/<name>/.kept/...     the cached files of a named upstream

No project's name begins with a dot, so ``.pypid`` cannot be one. Below ``.kept/`` are the cached
upstream files, in the same layout (bytes, metadata, record): whatever is lost, or breaks off, they
can never be mistaken for local files::

    .kept/<project>/<filename>           the bytes; .metadata, .provenance.json (upstream's) and
                                         .record.json beside them

Only the artifacts may be elsewhere: the record names their key. Files that a pypicloud left, or
that were copied there, stay where they are (`lies_at`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from hashlib import md5

from attrs import frozen

from pypid.core.errors import BadFilename, BadName
from pypid.core.model import StoredFile
from pypid.core.packaging.names import (
    ProjectName,
    listed_version,
    parse_filename,
    project_name,
    same_version,
    valid_name,
)

OURS_AS_A_WHOLE = ".pypid/"
STORAGE_IDENTITY = f"{OURS_AS_A_WHOLE}storage.json"
SET_ASIDE = f"{OURS_AS_A_WHOLE}set-aside/"
HELD = f"{OURS_AS_A_WHOLE}held/"
"""The bytes of blocked files that older versions moved (`Maintenance` returns them)."""
CATALOG_DUMPS = f"{OURS_AS_A_WHOLE}snapshot/"
"""The dumps of the catalog that older versions wrote into a bucket."""
OF_RECORD = f"{OURS_AS_A_WHOLE}of-record/"
"""Encrypted copies of the documents of record below `state` (`jobs.backup`)."""
ACCOUNTS_KNOWN = f"{OURS_AS_A_WHOLE}accounts-known"
"""Names the accounts database whose rights belong to this storage (`daemon.identities`)."""
CLOSED = f"{OURS_AS_A_WHOLE}closed/"
"""``<project or glob>``: what had rights and was not opened since (`daemon.identities`)."""
OWNERS = f"{OURS_AS_A_WHOLE}owners/"
"""``<index>/<project>``: a document that names its owner (`daemon.identities`)."""
CLEAN_STOP = f"{OURS_AS_A_WHOLE}clean-stop.json"
"""Says which state of the catalog is as new as the storage (`pypid.jobs.cache_maintenance`)."""
LEFT = f"{OURS_AS_A_WHOLE}left.json"
"""Files that were not adopted: each is reported once (`index.local.adoption`)."""
RECORDING = f"{OURS_AS_A_WHOLE}recording.json"
"""Since when changes are recorded with their times, in a storage older than this feature."""
DECISIONS = f"{OURS_AS_A_WHOLE}decisions.json"
"""Replaced after each change of the documents of decisions (`index.decisions`)."""
INDEXES = f"{OURS_AS_A_WHOLE}index/"
"""The files of named indexes, each with the whole layout in a folder of its name."""
UPSTREAMS = f"{OURS_AS_A_WHOLE}upstream/"
"""The cached files of named upstreams, each in a folder of its name."""
INDEX_NAMES = f"{OURS_AS_A_WHOLE}index-names/"
"""``<project>/<index>``: the names that are local in a named index. Written before the first record
of the project, so that no other index sends the name upstream.
"""
LEASES = f"{OURS_AS_A_WHOLE}lease/"
"""The lease of a bucket (`jobs.storage_lease`): one object, named by a number."""
KEPT = ".kept/"
DESCRIBED = ".meta"
"""The suffix of the JSON that pypicloud's file store writes beside each file
(`core.records.pypicloud_descriptions`).
"""


class ObjectKind(Enum):
    """What a key below a project holds; the values are the suffixes after the file name."""

    ARTIFACT = ""
    METADATA = ".metadata"
    RECORD = ".record.json"
    YANKED = ".yanked.json"
    DELETED = ".deleted.json"
    HISTORY = ".history.json"
    SIGNATURE = ".asc"
    PROVENANCE = ".provenance.json"
    OVERWRITE = ".at-"
    PROJECT = "project.json"


TRACES = (ObjectKind.DELETED, ObjectKind.HISTORY, ObjectKind.PROJECT)
"""The objects that remain after a file was deleted."""
_SUFFIXED = (
    ObjectKind.RECORD,
    ObjectKind.YANKED,
    ObjectKind.DELETED,
    ObjectKind.HISTORY,
    ObjectKind.PROVENANCE,
    ObjectKind.METADATA,
    ObjectKind.SIGNATURE,
)
_OVERWRITE = re.compile(
    r"(?P<filename>.+)\.at-[0-9a-f]{16}(?P<beside>\.metadata|\.asc|\.provenance\.json)?\Z"
)
_LISTED = re.compile(
    r"(?P<name>[A-Za-z0-9_]+(?:[.-][A-Za-z_][A-Za-z0-9_]*)*)-[A-Za-z0-9_.+-]+"
    r"\.(?:tar\.gz|tar\.bz2|tar|tgz|tbz|zip|egg|exe|whl)\Z"
)
_AT = "at-"
_ASIDE = ".aside"
"""The suffix of held bytes that were moved in a bucket that a pypicloud could read, too."""
_OVERWRITE_FOLDER = re.compile(rf"{_AT}[0-9a-f]{{16}}\Z")


@frozen
class ObjectPlace:
    """The meaning of a key. `filename` is empty for `ObjectKind.PROJECT`."""

    project: ProjectName
    filename: str
    kind: ObjectKind


def key(project: ProjectName, filename: str, kind: ObjectKind = ObjectKind.ARTIFACT) -> str:
    """Return the key of the object of this kind that belongs to the file."""
    if kind is ObjectKind.PROJECT:
        return f"{project}/{kind.value}"
    return f"{project}/{filename}{kind.value}"


def overwrite_key(project: ProjectName, filename: str, sha256: str) -> str:
    """Return the key of bytes that replace an older file's."""
    return f"{project}/{filename}{ObjectKind.OVERWRITE.value}{sha256[:16]}"


def sidecar_key(file: StoredFile, kind: ObjectKind) -> str:
    """Return the key of the file's metadata, signature or provenance: beside the very bytes that it
    belongs to; or, if these are stored in pypicloud's layout, where it would be in pypid's.
    """
    base = key(file.project, file.filename)
    if _OVERWRITE.match(file.key):
        base = file.key
    elif f"/{_AT}{file.sha256[:16]}/" in file.key:
        base = overwrite_key(file.project, file.filename, file.sha256)
    return base + kind.value


def decision_key(folder: str, id: str) -> str:
    """Return the key of a decision of administrators (`index.decisions`)."""
    return f"{OURS_AS_A_WHOLE}{folder}/{id}.json"


def folder(project: ProjectName) -> str:
    """Return the prefix of all that belongs to the project."""
    return f"{project}/"


def kept_key(project: ProjectName, filename: str, kind: ObjectKind = ObjectKind.ARTIFACT) -> str:
    """Return the key of the object of this kind that belongs to a cached file."""
    return KEPT + key(project, filename, kind)


def cached_overwrite_key(project: ProjectName, filename: str, sha256: str) -> str:
    """Return the key of a cached file's bytes if there are other bytes under its name."""
    return KEPT + overwrite_key(project, filename, sha256)


def kept_folder(project: ProjectName) -> str:
    """Return the prefix of all that is cached of the upstream project."""
    return KEPT + folder(project)


def held_origin(key: str) -> str | None:
    """Return the key from which an older version moved the bytes at this key below `HELD`; None if
    the key is not in that layout.
    """
    block, slash, rest = key.removeprefix(HELD).partition("/")
    origin = rest.removesuffix(_ASIDE)
    is_held = key.startswith(HELD) and bool(block and slash) and owner_of(origin) is not None
    return origin if is_held else None


def owner_of(where: str) -> ObjectPlace | None:
    """Return the file, local or cached, whose bytes are at this key; None for any other key. Files
    may be adopted in place, at a key outside the layout: their name tells their project.
    """
    found = kept_place(where) or place(where) or lies_at(where)
    if found is None and not where.startswith(KEPT):
        filename = where.rpartition("/")[2]
        try:
            return ObjectPlace(_project_of(filename), filename, ObjectKind.ARTIFACT)
        except BadFilename:
            return None
    is_bytes = found is not None and found.kind in (ObjectKind.ARTIFACT, ObjectKind.OVERWRITE)
    return found if is_bytes else None


def part_of(key: str) -> str:
    """Return the prefix of the named index or upstream that the key belongs to, which is a storage
    of its own; empty for the storage of the default index.
    """
    if not key.startswith((INDEXES, UPSTREAMS)):
        return ""
    first, kind, name, *_ = key.split("/", 3)
    return f"{first}/{kind}/{name}/"


def is_cached(key: str) -> bool:
    """Return whether the key in the whole storage belongs to a cached file of any upstream."""
    return key.startswith((KEPT, UPSTREAMS))


def kept_place(key: str) -> ObjectPlace | None:
    """Return the meaning of a key below `KEPT`, or None if it is not in its layout. (`place`
    recognizes none of them.)
    """
    if not key.startswith(KEPT):
        return None
    return _place(key.removeprefix(KEPT), lambda *file: listed_version(*file) is not None)


def place(key: str) -> ObjectPlace | None:
    """Return the meaning of `key`; None if it is not in pypid's layout."""
    return _place(key, lambda filename, project: _project_of(filename) == project)


def _place(key: str, belongs: Callable[[str, ProjectName], bool]) -> ObjectPlace | None:
    project_text, slash, rest = key.partition("/")
    if not slash or "/" in rest:
        return None
    try:
        project = project_name(project_text)
        if project != project_text:
            return None
        if rest == ObjectKind.PROJECT.value:
            return ObjectPlace(project, "", ObjectKind.PROJECT)
        filename, kind = _split(rest)
        return ObjectPlace(project, filename, kind) if belongs(filename, project) else None
    except (BadName, BadFilename):
        return None


@lru_cache(maxsize=64)
def _project_of(filename: str) -> ProjectName:
    """Return the project of the file name. Raises `BadFilename`. Cached, since in a listing all
    objects of one file are consecutive.
    """
    return parse_filename(filename).project


def _split(rest: str) -> tuple[str, ObjectKind]:
    overwrite = _OVERWRITE.match(rest)
    if overwrite:
        return overwrite["filename"], ObjectKind.OVERWRITE
    for kind in _SUFFIXED:
        if rest.endswith(kind.value):
            return rest.removesuffix(kind.value), kind
    return rest, ObjectKind.ARTIFACT


# --- where artifacts are --------------------------------------------------------------------------


def set_aside_key(project: ProjectName, filename: str, sha256: str) -> str:
    """Return the key for bytes without a record that were found where a publish has to write."""
    return f"{SET_ASIDE}{project}/{sha256[:16]}/{filename}"


def keys_in_layouts(project: ProjectName, version: str, filename: str) -> tuple[str, ...]:
    """Return the keys at which pypid or a pypicloud may have stored the file."""
    plain = key(project, filename)
    return plain, f"{_hash_of(filename)}/{plain}", f"{project}/{version}/{filename}"


def by_precedence(keys: Iterable[str], *, is_bucket: bool) -> Sequence[str]:
    """Return the keys that claim one file name, the one first that pypicloud would serve: in a
    bucket the last of its listing, in a folder the one where pypicloud would have stored it.
    """
    ordered = sorted(keys)
    return ordered[::-1] if is_bucket else sorted(ordered, key=lambda at: lies_at(at) is None)


def _hash_of(filename: str) -> str:
    return md5(filename.encode(), usedforsecurity=False).hexdigest()[:4]


def lies_at(where: str) -> ObjectPlace | None:
    """Return the file whose bytes pypid or a pypicloud may store at this key, else None."""
    *folders, filename = where.split("/")
    if folders and _OVERWRITE_FOLDER.match(folders[-1]):
        folders.pop()
    try:
        found = parse_filename(filename)
    except BadFilename:
        return None
    match folders:
        case [project] | [_, project] if project == found.project and (
            len(folders) == 1 or folders[0] == _hash_of(filename)
        ):
            pass
        case [project, version] if project == found.project and same_version(
            version, found.version
        ):
            pass
        case _:
            return None
    return ObjectPlace(found.project, filename, ObjectKind.ARTIFACT)


def listed_as(where: str) -> ProjectName | None:
    """Return the project under which a pypicloud lists an object with this key, by its name alone;
    None if it ignores it.

    It accepted more kinds of files than installers do today (``util.parse_filename`` of 1.3.12).
    """
    match = _LISTED.match(where.rpartition("/")[2])
    return None if match is None else valid_name(match["name"])


def is_document(where: str) -> bool:
    """Return whether the key is that of a document beside a file: a record, metadata, ..."""
    return where.endswith(tuple(kind.value for kind in _SUFFIXED))


def is_only_ours(where: str) -> bool:
    """Return whether the key is pypid's own and no distribution: a record, ``.pypid/``, ..."""
    name = where.rpartition("/")[2]
    return (
        where.startswith((OURS_AS_A_WHOLE, KEPT))
        or is_document(name)
        or _OVERWRITE.match(name) is not None
        or (name == ObjectKind.PROJECT.value and where.count("/") == 1)
    )


# The keys of the catalog's rows: ``<index>/<project>``, and the name of the project alone for the
# default index. The keys of upstream projects have the name of the upstream in place of the index.


def project_of(key: str) -> ProjectName:
    """Return the name of the project that the key is for."""
    return ProjectName(key.rpartition("/")[2])


def index_of(key: str) -> str:
    """Return the name of the index or upstream in the key; empty for the default index."""
    return key.rpartition("/")[0]

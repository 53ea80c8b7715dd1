"""Read the document of a ``devpi-export`` folder, ``dataindex.json``. Pure.

Source: ``Exporter``, ``IndexDump`` and ``Migrator`` in devpi-server 6.20's ``importexport.py``. The
document is untrusted input: every path is checked before it is used, and no error quotes a password
hash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import msgspec
from attrs import field, frozen

from pypid.core.errors import BadRequest, shortened

DOCUMENT = "dataindex.json"
LARGEST = 1 << 30
"""Maximum bytes of the document. An entry for a file has about 1 KiB, and the metadata of a release
a few.
"""
VERSIONS = frozenset({"1", "2"})
"""The versions of the format (``dumpversion``): devpi-server 2 to 6."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_INDEX = re.compile(r"[^/\s]{1,200}/[^/\s]{1,200}")
_LONGEST_PART = 255


class FileKind(Enum):
    """The kinds of files in an export, by their names there."""

    RELEASE = "releasefile"
    DOCUMENTATION = "doczip"
    TEST_RESULT = "toxresult"


@frozen
class DevpiUser:
    """A user. The password hash does not appear in the repr."""

    name: str
    hash: str = field(repr=False)


@frozen(kw_only=True)
class DevpiFile:
    """A distribution of an index."""

    path: tuple[str, ...]
    """The path in the export folder, in segments without ``..`` and the like."""
    project: str
    sha256: str | None = None
    md5: str | None = None
    uploaded: datetime | None = None
    uploader: str | None = None
    yanked: str | None = None
    """The reason of a yank, perhaps empty."""

    @property
    def filename(self) -> str:
        """Return the name under which clients download the file."""
        return self.path[-1]

    @property
    def fields(self) -> dict[str, str]:
        """Return the fields of ``POST /api/import``."""
        texts = {
            "name": self.project,
            "sha256_digest": self.sha256,
            "md5_digest": self.md5,
            "uploaded": None if self.uploaded is None else self.uploaded.isoformat(),
            "uploader": self.uploader,
            "yanked": self.yanked,
        }
        return {name: text for name, text in texts.items() if text is not None}


@frozen(kw_only=True)
class DevpiIndex:
    """An index of a user. Lists are in the order of the document."""

    name: str
    """``USER/INDEX``."""
    kind: str
    """``stage``, ``mirror``, or the type of a plugin."""
    bases: tuple[str, ...] = ()
    volatile: bool = True
    acl_upload: tuple[str, ...] = ()
    mirror_url: str | None = None
    mirror_whitelist: tuple[str, ...] = ()
    inherits_whitelist: bool = True
    """Whether the whitelists of its bases count, too (``mirror_whitelist_inheritance``)."""
    other: tuple[str, ...] = ()
    """Names of further settings that have a value."""
    files: tuple[DevpiFile, ...] = field(default=(), repr=False)
    documentation: int = 0
    test_results: int = 0
    bad_paths: tuple[str, ...] = ()
    """Files whose path is not accepted, as they are in the document."""
    empty_releases: tuple[str, ...] = ()
    """``PROJECT VERSION`` of releases without a file."""


@frozen
class DevpiExport:
    """An export: its users and indexes, in the order of their names."""

    users: tuple[DevpiUser, ...]
    indexes: tuple[DevpiIndex, ...]
    server: str = ""
    """The version of devpi-server that wrote it."""


# --- the format -----------------------------------------------------------------------------------


class _Log(msgspec.Struct):
    what: str = ""
    who: str | None = None
    when: Any = None


class _Entry(msgspec.Struct):
    last_modified: Any = None
    hashes: dict[str, Any] = {}
    hash_spec: str | None = None
    md5: str | None = None


class _File(msgspec.Struct):
    relpath: str
    type: str
    projectname: str
    version: str | None = None
    entrymapping: _Entry | None = None
    log: list[_Log] | None = None


class _Release(msgspec.Struct):
    yanked: Any = None


class _Index(msgspec.Struct):
    indexconfig: dict[str, Any]
    projects: dict[str, dict[str, _Release]] = {}
    files: list[_File] = []


class _User(msgspec.Struct):
    pwhash: str | None = None
    pwsalt: str | None = None


class _Document(msgspec.Struct):
    dumpversion: Any
    users: dict[str, _User]
    indexes: dict[str, _Index]
    devpi_server: str = ""


def read_export(data: bytes) -> DevpiExport:
    """Return the export that the document describes. Raises `BadRequest` if it is not a document of
    devpi-export.

    The metadata of releases is skipped: pypid reads it from the files.
    """
    try:
        document = msgspec.json.decode(data, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{DOCUMENT} is not a document of devpi-export: {error}.") from None
    except RecursionError:
        raise BadRequest(
            f"{DOCUMENT} is not a document of devpi-export: it is nested too deeply."
        ) from None
    if str(document.dumpversion) not in VERSIONS:
        version = shortened(ascii(document.dumpversion))
        raise BadRequest(
            f"{DOCUMENT} has the format version {version}; this pypid reads 1 and 2. Look for a "
            "newer pypid."
        )
    return DevpiExport(
        users=tuple(_user(name, document.users[name]) for name in sorted(document.users)),
        indexes=tuple(_index(name, document.indexes[name]) for name in sorted(document.indexes)),
        server=document.devpi_server,
    )


def _user(name: str, user: _User) -> DevpiUser:
    """Return the user. A hash with a salt of its own is of devpi-server 4 or older, and cannot be
    verified here.
    """
    return DevpiUser(name, user.pwhash or "" if user.pwsalt is None else "")


# --- indexes --------------------------------------------------------------------------------------

_READ = frozenset(
    {
        "type",
        "bases",
        "volatile",
        "acl_upload",
        "mirror_url",
        "mirror_whitelist",
        "mirror_whitelist_inheritance",
        # the others have no counterpart, and no effect on the files that are served
        "mirror_web_url_fmt",
        "mirror_cache_expiry",
        "mirror_use_external_urls",
        "mirror_no_project_list",
        "acl_toxresult_upload",
        "title",
        "description",
        "custom_data",
        "projects",
    }
)
"""Settings of indexes that devpi-server itself knows."""
_NO = (False, 0, None, "", "False", "false", "no", "off", "0")


def _index(name: str, index: _Index) -> DevpiIndex:
    if not _INDEX.fullmatch(name):
        raise BadRequest(f"{DOCUMENT} has an index {shortened(ascii(name))}: it is no USER/INDEX.")
    config = index.indexconfig
    url = config.get("mirror_url")
    releases = [file for file in index.files if file.type == FileKind.RELEASE.value]
    paths = [(file, safe_path(file.relpath)) for file in releases]
    published = {(normalized(file.projectname), file.version) for file in releases}
    return DevpiIndex(
        name=name,
        kind=str(config.get("type", "stage")),
        bases=_texts(config.get("bases")),
        volatile=config.get("volatile", True) not in _NO,
        acl_upload=_texts(config.get("acl_upload")),
        mirror_url=url if isinstance(url, str) and url else None,
        mirror_whitelist=_texts(config.get("mirror_whitelist")),
        inherits_whitelist=config.get("mirror_whitelist_inheritance") != "intersection",
        other=tuple(sorted(key for key in config if key not in _READ and config[key])),
        files=tuple(_file(file, path, index.projects) for file, path in paths if path is not None),
        documentation=_count(index.files, FileKind.DOCUMENTATION),
        test_results=_count(index.files, FileKind.TEST_RESULT),
        bad_paths=tuple(file.relpath for file, path in paths if path is None),
        empty_releases=tuple(
            f"{project} {version}"
            for project, version in _releases(index.projects)
            if (normalized(project), version) not in published
        ),
    )


def _count(files: Iterable[_File], kind: FileKind) -> int:
    return sum(file.type == kind.value for file in files)


def _releases(projects: Mapping[str, Mapping[str, _Release]]) -> Iterator[tuple[str, str]]:
    for project, versions in projects.items():
        for version in versions:
            yield project, version


def _texts(value: Any) -> tuple[str, ...]:
    """Return the texts in a list; old exports have them in one text with commas."""
    if isinstance(value, str):
        return tuple(text.strip() for text in value.split(",") if text.strip())
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


# --- files ----------------------------------------------------------------------------------------


def safe_path(text: str) -> tuple[str, ...] | None:
    """Return the segments of a relative path; None if it could lead out of its folder."""
    segments = tuple(text.split("/"))
    is_safe = all(
        part not in ("", ".", "..")
        and len(part.encode("utf-8", "replace")) <= _LONGEST_PART
        and "\\" not in part
        and part.isprintable()
        for part in segments
    )
    return segments if is_safe else None


def _file(
    file: _File, path: tuple[str, ...], projects: Mapping[str, Mapping[str, _Release]]
) -> DevpiFile:
    entry = file.entrymapping or _Entry()
    kind, _, digest = (entry.hash_spec or "").partition("=")
    hashes = {kind: digest, "md5": entry.md5, **entry.hashes}
    release = projects.get(normalized(file.projectname), {}).get(file.version or "")
    upload = _upload(file.log or ())
    return DevpiFile(
        path=path,
        project=file.projectname,
        sha256=_matching(_SHA256, hashes.get("sha256")),
        md5=_matching(_MD5, hashes.get("md5")),
        uploaded=_logged_time(upload) or _http_time(entry.last_modified),
        uploader=None if upload is None else upload.who,
        yanked=_yank(release),
    )


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    text = value.lower() if isinstance(value, str) else ""
    return text if pattern.match(text) else None


def normalized(name: str) -> str:
    """Return the name as devpi normalises it, for comparisons only."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _yank(release: _Release | None) -> str | None:
    """Return the reason of the yank; None if the release is not yanked. devpi-server 6 has yanks of
    mirrored releases only.
    """
    value = None if release is None else release.yanked
    if isinstance(value, str):
        return value
    return "" if value is True else None


def _upload(logs: Iterable[_Log]) -> _Log | None:
    """Return the entry of the last upload: an overwrite adds one."""
    found = None
    for entry in logs:
        if entry.what == "upload":
            found = entry
    return found


def _logged_time(entry: _Log | None) -> datetime | None:
    when = None if entry is None else entry.when
    if not isinstance(when, list) or len(when) < 6:
        return None
    year, month, day, hour, minute, second = when[:6]
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _http_time(value: Any) -> datetime | None:
    """Return the time of an HTTP date; None if the text is not one."""
    try:
        time = parsedate_to_datetime(value if isinstance(value, str) else "")
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None

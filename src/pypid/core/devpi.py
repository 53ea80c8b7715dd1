"""Import from devpi-server: its export is read, and becomes a plan.

Read the document of a ``devpi-export`` folder, ``dataindex.json``. Pure.

Source: ``Exporter``, ``IndexDump`` and ``Migrator`` in devpi-server 6.20's ``importexport.py``. The
document is untrusted input: every path is checked before it is used, and no error quotes a password
hash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import msgspec
from attrs import field, frozen

from pypid.core.configuration.values import LONGEST_NAME
from pypid.core.errors import BadRequest, shortened
from pypid.core.indexes import index_name, settings_of_values
from pypid.core.permissions import account_name
from pypid.core.policy import PUBLIC

DOCUMENT = "dataindex.json"
LARGEST = 1 << 30
"""Bytes of the document. A file takes about 1 KiB, the metadata of a release a few."""
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
    """Return the user. A salted hash is of devpi-server 4 or older, and cannot be verified here."""
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
            for project, versions in index.projects.items()
            for version in versions
            if (normalized(project), version) not in published
        ),
    )


def _count(files: Iterable[_File], kind: FileKind) -> int:
    return sum(file.type == kind.value for file in files)


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


# The plan of an import of a devpi export: named indexes, users, and what is not imported. Pure.
#
# ``USER/INDEX`` becomes the named index ``USER-INDEX``. A decision that an administrator has to
# make is a problem. While there are problems, nothing is imported.

STAGE, MIRROR = "stage", "mirror"
"""The types of indexes that devpi-server itself knows."""
_MOST_NAMED = 20
"""How many names one remark lists."""
ROOT = "root"
"""The administrator of every devpi-server."""
PUBLIC_INDEX = "pypi.org"
_RUNS = re.compile(r"[^a-z0-9]+")
_DOWNLOADED_AGAIN = "pypid downloads it again when a client requests it"
_NO_DOCUMENTATION = "pypid does not host documentation: publish it elsewhere"
_NONE = "none"
"""No bases, as the configuration spells it."""
CLOSED = {"bases": _NONE, "read": "nobody", "write": "nobody", "delete": "nobody"}
"""The settings of an index during its import. Only administrators can use it before all files were
sent, and its names cannot come from a base.
"""
_WORDS = {":ANONYMOUS:": "everyone", ":AUTHENTICATED:": "authenticated"}


@frozen
class ImportRemark:
    """A part of the export that is not imported unchanged, or that needs a decision first."""

    subject: str
    what: str
    advice: str


def few(names: Sequence[str]) -> str:
    """Return the first of the names, and the number of the others."""
    others = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {others} more" if others > 0 else "")


def searched(index: DevpiIndex, indexes: Mapping[str, DevpiIndex]) -> list[DevpiIndex]:
    """Return the indexes that devpi-server searches for this one, in its order: the index, its
    bases, their bases, and so on.
    """
    found, waiting = dict[str, DevpiIndex](), [index]
    for each in waiting:
        if each.name not in found:
            found[each.name] = each
            waiting += [indexes[base] for base in each.bases if base in indexes]
    return list(found.values())


def whitelist_of(index: DevpiIndex, indexes: Mapping[str, DevpiIndex]) -> frozenset[str]:
    """Return the projects for which the index shows local files and those of mirrors together; may
    contain ``*``. Without a mirror, there are none: their names stay private.
    """
    those = searched(index, indexes)
    if not any(each.kind == MIRROR for each in those):
        return frozenset()
    those = those if index.inherits_whitelist else [index]
    return frozenset(
        normalized(name) if name != "*" else name
        for each in those
        for name in each.mirror_whitelist
    )


@frozen(kw_only=True)
class PlannedIndex:
    """A named index, and the files to import into it."""

    origin: str
    """``USER/INDEX``."""
    name: str
    values: Mapping[str, str]
    """The settings, spelled as in the configuration."""
    files: tuple[DevpiFile, ...] = field(default=(), repr=False)


@frozen
class DevpiPlan:
    """What an import does. Bases come before the indexes that name them."""

    accounts: Mapping[str, Any] = field(repr=False)
    """The users, as a document that ``POST /api/acl`` takes."""
    indexes: tuple[PlannedIndex, ...]
    problems: tuple[ImportRemark, ...]
    left: tuple[ImportRemark, ...]

    @property
    def files(self) -> int:
        """Return the number of files."""
        return sum(len(index.files) for index in self.indexes)


@frozen(kw_only=True)
class Choices:
    """What the options of the command and the running pypid specify for an import."""

    names: Mapping[str, str] = {}
    """Names of indexes by ``USER/INDEX``; others are derived."""
    mirrors: Mapping[str, str] = {}
    """Upstreams by ``USER/INDEX`` of the mirror; others are found by their URL."""
    upstreams: Mapping[str, str] = {}
    """The names of configured upstreams by URL; that of `[upstream]` is `PUBLIC`."""
    named_upstreams: AbstractSet[str] = frozenset()
    """The names of all `[upstream:NAME]`."""


def derived_name(origin: str) -> str:
    """Return the name of the index that ``USER/INDEX`` becomes; it may be invalid."""
    return _RUNS.sub("-", origin.lower()).strip("-")


def plain_url(url: str) -> str:
    """Return the URL for comparisons: without user, trailing slash and ``simple`` at its end."""
    split = urlsplit(url)
    path = split.path.rstrip("/").removesuffix("/+simple").removesuffix("/simple").rstrip("/")
    return f"{split.scheme}://{split.netloc.rpartition('@')[2].lower()}{path}"


def is_closed(values: Mapping[str, str]) -> bool:
    """Return whether these are the settings of an index whose import has not finished."""
    return all(values.get(key) == value for key, value in CLOSED.items())


def differing_keys(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the keys of planned settings that an index has other values for."""
    ours, others = settings_of_values("any", wanted), settings_of_values("any", found)
    return [key for key in wanted if getattr(ours, key) != getattr(others, key)]


def compare_existing(
    plan: DevpiPlan, existing: Mapping[str, Mapping[str, str]], chosen: Mapping[str, str]
) -> tuple[list[ImportRemark], list[ImportRemark]]:
    """Return the problems with indexes that exist already, and their settings that differ.
    `existing`: their values by name; `chosen`: see `Choices.names`.
    """
    problems, left = list[ImportRemark](), list[ImportRemark]()
    for index in plan.indexes:
        values = existing.get(index.name)
        if values is None or is_closed(values):
            continue
        differing = differing_keys(index.values, values)
        what = f"the index {index.name!r} has other settings: {', '.join(differing)}"
        if differing and index.origin not in chosen:
            advice = (
                f"choose another name (--name {index.origin}=NAME), or import into it: "
                f"--name {index.origin}={index.name}"
            )
            problems.append(ImportRemark(index.origin, what, advice))
        elif differing:
            advice = "the settings here are kept; to change them, use pypid index set"
            left.append(ImportRemark(index.origin, what, advice))
    return problems, left


class DevpiPlanner:
    """Makes the plan of an import."""

    def __init__(self, export: DevpiExport, choices: Choices) -> None:
        self._export = export
        self._choices = choices
        self._mirrors = {index.name for index in export.indexes if index.kind == MIRROR}
        self._indexes = {index.name: index for index in export.indexes}
        self._names: dict[str, str] = {}
        self._problems: list[ImportRemark] = []
        self._left: list[ImportRemark] = []

    def plan(self) -> DevpiPlan:
        """Return the plan, its problems, and what is not imported."""
        wanted = [index for index in self._export.indexes if index.kind in (STAGE, MIRROR)]
        for index in self._export.indexes:
            if index.kind not in (STAGE, MIRROR):
                what = f"its type {index.kind!r} comes from a plugin of devpi-server"
                self._leave(index.name, what, "the index and its files are not imported")
        self._choose_names(wanted)
        planned: dict[str, PlannedIndex] = {}
        for index in bases_first(wanted):
            is_mirror = index.kind == MIRROR
            planned[index.name] = (
                self._mirror(index) if is_mirror else self._stage(index, planned.keys())
            )
        for index in wanted:
            self._left += _left_of(index)
        accounts = self._accounts()
        return DevpiPlan(
            accounts, tuple(planned.values()), tuple(self._problems), tuple(self._left)
        )

    def _problem(self, subject: str, what: str, advice: str) -> None:
        self._problems.append(ImportRemark(subject, what, advice))

    def _leave(self, subject: str, what: str, advice: str) -> None:
        self._left.append(ImportRemark(subject, what, advice))

    # --- names ------------------------------------------------------------------------------------

    def _choose_names(self, wanted: Sequence[DevpiIndex]) -> None:
        origins = [index.name for index in wanted]
        for option, chosen in (("name", self._choices.names), ("mirror", self._choices.mirrors)):
            for origin in chosen.keys() - set(origins):
                self._problem(origin, "the export has no such index", f"correct --{option}")
        self._names = {
            origin: self._choices.names.get(origin, derived_name(origin)) for origin in origins
        }
        for origin, name in self._names.items():
            try:
                index_name(name)
            except ValueError as error:
                self._problem(origin, str(error), self._proposal(origin))
        for name, count in Counter(self._names.values()).items():
            if count > 1:
                same = [origin for origin in origins if self._names[origin] == name]
                what = f"{' and '.join(same)} would be the same index, {name!r}"
                self._problem(same[-1], what, self._proposal(same[-1]))
        for origin, name in self._names.items():
            if name in self._choices.named_upstreams:
                what = f"there is an upstream {name!r} already"
                self._problem(origin, what, self._proposal(origin))

    def _proposal(self, origin: str) -> str:
        """Return the option that solves a problem with the name."""
        stem = derived_name(origin)[: LONGEST_NAME - 6].strip("-") or "index"
        candidates = (f"devpi-{stem}", *(f"{stem}-{number}" for number in range(2, 1000)))
        taken = {*self._names.values(), *self._choices.named_upstreams}
        free = next(name for name in candidates if name not in taken)
        return f"choose another name: --name {origin}={free}"

    # --- indexes ----------------------------------------------------------------------------------

    def _mirror(self, index: DevpiIndex) -> PlannedIndex:
        """Return the index that replaces a mirror: it has no files, and shows an upstream."""
        name = self._names[index.name]
        values = {"bases": PUBLIC, "write": "nobody"}
        upstream, named = self._upstream_of(index), self._choices.named_upstreams
        if upstream is None:
            url = index.mirror_url or "the URL of the mirror"
            advice = (
                f"add [upstream:{name}-upstream] with url = {url} and only = <names of its "
                "projects> to the configuration and restart pypid, or name an upstream that "
                f"replaces it: --mirror {index.name}=public"
            )
            self._problem(index.name, f"no upstream has the URL of this mirror, {url}", advice)
        elif upstream not in (PUBLIC, *named):
            known = " ".join((PUBLIC, *sorted(named)))
            what = f"there is no upstream {upstream!r}; known: {known}"
            self._problem(index.name, what, f"correct --mirror {index.name}=NAME")
        elif named:  # without the key, the index would show all upstreams
            values["upstreams"] = upstream
        return PlannedIndex(origin=index.name, name=name, values=values)

    def _upstream_of(self, index: DevpiIndex) -> str | None:
        chosen = self._choices.mirrors.get(index.name)
        if chosen is not None:
            return chosen
        url = plain_url(index.mirror_url or "")
        by_url = {plain_url(each): name for each, name in self._choices.upstreams.items()}
        is_public = urlsplit(url).hostname == PUBLIC_INDEX
        return by_url.get(url, PUBLIC if is_public else None)

    def _stage(self, index: DevpiIndex, done: AbstractSet[str]) -> PlannedIndex:
        write = self._principals(index)
        values = {
            "bases": self._bases(index, done),
            "write": write,
            # devpi-server refuses it in others, unless the request forces it
            "delete": write if index.volatile else "nobody",
            "owners": "none",
            "volatile": "yes" if index.volatile else "no",
            "merge": "*" if any(base in done - self._mirrors for base in index.bases) else "",
            "allow_mixed": " ".join(sorted(whitelist_of(index, self._indexes))),
        }
        name = self._names[index.name]
        settings = {key: value for key, value in values.items() if value}
        return PlannedIndex(origin=index.name, name=name, values=settings, files=index.files)

    def _bases(self, index: DevpiIndex, done: AbstractSet[str]) -> str:
        """Return the bases in the order of devpi-server, which searches mirrors last."""
        found = []
        for base in sorted(dict.fromkeys(index.bases), key=self._mirrors.__contains__):
            if base in done:
                found.append(self._names[base])
                continue
            reason = "leads back to it" if base in self._names else "is not imported"
            advice = "the index is created without this base"
            self._leave(index.name, f"its base {base} {reason}", advice)
        return " ".join(found) or _NONE

    def _principals(self, index: DevpiIndex) -> str:
        """Return the users of ``acl_upload``, as the configuration spells them."""
        words = []
        for name in index.acl_upload:
            word = _WORDS.get(name.upper())
            kind, plain = ("group:", name[1:]) if name.startswith(":") else ("", name)
            try:
                words.append(word or kind + account_name(plain))
            except ValueError as error:
                self._leave(index.name, f"acl_upload names {name!r}: {error}", "it is left out")
        return " ".join(dict.fromkeys(words)) or "nobody"

    # --- users ------------------------------------------------------------------------------------

    def _accounts(self) -> Mapping[str, Any]:
        users = [user for user in self._export.users if user.hash]
        for user in self._export.users:
            if not user.hash:
                self._leave(
                    user.name,
                    "the export has no password hash that pypid can verify",
                    "no account is created: use pypid user create, or a directory",
                )
            elif user.name == ROOT:
                self._leave(
                    user.name,
                    "root is the administrator of a devpi-server",
                    "the account is not an administrator here: use pypid user set root --admin",
                )
        return {
            "complete": True,
            "users": [{"username": user.name, "password": user.hash} for user in users],
        }


def bases_first(indexes: Sequence[DevpiIndex]) -> list[DevpiIndex]:
    """Return the indexes with every base before the indexes that name it, apart from circles."""
    known = {index.name: index for index in indexes}
    ordered: dict[str, DevpiIndex] = {}
    for first in known:
        way = {} if first in ordered else {first: iter(known[first].bases)}
        while way:
            last = next(reversed(way))
            for base in way[last]:
                if base in known and base not in ordered and base not in way:
                    way[base] = iter(known[base].bases)
                    break
            else:
                del way[last]
                ordered[last] = known[last]
    return list(ordered.values())


def _left_of(index: DevpiIndex) -> Iterator[ImportRemark]:
    """Yield remarks about what is not imported of the index."""
    for path in index.bad_paths:
        what = f"the path {path!a} is not a relative path inside the export"
        yield ImportRemark(index.name, what, "the file is not imported")
    counts = (
        (len(index.files) * (index.kind == MIRROR), "cached file", _DOWNLOADED_AGAIN),
        (index.documentation, "documentation archive", _NO_DOCUMENTATION),
        (index.test_results, "test result", "pypid does not store results of tox"),
    )
    for count, noun, advice in counts:
        if count:
            yield ImportRemark(index.name, f"{count} {noun}{'s' if count > 1 else ''}", advice)
    if index.empty_releases:
        what = f"releases without a file: {few(index.empty_releases)}"
        advice = "add private names to [upstream] reserved: pypid may send them to the upstream"
        yield ImportRemark(index.name, what, advice)
    if index.other:
        what = f"the settings {few(index.other)}"
        yield ImportRemark(index.name, what, "they belong to plugins of devpi-server")

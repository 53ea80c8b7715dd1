"""The renderer: a project, or the list of projects, as a page of the Simple API 1.4, in JSON and
HTML.

Both representations are rendered from the same `Entry`, so that they always agree.

Sources: "Simple repository API" (packaging.python.org); PEP 592 (yank), 658/714 (core metadata),
700 (size, upload time, versions), 740 (provenance), 792 (status), 833 (HTML stays at 1.4). PEP 708
is rejected and 752 would be 1.5: neither is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from html import escape
from itertools import chain
from typing import Any, TypeVar

import msgspec
from attrs import evolve, frozen
from msgspec import UNSET, UnsetType

from pypid.core.compression import crc32, fragment, gzip_of
from pypid.core.model import File, Files, Project, RenderedPage, Summary
from pypid.core.packaging.releases import release_versions
from pypid.core.policy import is_listed
from pypid.core.simple_api.listed_files import (
    FILES_URL,
    Entry,
    ListedFiles,
    entry_of,
    is_unreserved,
    plain,
    texts_of,
    utc_text,
)
from pypid.core.times import moment_of

# Content negotiation: the representation of a page that a client gets.
#
# Sources: "Simple repository API" (content types, ``latest``, ``?format=``, 406), RFC 9110 section
# 12.5.1 (Accept). What clients really send, and which of them break on which response, is in the
# table of `tests/core/simple_api/test_negotiation.py`.


class Format(Enum):
    """The representations of a page; the values are the exact Content-Types.

    The first two have no parameters, since some clients compare them whole. ``text/html`` is what
    browsers and old clients read, and names its encoding for them.
    """

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML_V1 = "application/vnd.pypi.simple.v1+html"
    TEXT_HTML = "text/html; charset=utf-8"

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON; else it is HTML."""
        return self is Format.JSON


_NAMES = {
    Format.JSON: ("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"),
    Format.HTML_V1: (
        "application/vnd.pypi.simple.v1+html",
        "application/vnd.pypi.simple.latest+html",
    ),
    Format.TEXT_HTML: ("text/html",),
}
"""``latest`` is answered with the Content-Type of the version that it means (MUST)."""

_BY_NAME = {name: format for format, names in _NAMES.items() for name in names}

_WHEN_NAMED = (Format.JSON, Format.HTML_V1, Format.TEXT_HTML)
_WHEN_ANYTHING_GOES = (Format.TEXT_HTML, Format.HTML_V1, Format.JSON)
"""hatch and pipenv send ``*/*``, or nothing, and then read HTML."""

_LONGEST_REMEMBERED = 400
_MEDIA_RANGE = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+/[a-z0-9!#$%&'*+.^_`|~-]+\Z")
_QUALITY = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?\Z|\.[0-9]{1,9}\Z")


def negotiate(accept: str | None, format: str | None = None) -> Format | None:
    """Return the representation for a request, or None if the client accepts none (406).

    `accept` is the Accept header (None: there is none); `format` the decoded value of ``?format=``,
    which takes precedence and names exactly one content type. Unparseable parts of the header are
    ignored; a header without any valid part counts as absent. Never raises.
    """
    if format is not None:
        # an unquoted "+" in a query string arrives as a space
        return _BY_NAME.get(format.strip().lower().replace(" ", "+"))
    if accept is None:
        return _WHEN_ANYTHING_GOES[0]
    # The cache must stay small, whatever headers clients make up.
    return _chosen_cached(accept) if len(accept) <= _LONGEST_REMEMBERED else _chosen(accept)


def _chosen(accept: str) -> Format | None:
    ranges = _media_ranges(accept) or {"*/*": 1.0}
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen = None
    for format in Format:
        quality, precision = _wanted(ranges, format)
        # Between equals a named type precedes a wildcard, then JSON precedes HTML (pypi-simple: the
        # richer one).
        order = _WHEN_NAMED if precision else _WHEN_ANYTHING_GOES
        rank = (quality, precision, -order.index(format))
        if quality > 0 and (chosen is None or rank > best):
            best, chosen = rank, format
    return chosen


_chosen_cached = lru_cache(maxsize=256)(_chosen)


def _media_ranges(accept: str) -> dict[str, float]:
    """Return the header's media ranges with their qualities; other parameters are ignored."""
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media == "*":  # Java's URLConnection writes "*; q=.2"
            media = "*/*"
        quality = _quality(parameters)
        if quality is not None and _MEDIA_RANGE.match(media):
            ranges[media] = max(quality, ranges.get(media, 0.0))
    return ranges


def _quality(parameters: list[str]) -> float | None:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            value = value.strip()
            return min(float(value), 1.0) if _QUALITY.match(value) else None
    return 1.0


def _wanted(ranges: dict[str, float], format: Format) -> tuple[float, int]:
    """Return the quality of `format`, and the match: 2 by name, 1 ``type/*``, 0 ``*/*``."""
    names = _NAMES[format]
    kind = names[0].partition("/")[0]
    for precision, spellings in ((2, names), (1, (f"{kind}/*",)), (0, ("*/*",))):
        qualities = [ranges[spelling] for spelling in spellings if spelling in ranges]
        if qualities:
            return max(qualities), precision
    return 0.0, 0


_T = TypeVar("_T")
API_VERSION = "1.4"
API_VERSION_WITHOUT_SIZES = "1.0"
"""From 1.1 on each file in JSON MUST have a size. All other known values are still included:
readers ignore unknown keys, uv and pip read them whatever the version, and without ``upload-time``
uv drops files.
"""


class _Meta(msgspec.Struct, rename="kebab", frozen=True):
    api_version: str
    last_serial: int = msgspec.field(name="_last-serial")
    moment: str | UnsetType = msgspec.field(name="_moment", default=UNSET)
    recorded_since: str | UnsetType = msgspec.field(name="_recorded-since", default=UNSET)
    deleted_since: int | UnsetType = msgspec.field(name="_deleted-since", default=UNSET)


class _Status(msgspec.Struct, frozen=True):
    status: str
    reason: str | UnsetType = UNSET


class _Detail(msgspec.Struct, rename="kebab", frozen=True):
    meta: _Meta
    name: str
    project_status: _Status
    versions: list[str]
    files: tuple[()] = ()
    """Last, and inserted afterwards, as they are many."""


_encoder = msgspec.json.Encoder()
_entries = msgspec.json.Decoder(list[Entry])
_COMMA = fragment(b",")

BLOCK = 256
"""Lines of a page rendered in one call: in a thread, other threads run after each."""


def render_project(
    project: Project,
    format: Format,
    *,
    files_url: str = FILES_URL,
    provenance_url: str | None = None,
    flat: bool = False,
    url_of: Callable[[File], str] | None = None,
    as_of: AsOfHeader | None = None,
) -> RenderedPage:
    """Return the project's page. `project` is what the client may see (`policy.view`).

    `files_url` is the URL, with its last ``/``, below which files are served, absolute or relative
    to the page: each project's in a folder of its own or, if `flat`, all together. `provenance_url`
    is the absolute base of provenance objects (``https://host/integrity/``), or None; as the
    specification demands a secure one, it is used only if it begins with ``https://``. `url_of`
    returns each file's URL where no `files_url` can (signed ones). `as_of`: the time that is shown,
    if it is not now.
    """
    provenance_url = _secure(provenance_url)
    if not flat:
        files_url = f"{files_url}{project.name}/"
    files = project.files
    is_packed = url_of is None and isinstance(files, Files)
    if is_packed and format.is_json:
        return _joined_json(project, files_url, provenance_url, as_of)[0]
    blocks = (
        _read_blocks(files, project.name, files_url, provenance_url)
        if is_packed
        else (
            [entry_of(file, files_url, provenance_url, url_of) for file in block]
            for block in _in_blocks(files)
        )
    )
    detail = _detail_json if format.is_json else _detail_html
    return finished(detail(project, blocks, as_of), format.value)


def render_forms(
    project: Project,
    format: Format,
    *,
    files_url: str = FILES_URL,
    provenance_url: str | None = None,
) -> tuple[RenderedPage, RenderedPage | None]:
    """Return `render_project`'s page, and its gzipped form if both are joined (`is_joined`)."""
    if is_joined(project.files, format):
        return _joined_json(project, f"{files_url}{project.name}/", _secure(provenance_url))
    page = render_project(project, format, files_url=files_url, provenance_url=provenance_url)
    return page, None


def is_joined(files: Sequence[File], format: Format) -> bool:
    """Return whether the page of these files is joined from blocks that are compressed already."""
    return format.is_json and isinstance(files, Files)


def _secure(provenance_url: str | None) -> str | None:
    is_secure = provenance_url is not None and provenance_url.startswith("https://")
    return provenance_url if is_secure else None


def _joined_json(
    project: Project,
    files_url: str,
    provenance_url: str | None,
    as_of: AsOfHeader | None = None,
) -> tuple[RenderedPage, RenderedPage]:
    """Return the page and its gzipped form, joined from the blocks of `Files`."""
    texts, fragments = [], []
    for text, compressed in _texts(project.files, project.name, files_url, provenance_url):
        texts += [b",", text]
        fragments += [_COMMA, compressed]
    has_sizes = isinstance(project.files, ListedFiles) and project.files.facts.sized
    if not has_sizes:  # in a string, the quotes of the key would have escapes
        has_sizes = sum(text.count(b'"size":') for text in texts) == len(project.files)
    beginning = _beginning(project, as_of, has_sizes=has_sizes)
    pieces = [beginning, *texts[1:], b"]}"]
    page = finished(b"".join(pieces), Format.JSON.value)
    body = gzip_of([fragment(beginning), *fragments[1:], fragment(b"]}")], page.body)
    return page, evolve(page, body=body, etag=f'{page.etag[:-1]}-gzip-{crc32(body):08x}"')


def _texts(
    files: Sequence[File], name: str, files_url: str, provenance_url: str | None
) -> Iterator[tuple[bytes, bytes]]:
    assert isinstance(files, Files)
    usual, url = f'"url":"{FILES_URL}{name}/'.encode(), b'"url":' + _encoder.encode(files_url)[:-1]
    for text, compressed in texts_of(files, provenance_url):
        if url == usual:
            yield text, compressed
        else:
            changed = text.replace(usual, url)  # in a string, quotes have escapes
            yield changed, fragment(changed)


def _read_blocks(
    files: Sequence[File], name: str, files_url: str, provenance_url: str | None
) -> Iterator[list[Entry]]:
    for text, _ in _texts(files, name, files_url, provenance_url):
        yield _entries.decode(b"[" + text + b"]")


def _in_blocks(lines: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (lines[start : start + BLOCK] for start in range(0, len(lines), BLOCK))


def _detail_json(
    project: Project, blocks: Iterable[list[Entry]], as_of: AsOfHeader | None
) -> bytes:
    has_sizes = all(file.size is not None for file in project.files)
    pieces = [_beginning(project, as_of, has_sizes=has_sizes)]
    for block in blocks:
        pieces += (_encoder.encode(block)[1:-1], b",")
    if project.files:
        pieces.pop()
    return b"".join((*pieces, b"]}"))


def _beginning(project: Project, as_of: AsOfHeader | None, *, has_sizes: bool) -> bytes:
    """Return what precedes the entries of a JSON page."""
    version = API_VERSION if has_sizes else API_VERSION_WITHOUT_SIZES
    # a release that only has a name (`pypid.export.list_source`) may have no version
    versions = [version for version in release_versions(project) if version]
    if not is_unreserved("".join(versions)):  # nearly all are plain
        versions = [plain(version) for version in versions]
    more: dict[str, Any] = {} if as_of is None else {**as_of.keys()}
    meta = _Meta(version, project.serial, **more)
    status = _Status(project.status.value, plain(project.status_reason) or UNSET)
    beginning = _encoder.encode(_Detail(meta, project.name, status, versions))
    return beginning.removesuffix(b"]}")


def render_names(
    names: Sequence[Summary], format: Format, *, serial: int | None = None, page: str = ""
) -> RenderedPage:
    """Return the list of projects, in the order of `names`, without those that `policy.is_listed`
    hides.

    `serial` is the catalog's last serial; without it, the highest of `names`. `page` is the name of
    a project's page in its folder, for places where a folder's own URL has no page (most buckets).
    """
    if serial is None:
        serial = max((summary.serial for summary in names), default=0)
    listed = [summary for summary in names if is_listed(summary)]
    beginning, end = names_frame(serial, format)
    pieces = [names_piece(block, format, page) for block in _in_blocks(listed)]
    return finished(b"".join((beginning, names_between(format).join(pieces), end)), format.value)


def render_every_file(projects: Sequence[Project]) -> RenderedPage:
    """Return one HTML page with the files of all these projects, in the given order: for
    ``--find-links`` of pip, and for buildout.

    It is served where files are, so that links are relative to it. Always HTML: no specification
    covers such a page.
    """
    blocks = (
        "".join([_anchor(entry_of(file, f"{project.name}/", None)) for file in block])
        for project in projects
        for block in _in_blocks(project.files)
    )
    serial = max((project.serial for project in projects), default=0)
    return finished(_document("All files", "", blocks, serial), Format.TEXT_HTML.value)


def finished(body: bytes, content_type: str) -> RenderedPage:
    """Return the page with its strong ETag: a digest of the Content-Type and the body."""
    digest = sha256(content_type.encode() + b"\n")
    digest.update(body)
    return RenderedPage(body, content_type, f'"{digest.hexdigest()[:32]}"')


# HTML


def _document(title: str, head: str, blocks: Iterable[str], serial: int) -> bytes:
    # No <base>: uv refuses a relative one, and links relative to the page work behind any proxy.
    beginning = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n{head}'
        f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )
    end = f"</body>\n</html>\n<!--SERIAL {serial}-->\n"
    return b"".join([text.encode() for text in (beginning, *blocks, end)])


def _detail_html(
    project: Project, blocks: Iterable[list[Entry]], as_of: AsOfHeader | None
) -> bytes:
    head, notice_of_view = ("", "") if as_of is None else (as_of.head(), as_of.notice())
    status, reason = project.status, escape(plain(project.status_reason))
    head += f'<meta name="pypi:project-status" content="{status.value}">\n'
    notice = ""
    if reason:
        head += f'<meta name="pypi:project-status-reason" content="{reason}">\n'
        notice = f"<p>{status.value}: {reason}</p>\n"
    elif status is not status.ACTIVE:
        notice = f"<p>{status.value}</p>\n"
    lines = ("".join(map(_anchor, block)) for block in blocks)
    return _document(
        f"Links for {project.name}", head, chain((notice_of_view, notice), lines), project.serial
    )


def _anchor(entry: Entry) -> str:
    """Return a file's line. Attributes have no bare ``>``: hatch reads them by a pattern."""
    name = _escaped(entry.filename)
    folder, slash, last = entry.url.rpartition("/")
    href = f"{_escape(folder)}{slash}{name if last == entry.filename else _escaped(last)}"
    for algorithm, digest in entry.hashes.items():
        href = f"{href}#{_escape(algorithm)}={_escaped(digest)}"
    attributes, remarks = f'href="{href}"', ""
    if entry.size is not UNSET:
        attributes += f' data-size="{entry.size}"'
        remarks = f" {entry.size:,} bytes"
    if entry.upload_time is not UNSET:
        uploaded = utc_text(entry.upload_time)
        attributes += f' data-upload-time="{uploaded}"'
        remarks += f" {uploaded[:10]}"
    if entry.requires_python is not UNSET:
        attributes += f' data-requires-python="{_escape(entry.requires_python)}"'
    # omitted if there is none: for pip even "false" means that there is metadata
    if entry.core_metadata is not UNSET:
        digests = entry.core_metadata
        value = f"sha256={_escaped(digests['sha256'])}" if isinstance(digests, dict) else "true"
        attributes += f' data-core-metadata="{value}" data-dist-info-metadata="{value}"'
    attributes += _rare_attributes(entry)
    return f"<a {attributes}>{name}</a>{remarks}{_yank_remark(entry)}<br>\n"


def _rare_attributes(entry: Entry) -> str:
    attributes = ""
    if entry.provenance is not UNSET:
        attributes += f' data-provenance="{escape(entry.provenance)}"'
    if entry.yanked is not False:
        attributes += f' data-yanked="{"" if entry.yanked is True else escape(entry.yanked)}"'
    return attributes


def _yank_remark(entry: Entry) -> str:
    """Return the yank after the link, for people."""
    if entry.yanked is False:
        return ""
    reason = "" if entry.yanked is True else escape(entry.yanked)
    return f" yanked: {reason}" if reason else " yanked"


_escape = lru_cache(maxsize=4096)(escape)
"""Escapes texts of which a page has few, each many times."""


def _escaped(text: str) -> str:
    return text if is_unreserved(text) else escape(text)


# The list of projects is rendered in pieces, so that a long list can be patched; a name needs no
# escapes (`ProjectName`).


def names_frame(serial: int, format: Format) -> tuple[bytes, bytes]:
    """Return what precedes and follows the pieces of the list of projects."""
    if format.is_json:
        return (
            b'{"meta":{"api-version":"%s","_last-serial":%d},"projects":['
            % (API_VERSION.encode(), serial),
            b"]}",
        )
    beginning, end = _document("Projects", "", (_MARK,), serial).split(_MARK.encode())
    return beginning, end


_MARK = "\0"


def names_piece(block: Sequence[Summary], format: Format, page: str = "") -> bytes:
    """Return the piece of the list with these names, unfiltered."""
    if format.is_json:
        return ",".join(
            [f'{{"_last-serial":{summary.serial},"name":"{summary.name}"}}' for summary in block]
        ).encode()
    return "".join(
        [f'<a href="{summary.name}/{page}">{summary.name}</a><br>\n' for summary in block]
    ).encode()


def names_between(format: Format) -> bytes:
    """Return the separator of two non-empty pieces."""
    return b"," if format.is_json else b""


# The additional information of a Simple API page that shows an as-of view: its time, and what is
# unknown of it.


@frozen(kw_only=True)
class AsOfHeader:
    """Information on an as-of view: its time as `moment`; `since` when changes were recorded, if
    later; how many files are `gone` (`history.AsOfState`).
    """

    moment: str
    since: datetime | None = None
    gone: int = 0

    def keys(self) -> dict[str, str | int]:
        """Return the keys for the ``meta`` of JSON, where they begin with ``_``: such keys are the
        index's own (PEP 700).
        """
        keys: dict[str, str | int] = {"moment": self.moment}
        if self.since is not None:
            keys["recorded_since"] = moment_of(self.since).text
        if self.gone:
            keys["deleted_since"] = self.gone
        return keys

    def head(self) -> str:
        """Return the information as HTML ``meta`` elements."""
        named = ((key.replace("_", "-"), escape(str(value))) for key, value in self.keys().items())
        return "".join([f'<meta name="pypid:{key}" content="{value}">\n' for key, value in named])

    def notice(self) -> str:
        """Return the information as an HTML paragraph for users."""
        since = (
            ""
            if self.since is None
            else f" Yanks and deletes are known from {moment_of(self.since).text} on."
        )
        gone = f" Deleted since, and so not here: {self.gone} files." if self.gone else ""
        return f"<p>As of {escape(self.moment)}.{since}{gone}</p>\n"

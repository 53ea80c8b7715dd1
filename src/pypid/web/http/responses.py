"""Responses: files, pages and redirects, written into a request.

Nothing here finishes the request: its renderer (Klein) does, once the coroutine has returned.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from urllib.parse import quote, urlsplit, urlunsplit

from attrs import Factory, define, evolve, field, frozen
from twisted.internet.defer import CancelledError
from twisted.web.http import Request

from pypid.core.compression import COMPRESSOR, gunzip, gzip
from pypid.core.errors import Missing, StorageDown
from pypid.core.model import RenderedPage, Span
from pypid.flow import Blocking, BytesBody, FileBody
from pypid.flow.bodies import PIECE
from pypid.flow.derived import Flights
from pypid.ports import Body
from pypid.web.http.headers import (
    ConditionalVerdict,
    DownloadHead,
    Encoding,
    Head,
    Validators,
    body_head,
    choose_encoding,
    download_head,
    judge,
    names,
    page_head,
    parse_http_date,
    share,
    share_preflight,
)
from pypid.web.http.request import Request as OurRequest
from pypid.web.http.response_body import send, socket_of, stream_body, warm, write
from pypid.web.http.twisted_internals import set_fields

# Range and If-Range: the requested part of a file. Pure; no header that a client sends makes it
# raise.
#
# Source: RFC 9110, sections 13.1.5 and 14. Clients: pip resumes (``N-`` with If-Range), uv and
# pip's fast-deps read the end of a wheel (``a-b``), poetry requests a suffix that is longer than
# many files (``-10000``). No client requests several ranges.

_RANGE = re.compile(r"[ \t]*bytes[ \t]*=[ \t]*([0-9]*)-([0-9]*)[ \t]*\Z", re.IGNORECASE)
_LONGEST_NUMBER = 20
"""Maximum number of digits, more than any size has. (Python refuses to read more than 4,300.)"""


@frozen
class Unsatisfiable:
    """A range that begins after the end: HTTP 416."""


Wanted = Span | Unsatisfiable | None
"""None: the whole, with 200."""


def wanted(header: str | None, size: int) -> Wanted:
    """Return the part of `size` bytes that a Range header requests.

    A header that is malformed, of another unit or of several ranges is ignored (RFC 9110, 14.2
    allows it): the whole.
    """
    match = _RANGE.match(header) if header is not None else None
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, size) if last else None
    start = _number(first)
    stop = _number(last) + 1 if last else size
    if last and stop <= start:
        return None
    if start >= size:
        return Unsatisfiable()
    return Span(start, min(stop, size))


def _suffix(digits: str, size: int) -> Wanted:
    length = _number(digits)
    if length == 0:
        return Unsatisfiable()
    if size == 0:
        return None
    return Span(max(0, size - length), size)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant[: _LONGEST_NUMBER + 1] or "0")


def still_the_same(if_range: str | None, validators: Validators) -> bool:
    """Return whether a range may be sent: there is no If-Range, or it names the current file.

    Tags are compared strongly (a weak one never matches), a date must be that of Last-Modified
    exactly.
    """
    if if_range is None:
        return True
    text = if_range.strip()
    if text.startswith(('"', "W/")):
        return names(text, validators.etag, weakly=False)
    date = parse_http_date(text)
    return (
        date is not None
        and validators.modified is not None
        and date == validators.modified.replace(microsecond=0)
    )


SMALLEST = 1024
"""Bytes; a smaller page fits in one packet either way, so it is not gzipped."""
AT_ONCE = 1 << 15
"""Bytes; a page up to this size is gzipped in the reactor thread (under a millisecond, even by
zlib), a larger one off it.
"""

LARGE = 1 << 16
"""Bytes; of a larger page the gzipped form alone stays in memory: it takes a sixth."""
QUICK = 1 << 19
"""Bytes; a page up to this size is decompressed in the reactor thread, in half a millisecond (by
zlib in two).
"""


@define
class FinishedPage:
    """A `RenderedPage` and its gzipped form, which is made once, on the first request for it.
    `gzip` makes it, if the default does not fit; `zipped` is that form, if there is one already.
    Of a large page only the gzipped form stays in memory, as soon as there is one.
    """

    _page: RenderedPage
    _blocking: Blocking = field(repr=False)
    _gzip: Callable[[RenderedPage], RenderedPage] = field(
        default=Factory(lambda: gzipped), repr=False
    )
    _zipped: RenderedPage | None = field(default=None, repr=False)
    _flights: Flights[None, RenderedPage] = field(factory=Flights, init=False, repr=False)
    size: int = field(default=Factory(lambda self: len(self._page.body), True), init=False)
    """The bytes of the body as it is."""

    def __attrs_post_init__(self) -> None:
        self._shrink()

    @property
    def weight(self) -> int:
        """The size of the forms in memory, in bytes."""
        return len(self._page.body) + (0 if self._zipped is None else len(self._zipped.body))

    def encoding_for(self, wish: Encoding) -> Encoding:
        """Return the encoding of the page for a client that wishes this one: a small page is never
        gzipped.
        """
        return wish if self.size >= SMALLEST else Encoding.IDENTITY

    def etag_in(self, encoding: Encoding) -> str:
        """Return the entity tag of one form; a strong tag names bytes, so each form has its own
        (RFC 9110, 8.8.3.3).
        """
        match encoding:
            case Encoding.IDENTITY:
                return self._page.etag
            case Encoding.GZIP:
                return gzipped_etag(self._page.etag) if self._zipped is None else self._zipped.etag

    async def in_encoding(self, encoding: Encoding) -> RenderedPage:
        """Return the page in one form."""
        match encoding:
            case Encoding.IDENTITY:
                return await self._plain()
            case Encoding.GZIP:
                return await self.gzipped()

    async def gzipped(self) -> RenderedPage:
        """Return the gzipped form. Many callers may wait for one that is being made."""
        if self._zipped is None:
            if self.size <= AT_ONCE:
                self._zipped = self._gzip(self._page)
            else:
                self._zipped = await self._flights.single(None, self._make)
                self._shrink()
        return self._zipped

    async def _make(self) -> RenderedPage:
        return await self._blocking(self._gzip, self._page)

    def _shrink(self) -> None:
        if self.size > LARGE and self._zipped is not None:
            self._page = evolve(self._page, body=b"")

    async def _plain(self) -> RenderedPage:
        if self._zipped is None or self.size <= LARGE:
            return self._page
        if self.size <= QUICK:
            return evolve(self._page, body=gunzip(self._zipped.body, self.size))
        body = await self._blocking(gunzip, self._zipped.body, self.size)
        return evolve(self._page, body=body)


def gzipped(page: RenderedPage) -> RenderedPage:
    """Return `page` gzipped; the result depends on the page only (no time is written into it)."""
    return evolve(page, body=gzip(page.body), etag=gzipped_etag(page.etag))


def gzipped_etag(etag: str) -> str:
    """Return the tag of the gzipped form: ``"abc-gzip-i"`` for ``"abc"``. It names the compressor,
    whose output differs from that of others.
    """
    return f'{etag[:-1]}-gzip-{COMPRESSOR}"'


BodyOf = Callable[[Span | None], Awaitable[Body]]
"""Opens the bytes, or a part of them; raises `Missing` or `StorageDown` if they cannot be read."""

SMALL = 1 << 16
"""Maximum size in bytes of a body that is gathered and written at once, with the head, instead of
being streamed.
"""

_CONDITIONS = {
    name.encode("ascii"): name
    for name in (
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "range",
    )
}


async def send_file(
    request: Request, what: DownloadHead, body_of: BodyOf, *, restricted: bool = False
) -> None:
    """Answer GET and HEAD for bytes that never change: 200, 206, 304, 412 or 416.

    The bytes are opened, and the first of them read, before the head is written: raises
    `StorageDown` while an error can still be sent. From then on a failure closes the connection at
    once (see `stream_body`). `restricted`: not everyone may read it.
    """
    conditions = conditions_of(request)
    validators = Validators(what.etag, what.modified)
    head = share(request, download_head(what, restricted=restricted), restricted=restricted)
    match judge(conditions, validators):
        case ConditionalVerdict.NOT_MODIFIED:
            return send_no_body(request, 304, head)
        case ConditionalVerdict.FAILED:
            return send_no_body(request, 412, ((b"Content-Length", b"0"),))
        case ConditionalVerdict.SEND:
            pass
    if request.method == b"HEAD":  # a Range has a meaning for GET only
        await _prove(what, body_of)
        return _begin(request, what, None, head)
    part = (
        wanted(conditions.get("range"), what.size)
        if still_the_same(conditions.get("if-range"), validators)
        else None
    )
    if isinstance(part, Unsatisfiable):
        whole = b"bytes */%d" % what.size
        return send_no_body(
            request,
            416,
            ((b"Content-Range", whole), (b"Content-Length", b"0"), (b"Accept-Ranges", b"bytes")),
        )
    return await _send_bytes(request, what, part, head, body_of)


async def send_text(
    request: Request, data: bytes, what: DownloadHead, *, restricted: bool = False
) -> None:
    """Answer GET and HEAD for bytes in memory (core metadata); otherwise like
    `send_file`.
    """

    async def part_of(span: Span | None) -> Body:
        return BytesBody(data if span is None else data[span.start : span.stop])

    await send_file(request, what, part_of, restricted=restricted)


async def send_page(
    request: Request, finished: FinishedPage, *, serial: int | None = None, restricted: bool = False
) -> None:
    """Answer GET and HEAD for a page, gzipped if the client accepts it: 200, 304 or 412.

    `serial`: the catalog's, for ``X-PyPI-Last-Serial``. `restricted`: not everyone may read it.
    """
    encoding = finished.encoding_for(choose_encoding(header_of(request, "accept-encoding")))
    etag = finished.etag_in(encoding)
    head = share(
        request, page_head(etag, serial=serial, restricted=restricted), restricted=restricted
    )
    match judge(conditions_of(request), Validators(etag)):
        case ConditionalVerdict.NOT_MODIFIED:
            return send_no_body(request, 304, head)
        case ConditionalVerdict.FAILED:
            return send_no_body(request, 412, ((b"Content-Length", b"0"),))
        case ConditionalVerdict.SEND:
            page = await finished.in_encoding(encoding)
            return await send_body(request, page.body, (*head, *body_head(page, encoding)))


async def send_body(request: Request, body: bytes, head: Head) -> None:
    """Send a page's 200. A large one goes at the pace of the client.

    Written at once, all of it would wait in memory for each request of a client that sends many and
    reads nothing, and twisted.web would disconnect a slow reader a minute after the page was handed
    over.
    """
    if request.channel is None:  # the client disconnected while the page was made
        raise CancelledError()
    set_head(request, 200, head)
    _record_body(request, body)
    if len(body) <= SMALL or request.method == b"HEAD":
        write(request, body)
        return
    async with aclosing(pieces_of(body, PIECE)) as rest:
        await stream_body(request, body[:PIECE], rest, len(body))


def _record_body(request: Request, body: bytes) -> None:
    if isinstance(request, OurRequest):
        request.record_body(body)


async def pieces_of(body: bytes, position: int) -> AsyncGenerator[bytes]:
    """Yield the body from this position on, in pieces of `PIECE` bytes."""
    for start in range(position, len(body), PIECE):
        yield body[start : start + PIECE]


def preflight(request: Request, *, restricted: bool = False) -> None:
    """Answer OPTIONS: what scripts of other sites may do (C116)."""
    send_no_body(request, 204, share_preflight(request, restricted=restricted))


def header_of(request: Request, name: str) -> str | None:
    """Return the values of a request header, joined as in RFC 9110, 5.3; None without one."""
    values = request.requestHeaders.getRawHeaders(name.encode("ascii"))
    return None if values is None else _joined(values)


def conditions_of(request: Request) -> dict[str, str]:
    """Return the conditional headers of the request, by lower-case name."""
    found = (
        (_CONDITIONS.get(name.lower()), values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    )
    return {name: _joined(values) for name, values in found if name is not None}


def _joined(values: Sequence[bytes]) -> str:
    return b", ".join(values).decode("latin-1")


def set_head(request: Request, status: int, head: Head) -> None:
    """Set the status and header fields, replacing earlier fields of these names."""
    request.setResponseCode(status)
    set_fields(request.responseHeaders, head)


def send_no_body(request: Request, status: int, head: Head) -> None:
    set_head(request, status, head)
    request.responseHeaders.removeHeader(b"Content-Type")  # Twisted's default
    write(request, b"")


def _begin(request: Request, what: DownloadHead, span: Span | None, head: Head) -> None:
    """Set the head of a 200 or 206; write it only for HEAD."""
    length = what.size if span is None else span.stop - span.start
    body = (
        (b"Content-Type", what.content_type.encode("latin-1")),
        (b"Content-Length", b"%d" % length),
    )
    if span is None:
        set_head(request, 200, (*head, *body))
    else:
        set_head(
            request,
            206,
            (
                *head,
                *body,
                (b"Content-Range", b"bytes %d-%d/%d" % (span.start, span.stop - 1, what.size)),
            ),
        )
    if request.method == b"HEAD":
        write(request, b"")


async def _send_bytes(
    request: Request, what: DownloadHead, span: Span | None, head: Head, body_of: BodyOf
) -> None:
    size = what.size if span is None else span.stop - span.start
    body = await _open(body_of, span)
    try:
        socket = socket_of(request)
        # a body of the wrong length is streamed, which detects it
        if socket is not None and isinstance(body, FileBody) and body.size == size > SMALL:
            await _warm(body)
            _begin_if_there(request, what, span, head)
            if span is None and isinstance(request, OurRequest):
                request.record_file(body.file.fileno(), size)
            await send(request, body, socket)
        else:
            await _stream(request, what, span, head, body)
    finally:
        await body.aclose()


async def _stream(
    request: Request, what: DownloadHead, span: Span | None, head: Head, body: Body
) -> None:
    size = what.size if span is None else span.stop - span.start
    pieces = aiter(body)
    try:
        first = await _first(pieces, size)
        _begin_if_there(request, what, span, head)
        if size <= SMALL:
            if span is None:
                _record_body(request, first)
            write(request, first)
        else:
            await stream_body(request, first, pieces, size)
    finally:
        await _close(pieces)


def _begin_if_there(request: Request, what: DownloadHead, span: Span | None, head: Head) -> None:
    if request.channel is None:  # the client disconnected while the first bytes were read
        raise CancelledError()
    _begin(request, what, span, head)


async def _warm(body: FileBody) -> None:
    try:
        await warm(body)
    except EOFError as error:
        raise _bytes_are_gone() from error


async def _prove(what: DownloadHead, body_of: BodyOf) -> None:
    """Check, for HEAD, that the bytes are readable. Only one byte is requested, so that a remote
    store does not send them all.
    """
    body = await _open(body_of, Span(0, 1) if what.size > 1 else None)
    await body.aclose()


async def _open(body_of: BodyOf, span: Span | None) -> Body:
    try:
        return await body_of(span)
    except Missing as error:
        raise _bytes_are_gone() from error


async def _first(pieces: AsyncIterator[bytes], size: int) -> bytes:
    """Return the first piece; of a small body all of it, checked."""
    try:
        first = await anext(pieces, b"")
        if size > SMALL:
            return first
        while more := await anext(pieces, b""):
            first += more
            if len(first) > size:
                break
    except (Missing, EOFError) as error:
        raise _bytes_are_gone() from error
    if len(first) != size:
        raise _bytes_are_gone()
    return first


def _bytes_are_gone() -> StorageDown:
    return StorageDown("the bytes of this file are missing or damaged.")


async def _close(pieces: AsyncIterator[bytes]) -> None:
    """Close an async generator explicitly: Twisted does not."""
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()


# Redirects whose Location is valid behind any proxy.

PERMANENT_FOR = 3600
"""Seconds; stated explicitly, because pip's cache keeps a permanent redirect for ever otherwise."""

_SAFE = "/?#[]@!$&'()*+,;=:~%-._"


def redirect(
    request: Request,
    location: str,
    *,
    permanent: bool,
    keep_query: bool = True,
    restricted: bool = False,
    storable: bool = True,
) -> None:
    """Answer 301 (308 for methods other than GET and HEAD) or 302 (307).

    `location` is a path of the request's index (``/simple/foo/``), sent relative to the request's,
    so that the name of the index and a prefix that a proxy removed stay; or an absolute URL, from
    which user name and password are removed. The request's query is kept if `location` has none.
    (uv follows a redirect of a POST only to an absolute URL.) If it is not `storable`, no cache may
    store the response: it holds a signed URL.
    """
    plain = request.method in (b"GET", b"HEAD")
    target = (
        _absolute(location)
        if "://" in location.partition("?")[0]
        else relative(_path_of(request), location)
    )
    query = request.uri.partition(b"?")[2].decode("latin-1")
    if keep_query and query and "?" not in target:
        target += "?" + query
    status = (301 if plain else 308) if permanent else (302 if plain else 307)
    scope = "private, " if restricted else ""
    caching = f"{scope}max-age={PERMANENT_FOR}" if permanent else f"{scope}no-cache"
    if not storable:
        caching = "private, no-store"
    head = (
        (b"Location", quote(target, safe=_SAFE).encode("ascii")),
        (b"Cache-Control", caching.encode("ascii")),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"0"),
    )
    # a browser follows a redirect only if its script may read it (micropip)
    set_head(request, status, share(request, head, restricted=restricted))
    write(request, b"")


def relative(path: str, target: str) -> str:
    """Return the relative reference that leads from the URL path `path` to `target` (RFC 3986,
    4.2); both begin with a slash.

    It never begins with a slash or anything like a scheme, so that ``//elsewhere/`` stays on this
    host.
    """
    here = path.split("/")[1:-1]
    there, query = target.partition("?")[0].split("/")[1:], target.partition("?")[1:]
    same = 0
    while same < min(len(here), len(there) - 1) and here[same] == there[same]:
        same += 1
    reference = "../" * (len(here) - same) + "/".join(there[same:])
    if not reference.startswith("../"):
        reference = "./" + reference
    return reference + "".join(query)


def _path_of(request: Request) -> str:
    path = bytes(request.path).decode("latin-1")
    return path if path.startswith("/") else urlsplit(path).path or "/"


def _absolute(location: str) -> str:
    url = urlsplit(location)
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))

"""The upstream indexes of the configuration: opening them, and asking several in their order, where
the first that has a name wins.

If the first one is down, the search ends for every name. A later one matters only for names that
the earlier ones do not have: it has a circuit breaker of its own, and its failures are marked
`secondary`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from http import HTTPStatus
from time import monotonic
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import unquote

from attrs import evolve, field, frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from pypid.core.errors import BadListing, Loop, NotThere, PypidError, UpstreamDown
from pypid.core.model import Listing, Span
from pypid.core.packaging.name_sets import ManyNames, in_order
from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.listed_files import at_once as all_at_once
from pypid.core.simple_api.parse_html import slices_of_names, slices_of_page
from pypid.flow import Blocking, World, at_once, start
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.http_client.connections import HttpConnections, Trust, connections
from pypid.ports import Body, Upstream
from pypid.upstream.client import (
    Base,
    Cut,
    FileHosts,
    Gunzipped,
    UpstreamClient,
    UpstreamResponse,
    counted,
    header,
    is_answered,
    unpacked,
    within,
)

# Parsing upstream pages off the reactor thread, in slices, in turns.

T = TypeVar("T")
Slices = Generator[None, None, T]

AT_ONCE = 4
"""Pages parsed at the same time, in turns; the others wait unparsed."""
TURN = 0.005
"""Seconds of one turn; then other computations run (`World.thinking`)."""


async def received(answer: UpstreamResponse, limit: int) -> bytearray:
    """Return the page as received. Raises `BadListing` beyond `limit` bytes."""
    too_large = BadListing(f"it is larger than {limit >> 20} MiB.")
    if (answer.body.size or 0) > limit:
        raise too_large
    data = bytearray()
    async for piece in answer.body:
        data += piece
        if len(data) > limit:
            raise too_large
    return data


@frozen
class PageReader:
    """Parses pages in turns."""

    thinking: Blocking
    _places: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), repr=False)

    async def read(
        self, data: bytearray, encoding: str, limit: int, slices: Callable[[bytearray], Slices[T]]
    ) -> T:
        """Return the result of `slices` for the page without its Content-Encoding. Raises what they
        raise.
        """
        await self._places.acquire()
        try:
            page = _page(data, encoding, limit, slices)
            done: _Done[T] | None = None
            while done is None:
                done = await self.thinking(_turn, page)
            return done.result
        finally:
            self._places.release()


@frozen
class _Done(Generic[T]):
    result: T


def _page(
    data: bytearray, encoding: str, limit: int, slices: Callable[[bytearray], Slices[T]]
) -> Slices[T]:
    plain = yield from unpacked(data, encoding, limit)
    return (yield from slices(plain))


def _turn(slices: Slices[T]) -> _Done[T] | None:
    """Run some slices; return None if there are more."""
    end = monotonic() + TURN
    while monotonic() < end:
        try:
            next(slices)
        except StopIteration as ended:
            return _Done(ended.value)
    return None


# One upstream index, accessed through the Simple API over HTTP (PEP 503, 691).

LARGEST_PAGE = 64 << 20
LARGEST_NAMES = 256 << 20
"""Bytes, unpacked."""
PAGE_TIME = 60.0
NAMES_TIME = 180.0
"""Seconds in total, from the request to the end of parsing."""
LONGEST_ETAG = 512

_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.1"
)
_PAGE = {"Accept": _ACCEPT, "Accept-Encoding": "gzip"}
_FILE = {"Accept": "*/*", "Accept-Encoding": "identity"}
_NOT_THERE = (404, 410)


@frozen
class SimpleUpstream:
    """The index at `base`."""

    base: Base
    _asker: UpstreamClient
    _world: World = field(repr=False)
    _reading: PageReader = field(repr=False)

    _log = Logger()

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the current listing of the project (`ports.Upstream.project`)."""
        asking = self._in_time(f"the page of {name!r}", PAGE_TIME, self._project(name, known, via))
        return await counted(self._world, "page", asking, lambda listing: _outcome(listing, known))

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return all names on its list of projects, in order."""
        asking = self._in_time("the list of projects", NAMES_TIME, self._names(via))
        return await counted(self._world, "names", asking)

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Return the bytes of a URL from its pages (`ports.Upstream.fetch`)."""
        filename = unquote(url.partition("?")[0].partition("#")[0].rpartition("/")[2])
        asking = self._noted(
            f"the file {filename[:250]!r}", self._fetch(url, filename, span, via, verified=verified)
        )
        return await counted(self._world, "file", asking)

    # --- pages ---

    async def _project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        etag = (
            known.etag
            if known is not None and known.index == self.base.url and known.files is not None
            else None
        )
        revalidate = {} if etag is None else {"If-None-Match": etag}
        answer = await self._asker.get(
            self.base, self.base.page(name), {**_PAGE, **revalidate}, via
        )
        now = self._world.now()
        if answer.status == HTTPStatus.NOT_MODIFIED and known is not None and etag is not None:
            await self._asker.discard(answer)
            return evolve(known, confirmed=now)
        if answer.status in _NOT_THERE:
            await self._asker.discard(answer)
            return Listing(name=name, files=None, confirmed=now, index=self.base.url)
        content_type = answer.header("Content-Type")

        def slices(data: bytearray, may_be_cut: bool) -> Slices[Any]:
            return slices_of_page(
                data,
                content_type,
                name,
                answer.url,
                must_end=may_be_cut,
                serves=self._asker.hosts.serves,
            )

        listing = await self._read(answer, LARGEST_PAGE, slices)
        return Listing(
            name=name,
            files=listing.files,
            confirmed=now,
            index=self.base.url,
            etag=_usable(answer.header("ETag")),
            status=listing.status,
            status_reason=listing.status_reason,
            is_doubtful=listing.is_doubtful,
        )

    async def _names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        answer = await self._asker.get(self.base, self.base.page(""), _PAGE, via)

        def slices(data: bytearray, may_be_cut: bool) -> Slices[ManyNames]:
            return slices_of_names(data, must_end=may_be_cut)

        return await self._read(answer, LARGEST_NAMES, slices)

    async def _read(
        self, answer: UpstreamResponse, limit: int, slices: Callable[[bytearray, bool], Slices[T]]
    ) -> T:
        """Return the result of `slices` for the page; the response is closed."""
        try:
            if answer.status != HTTPStatus.OK:
                await self._asker.discard(answer)
                refuse(answer, self._asker.section)
            data = await received(answer, limit)
        finally:
            await answer.body.aclose()
        encoding = answer.header("Content-Encoding").lower()
        return await self._reading.read(
            data, encoding, limit, lambda page: slices(page, answer.body.may_be_cut)
        )

    # --- files ---

    async def _fetch(
        self, url: str, filename: str, span: Span | None, via: Sequence[str], *, verified: bool
    ) -> Body:
        fields = _FILE if span is None else {**_FILE, "Range": header(span)}
        answer = await self._asker.get(
            self.base, url, fields, via, listed_only=span is not None or not verified
        )
        try:
            return _body(answer, filename, span, self._asker.section)
        except PypidError:
            await self._asker.discard(answer)
            raise

    # --- common ---

    async def _in_time(self, what: str, seconds: float, question: Coroutine[Any, Any, T]) -> T:
        too_late = UpstreamDown(
            f"its answer was not whole within {seconds:g} seconds.", timed_out=True
        )
        return await self._noted(
            what, within(self._world.clock, seconds, start(question), too_late)
        )

    async def _noted(self, what: str, question: Coroutine[Any, Any, T]) -> T:
        try:
            return await question
        except (UpstreamDown, BadListing, Loop) as error:
            self._log.warn(
                "request to {index} for {what} failed: {error}",
                index=self.base.url,
                what=what,
                error=str(error),
            )
            raise


def _outcome(listing: Listing, known: Listing | None) -> str:
    """Return the outcome label for the metrics."""
    if listing.files is None:
        return "missing"
    return "unchanged" if known is not None and listing.files is known.files else "ok"


def _body(answer: UpstreamResponse, filename: str, span: Span | None, section: str) -> Body:
    """Return the body of a file, or of the requested part. `section`: that errors name."""
    encoding = answer.header("Content-Encoding").lower()
    is_plain = encoding in ("", "identity")
    if answer.status == HTTPStatus.PARTIAL_CONTENT and span is not None:
        if not is_plain or not is_answered(span, answer.header("Content-Range")):
            raise UpstreamDown("it answers with another part of the file than the requested one.")
        return Cut(answer.body, Span(0, span.stop - span.start))
    if answer.status in _NOT_THERE:
        raise NotThere(filename)
    if answer.status != HTTPStatus.OK:
        refuse(answer, section)
    if not is_plain and encoding not in ("gzip", "x-gzip"):
        raise UpstreamDown(
            f"it uses the Content-Encoding {encoding[:20]!r}, which pypid did not request."
        )
    body: Body = (
        answer.body if is_plain else Gunzipped(answer.body, filename.endswith((".gz", ".tgz")))
    )
    if span is None:
        return body
    return Cut(body, span)  # it does not support ranges


def refuse(answer: UpstreamResponse, section: str) -> NoReturn:
    """Raise the error for an unsuccessful response."""
    status, retry_after = answer.status, None
    reason = f"it answers HTTP {status}."
    if status == HTTPStatus.LOOP_DETECTED:
        raise Loop()
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        reason = (
            f"it refuses us (HTTP {status}): the user and password in [{section}] must be right."
        )
    elif status in _NOT_THERE:
        reason = (
            f"it has no list of projects (HTTP {status}): [{section}] url must be a Simple API."
        )
    elif status != HTTPStatus.GATEWAY_TIMEOUT:
        retry_after = _seconds(answer.header("Retry-After"))
    raise UpstreamDown(
        reason,
        timed_out=status == HTTPStatus.GATEWAY_TIMEOUT,
        retry_after=retry_after,
        status=status,
    )


def _seconds(text: str) -> int | None:
    return (
        min(max(int(text), 1), 3600)
        if text.isascii() and text.isdigit() and len(text) < 7
        else None
    )


def _usable(etag: str) -> str | None:
    """Return the ETag if it may be sent back unchanged, else None."""
    fits = 2 <= len(etag) <= LONGEST_ETAG and etag.isascii() and etag.isprintable()
    return etag if fits and etag.endswith('"') and etag.startswith(('"', 'W/"')) else None


IDLE = 64
"""Idle connections kept per host; installers request fifty pages and files at a time."""
IDLE_TIME = 30
"""Seconds for which they are kept."""


@frozen
class UpstreamSourceSettings:
    """Settings of the upstream indexes. `urls`: bases of Simple APIs, at least one, perhaps with
    ``user:password@``. `timeout`: seconds of silence.

    `file_hosts`: hosts of files in addition to the indexes' own (`FileHosts`).
    """

    urls: Sequence[str] = field(repr=False)
    timeout: float = 10.0
    file_hosts: Sequence[str] = ()
    section: str = "upstream"
    """The section of the configuration that errors name."""

    @property
    def hosts(self) -> FileHosts:
        """The trusted hosts, which may have any address."""
        return FileHosts.of(self.urls, self.file_hosts)


def connected(reactor: Any, trust: Trust, settings: UpstreamSourceSettings) -> HttpConnections:
    """Return the connections to upstream indexes; all requests are idempotent, and repeated if a
    connection was closed meanwhile.
    """
    return connections(
        reactor,
        trust,
        settings.timeout,
        idle=IDLE,
        idle_time=IDLE_TIME,
        retry=True,
        is_trusted_host=settings.hosts.holds,
    )


def open(
    settings: UpstreamSourceSettings, world: World, identity: str, reached: HttpConnections
) -> Upstream:
    """Return the upstream indexes. `identity` is this pypid's in the chain of pypids
    (`core.simple_api.via.identity`).
    """
    asker = UpstreamClient(
        reached,
        world.clock,
        identity,
        settings.timeout,
        settings.hosts,
        world.counts,
        settings.section,
    )
    reading = PageReader(world.thinking)
    indexes = [SimpleUpstream(Base.parse(url), asker, world, reading) for url in settings.urls]
    if len(indexes) == 1:
        return indexes[0]
    breakers = [
        CircuitBreaker(world, f"the upstream index {index.base.url}") for index in indexes[1:]
    ]
    return Several(indexes, breakers, world.thinking)


@frozen
class Several:
    """An upstream of at least one index.

    An index that is down ends the search: the name may be its own, and taking it from a later one
    would allow dependency confusion whenever an index is down. The remembered listing is served
    meanwhile.
    """

    indexes: Sequence[SimpleUpstream]
    _breakers: Sequence[CircuitBreaker]
    """One for each index but the first, whose breaker the caller has (`UpstreamGate.breaker`)."""
    _thinking: Blocking = at_once
    """Runs the merging of long lists."""

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the listing of the first index that has the project; if none has it, that of the
        first.
        """
        first = await self.indexes[0].project(name, known, via)
        if first.files is not None:
            return first
        for index, breaker in zip(self.indexes[1:], self._breakers, strict=True):
            listing = await _ask_secondary(index, breaker, name, known, via)
            if listing.files is not None:
                return listing
        return first

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return the names of all, in order, each once. Raises `UpstreamDown` if one is down: a
        partial list is useless.
        """
        lists = [await self.indexes[0].names(via)]
        for index in self.indexes[1:]:
            try:
                lists.append(await index.names(via))
            except UpstreamDown as error:
                raise evolve(error, secondary=True) from error
        return (
            lists[0]
            if len(lists) == 1
            else await self._thinking(lambda: all_at_once(in_order(lists)))
        )

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Return the file, requested with the configured user of the URL's origin, if there is
        one.
        """
        here = [index for index in self.indexes if index.base.holds(url)]
        nearest = max(here, key=lambda index: _common(index.base.url, url), default=self.indexes[0])
        return await nearest.fetch(url, span, via, verified=verified)


async def _ask_secondary(
    index: SimpleUpstream,
    breaker: CircuitBreaker,
    name: ProjectName,
    known: Listing | None,
    via: Sequence[str],
) -> Listing:
    try:
        breaker.refuse_unless_probe()
    except UpstreamDown as error:
        raise evolve(error, secondary=True) from None
    try:
        listing = await index.project(name, known, via)
    except UpstreamDown as error:
        breaker.failed(error)
        raise evolve(error, secondary=True) from error
    except BadListing:
        breaker.answered()
        raise
    breaker.answered()
    return listing


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    return next(
        (count for count, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        len(one),
    )

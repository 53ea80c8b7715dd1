"""Requests to upstream indexes: where they may go, and the bodies of their responses. Redirects,
credentials, the chain of pypids, and a time-out for every wait.

Not treq: it keeps cookies, requests gzip even where that would change a file, unpacks it without a
bound, and rewrites URLs, signed ones too. Without these, only `twisted.web.client.Agent` is left,
and any `IAgent` will do.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import NoReturn, TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from pypid import __version__
from pypid.core.errors import AddressRefused, BadListing, Loop, NotThere, UnlistedHost, UpstreamDown
from pypid.core.model import Span
from pypid.core.simple_api.via import refuse_loop, write_via
from pypid.flow import World
from pypid.http_client.connections import UNVERIFIED, Fault, NotPublic, fault_of
from pypid.http_client.response_body import BROKEN_OFF, IncomingBody
from pypid.metrics.counts import UPSTREAM, UPSTREAM_BYTES, UPSTREAM_SECONDS, Counts
from pypid.ports import Body

# URLs of upstream indexes: what can be requested, and which origins may receive the configured
# user and password.

Origin = tuple[str, str, int]
"""Scheme, host, port: lower case, with the scheme's default port if the URL has none."""

LONGEST_URL = 8192
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[^\s/?#@\\%\"'<>]+\Z").match
_KEPT = "/%:@!$&'()*+,;=~-._"


def origin(url: str) -> Origin:
    """Return the origin of an http or https URL. Raises `ValueError` for any other."""
    split = urlsplit(url)
    if (
        split.scheme not in _PORTS
        or not split.hostname
        or split.port == 0
        or not _HOST(split.hostname)
    ):
        raise ValueError("not an http or https URL")
    return split.scheme, split.hostname.rstrip("."), split.port or _PORTS[split.scheme]


def askable(url: str) -> bytes:
    """Return the URL as a request can carry it: without user and fragment, in ASCII. Raises
    `ValueError`.
    """
    _, host, _ = origin(url)
    split = urlsplit(url)
    if not host.isascii():
        host = host.encode("idna").decode("ascii")  # UnicodeError is a ValueError
    netloc = f"[{host}]" if ":" in host else host
    if split.port is not None:
        netloc = f"{netloc}:{split.port}"
    path, query = quote(split.path or "/", safe=_KEPT), quote(split.query, safe=_KEPT + "?")
    made = f"{split.scheme}://{netloc}{path}" + (f"?{query}" if query else "")
    if len(made) > LONGEST_URL:
        raise ValueError("too long")
    return made.encode("ascii")


@frozen
class Base:
    """The base URL of a Simple API, ending in ``/``, with the credentials for it."""

    url: str
    """Without user and password."""
    origin: Origin
    _authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Base:
        """Return the base for a configured URL; ``user:password@`` may precede the host."""
        split = urlsplit(text)
        userinfo, at, netloc = split.netloc.rpartition("@")
        authorization = None
        if at:
            user, _, password = userinfo.partition(":")
            pair = f"{unquote(user)}:{unquote(password)}".encode()
            authorization = "Basic " + b64encode(pair).decode("ascii")
        url = split._replace(
            netloc=netloc, path=split.path.rstrip("/") + "/", query="", fragment=""
        ).geturl()
        return cls(url, origin(url), authorization)

    def page(self, name: str) -> str:
        """Return the URL of the project's page; for "" that of the list of projects."""
        return f"{self.url}{name}/" if name else self.url

    def authorization(self, url: str) -> str | None:
        """Return the ``Authorization`` for this URL: None unless it is at the very origin that the
        password is for.
        """
        return self._authorization if self.holds(url) else None

    def holds(self, url: str) -> bool:
        """Return whether the URL is at this very origin."""
        try:
            return origin(url) == self.origin
        except ValueError:
            return False


def redirected(url: str, location: str) -> str:
    """Return the target of a redirect. Raises `UpstreamDown` for one that must not be followed."""
    try:
        there = urljoin(url, location[:LONGEST_URL])
        askable(there)
        scheme = origin(there)[0]
    except ValueError:
        raise UpstreamDown("it redirects to something that is no http or https URL.") from None
    if origin(url)[0] == "https" and scheme != "https":
        raise UpstreamDown(
            "it redirects from https to http, where any machine in between could answer."
        )
    return there


# The hosts from which upstream files may come without further conditions (`[upstream]
# file_hosts`).

Address = tuple[str, int]
"""Host (lower case, ASCII) and port."""

_STANDARD_PORTS = (80, 443)


@frozen
class FileHosts:
    """The trusted file hosts. `own` are the hosts and ports of the configured indexes, `listed` the
    entries of ``file_hosts``.

    Of an index's own host its configured port counts, and the standard ports, where ``http``
    redirects to ``https``. Another port of the same host may be another service: it has to be
    listed.
    """

    own: frozenset[Address] = frozenset()
    listed: tuple[str, ...] = ()

    @classmethod
    def of(cls, urls: Iterable[str], listed: Iterable[str] = ()) -> FileHosts:
        """Return the hosts of the configured indexes' URLs, and of the entries: host or glob, with
        or without ``:port``.
        """
        origins = [Base.parse(url).origin for url in urls]
        own = {
            (_ascii(host), each) for _, host, port in origins for each in (port, *_STANDARD_PORTS)
        }
        return cls(frozenset(own), tuple(entry.lower() for entry in listed))

    def holds(self, host: str, port: int) -> bool:
        """Return whether the host is an index's own, or listed."""
        name = _ascii(host.lower().rstrip("."))
        if (name, port) in self.own:
            return True
        bracketed = f"[{name}]" if ":" in name else name
        return any(
            _fits(text, entry)
            for entry in self.listed
            for text in (bracketed, f"{bracketed}:{port}")
        )

    def serves(self, url: str) -> bool:
        """Return whether the URL is at such a host; False if it is not an http or https URL."""
        try:
            _, host, port = origin(url)
        except ValueError:
            return False
        return self.holds(host, port)


def _ascii(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _fits(text: str, entry: str) -> bool:
    return text == entry or ("[" not in entry and fnmatchcase(text, entry))


T = TypeVar("T")

MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
SMALL = 1 << 16
"""Maximum size in bytes of an unused body that is read to reuse the connection; a longer one closes
it.
"""


@frozen
class UpstreamResponse:
    """A response: the last URL after redirects, and the body, which the caller closes."""

    status: int
    url: str = field(repr=False)
    headers: Headers = field(repr=False)
    body: IncomingBody = field(repr=False)

    def header(self, name: str) -> str:
        """Return the header's first value, stripped; "" if there is none."""
        values = self.headers.getRawHeaders(name.encode("ascii"))
        return values[0].decode("latin-1").strip() if values else ""


@frozen
class UpstreamClient:
    """Sends requests. `identity` is this pypid's in the chain of pypids; `timeout` is how long, in
    seconds, the other side may be silent.
    """

    agent: IAgent = field(repr=False)
    clock: IReactorTime = field(repr=False)
    identity: str
    timeout: float
    hosts: FileHosts
    counts: Counts = field(factory=Counts, repr=False, eq=False)
    section: str = "upstream"
    """The section of the configuration that errors name."""

    async def get(
        self,
        base: Base,
        url: str,
        headers: Mapping[str, str],
        via: Sequence[str],
        *,
        listed_only: bool = False,
    ) -> UpstreamResponse:
        """Return the response, whatever its status, after all redirects. Raises `UpstreamDown`,
        `AddressRefused` and `Loop`.

        With `listed_only` no other hosts than `hosts` are contacted: raises `UnlistedHost` if the
        URL, or a redirect, leads elsewhere.
        """
        refuse_loop(via, self.identity)
        authorization = base.authorization(url)
        for _ in range(MOST_REDIRECTS + 1):
            if listed_only:
                self._must_be_listed(url)
            response = await self._once(url, headers, via, authorization)
            body = CountedBody(response, self.clock, self.timeout, self.counts)
            answer = UpstreamResponse(response.code, url, response.headers, body)
            location = answer.header("Location")
            if response.code not in _REDIRECTS or not location:
                return answer
            await self.discard(answer)
            url = redirected(url, location)
            if base.authorization(url) is None:
                authorization = None  # and none again, wherever that one leads
        raise UpstreamDown(f"it redirects more than {MOST_REDIRECTS} times, perhaps in a circle.")

    def _must_be_listed(self, url: str) -> None:
        try:
            _, host, port = origin(url)
        except ValueError:
            return  # `_once` refuses it
        if not self.hosts.holds(host, port):
            raise UnlistedHost(_host(url), self.section)

    async def _once(
        self, url: str, headers: Mapping[str, str], via: Sequence[str], authorization: str | None
    ) -> IResponse:
        fields = {
            **headers,
            "User-Agent": f"pypid/{__version__}",
            "Via": write_via(via, self.identity),
        }
        if authorization is not None:
            fields["Authorization"] = authorization
        sent = Headers({name: [value] for name, value in fields.items()})
        try:
            target = askable(url)
        except ValueError:
            raise UpstreamDown(
                "its pages lead to something that is no http or https URL."
            ) from None
        silence = UpstreamDown(
            f"it did not answer within {self.timeout:g} seconds.", timed_out=True
        )
        try:
            response: IResponse = await within(
                self.clock, self.timeout, self.agent.request(b"GET", target, sent), silence
            )
        except UpstreamDown:
            raise
        except Exception as error:
            reason = fault_of(error)
            if isinstance(reason, NotPublic):
                raise AddressRefused(_host(url), self.section) from None
            raise (down(reason, self.section) if isinstance(reason, Fault) else reason) from None
        return response

    async def discard(self, answer: UpstreamResponse) -> None:
        """Finish an unused response, so that its connection can be reused if the body is short."""
        body = answer.body
        try:
            if body.size is not None and body.size <= SMALL:
                await within(
                    self.clock,
                    min(1.0, self.timeout),
                    Deferred.fromCoroutine(_drain(body)),
                    UpstreamDown("too slow"),
                )
        except UpstreamDown:
            pass
        finally:
            await body.aclose()


def _host(url: str) -> str:
    """Return the host and port of a URL, for messages."""
    return urlsplit(url).netloc.rpartition("@")[2]


async def _drain(body: IncomingBody) -> None:
    async for _ in body:
        pass


async def within(
    clock: IReactorTime, seconds: float, result: Deferred[T], too_late: Exception
) -> T:
    """Return the result, or cancel it and raise `too_late` after so many seconds."""

    def expired(_: object, seconds: float) -> NoReturn:
        raise too_late

    return await result.addTimeout(seconds, clock, expired)


class CountedBody(IncomingBody):
    """The body of a response, counted. Raises `UpstreamDown` if it ends early or falls silent."""

    def __init__(
        self, response: IResponse, clock: IReactorTime, patience: float, counts: Counts
    ) -> None:
        self._counts = counts
        super().__init__(response, clock, patience)

    def dataReceived(self, data: bytes) -> None:
        self._counts.add(UPSTREAM_BYTES, (), len(data))
        super().dataReceived(data)

    def error_of(self, fault: Fault) -> Exception:
        return down(fault)


def down(fault: Fault, section: str = "upstream") -> UpstreamDown:
    """Return the `UpstreamDown` for a missing or incomplete response."""
    advice = f" (see [{section}] ca_certificates)." if fault.reason == UNVERIFIED else ""
    reason = fault.reason.removesuffix(".") + advice if advice else fault.reason
    return UpstreamDown(reason, timed_out=fault.timed_out, unreachable=not fault.connected)


async def counted(
    world: World,
    operation: str,
    question: Awaitable[T],
    outcome_of: Callable[[T], str] = lambda answer: "ok",
) -> T:
    """Await the request and record it under `operation`, with the outcome that `outcome_of` returns
    for its result.
    """
    began, outcome = world.clock.seconds(), "failed"
    try:
        answer = await question
        outcome = outcome_of(answer)
    except BaseException as error:
        outcome = _fault(error)
        raise
    finally:
        world.counts.add(UPSTREAM, (operation, outcome))
        world.counts.observe(
            UPSTREAM_SECONDS, (operation,), max(0.0, world.clock.seconds() - began)
        )
    return answer


_FAULTS: Mapping[type[BaseException], str] = {
    NotThere: "missing",
    UpstreamDown: "down",
    BadListing: "bad_page",
    Loop: "loop",
    CancelledError: "cancelled",
}


def _fault(error: BaseException) -> str:
    if isinstance(error, UpstreamDown) and error.timed_out:
        return "timeout"
    return next((name for kind, name in _FAULTS.items() if isinstance(error, kind)), "failed")


# Bodies of upstream responses: the Content-Encoding is removed in steps of bounded size, so that a
# small response cannot become a large one in memory; and ranges of files are cut out and checked.

STEP = 1 << 16
"""Bytes unpacked at a time."""
_GZIP = 31
"""zlib's window bits for a gzip header, and the largest window."""
_MAGIC = b"\x1f\x8b"
_NONE = ("", "identity")
_PACKED = ("gzip", "x-gzip")


class _Gunzip:
    """Unpacks one or more concatenated gzip members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def steps(self, data: bytes) -> Iterator[bytes]:
        """Yield the output for some more bytes. Raises `zlib.error`."""
        while data:
            if self._member.eof:
                if not data.startswith(_MAGIC[: len(data)]):
                    return  # padding
                self._member = zlib.decompressobj(_GZIP)
            out = self._member.decompress(data, STEP)
            self._begun = True
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            while out:
                yield out
                # some output may be held back although all input is consumed
                out = b"" if data or self._member.eof else self._member.decompress(b"", STEP)

    @property
    def whole(self) -> bool:
        """Whether the last member has ended, or there was no input at all."""
        return self._member.eof or not self._begun


def unpacked(data: bytearray, encoding: str, limit: int) -> Generator[None, None, bytearray]:
    """Return a page without its Content-Encoding, as a generator of slices.

    Raises `BadListing` beyond `limit` bytes, `UpstreamDown` if it breaks off.
    """
    if encoding in _NONE:
        return data
    if encoding not in _PACKED:
        raise BadListing(
            f"it uses the Content-Encoding {encoding[:20]!r}, which pypid did not request."
        )
    gunzip, out = _Gunzip(), bytearray()
    try:
        for start in range(0, len(data), STEP):
            for piece in gunzip.steps(bytes(data[start : start + STEP])):
                out += piece
                if len(out) > limit:
                    raise BadListing(f"it is larger than {limit >> 20} MiB.")
                yield
    except zlib.error:
        raise BadListing("its gzip is damaged.") from None
    if not gunzip.whole:
        raise UpstreamDown("its answer broke off.")
    return out


@define
class Gunzipped:
    """A file that came with gzip although identity was requested.

    `is_gzip`: it is a gzip file itself. Then the header may only mean that (old configurations of
    Apache send it for every ``.tar.gz``), and the output is inspected: if that is not gzip, the
    input was the file.
    """

    body: Body
    is_gzip: bool

    @property
    def size(self) -> int | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self.body):
            pieces = aiter(self.body)
            first = b""
            while len(first) < 64 and (piece := await anext(pieces, b"")):
                first += piece
            if not first.startswith(_MAGIC) or (
                self.is_gzip and not _begins(first).startswith(_MAGIC)
            ):
                yield first
                async for piece in pieces:
                    yield piece
                return
            gunzip, piece = _Gunzip(), first
            while piece:
                try:
                    for out in gunzip.steps(piece):
                        yield out
                except zlib.error:
                    raise UpstreamDown("its gzip is damaged.") from None
                piece = await anext(pieces, b"")
            if not gunzip.whole:
                raise UpstreamDown("its answer broke off.")

    async def aclose(self) -> None:
        await self.body.aclose()


def _begins(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(_GZIP).decompress(data, 64)
    except zlib.error:
        return b""


# --- ranges ---


_CONTENT_RANGE = re.compile(
    r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)\Z", re.IGNORECASE
)


def header(span: Span) -> str:
    """Return the ``Range`` header for `span`."""
    return f"bytes={span.start}-{span.stop - 1}"


def is_answered(span: Span, content_range: str) -> bool:
    """Return whether this ``Content-Range`` is exactly the span."""
    match = _CONTENT_RANGE.match(content_range)
    return match is not None and (int(match[1]), int(match[2])) == (span.start, span.stop - 1)


@define
class Cut:
    """The bytes `start` to `stop` of a body; raises `UpstreamDown` if there are fewer. Bytes after
    them are not read.
    """

    body: Body
    span: Span

    @property
    def size(self) -> int | None:
        return self.span.stop - self.span.start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = 0
        async with aclosing(self.body):
            async for piece in self.body:
                wanted = piece[
                    max(0, self.span.start - position) : max(0, self.span.stop - position)
                ]
                position += len(piece)
                if wanted:
                    yield wanted
                if position >= self.span.stop and self.body.size != self.span.stop:
                    # else its end is next, and reading it keeps the connection open for reuse
                    return
        if position >= self.span.stop:
            return
        raise UpstreamDown(BROKEN_OFF)

    async def aclose(self) -> None:
        await self.body.aclose()

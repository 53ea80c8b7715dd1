"""Requests to services, by treq: one short response each, within a time limit.

treq by itself follows redirects, keeps cookies and decompresses. Here it does none of these: a
password must not follow a redirect, no service needs a session, and a compressed response could
fill the memory before a limit is applied.
"""

# Twisted's web client is not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from attrs import frozen
from hyperlink import EncodedURL
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from pypid import __version__
from pypid.flow import start, whole
from pypid.http_client.connections import Fault, fault_of
from pypid.http_client.response_body import IncomingBody

if TYPE_CHECKING:
    from treq.client import HTTPClient


class UnusableResponse(Fault):
    """The service responded, but not with what was requested. Another request would not help."""


@frozen(kw_only=True)
class ServiceRequest:
    """A request without a body, which may be sent twice.

    `check` raises `UnusableResponse` for a status or a type that is not wanted. The body of the
    response may have `limit` bytes; all may take `timeout` seconds.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    check: Callable[[IResponse], None]
    limit: int
    timeout: float


class _ServiceUrl(EncodedURL):
    """A URL for treq, which encodes hosts by IDNA 2008: that rejects IPv6 addresses and
    underscores.
    """

    def to_uri(self) -> EncodedURL:
        """Return the URL with its parts encoded; itself if its host cannot be."""
        try:
            return super().to_uri()
        except UnicodeError:  # IDNA's errors
            return self


class ServiceClient:
    """Sends requests to services over the connections of `agent`."""

    def __init__(self, agent: IAgent, clock: IReactorTime) -> None:
        self._agent = agent
        self._clock = clock

    async def fetch(self, request: ServiceRequest) -> bytes:
        """Return the body of the response. Raises `Fault`, and `ValueError` for an invalid URL.

        The request is sent once more if the connection is closed before the response is complete,
        as a server may do with one that was idle.
        """
        fetched = start(self._fetch(request)).addTimeout(request.timeout, self._clock)
        try:
            return await fetched
        except TimeoutError:
            raise Fault(
                f"it did not answer within {request.timeout:g} seconds.", timed_out=True
            ) from None

    async def _fetch(self, request: ServiceRequest) -> bytes:
        try:
            return await self._attempt(request)
        except Fault as fault:
            if isinstance(fault, UnusableResponse) or fault.timed_out or not fault.connected:
                raise
        return await self._attempt(request)

    async def _attempt(self, request: ServiceRequest) -> bytes:
        response = await self._send(request)
        body = IncomingBody(response, self._clock, request.timeout)
        try:
            request.check(response)
            return await whole(body, request.limit)
        except ValueError:
            raise UnusableResponse(
                f"its answer is larger than {request.limit >> 10} KiB."
            ) from None
        finally:
            await body.aclose()

    async def _send(self, request: ServiceRequest) -> IResponse:
        headers = {"User-Agent": f"pypid/{__version__}", **request.headers}
        sent = self._treq.request(
            request.method,
            _ServiceUrl.from_text(request.url),
            headers=Headers({name: [value] for name, value in headers.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        try:
            return await sent
        except Exception as error:
            raise fault_of(error) from None

    @cached_property
    def _treq(self) -> HTTPClient:
        """The treq client. It is made at the first request, since a start needs no HTTP client."""
        from treq.client import HTTPClient
        from treq.cookies import IndexableCookieJar

        return HTTPClient(
            _IdentityCoding(self._agent, self._clock),
            IndexableCookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        )


@implementer(IAgent)
class _IdentityCoding:
    """An agent that requests responses without compression, and raises `Fault` for others.

    treq adds ``gzip`` to Accept-Encoding, and decompresses all that one read of the connection
    brought at once, to a thousand times its size.
    """

    def __init__(self, agent: IAgent, clock: IReactorTime) -> None:
        self._agent = agent
        self._clock = clock

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        sent = Headers() if headers is None else headers.copy()
        sent.setRawHeaders("Accept-Encoding", ["identity"])
        return start(self._request(method, uri, sent, bodyProducer))

    async def _request(self, *request: Any) -> IResponse:
        response: IResponse = await self._agent.request(*request)
        codings = response.headers.getRawHeaders(b"Content-Encoding", ())
        if any(coding.strip().lower() != b"identity" for coding in codings):
            await IncomingBody(response, self._clock, 0).aclose()
            raise UnusableResponse("its answer is compressed, which was not requested.")
        # treq would read them before it asks the cookie policy, and fails on other than ASCII
        response.headers.removeHeader(b"Set-Cookie")
        return response

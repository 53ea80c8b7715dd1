"""One HTTP request to an upstream index: redirects, credentials, the chain of pypids, and a
time-out for every wait.

Not treq: it keeps cookies, requests gzip even where that would change a file, unpacks it without a
bound, and rewrites URLs, signed ones too. Without these, only `twisted.web.client.Agent` is left,
and any `IAgent` will do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from pypid import __version__
from pypid.core.errors import AddressRefused, BadListing, Loop, NotThere, UnlistedHost, UpstreamDown
from pypid.core.simple_api.via import refuse_loop, write_via
from pypid.flow import World
from pypid.http_client.faults import UNVERIFIED, Fault, fault_of
from pypid.http_client.public_only import NotPublic
from pypid.http_client.response_body import IncomingBody
from pypid.metrics.counts import Counts
from pypid.metrics.families import UPSTREAM, UPSTREAM_BYTES, UPSTREAM_SECONDS
from pypid.upstream.hosts import FileHosts
from pypid.upstream.origin import Base, askable, origin, redirected

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
    expired: list[bool] = []

    def expire() -> None:
        expired.append(True)
        result.cancel()

    alarm = clock.callLater(seconds, expire)
    try:
        return await result
    except Exception:
        if expired:
            raise too_late from None
        raise
    finally:
        if alarm.active():
            alarm.cancel()


# --- failures -------------------------------------------------------------------------------------


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


# --- metrics ---


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


def _fault(error: BaseException) -> str:
    match error:
        case NotThere():
            return "missing"
        case UpstreamDown(timed_out=True):
            return "timeout"
        case UpstreamDown():
            return "down"
        case BadListing():
            return "bad_page"
        case Loop():
            return "loop"
        case CancelledError():
            return "cancelled"
        case _:
            return "failed"

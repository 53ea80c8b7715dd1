"""The site: limits, hosts and logs of its connections, its downloads under way, its counts.

The web site: limits, hosts, counters and logs of its connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.web import server
from twisted.web.resource import IResource

from pypid.core.model import File
from pypid.core.restrictions import RestrictionsInForce
from pypid.metrics.counts import (
    BROKEN_OFF,
    FAST_PATH,
    RECEIVED,
    REQUEST_SECONDS,
    REQUESTS,
    SENT,
    Counts,
)
from pypid.web.http.access_log import Ids, SharedLogFields
from pypid.web.http.channel import Channel, FastPathSite
from pypid.web.http.connections import (
    ConnectionLimits,
    ConnectionSettings,
    HostPolicy,
    TrustedProxies,
    hsts_of,
)
from pypid.web.http.request import Request

# Counting of responses for the metrics: those of routes one by one, those of the fast path in
# batches.

NONE, OTHER = "none", "other"
_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}


def kind_of(request: Request) -> tuple[str, str, str]:
    """Return the route (`NONE` if there is none), the method (`OTHER` for one that has no route
    anyway) and the status.
    """
    return request.rule or NONE, _METHODS.get(request.method, OTHER), str(request.code)


def count_answer(counts: Counts, request: Request, now: float) -> None:
    """Count a route's response that is complete or was broken off."""
    kind = route, method, _ = kind_of(request)
    counts.add(REQUESTS, kind)
    counts.observe(REQUEST_SECONDS, (route, method), max(0.0, now - request.begun_at))
    if request.sentLength:
        counts.add(SENT, (), request.sentLength)
    if not request.over:
        counts.add(BROKEN_OFF, (route,))


def count_short(counts: Counts, answers: Iterable[SharedLogFields]) -> None:
    """Count responses that the fast path sent at once."""
    kinds: dict[tuple[str, str, str], int] = {}
    size = 0
    for log_fields, times in Counter(answers).items():
        kinds[log_fields.kind] = kinds.get(log_fields.kind, 0) + times
        size += log_fields.size * times
    for kind, times in kinds.items():
        counts.add(REQUESTS, kind, times)
        counts.add(FAST_PATH, (), times)
        counts.observe(REQUEST_SECONDS, kind[:2], 0.0, times)
    counts.add(SENT, (), size)


def count_long(counts: Counts, log_fields: SharedLogFields, size: int, seconds: float) -> None:
    """Count a response that the fast path sent at the client's pace, or `size` bytes of it."""
    counts.add(REQUESTS, log_fields.kind)
    counts.add(FAST_PATH)
    counts.observe(REQUEST_SECONDS, log_fields.kind[:2], max(0.0, seconds))
    counts.add(SENT, (), size)
    if size < log_fields.size:
        counts.add(BROKEN_OFF, log_fields.kind[:1])


class Site(server.Site):
    """A web site that speaks HTTP/1.1 through `Channel`.

    `timeout`: seconds until a silent client is disconnected. `trusted_proxies`: the proxies whose
    forwarding headers are trusted. `public_url`: the URL that browsers use, if known. `limits`:
    what one client may hold, and how slowly it may send. `hosts`: which values of Host are
    accepted. `cors`: origins whose scripts may read; see `web.http.cors`. `hsts`: how long browsers
    use only https for the host of an https `public_url`. `access_log`: called with each request
    that was answered, also in part. `fast_path`: answers repeated requests from memory,
    and writes to the access log itself. `ids`: the request ids, as in the access log; if given,
    each response of a route carries its id.
    """

    protocol = Channel  # without Twisted's wrapping protocol, which is for HTTP/2 only
    requestFactory = Request
    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        reactor: IReactorTime,
        timeout: float = 60,
        trusted_proxies: TrustedProxies = TrustedProxies(),  # noqa: B008  # frozen
        access_log: Callable[[Request], object] | None = None,
        fast_path: FastPathSite | None = None,
        ids: Ids | None = None,
        counts: Counts | None = None,
        public_url: str | None = None,
        limits: ConnectionSettings = ConnectionSettings(),  # noqa: B008  # frozen
        hosts: HostPolicy | None = None,
        cors: tuple[str, ...] = (),
        hsts: timedelta = timedelta(),
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource, reactor=reactor, timeout=timeout
        )
        self.trusted_proxies = trusted_proxies
        self.public_url = public_url
        self.hosts = HostPolicy() if hosts is None else hosts
        self.cors = cors
        self.hsts = hsts_of(public_url, hsts)
        """The name of the host that is to be reached only by https, and the header that says so."""
        self.limits = ConnectionLimits(limits)
        self.seconds = reactor.seconds
        self._access_log = access_log
        self.counts = counts
        """Counts its responses, except those of the fast path."""
        self.ids = Ids() if ids is None else ids
        """The source of request ids."""
        self.sends_ids = ids is not None
        self.fast_path = fast_path
        self.channels: set[Channel] = set()
        """The open connections."""

    def startFactory(self) -> None:
        super().startFactory()
        if self.fast_path is not None:
            self.fast_path.start(self.reactor)

    def stopFactory(self) -> None:
        if self.fast_path is not None:
            self.fast_path.stop()
        super().stopFactory()

    def _updateLogDateTime(self) -> None:
        """Do nothing: Twisted formats the reactor's clock as a date here, each second, for a log
        format that is not used.
        """

    def log(self, request: Request) -> None:  # type: ignore[override]  # always this Request
        """Log and count a response that is complete or was broken off."""
        if self.fast_path is not None:
            self.fast_path.flush()  # keeps the lines in the order of the responses
        if self.counts is not None:
            count_answer(self.counts, request, self.seconds())
        if self._access_log is not None:
            self._access_log(request)

    def note_received(self, size: int) -> None:
        """Count the bytes of a piece of a request's body."""
        if self.counts is not None:
            self.counts.add(RECEIVED, (), size)

    def note_refused(self, size: int, status: str) -> None:
        """Count a response that does not come from a route; `size` is the number of bytes of its
        body.
        """
        if self.counts is not None:
            self.counts.add(REQUESTS, (NONE, OTHER, status))
            self.counts.add(SENT, (), size)

    @property
    def busy(self) -> bool:
        """Whether a connection is open; after `drain`: one whose request is not answered yet."""
        return bool(self.channels)

    def drain(self) -> None:
        """Close idle connections; those with a request in progress are closed after its
        response.
        """
        for channel in tuple(self.channels):
            channel.drain()
        if self.fast_path is not None:
            self.fast_path.close()

    def abort(self) -> None:
        """Abort all remaining connections."""
        for channel in tuple(self.channels):
            channel.forceAbortClient()

    def acceptableProtocols(self) -> list[bytes]:
        """Return the ALPN protocols for TLS clients: never HTTP/2, even if the library for it is
        installed.
        """
        return [b"http/1.1"]


# Downloads that are being sent: those of files that a new rule withholds are cut.

Cut = Callable[[], object]


@define(eq=False)
class RunningDownloads:
    """The downloads that run in this process."""

    restrictions: RestrictionsInForce
    _running: dict[object, tuple[File, Cut]] = field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.restrictions.on_change.append(self._cut_withheld)

    def add(self, file: File, cut: Cut) -> Callable[[], None]:
        """Add a download, whose connection `cut` closes; return the function that removes it."""
        key = object()
        self._running[key] = file, cut

        def remove() -> None:
            self._running.pop(key, None)

        return remove

    @contextmanager
    def during(self, file: File, cut: Cut) -> Iterator[None]:
        """Add a download for as long as the block of code runs."""
        remove = self.add(file, cut)
        try:
            yield
        finally:
            remove()

    def _cut_withheld(self) -> None:
        hold = self.restrictions.current.hold
        for file, cut in [*self._running.values()]:
            if hold(file) is not None:
                cut()

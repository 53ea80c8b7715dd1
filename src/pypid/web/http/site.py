"""The web site: limits, hosts, counters and logs of its connections."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from twisted.internet.interfaces import IReactorTime
from twisted.web import server
from twisted.web.resource import IResource

from pypid.metrics.counts import Counts
from pypid.web.http.channel.channel import Channel, FastPathSite
from pypid.web.http.connections import ConnectionLimits, ConnectionSettings
from pypid.web.http.proxies import HostPolicy, TrustedProxies, hsts_of
from pypid.web.http.request import Request
from pypid.web.http.request_ids import Ids
from pypid.web.http.response_counts import count_answer, count_received, count_refused


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
            count_received(self.counts, size)

    def note_refused(self, size: int, status: str) -> None:
        """Count a response that does not come from a route; `size` is the number of bytes of its
        body.
        """
        if self.counts is not None:
            count_refused(self.counts, size, status)

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

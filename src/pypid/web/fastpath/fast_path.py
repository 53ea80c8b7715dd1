"""The fast path of a site: its lookups for connections, and its hook in the reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.logger import Logger

from pypid.ports import Glance
from pypid.web.fastpath.cached_channel import CachedChannel
from pypid.web.fastpath.os.availability import obstacle
from pypid.web.fastpath.os.reactor_hook import ReactorHook, install_hook
from pypid.web.fastpath.os.socket_write import goes_direct, send_function
from pypid.web.fastpath.state import LIMIT, CachedApp, FastPathState
from pypid.web.http.access_log import AccessLog
from pypid.web.http.channel.channel import Channel, FastPathConnection

_log = Logger()


class FastPath(FastPathState):
    """The fast path of one app and its site."""

    def __init__(
        self,
        app: CachedApp,
        glance: Glance,
        access_log: AccessLog | None = None,
        *,
        limit: int = LIMIT,
    ) -> None:
        super().__init__(app, glance, access_log, limit=limit)
        self._lookups: dict[tuple[bool, bool, bool], CachedChannel] = {}
        self._hook: ReactorHook | None = None
        """Shortens the reactor's turn, while the site runs."""

    @property
    def answered(self) -> int:
        """The number of requests that were answered by the fast path."""
        return sum(lookup.answered for lookup in self._lookups.values())

    def lookup(self, secure: bool, trusted: bool, strict_host: bool = False) -> CachedChannel:
        """Return the `CachedChannel` for connections with or without TLS, of trusted proxies or
        not, with unknown hosts refused or not.
        """
        kind = (secure, trusted, strict_host)
        if kind not in self._lookups:
            self._lookups[kind] = CachedChannel(self, kind)
        return self._lookups[kind]

    def attach(self, channel: Channel) -> FastPathConnection:
        """Return what a new connection needs for the fast path."""
        transport = channel.transport
        secure = ISSLTransport.providedBy(transport)
        lookup = self.lookup(secure, channel.proxied, channel.strict_host)
        direct = goes_direct(transport)
        detach = self._hook.register(channel, lookup) if direct and self._hook else None
        return FastPathConnection(lookup, send_function(transport), direct, detach)

    def start(self, reactor: Any) -> None:
        """Install the hook in the reactor. Called by the site when it starts."""
        self._hook = install_hook(reactor)

    def stop(self) -> None:
        """Remove the hook. Called by the site when it stops."""
        if self._hook is not None:
            self._hook.release()
            self._hook = None


def open_fast_path(
    app: CachedApp,
    glance: Glance,
    access_log: AccessLog | None,
    reactor: Any,
    *,
    wanted: bool,
    limit: int = LIMIT,
) -> FastPath | None:
    """Return the fast path, with at most `limit` bytes of responses; None, with one line in the
    log, if it is not `wanted` or the installed packages do not allow it.
    """
    reason = obstacle(reactor) if wanted else "[server] fast_path = no"
    if reason is None:
        return FastPath(app, glance, access_log, limit=limit)
    log = _log.warn if wanted else _log.info
    log("the fast path is off reason={reason!r}", reason=reason)
    return None

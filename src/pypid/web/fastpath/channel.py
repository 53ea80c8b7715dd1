"""The cache lookup for connections: known requests are answered here, others go through Klein's
path, whose responses are recorded. `FastPath` is that of a whole site, with its hook in the
reactor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.interfaces import ISSLTransport
from twisted.logger import Logger

from pypid.web.fastpath.os.availability import obstacle
from pypid.web.fastpath.os.reactor_hook import ReactorHook, install_hook
from pypid.web.fastpath.os.socket_write import goes_direct, send_function
from pypid.web.fastpath.recorder import LONGEST, Recorder, cut, is_tags, read_line
from pypid.web.fastpath.response_cache import (
    LIMIT,
    LINES,
    CachedResponse,
    FastPathState,
    KnownClient,
    KnownClients,
    SentResponse,
    send_body,
    send_file,
)
from pypid.web.http.access_log import AccessLog
from pypid.web.http.channel import Channel
from pypid.web.http.headers import names

if TYPE_CHECKING:
    from pypid.web.app.app import App

_VERSION = b" HTTP/1.1"
KEYED = (
    sys.hash_info.algorithm.startswith("siphash")
    and sys.hash_info.width >= 64
    and sys.flags.hash_randomization > 0
)
"""Whether Python's hash of bytes is SipHash with a key of this process: then clients cannot find
other bytes with the hash of bytes that they do not know. So the last header block of a connection
may be recognized by it, without storing the block; everything else is recognized by BLAKE2.
"""


@define(eq=False, init=False)
class CachedChannel(KnownClients):
    """The cache lookup for one kind of connections, on which equal header blocks mean the same."""

    state: FastPathState
    answered: int
    """The number of requests that were answered here."""

    def __init__(self, state: FastPathState, kind: tuple[bool, bool, bool]) -> None:
        super().__init__(kind, state.key)
        self.state = state
        self.answered = 0

    def answer(self, channel: Channel, data: bytes) -> bool:
        """Answer the data if it is exactly one request whose response is cached; else return False
        without effect.
        """
        self.state.refresh()
        return self.answer_now(channel, data)

    def answer_now(self, channel: Channel, data: bytes) -> bool:
        """Answer the data like `answer`, for a caller that has already called
        `FastPathState.refresh`.
        """
        # long, since each call of a part of it would take a hundredth of the time that a response
        # takes
        line, _, block = data.partition(_VERSION)
        tag = None
        client = self.public.get(block)
        if client is None:
            known = channel.known
            if known is not None and known[0] == hash(block):
                _, client, tag = known
            else:
                client, tag = self._recognize(channel, block)
                if client is None:
                    return False
        response = client.responses.get(line)
        if response is None:
            channel.remember_client(None)  # the identity may have changed by now
            return False
        state = self.state
        now = state.now
        if (
            now >= response.until
            or (response.version != state.version and not state.still_holds(response))
            or (
                client.proven
                and (
                    client.generation != state.generation.changes
                    or now >= client.until
                    or now >= state.generation.until
                    or state.generation.must_wait(client.address or channel.client or "")
                )
            )
            or (response.asks_upstream and state.circuit_breaker.error is not None)
            or state.app.closed is not None
        ):
            channel.remember_client(None)
            self._drop_expired(response, client, now)
            return False
        sent = response.full
        if tag is not None and (etag := response.etag) is not None:  # (a redirect has no condition)
            sent = (
                response.not_modified
                if tag == etag
                else self._for_other_tags(response, etag, tag, data)
            )
        if sent is None:
            return False
        file = sent.file
        if file is not None and not (channel.direct and file.is_at_hand()):
            return False
        date = state.date
        if sent.date is not date:
            sent.renew(date)
        # assigned here, since three calls for it would take longer than the rest of the accounting
        client.used = response.used = channel.last_active = now
        address = client.address
        if address == "":
            address = channel.client
        if client.token is not None and client.note_use(date, address):
            state.record_use(client.token, address)
        if (
            response.file is not None
            and sent.sends_file
            and response.note_download(date, address, client)
        ):
            state.record_download(response, client, address)
        self.answered += 1
        log_client, log_fields = client.log_client, sent.log_fields
        if file is None and not sent.body:
            channel.send(channel.transport, sent.head)
        elif not self._send_long(
            channel,
            sent,
            partial(state.note_line, now, address, log_client, log_fields),
            response,
        ):
            return True
        log = state.log
        log.append(
            (state.log_time, address, log_client, log_fields) if state.writes else log_fields
        )
        if not state.due or len(log) >= LINES:
            state.begin_lines(log)
        return True

    def _send_long(
        self,
        channel: Channel,
        sent: SentResponse,
        on_sent: Callable[[int], None],
        response: CachedResponse,
    ) -> bool:
        """Send a long response; return whether all of it went out at once, so that `on_sent` will
        not be called.
        """
        self.state.interrupt()
        file = sent.file_for(channel)
        if file is None:
            return send_body(channel, sent, on_sent)
        blocking = self.state.app.world.blocking
        if response.file is None:
            return send_file(channel, sent.head, file, blocking, on_sent)
        # a block cuts it
        remove = self.state.app.running.add(response.file, channel.transport.abortConnection)

        def finished(size: int) -> None:
            remove()
            on_sent(size)

        is_sent = send_file(channel, sent.head, file, blocking, finished)
        if is_sent:
            remove()
        return is_sent

    def _recognize(self, channel: Channel, block: bytes) -> tuple[KnownClient | None, bytes | None]:
        """Return the client of a header block and the value of its If-None-Match; the connection
        remembers them.
        """
        rest, tag = cut(block)
        client = self.find(rest)
        if client is not None and KEYED:
            channel.remember_client((hash(block), client, tag))
        return client, tag

    def _drop_expired(self, response: CachedResponse, client: KnownClient, now: float) -> None:
        """Drop entries that have expired."""
        state = self.state
        if now >= response.until or response.version != state.version:
            state.store.drop(response)
        if client.proven and (client.generation != state.generation.changes or now >= client.until):
            state.store.drop(client)

    def _for_other_tags(
        self, response: CachedResponse, etag: bytes, tag: bytes, data: bytes
    ) -> SentResponse | None:
        """Return the response for a client that sends If-None-Match with another value than the
        entity tag.
        """
        if len(data) > LONGEST or not is_tags(tag):
            return None
        matches = names(tag.decode("ascii"), etag.decode("latin-1"), weakly=True)
        return response.not_modified if matches else response.full

    def recorder_for(self, data: bytes) -> Recorder | None:
        """Return a recorder if the data is exactly one request whose response may be cached; else
        None.
        """
        state = self.state
        if len(data) > LONGEST or state.app.closed is not None:
            return None
        line, version, block = data.partition(_VERSION)
        if not version or not read_line(line):
            return None
        block, _ = cut(block)
        return Recorder(state, self, line, block, state.check(), state.generation.changes)


_log = Logger()


class FastPath(FastPathState):
    """The fast path of one app and its site."""

    def __init__(
        self,
        app: App,
        access_log: AccessLog | None = None,
        *,
        limit: int = LIMIT,
    ) -> None:
        super().__init__(app, access_log, limit=limit)
        self._lookups: dict[tuple[bool, bool, bool], CachedChannel] = {}
        self._hook: ReactorHook | None = None
        """Shortens the reactor's turn, while the site runs."""

    @property
    def answered(self) -> int:
        """The number of requests that were answered by the fast path."""
        return sum(lookup.answered for lookup in self._lookups.values())

    def lookup(self, secure: bool, trusted: bool, any_host: bool = False) -> CachedChannel:
        """Return the `CachedChannel` for connections with or without TLS, of trusted proxies or
        not, with each Host answered or not.
        """
        kind = (secure, trusted, any_host)
        if kind not in self._lookups:
            self._lookups[kind] = CachedChannel(self, kind)
        return self._lookups[kind]

    def attach(self, channel: Channel) -> None:
        """Have a new connection use the fast path."""
        transport = channel.transport
        secure = ISSLTransport.providedBy(transport)
        lookup = self.lookup(secure, channel.proxied, channel.any_host)
        direct = goes_direct(transport)
        detach = self._hook.register(channel, lookup) if direct and self._hook else None
        channel.use_fast_path(lookup, send_function(transport), direct, detach)

    def start(self, reactor: Any) -> None:
        """Install the hook in the reactor. Called by the site when it starts."""
        self._hook = install_hook(reactor)

    def stop(self) -> None:
        """Remove the hook. Called by the site when it stops."""
        if self._hook is not None:
            self._hook.release()
            self._hook = None


def open_fast_path(
    app: App,
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
        return FastPath(app, access_log, limit=limit)
    log = _log.warn if wanted else _log.info
    log("the fast path is off reason={reason!r}", reason=reason)
    return None

"""A shorter turn of the reactor for idle connections, whose next request the fast path may
answer.

Between epoll and a protocol Twisted makes some ten calls: among them a log context, which nothing
uses here, and a buffer of 64 KiB. That is a third of the time that a response takes. So this module
replaces the `doIteration` of an `EPollReactor`: data for an idle connection are read here and
passed to the fast path; everything else is left to Twisted, and so is everything on another
reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import EINTR
from typing import Any, Protocol

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Connection
from twisted.python.log import callWithLogger, err

from pypid.web.fastpath.recorder import LONGEST
from pypid.web.fastpath.response_cache import FastPathState
from pypid.web.http.channel import Channel

try:
    from select import EPOLLIN

    from twisted.internet.epollreactor import EPollReactor
except ImportError:  # not Linux
    EPollReactor, EPOLLIN = None, 0  # type: ignore[assignment, misc]

NAMES = ("_disconnectSelectable", "_doReadOrWrite", "_poller", "_selectables", "doIteration")
"""The names of an `EPollReactor` that this module needs."""
_UNKNOWN: tuple[Any, None, Any] = (None, None, None)


class IdleLookup(Protocol):
    """The cached responses for one kind of connections."""

    @property
    def state(self) -> FastPathState: ...

    def answer_now(self, channel: Channel, data: bytes) -> bool:
        """Answer the data if its response is cached, after `FastPathState.refresh`."""


class ReactorHook:
    """Replacement for a reactor's `doIteration`, until all its users have called `release`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._users = 0
        self._channels: dict[int, tuple[Callable[[int], bytes], Channel, IdleLookup]] = {}
        """How to read from each connection's socket, by file descriptor."""

    def begin(self) -> ReactorHook:
        """Add a user and install the hook."""
        self._users += 1
        self._reactor.doIteration = self  # the method that the reactor's main loop calls
        return self

    def release(self) -> None:
        """Remove a user; the last one restores the reactor's own `doIteration`."""
        self._users -= 1
        if not self._users:
            del self._reactor.doIteration

    def register(self, channel: Channel, lookup: IdleLookup) -> Callable[[], object] | None:
        """Register a connection for the shorter way, if it is an ordinary one; return the function
        that unregisters it, else None.
        """
        transport = channel.transport
        if (
            type(transport).doRead is not Connection.doRead
            or transport.reactor is not self._reactor
        ):
            return None
        number = transport.fileno()
        self._channels[number] = transport.socket.recv, channel, lookup
        return lambda: self._channels.pop(number, None)

    def __call__(self, delay: float | None) -> None:
        """Poll for events, `delay` seconds at most (None: without limit), and serve them."""
        reactor = self._reactor
        try:
            events = reactor._poller.poll(-1 if delay is None else delay, len(reactor._selectables))
        except OSError as error:
            if error.errno == EINTR:
                return
            raise
        self._serve(events)

    def _serve(self, events: Sequence[tuple[int, int]]) -> None:
        reactor, channels = self._reactor, self._channels
        in_context: Any = callWithLogger
        refreshed: Any = None  # the state that was refreshed since other code ran
        for number, event in events:
            receive, channel, lookup = channels.get(number, _UNKNOWN)
            if channel is not None and channel.idle and event == EPOLLIN:
                data = error = None
                try:
                    data = receive(LONGEST)
                    state = lookup.state
                    if refreshed is not state or not state.quiet:
                        state.refresh()
                        refreshed = state
                    if data and lookup.answer_now(channel, data):
                        continue
                except BaseException as raised:
                    error = raised
                refreshed = None
                in_context(channel.transport, self._go_on, channel, data, error)
            elif (selectable := reactor._selectables.get(number)) is not None:
                refreshed = None
                in_context(selectable, reactor._doReadOrWrite, selectable, number, event)

    def _go_on(self, channel: Channel, data: bytes | None, error: BaseException | None) -> None:
        """Handle data without a cached response, or an error, as Twisted does. (No `data`: the
        socket raised the `error`.)
        """
        if error is None and data:
            try:
                channel.read_on(data)
                return
            except BaseException as raised:
                error = raised
        if isinstance(error, BlockingIOError) and data is None:
            return
        why: object = CONNECTION_DONE
        if error is not None:
            why = CONNECTION_LOST if data is None else error
        if why is error:
            err(error)  # type: ignore[no-untyped-call]
        self._reactor._disconnectSelectable(channel.transport, why, True)


def is_epoll(reactor: Any) -> bool:
    """Return whether this is Twisted's epoll reactor, and no subclass of it."""
    return EPollReactor is not None and type(reactor) is EPollReactor


def install_hook(reactor: Any) -> ReactorHook | None:
    """Install a hook on this reactor, or add a user to the installed one; return None if it is no
    epoll reactor.
    """
    iteration = getattr(reactor, "doIteration", None)
    if isinstance(iteration, ReactorHook):
        return iteration.begin()
    return ReactorHook(reactor).begin() if is_epoll(reactor) else None

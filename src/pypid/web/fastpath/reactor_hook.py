"""A shorter turn of the reactor for connections that wait for a request which the fast path may
know.

Between epoll and a protocol Twisted makes some ten calls: among them a log context, which nothing
uses here, and a buffer of 64 KiB. That is a third of the time that a response takes. So this module
replaces the `doIteration` of an `EPollReactor`: data for an idle connection are read here and
passed to the fast path; everything else goes Twisted's way. With another reactor, or if a name that
this needs is missing, everything goes Twisted's way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import EINTR
from typing import TYPE_CHECKING, Any

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Connection
from twisted.python.log import callWithLogger, err

from pypid.web.fastpath.strict_parser import LONGEST

try:
    from select import EPOLLIN

    from twisted.internet.epollreactor import EPollReactor
except ImportError:  # not Linux
    EPollReactor, EPOLLIN = None, 0  # type: ignore[assignment, misc]

if TYPE_CHECKING:
    from pypid.web.fastpath.cached_channel import CachedChannel
    from pypid.web.http.channel import Channel

_OF_REACTORS = ("_disconnectSelectable", "_doReadOrWrite", "_poller", "_selectables", "doIteration")
_NOBODY: tuple[Any, None] = (None, None)


class ReactorHook:
    """Replacement for a reactor's `doIteration`, until all its users have called `release`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._users = 0
        self._guests: dict[int, tuple[Callable[[int], bytes], Channel]] = {}
        """How to read from each connection's socket, by file descriptor."""

    def begin(self) -> ReactorHook:
        """Add a user and install the hook."""
        self._users += 1
        self._reactor.doIteration = self
        return self

    def release(self) -> None:
        """Remove a user; the last one restores the reactor's own `doIteration`."""
        self._users -= 1
        if not self._users:
            del self._reactor.doIteration

    def seat(self, guest: Channel) -> Callable[[], object] | None:
        """Register a connection for the shorter way, if it is an ordinary one; return the function
        that unregisters it, else None.
        """
        transport = guest.transport
        if (
            type(transport).doRead is not Connection.doRead
            or transport.reactor is not self._reactor
        ):
            return None
        number = transport.fileno()
        self._guests[number] = transport.socket.recv, guest
        return lambda: self._guests.pop(number, None)

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
        reactor, guests = self._reactor, self._guests
        in_context: Any = callWithLogger
        looked = None  # the fast path that has looked around since other code ran
        for number, event in events:
            receive, guest = guests.get(number, _NOBODY)
            if guest is not None and guest.idle and event == EPOLLIN:
                data = error = None
                try:
                    data = receive(LONGEST)
                    doorway: CachedChannel = guest.doorway  # type: ignore[assignment]  # an idle channel has one
                    door = doorway.door
                    if looked is not door or not door.quiet:
                        door.look_around()
                        looked = door
                    if data and doorway.give(guest, data):
                        continue
                except BaseException as raised:
                    error = raised
                looked = None
                in_context(guest.transport, self._go_on, guest, data, error)
            elif (selectable := reactor._selectables.get(number)) is not None:
                looked = None
                in_context(selectable, reactor._doReadOrWrite, selectable, number, event)

    def _go_on(self, guest: Channel, data: bytes | None, error: BaseException | None) -> None:
        """Handle data without a cached response, or an error, as Twisted does. (No `data`: the
        socket raised the `error`.)
        """
        if error is None and data:
            try:
                guest.read_on(data)
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
        self._reactor._disconnectSelectable(guest.transport, why, True)


def shortened(reactor: Any) -> ReactorHook | None:
    """Install a hook on this reactor, or add a user to the installed one; return None if that is
    impossible.
    """
    turn = getattr(reactor, "doIteration", None)
    if isinstance(turn, ReactorHook):
        return turn.begin()
    if (
        EPollReactor is None
        or type(reactor) is not EPollReactor
        or not all(hasattr(reactor, name) for name in _OF_REACTORS)
    ):
        return None
    return ReactorHook(reactor).begin()

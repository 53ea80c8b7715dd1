"""The reactor's turn, with a shorter way for connections that wait for a request which the front
door may know.

Between epoll and a protocol Twisted makes some ten calls: among them a log context, which nobody
looks at here, and room for 64 KiB. That is a third of the time that an answer takes. So this module
takes the place of the `doIteration` of an `EPollReactor`: what comes for a connection that is idle
is read here and shown to the front door; all else goes Twisted's way. With another reactor, or
where a name that this needs is missing, all goes Twisted's way.
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
except ImportError:  # no Linux
    EPollReactor, EPOLLIN = None, 0  # type: ignore[assignment, misc]

if TYPE_CHECKING:
    from pypid.web.fastpath.cached_channel import CachedChannel
    from pypid.web.http.channel import Channel

_OF_REACTORS = ("_disconnectSelectable", "_doReadOrWrite", "_poller", "_selectables", "doIteration")
_NOBODY: tuple[Any, None] = (None, None)


class ReactorHook:
    """What a reactor does in place of its own `doIteration`, until all who wanted it have called
    `release`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._users = 0
        self._guests: dict[int, tuple[Callable[[int], bytes], Channel]] = {}
        """By the number of their socket: how to read from it."""

    def begin(self) -> ReactorHook:
        """One more wants it."""
        self._users += 1
        self._reactor.doIteration = self
        return self

    def release(self) -> None:
        """One less wants it."""
        self._users -= 1
        if not self._users:
            del self._reactor.doIteration

    def seat(self, guest: Channel) -> Callable[[], object] | None:
        """Have this connection go the shorter way, where it is read from as any; what is returned
        ends that.
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
        """Wait for what happens, `delay` seconds at most (None: for as long as it takes), and do
        what it asks for.
        """
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
        looked = None  # the front door that has looked around since anybody else was at work
        for number, event in events:
            receive, guest = guests.get(number, _NOBODY)
            if guest is not None and guest.idle and event == EPOLLIN:
                data = error = None
                try:
                    data = receive(LONGEST)
                    doorway: CachedChannel = guest.doorway  # type: ignore[assignment]  # who is idle has one
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
        """What there is to do beside giving answers: as Twisted does it. (No `data`: the socket
        raised the `error`.)
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
    """Shorten this reactor's turn; None where that cannot be done."""
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

"""A large answer, at the pace of its client: what the kernel does not take at once stays where it is kept, for all clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from attrs import define, field

from pypid.flow import PIECE, Blocking
from pypid.web.frontdoor.files import Passing
from pypid.web.frontdoor.sending import send_direct
from pypid.web.pour import pour

if TYPE_CHECKING:
    from pypid.web.channel import Channel


def sent_at_once(channel: Channel, head: bytes, body: bytes) -> bool:
    """Send both as far as possible without waiting; whether that was all. Else `pour_on` has to follow."""
    if not channel.direct:
        channel.transport.write(head)
        channel.out = 0
        return False
    channel.out = send_direct(channel.transport, head, body)
    return channel.out == len(body)


def pour_on(channel: Channel, body: bytes, blocking: Blocking, told: Callable[[int], None]) -> None:
    """Send the rest of the body. `told`, once: how many bytes of it went out."""
    passing = PassingBytes(channel, None, told, channel.out, body)
    channel.occupy(passing)
    passing.go_on(blocking)


@define(eq=False)
class PassingBytes(Passing):
    """The rest of an answer on its way out."""

    body: bytes = field(repr=False)

    async def _rest(self, blocking: Blocking) -> None:
        channel, begin = self.channel, self.sentLength
        assert channel is not None
        async with aclosing(_pieces(self.body, begin + PIECE)) as rest:
            await pour(cast("Any", self), self.body[begin : begin + PIECE], rest, len(self.body) - begin)
        self._told(self.sentLength)
        self.channel = None
        channel.requestDone(cast("Any", self))


async def _pieces(body: bytes, begin: int) -> AsyncGenerator[bytes]:
    for start in range(begin, len(body), PIECE):
        yield body[start : start + PIECE]

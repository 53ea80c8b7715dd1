"""Settings of Twisted's transports that it has no method for."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def read_at_once(transport: Any, most: int | None) -> None:
    """Read up to `most` bytes at a time from a socket; None: the transport's default. Other
    transports are left as they are.
    """
    if not isinstance(transport, Connection):
        return
    if most is not None:
        transport.bufferSize = most
    elif "bufferSize" in vars(transport):
        del transport.bufferSize

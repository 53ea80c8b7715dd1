"""Private names of Twisted that save time for each response: the write buffer of a plain socket,
and the dictionary of response headers.

If Twisted's version is untested or a name is missing, the public methods do the same.
"""

from __future__ import annotations

import socket as sockets
from functools import lru_cache

from twisted.internet.tcp import Connection
from twisted.web.http_headers import Headers

from pypid.flow.coroutines import name_obstacle, version_obstacle

HEADERS = ("_rawHeaders",)
CONNECTION = ("_tempDataBuffer", "_tempDataLen", "dataBuffer", "socket")
"""The names of `tcp.Connection` that `flush` needs."""

Fields = tuple[tuple[bytes, bytes], ...]


@lru_cache(maxsize=1)
def is_tested() -> bool:
    """Return whether the private names of this module may be used."""
    return version_obstacle("Twisted") is None and name_obstacle(Headers(), HEADERS) is None


def set_fields(headers: Headers, fields: Fields) -> None:
    """Set header fields, replacing earlier fields of these names."""
    if is_tested():
        raw = headers._rawHeaders
        for name, value in _encoded(fields):
            raw[name] = [value]
    else:
        for name, value in fields:
            headers.setRawHeaders(name, [value])


@lru_cache(maxsize=512)
def _encoded(fields: Fields) -> Fields:
    """Return the fields as `Headers` spells and cleans them, which takes longer than anything else
    about a cached page.
    """
    headers = Headers()
    for name, value in fields:
        headers.setRawHeaders(name, [value])
    return tuple((name, values[0]) for name, values in headers.getAllRawHeaders())


def flush(socket: Connection) -> bool:
    """Send what waits in the transport now, as the beginning of more; return whether nothing waits
    any more.

    So the head and the first of a file go in one packet, and in the turn of the reactor in which
    the request came. If the private names may not be used, the transport sends the head, a turn
    later.
    """
    if (
        not is_tested()
        or name_obstacle(socket, CONNECTION) is not None
        or socket.dataBuffer
        or socket.disconnecting
    ):
        return False
    waiting = b"".join(socket._tempDataBuffer)
    try:
        sent = socket.socket.send(waiting, getattr(sockets, "MSG_MORE", 0)) if waiting else 0
    except OSError:  # full; or the connection is lost, which the transport finds out
        return False
    # the transport's own buffer
    socket._tempDataBuffer = [waiting[sent:]] if sent < len(waiting) else []
    socket._tempDataLen = len(waiting) - sent
    if sent == len(waiting):
        socket.stopWriting()  # type: ignore[no-untyped-call]
    return sent == len(waiting)

"""HTTP/1.1 connections on top of twisted.web's `HTTPChannel`, whose private names this package uses.

`slow_clients` bounds the time of clients, `framing` refuses ambiguous requests, `channel` streams
bodies, and `start_check` proves that Twisted calls what they override.
"""

from pypid.web.http.channel.framing import ONE_HOST

__all__ = ["ONE_HOST"]

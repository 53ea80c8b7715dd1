"""Forwarding headers of trusted proxies: the client's address, scheme and host. Pure.

``X-Forwarded-For``, ``X-Forwarded-Proto`` and ``X-Forwarded-Host`` are trusted only if the peer of
the connection is: any client can send them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from attrs import frozen

HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
"""Syntax of a Host header (RFC 9110, 7.2: uri-host [":" port]; RFC 3986, 3.2.2)."""


_PLAIN = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def is_plain(host: str) -> bool:
    """Return whether URLs can be made of the host: a name or an address, and perhaps a port.

    A Host header may hold other characters, which no real host name has.
    """
    match = _PLAIN.fullmatch(host)
    return match is not None and (match["address"] is None or _is_six(match["address"]))


def plain_host(host: str, scheme: str) -> str:
    """Return the host in lower case, without the default port of the scheme (as browsers write it
    in ``Origin``).
    """
    return host.lower().removesuffix({"http": ":80", "https": ":443"}.get(scheme.lower(), " "))


def _is_six(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


@frozen
class TrustedProxies:
    """The proxies whose forwarding headers are trusted.

    `unix`: peers on a unix socket too. They have no address, so they are trusted only if this is
    configured by name.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    def trust(self, peer: str | None) -> bool:
        """Return whether a peer of this address is one of them; None is a peer on a unix socket."""
        if peer is None:
            return self.unix
        if not self.networks:
            return False
        address = read_address(peer)
        return address is not None and any(address in network for network in self.networks)


@lru_cache(maxsize=1024)
def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in one entry of ``X-Forwarded-For``, with or without a port, or None.

    An IPv4 address inside IPv6 (as dual-stack sockets report it) becomes an IPv4 address.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def client_of(
    peer: str | None, forwarded_for: Sequence[str], trusted: TrustedProxies
) -> str | None:
    """Return the client's address: the right-most one that is no trusted proxy, or the peer's if
    the peer is not trusted.

    `forwarded_for` are the values of the header as they came. Entries left of an untrusted or
    unreadable one are ignored, since any client can write them. None: a peer on a unix socket that
    forwarded no address.
    """
    nearest = peer
    if not trusted.trust(peer):
        return nearest
    for entry in reversed(",".join(forwarded_for).split(",")):
        address = read_address(entry)
        if address is None:
            break
        nearest = str(address)
        if not trusted.trust(nearest):
            break
    return nearest


def scheme_of(
    peer: str | None, secure: bool, forwarded_proto: Sequence[str], trusted: TrustedProxies
) -> str:
    """Return ``http`` or ``https``: how the client came. The last entry counts: the nearest proxy
    wrote it.
    """
    if trusted.trust(peer) and forwarded_proto:
        scheme = forwarded_proto[-1].rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            return scheme
    return "https" if secure else "http"


def host_of(
    peer: str | None, host: str, forwarded_host: Sequence[str], trusted: TrustedProxies
) -> str:
    """Return the host (and port) that the client requested; `host` is the Host header."""
    if trusted.trust(peer) and forwarded_host:
        forwarded = forwarded_host[-1].rpartition(",")[2].strip()
        if forwarded and HOST.fullmatch(forwarded):
            return forwarded
    return host

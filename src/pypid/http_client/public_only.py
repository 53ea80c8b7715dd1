"""Connections to public addresses only, for URLs that another service chose (server-side request
forgery).

The check is made where the connection is opened, on the address that was resolved: a name that
resolves to something else on the second look (DNS rebinding) gains nothing, and neither does
another spelling of an address.
"""

# Twisted's reactors are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from twisted.internet.interfaces import IReactorPluggableNameResolver
from zope.interface import implementer

from pypid.http_client.faults import Fault

_RESERVED = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this network": 0.0.0.0 connects to this machine
        "100.64.0.0/10",  # carrier-grade NAT; some clouds have their metadata service there
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64: an IPv4 address in disguise
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
    )
)
"""Refused whatever this version of `ipaddress` says of them: that differs between releases of
Python.
"""


class NotPublic(Fault):
    """The host's address is not public, so no connection was opened."""

    def __init__(self) -> None:
        super().__init__("its address is not public.", connected=False, lasting=True)


def is_public(address: str) -> bool:
    """Return whether this is the text of an address on the internet, and not of this machine or its
    network.
    """
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_multicast or not parsed.is_global:
        return False
    return not any(parsed in network for network in _RESERVED)


@implementer(IReactorPluggableNameResolver)
class PublicOnly:
    """A reactor for `HostnameEndpoint`s that connects to public addresses only."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.nameResolver = reactor.nameResolver

    def connectTCP(self, host: str, *args: Any, **more: Any) -> Any:
        """Connect to an address. Raises `NotPublic`, which the endpoint passes on."""
        if not is_public(host):
            raise NotPublic()
        return self._reactor.connectTCP(host, *args, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

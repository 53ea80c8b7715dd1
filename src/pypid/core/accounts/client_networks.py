"""Group client addresses into places: the addresses of one customer of a network count as one.
Pure.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

LONGEST = 64


@lru_cache(maxsize=4096)
def place_of(address: str) -> str:
    """Return the place of an address: an IPv4 address, the /64 of an IPv6 address, or any other
    text unchanged, truncated.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address[:LONGEST]
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"

"""Connections: how many there may be, and how a request reached pypid through proxies.

Limits on open connections: how many one client may hold, and how many the descriptors of the
process allow.

Reopening an idle connection costs its client nothing, so the oldest of those is closed for a new
one. If all are busy, a few more are accepted for requests about the health of the service, and
anything else is 503.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import islice
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from attrs import Factory, define, field, frozen
from twisted.logger import Logger

from pypid.core.accounts.sessions import place_of

RESERVED = 16
"""Descriptors in reserve for requests about the health of the service."""
SAMPLE = 64
"""Connections among which the oldest idle one is searched, so that the work for each new connection
is bounded.
"""
_OWN_SHARE, _OWN_LEAST = 8, 64
"""The part of the descriptors, and the least number, that files, databases and other servers
need.
"""


@frozen(kw_only=True)
class ConnectionSettings:
    """Limits on clients. `header_timeout` in seconds. `descriptors` is how many the process may
    open; 0 means no limit.
    """

    header_timeout: float = 20.0
    per_client: int = 1000
    descriptors: int = 0

    @property
    def total(self) -> int | None:
        """The maximum number of open connections; None for no limit."""
        if not self.descriptors:
            return None
        return max(1, self.descriptors - RESERVED - max(_OWN_LEAST, self.descriptors // _OWN_SHARE))

    @property
    def for_one_client(self) -> int:
        """The maximum number of connections of one client, which leaves a quarter of all to
        others.
        """
        return (
            self.per_client
            if self.total is None
            else max(1, min(self.per_client, self.total * 3 // 4))
        )


class LimitedConnection(Protocol):
    """The interface of a connection to the limits."""

    last_active: float
    """When the last request on it was answered, or it was opened."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or its body is coming."""

    def evict(self) -> None:
        """Close the connection now."""


@define(eq=False)
class ConnectionLimits:
    """The open connections of one site, by client."""

    settings: ConnectionSettings
    _all: dict[LimitedConnection, str | None] = field(factory=dict, init=False, repr=False)
    """Each with its client; None if the client is not limited."""
    _by_client: dict[str, dict[LimitedConnection, None]] = field(
        factory=dict, init=False, repr=False
    )
    _reserved: dict[LimitedConnection, None] = field(factory=dict, init=False, repr=False)

    def admit(self, connection: LimitedConnection, client: str | None) -> bool:
        """Accept a new connection, in the place of the oldest idle one if there are too many.

        `client` is its address; None for peers without a limit of their own. False: the limits are
        exhausted, and the connection is one of those in reserve.
        """
        client = None if client is None else place_of(client)
        if not (self._make_room_for(client) and self._make_room()):
            if len(self._reserved) >= RESERVED:
                self._evict(next(iter(self._reserved)))
            self._reserved[connection] = None
            return False
        self._all[connection] = client
        if client is not None:
            self._by_client.setdefault(client, {})[connection] = None
        return True

    def claim(self, connection: LimitedConnection, client: str) -> bool:
        """Count a connection of a trusted proxy for the client of its request, until `release`.

        False: this client has too many.
        """
        client = place_of(client)
        held = self._by_client.setdefault(client, {})
        if len(held) >= self.settings.for_one_client:
            return False
        held[connection] = None
        self._all[connection] = client
        return True

    def release(self, connection: LimitedConnection) -> None:
        """Stop counting the connection for the client of `claim`, after its request is answered."""
        if connection in self._all:
            self._leave(connection, self._all[connection])
            self._all[connection] = None

    def discard(self, connection: LimitedConnection) -> None:
        """Remove a closed connection."""
        self._reserved.pop(connection, None)
        self._leave(connection, self._all.pop(connection, None))

    def _leave(self, connection: LimitedConnection, client: str | None) -> None:
        held = self._by_client.get(client) if client is not None else None
        if held is not None and client is not None:
            held.pop(connection, None)
            if not held:
                del self._by_client[client]

    def _make_room_for(self, client: str | None) -> bool:
        held = self._by_client.get(client, {}) if client is not None else {}
        return len(held) < self.settings.for_one_client or self._evict(_oldest_idle(held))

    def _make_room(self) -> bool:
        total = self.settings.total
        return total is None or len(self._all) < total or self._evict(_oldest_idle(self._all))

    def _evict(self, connection: LimitedConnection | None) -> bool:
        """Close the connection; return False if there is none."""
        if connection is None:
            return False
        self.discard(connection)
        connection.evict()
        return True


def _oldest_idle(
    among: dict[LimitedConnection, str | None] | dict[LimitedConnection, None],
) -> LimitedConnection | None:
    """Return the connection that has been idle for longest, of the first few, which are moved to
    the end.
    """
    first = list(islice(among, SAMPLE))
    for each in first:
        among[each] = among.pop(each)  # type: ignore[assignment]  # the value that it had
    return min(
        (each for each in first if not each.busy), key=lambda each: each.last_active, default=None
    )


# How a request reached pypid: the accepted values of Host, and the headers of trusted proxies.
#
# Pure.
#
# ``X-Forwarded-For``, ``X-Forwarded-Proto`` and ``X-Forwarded-Host`` are trusted only if the peer
# of the connection is: any client can send them.
#
# Host is checked against DNS rebinding: a web page may have its own host name resolve to an
# address of the visitor's network. The browser then sends requests to pypid that look as if pypid
# had that name, and lets the page read the responses. Only the Host header distinguishes such a
# request from an ordinary one.

_log = Logger()

ANY = "*"
MOST_REMEMBERED = 1024
"""Number of values of Host whose verdict is cached."""
MOST_WARNINGS = 20
"""Maximum number of unknown hosts that a process logs."""
LONGEST_LOGGED = 100
ETC_HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")


@define(eq=False)
class HostPolicy:
    """Judges Host headers. `allowed` holds names and globs as configured; "*" accepts all."""

    allowed: tuple[str, ...] = ()
    public_url: str | None = None
    machine_names: frozenset[str] = frozenset()
    accepts: Callable[[str], bool] = field(
        default=Factory(lambda self: lru_cache(MOST_REMEMBERED)(self._judge), takes_self=True),
        init=False,
        repr=False,
    )
    """Returns whether the host is a literal address, a name of this machine, or configured."""
    _logged: set[str] = field(factory=set, init=False, repr=False)

    def is_configured(self, host: str) -> bool:
        """Return whether the configuration names this host."""
        full, name = host.lower(), host_name(host)
        configured = {host_name((self.public_url or "").partition("://")[2].partition("/")[0])}
        patterns = [pattern.lower() for pattern in self.allowed]
        matches = (fnmatchcase(each, pattern) for pattern in patterns for each in (full, name))
        return name in configured - {""} or any(matches)

    def may_name_urls(self, host: str) -> bool:
        """Return whether generated URLs may begin with this host, which the client named."""
        return not self.allowed or self.accepts(host)

    def _judge(self, host: str) -> bool:
        name = host_name(host)
        is_own = name == "localhost" or name.endswith(".localhost") or name in self.machine_names
        return not name or is_own or _is_address(name) or self.is_configured(host)

    def admits(self, host: str) -> bool:
        """Return whether a request for this host is answered. A refused host is logged once."""
        if self.accepts(host):
            return True
        if len(self._logged) < MOST_WARNINGS and host not in self._logged:
            self._logged.add(host)
            _log.warn(
                "refused a request for an unknown Host (421); if clients use this name, add it to "
                "[server] allowed_hosts, host={host!r}",
                host=host[:LONGEST_LOGGED],
            )
        return False


def host_name(host: str) -> str:
    """Return the host without port and final dot, in lower case; an IPv6 address without
    brackets.
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].removesuffix(".").lower()


def hsts_of(public_url: str | None, lasts: timedelta) -> tuple[str, bytes] | None:
    """Return the host to be reached only by https, and the value of Strict-Transport-Security; None
    for none.

    The header holds for all ports of a host, so it is not sent for a `public_url` with a port of
    its own, since other ports may serve plain http. Subdomains are never included.
    """
    url = urlsplit(public_url or "")
    if url.scheme != "https" or url.port not in (None, 443) or not lasts:
        return None
    return host_name(url.netloc), b"max-age=%d" % lasts.total_seconds()


def machine_names(file: Path = ETC_HOSTS, resolver: Path = RESOLV_CONF) -> frozenset[str]:
    """Return the names of this machine: its host name, also in `.local` and in the domains that
    the resolver searches, and its names in the hosts file.

    DNS is not queried (`socket.getfqdn`), since the start would wait for it. Blocks for as long as
    reading two files takes.
    """
    own = socket.gethostname().lower()
    short = own.partition(".")[0]
    domains = ["local"]
    with suppress(OSError, ValueError):
        for line in resolver.read_text(errors="replace").splitlines():
            keyword, *values = line.lower().split() or [""]
            domains += values if keyword in ("domain", "search") else ()
    names = (
        {own, short, *(f"{short}.{domain.strip('.')}" for domain in domains)} if short else set()
    )
    with suppress(OSError, ValueError):
        for line in file.read_text(errors="replace").splitlines():
            address, *others = line.partition("#")[0].lower().split() or [""]
            if _is_loopback(address) or not names.isdisjoint(others):
                names.update(others)
    return frozenset(names)


def _is_address(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


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

"""Limits on open connections: how many one client may hold, and how many the descriptors of the
process allow.

Reopening an idle connection costs its client nothing, so the oldest of those is closed for a new
one. If all are busy, a few more are accepted for requests about the health of the service, and
anything else is 503.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from attrs import define, field, frozen

from pypid.core.accounts.client_networks import place_of

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
    """Limits on clients. `header_timeout` in seconds, `min_body_rate` in bytes a second (0: none).

    `descriptors` is how many the process may open; 0 means no limit.
    """

    header_timeout: float = 20.0
    min_body_rate: int = 500
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
    _move_to_end(among, first)
    return min(
        (each for each in first if not each.busy), key=lambda each: each.last_active, default=None
    )


def _move_to_end(
    among: dict[LimitedConnection, str | None] | dict[LimitedConnection, None],
    some: Iterable[LimitedConnection],
) -> None:
    for each in some:
        among[each] = among.pop(each)  # type: ignore[assignment]  # the value that it had

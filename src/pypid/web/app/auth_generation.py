"""Invalidation of cached identities: a cache of access decisions checks here before it answers
again.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

LEASE = 290.0
"""Seconds for which a verified identity is trusted; a verified password is cached for 300."""
FAR = 5.0
"""Seconds for which an identity from a source that reports no changes is trusted: a directory, a
service, a database server.
"""


@define(eq=False)
class AuthGeneration:
    """Generation of cached identities, increased when users may change: by a password, a token, a
    session, a group.
    """

    must_wait: Callable[[str], bool] = lambda address: False
    """Return whether an address has to wait after wrong passwords: then nothing from there is
    answered from a cache, which would tell a right password from a wrong one.
    """
    changes: int = 0
    lease: float = LEASE
    until: float = float("inf")
    """When cached identities expire, on the reactor's clock: the database with newer data has been
    silent too long.
    """

    def bump(self) -> None:
        """Invalidate all identities cached until now."""
        self.changes += 1

    def renew(self, until: float, *, lease: float | None = None) -> None:
        """Set when cached identities expire, and for how long they are trusted if that changes."""
        self.until = until
        if lease is not None:
            self.lease = lease

"""When what is known of people may have changed: who keeps a yes for later looks here before it is
said again.
"""

from __future__ import annotations

from attrs import define

LEASE = 290.0
"""Seconds for which somebody who has proved who they are is believed; a password that was right is
known as right for 300.
"""
FAR = 5.0
"""The same where people are known elsewhere, which nobody tells us of: a directory, a service, a
database server.
"""


@define(eq=False)
class AuthGeneration:
    """Turned whenever somebody may be somebody else from now on, or nobody: by a password, a token,
    a session, a group.
    """

    changes: int = 0
    lease: float = LEASE
    until: float = float("inf")
    """When nobody is believed any more, on the reactor's clock: the database that may know better
    has been silent too long.
    """

    def turn(self) -> None:
        """From now on nobody is believed because they were before."""
        self.changes += 1

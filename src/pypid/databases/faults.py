"""How a database says no."""

from __future__ import annotations

from attrs import define


@define
class DatabaseAway(Exception):
    """It cannot be asked now. What was to be changed may be changed or not.

    `reason` is for the log: without a secret, perhaps with a path.
    """

    reason: str

    def __str__(self) -> str:
        return self.reason


@define
class DatabaseFull(DatabaseAway):
    """There is no room for it, and nothing has changed."""


@define
class DatabaseUnusable(Exception):
    """It can be asked, and will not do until somebody has done something about it. `reason` says
    what; for the log.
    """

    reason: str

    def __str__(self) -> str:
        return self.reason

"""Errors of databases."""

from __future__ import annotations

from attrs import define


@define
class DatabaseAway(Exception):
    """The database is unavailable now. A change that was in progress may be stored or not.

    `reason` is for the log: without a secret, perhaps with a path.
    """

    reason: str

    def __str__(self) -> str:
        return self.reason


@define
class DatabaseFull(DatabaseAway):
    """The disk of the database is full, and nothing has changed."""


@define
class DatabaseUnusable(Exception):
    """The database is reachable, but unusable until an administrator repairs something; `reason`
    is for the log.
    """

    reason: str

    def __str__(self) -> str:
        return self.reason

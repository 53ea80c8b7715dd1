"""Putting what was read from the storage into the catalog, unless somebody has changed the entry
since the reading began.

Another node may have written a record and listed its file in between: what was read before that
would take it away again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define

T = TypeVar("T")

READINGS = 5
"""How often a project is read because other nodes go on changing it meanwhile."""


@define
class ConcurrentChange(Exception):
    """What was read is older than what the catalog has by now."""


@define
class CompareAndSet(Generic[T]):
    """An edit: makes `found` of the entry if `is_as_before` says that it is the one from before;
    else it raises `ConcurrentChange`.
    """

    is_as_before: Callable[[T], bool]
    found: Callable[[T], T]
    old: T | None = None
    """What it was."""

    def __call__(self, held: T) -> T:
        if not self.is_as_before(held):
            raise ConcurrentChange
        self.old = held
        return self.found(held)


def as_it_is(held: T) -> T:
    """An edit that changes nothing: then the catalog has looked what others changed."""
    return held

"""Compare-and-set edits: put what was read from the storage into the catalog, unless another
process has changed the entry since the read began.

Another node may have written a record and listed its file in between: a stale read would remove it
again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define

T = TypeVar("T")

READINGS = 5
"""How often a project is read if other nodes keep changing it meanwhile."""


@define
class ConcurrentChange(Exception):
    """What was read is older than the catalog's entry."""


@define
class CompareAndSet(Generic[T]):
    """An edit that sets the entry to `found` if `is_as_before` confirms that it is unchanged; else
    raises `ConcurrentChange`.
    """

    is_as_before: Callable[[T], bool]
    found: Callable[[T], T]
    old: T | None = None
    """The entry before the edit."""

    def __call__(self, held: T) -> T:
        if not self.is_as_before(held):
            raise ConcurrentChange
        self.old = held
        return self.found(held)


def as_it_is(held: T) -> T:
    """Return the entry unchanged: an edit that makes the catalog load what other nodes changed."""
    return held

"""A cache of answers with a lifetime and a maximum size."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from pypid.core.lru import Recent

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@frozen
class Kept(Generic[T]):
    """A cached answer, which may be None."""

    said: T
    until: float


@define(eq=False)
class Memory(Generic[K, T]):
    """A cache that holds answers for `lifetime` seconds (0: not at all), the `most` that were used
    last.
    """

    clock: IReactorTime
    lifetime: float
    most: int
    _kept: Recent[K, Kept[T]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._kept = Recent(self.most, self.most)

    def get(self, key: K) -> Kept[T] | None:
        """Return the cached answer, or None if there is none or it has expired."""
        kept = self._kept.get(key)
        if kept is not None and kept.until <= self.clock.seconds():
            self._kept.forget(key)
            return None
        return kept

    def keep(self, key: K, said: T) -> None:
        """Cache an answer, from now on."""
        if self.lifetime > 0:
            self._kept.put(key, Kept(said, self.clock.seconds() + self.lifetime))

    def __len__(self) -> int:
        return len(self._kept)

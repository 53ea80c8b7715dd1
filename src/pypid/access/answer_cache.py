"""Answers that are good for a while, as many as there is room for."""

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
    """What is remembered; what it says may be None."""

    said: T
    until: float


@define(eq=False)
class Memory(Generic[K, T]):
    """Remembers for `lifetime` seconds (0: nothing), the `most` that were used last."""

    clock: IReactorTime
    lifetime: float
    most: int
    _kept: Recent[K, Kept[T]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._kept = Recent(self.most, self.most)

    def get(self, key: K) -> Kept[T] | None:
        """What was remembered, if it is still good."""
        kept = self._kept.get(key)
        if kept is not None and kept.until <= self.clock.seconds():
            self._kept.forget(key)
            return None
        return kept

    def keep(self, key: K, said: T) -> None:
        """Remember it, from now on."""
        if self.lifetime > 0:
            self._kept.put(key, Kept(said, self.clock.seconds() + self.lifetime))

    def __len__(self) -> int:
        return len(self._kept)

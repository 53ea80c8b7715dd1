"""Answers that are good for a while, as many as there is room for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

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
    _kept: OrderedDict[K, Kept[T]] = field(factory=OrderedDict, init=False, repr=False)

    def get(self, key: K) -> Kept[T] | None:
        """What was remembered, if it is still good."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= self.clock.seconds():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept

    def keep(self, key: K, said: T) -> None:
        """Remember it, from now on."""
        if self.lifetime <= 0:
            return
        self._kept[key] = Kept(said, self.clock.seconds() + self.lifetime)
        self._kept.move_to_end(key)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)

"""A cache of the most recently used values, bounded by number and by total weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define, field

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@define(eq=False)
class Recent(Generic[K, V]):
    """A cache of at most `most` values with a total weight of at most `heaviest`; the newest value
    always stays.
    """

    most: int
    heaviest: int
    _held: OrderedDict[K, tuple[V, int]] = field(factory=OrderedDict, init=False, repr=False)
    weight: int = field(default=0, init=False)
    """The total weight of all values."""

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """Return the value under this key and mark it as used; None if there is none (any more)."""
        held = self._held.get(key)
        if held is None:
            return None
        self._held.move_to_end(key)
        return held[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Store the value in place of an older one, evicting others if necessary."""
        self.forget(key)
        self._held[key] = (value, weight)
        self.weight += weight
        while len(self._held) > 1 and (len(self._held) > self.most or self.weight > self.heaviest):
            self.forget(next(iter(self._held)))

    def forget(self, key: K) -> None:
        """Remove the value under this key, if any."""
        held = self._held.pop(key, None)
        if held is not None:
            self.weight -= held[1]

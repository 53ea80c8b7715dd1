"""Caches that are bounded: by their own weight, or by a budget that several share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from attrs import define, field

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@define(eq=False)
class Recent(Generic[K, V]):
    """A cache of at most `most` values that weigh at most `heaviest`; the newest always stays."""

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


# A limit of bytes that several caches share. The least recently used value of all of them is
# evicted first.

MEMORY = 128 << 20
"""Bytes of a budget that nothing else is said of: the default of `[upstream] memory`."""
OVERHEAD = 300
"""Bytes that are counted for each value in addition to its own: for keys, tables and objects."""


@define(eq=False)
class MemoryBudget:
    """At most `most` bytes for the values of all shares together. For the reactor thread only."""

    most: int = MEMORY
    used: int = field(default=0, init=False)
    """Bytes that are counted now, with the permanent ones."""
    permanent: int = field(default=0, init=False)
    """Bytes that cannot be evicted."""
    _weights: OrderedDict[tuple[Share[Any], Hashable], int] = field(
        factory=OrderedDict, init=False, repr=False
    )

    def share(self, evict: Callable[[K], None]) -> Share[K]:
        """Return the share of one cache. `evict` removes the value of a key, which is no longer
        counted when it is called.
        """
        return Share(self, evict)

    def add(self, share: Share[Any], key: Hashable, weight: int) -> None:
        """Count the value of a share as the one used last."""
        self._weights[share, key] = weight
        self.used += weight

    def remove(self, share: Share[Any], key: Hashable) -> int:
        """Stop counting the value of a share; return its weight, 0 if it was not counted."""
        weight = self._weights.pop((share, key), 0)
        self.used -= weight
        return weight

    def remove_all(self, share: Share[Any]) -> None:
        """Stop counting the values of a share."""
        for other, key in [entry for entry in self._weights if entry[0] is share]:
            self.remove(other, key)

    def touch(self, share: Share[Any], key: Hashable) -> None:
        """Note the use of the value of a share, if it is counted."""
        if (share, key) in self._weights:
            self._weights.move_to_end((share, key))

    def count_permanent(self, more: int) -> None:
        """Count so many bytes more (or fewer) that cannot be evicted."""
        self.used += more
        self.permanent += more

    def evict_excess(self) -> None:
        """Evict values until no more than `most` bytes are used; the last one always stays.

        Values have a quarter of `most` in any case, however many bytes are permanent.
        """
        most = max(self.most, self.permanent + self.most // 4)
        while self.used > most and len(self._weights) > 1:
            share, key = next(iter(self._weights))
            share.evict(key)


@define(eq=False)
class Share(Generic[K]):
    """What one cache holds of a `MemoryBudget`. The cache itself holds the values."""

    _budget: MemoryBudget
    _evict: Callable[[K], None]
    used: int = field(default=0, init=False)
    """Bytes that are counted now."""
    count: int = field(default=0, init=False)
    """The number of values that are counted now."""
    _permanent: int = field(default=0, init=False)

    def put(self, key: K, weight: int) -> None:
        """Count the value of `key` with so many bytes, in place of an older one, as the one used
        last. Evicts others if necessary, of any share.
        """
        self.drop(key)
        self.used += weight + OVERHEAD
        self.count += 1
        self._budget.add(self, key, weight + OVERHEAD)
        self._budget.evict_excess()

    def touch(self, key: K) -> None:
        """Note that the value of `key` was used, if it is counted."""
        self._budget.touch(self, key)

    def count_permanent(self, more: int) -> None:
        """Count so many bytes more (or fewer) that cannot be evicted."""
        self.used += more
        self._permanent += more
        self._budget.count_permanent(more)
        self._budget.evict_excess()

    def drop(self, key: K) -> None:
        """Stop counting the value of `key`, if it is counted: the cache has removed it."""
        weight = self._budget.remove(self, key)
        if weight:
            self.used -= weight
            self.count -= 1

    def leave(self) -> None:
        """Stop counting in the shared budget, since the cache is given up. What its last users
        still put into it is bounded by a budget of its own.
        """
        self._budget.remove_all(self)
        self._budget.count_permanent(-self._permanent)
        self._budget = MemoryBudget(self._budget.most)
        self.used = self.count = self._permanent = 0

    def evict(self, key: K) -> None:
        """Remove the value of `key` from the cache."""
        self.drop(key)
        self._evict(key)


class BudgetedCache(Generic[K, V]):
    """A cache of values within a `MemoryBudget`: the least recently used are dropped first, the
    newest value always stays.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._values: dict[K, V] = {}
        self._share: Share[K] = budget.share(self._values.__delitem__)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    @property
    def weight(self) -> int:
        """The bytes of all values."""
        return self._share.used

    def get(self, key: K) -> V | None:
        """Return the value under this key and mark it as used; None if there is none (any more)."""
        value = self._values.get(key)
        if value is not None:
            self._share.touch(key)
        return value

    def put(self, key: K, value: V, weight: int) -> None:
        """Store the value, of so many bytes, in place of an older one; others may be dropped."""
        self._values[key] = value
        self._share.put(key, weight)

    def forget(self, key: K) -> None:
        """Remove the value under this key, if any."""
        self._values.pop(key, None)
        self._share.drop(key)

    def leave(self) -> None:
        """Remove all values, and leave the shared budget, since the cache is given up."""
        self._values.clear()
        self._share.leave()

"""Bytes that several caches share: `pypid.core.caches`."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.caches import OVERHEAD, MemoryBudget, Share

MOST = 10 * OVERHEAD

steps = st.lists(
    st.tuples(
        st.sampled_from((0, 1)),
        st.sampled_from("abcd"),
        st.sampled_from(("put", "touch", "drop")),
        st.sampled_from((0, 1, OVERHEAD, 4 * OVERHEAD, 12 * OVERHEAD)),
    ),
    max_size=60,
)


def removing(cache: dict[str, int]) -> Callable[[str], None]:
    """Return a function that removes a key, which must be there, from the cache."""
    return cache.__delitem__


class MemoryBudgetTests(SynchronousTestCase):
    """`MemoryBudget` and its shares."""

    @settings(max_examples=200, deadline=None, database=None)
    @given(steps)
    def test_bounds(self, steps: list[tuple[int, str, str, int]]) -> None:
        """All shares together stay below the limit, except for a single value; the values that go
        are the least recently used ones of all shares.
        """
        budget = MemoryBudget(MOST)
        caches: list[dict[str, int]] = [{}, {}]
        shares: list[Share[str]] = [budget.share(removing(cache)) for cache in caches]
        used: list[tuple[int, str]] = []
        for number, key, action, weight in steps:
            entry = number, key
            if action == "put":
                caches[number][key] = weight
                shares[number].put(key, weight)
            elif key in caches[number] and action == "touch":
                shares[number].touch(key)
            elif action == "drop":
                caches[number].pop(key, None)
                shares[number].drop(key)
            if key in caches[number] or action == "drop":
                used = [other for other in used if other != entry]
                used += [entry] if action != "drop" else []
            held = [other for other in used if other[1] in caches[other[0]]]
            self.assertEqual(held, used[len(used) - len(held) :])
            used = held
            weights = [sum(weight + OVERHEAD for weight in cache.values()) for cache in caches]
            total = sum(weights)
            self.assertTrue(total <= MOST or len(held) == 1, held)
            self.assertEqual((budget.used, [share.used for share in shares]), (total, weights))
            self.assertEqual([share.count for share in shares], list(map(len, caches)))

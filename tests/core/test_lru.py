"""What was used last."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.lru import Recent

steps = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 9), st.booleans()), max_size=40
)


class RecentTests(SynchronousTestCase):
    """`Recent`."""

    @settings(max_examples=50, deadline=None, database=None)
    @given(steps)
    def test_bounds(self, steps: list[tuple[str, int | None, bool]]) -> None:
        """It never holds more than it may, except a single value; what it holds is the last that
        came; the weight is right.
        """
        recent: Recent[str, int] = Recent(3, 12)
        came: dict[str, int] = {}
        for key, weight, forget in steps:
            if weight is not None:
                recent.put(key, weight, weight)
                came[key] = weight
                self.assertEqual(recent.get(key), weight)
            elif forget:
                recent.forget(key)
                self.assertIsNone(recent.get(key))
            else:
                self.assertIn(recent.get(key), (None, came.get(key)))
            held = {
                other: value for other in "abcdef" if (value := recent._held.get(other)) is not None
            }
            self.assertEqual(recent.weight, sum(value for value, _ in held.values()))
            self.assertTrue(len(held) <= 1 or (len(held) <= 3 and recent.weight <= 12))

    def test_used_last(self) -> None:
        """What was asked for stays, in place of what came before it."""
        recent: Recent[str, int] = Recent(2, 100)
        recent.put("a", 1)
        recent.put("b", 2)
        recent.get("a")
        recent.put("c", 3)
        self.assertEqual(
            (recent.get("a"), recent.get("b"), recent.get("c"), len(recent)), (1, None, 3, 2)
        )

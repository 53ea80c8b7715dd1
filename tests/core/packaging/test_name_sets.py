"""Very many names."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging import name_sets
from pypid.core.packaging.name_sets import ManyNames, in_order, lines
from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.parse import at_once

names = st.sets(st.text("ab0-", min_size=1, max_size=3).map(ProjectName))


class ManyNamesTests(SynchronousTestCase):
    """`ManyNames`."""

    def setUp(self) -> None:
        self.patch(name_sets, "RUN", 3)

    @settings(max_examples=30, deadline=None, database=None)
    @given(st.lists(names, max_size=4), st.slices(12), st.text("ab0-\n", max_size=4))
    def test_is_a_tuple(self, parts: list[set[ProjectName]], part: slice, other: str) -> None:
        """It is all names of all parts in order, each once, and does what a tuple of them does."""
        all_of_them = tuple(sorted(set().union(*parts)))
        found = at_once(in_order([lines(sorted(part)) for part in parts]))
        self.assertEqual(tuple(found), all_of_them)
        self.assertEqual(found, all_of_them)
        self.assertEqual(len(found), len(all_of_them))
        self.assertEqual(found[part], all_of_them[part])
        self.assertEqual(
            [found[place] for place in range(-len(found), len(found))], [*all_of_them, *all_of_them]
        )
        self.assertEqual([name in found for name in all_of_them], [True] * len(all_of_them))
        self.assertEqual(other in found, other in all_of_them)
        self.assertNotEqual(found, (*all_of_them, "z"))

    def test_bounds(self) -> None:
        """Outside there is nothing."""
        for place in (0, -1):
            with self.assertRaises(IndexError):
                ManyNames()[place]
        self.assertNotIn(1, ManyNames())

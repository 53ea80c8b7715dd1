"""What goes when too much is kept: `pypid.index.upstream.eviction`."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.index.upstream.cache_store import InventoryEntry
from pypid.index.upstream.eviction import files_to_evict

SPAM = project_name("spam")


FILES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12).map(
    lambda files: [
        InventoryEntry(SPAM, f"spam-{number}.tar.gz", size, wanted)
        for number, (size, wanted) in enumerate(files)
    ]
)


def sum_of(files: Sequence[InventoryEntry]) -> int:
    return sum(file.size for file in files)


class RuleTests(SynchronousTestCase):
    """The rule by itself."""

    @given(FILES, st.integers(0, 60))
    @settings(max_examples=60, deadline=None, database=None)
    def test_enough_and_no_more(self, files: list[InventoryEntry], limit: int) -> None:
        """What stays fits, nothing goes that need not, and nothing that goes was wanted later than
        anything that stays; but files that alone are too large go, and nothing for them.
        """
        going = files_to_evict(files, limit)
        self.assertEqual(
            [file for file in files if file.size > limit],
            [file for file in going if file.size > limit],
        )
        staying = [file for file in files if file not in going]
        self.assertLessEqual(sum_of(staying), limit)
        old = [file for file in going if file.size <= limit]
        if old:
            self.assertGreater(sum_of(staying) + old[-1].size, limit)
            self.assertLessEqual(
                max(file.wanted for file in old), min((file.wanted for file in staying), default=99)
            )

    @given(FILES, st.integers(0, 60), st.integers(0, 60))
    @settings(max_examples=60, deadline=None, database=None)
    def test_target(self, files: list[InventoryEntry], limit: int, less: int) -> None:
        """With a target nothing goes that would not go for it, and nothing at all where the limit
        is kept.
        """
        target = max(0, limit - less)
        going = files_to_evict(files, limit, target)
        fitting = [file for file in files if file.size <= limit]
        if sum_of(fitting) <= limit:
            self.assertEqual(going, [file for file in files if file.size > limit])
        else:
            self.assertLessEqual(sum_of([file for file in files if file not in going]), target)
            self.assertGreater(
                sum_of(fitting) - sum_of(going[len(files) - len(fitting) : -1]), target
            )

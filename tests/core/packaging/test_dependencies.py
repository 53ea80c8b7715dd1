"""What a release needs, in groups."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.core_metadata import LONGEST, MOST, MOST_EXTRAS, needs_of

EGGS = "eggs"


class GroupTests(SynchronousTestCase):
    """All of them."""

    def test_many(self) -> None:
        """So many are shown, and the rest is counted."""
        needs = needs_of(
            [f"eggs{number}" for number in range(MOST + 7)],
            [f"extra{number}" for number in range(1000)],
        )
        self.assertEqual((len(needs.needed), needs.more, needs.count), (MOST, 7, MOST + 7))
        self.assertEqual(len(needs.extras), MOST_EXTRAS)

    def test_long(self) -> None:
        """Of an address, a marker and what nobody understands the beginning is shown, and its extra
        is still known.
        """
        long = " or ".join(["os_name == 'nt'"] * 100)
        needs = needs_of(
            (
                f"eggs @ https://example.org/{'x' * 900}",
                "?" * 900,
                f"ham; {long}",
                f"tea; ({long}) and extra == 'x'",
            ),
            (),
        )
        [(extra, [tea])] = needs.extras
        shown = [needs.needed[0].version, needs.needed[1].name, needs.needed[2].marker, tea.marker]
        self.assertEqual(
            (extra, [(len(text), text[-1]) for text in shown]), ("x", [(LONGEST, "…")] * 4)
        )

    def test_amplified(self) -> None:
        """Where each of 300 is needed by each of 100 extras, not 30,000 are shown: at 2,000
        characters each that is no page.
        """
        each = " or ".join(f"extra == 'x{number}'" for number in range(MOST_EXTRAS))
        needs = needs_of([f"eggs{number}; {each}" for number in range(MOST)], ())
        shown = sum(len(group) for _, group in needs.extras)
        self.assertLessEqual(shown, MOST)
        self.assertEqual(needs.count, MOST * MOST_EXTRAS)

    @given(
        st.lists(
            st.text(max_size=50) | st.text(alphabet="ab ;=<>'\"()[]@,.extra", max_size=40),
            max_size=5,
        ),
        st.lists(st.text(max_size=9)),
    )
    @settings(max_examples=200, deadline=None, database=None)
    def test_anything(self, requirements: list[str], provided: list[str]) -> None:
        """Whatever is said to be needed can be shown."""
        needs = needs_of(requirements, provided)
        self.assertGreaterEqual(needs.count, len(requirements))

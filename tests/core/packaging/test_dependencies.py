"""What a release needs, in groups."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.dependencies import LONGEST, MOST, MOST_EXTRAS, Need, need_of, needs_of

EGGS = "eggs"


class NeedTests(SynchronousTestCase):
    """One requirement."""

    def test_parts(self) -> None:
        """It is taken apart: the project, its extras, the version, and when it is needed."""
        need = need_of("Eggs.Fried[hot,crisp] (>=1.0,<2) ; python_version < '3.9'")
        self.assertEqual(
            (need.name, need.project, need.extras), ("Eggs.Fried", "eggs-fried", ("crisp", "hot"))
        )
        self.assertEqual((need.version, need.marker), ("<2,>=1.0", 'python_version < "3.9"'))

    def test_address(self) -> None:
        """A requirement with an address says so."""
        self.assertEqual(
            need_of("eggs @ https://example.org/eggs.whl").version, "@ https://example.org/eggs.whl"
        )

    def test_odd(self) -> None:
        """What cannot be understood is shown as it stands, and leads nowhere."""
        for text in ("not a requirement!", "../eggs", "", "eggs =>= 1", "<script>"):
            self.assertEqual(need_of(text), Need(text))


class GroupTests(SynchronousTestCase):
    """All of them."""

    def test_extras(self) -> None:
        """What an extra needs stands under it, without its name in the condition; what several need
        stands under each.
        """
        needs = needs_of(
            (
                "eggs",
                "bacon; extra == 'Break_Fast'",
                "tea; python_version < '3.12' and extra == \"tea\"",
                "sugar; extra == 'tea' or extra == 'coffee'",
                "milk; (extra == 'tea') and sys_platform == 'linux'",
            ),
            ("break-fast", "tea", "nothing"),
        )
        self.assertEqual([need.name for need in needs.needed], ["eggs"])
        groups = dict(needs.extras)
        self.assertEqual(list(groups), ["break-fast", "tea", "nothing", "coffee"])
        self.assertEqual(
            [(need.name, need.marker) for need in groups["break-fast"]], [("bacon", "")]
        )
        self.assertEqual([need.name for need in groups["tea"]], ["tea", "sugar", "milk"])
        self.assertEqual(groups["tea"][0].marker, 'python_version < "3.12"')
        self.assertEqual(groups["tea"][1].marker, 'extra == "tea" or extra == "coffee"')
        self.assertEqual(groups["nothing"], ())
        self.assertEqual(needs.count, 6)

    def test_either(self) -> None:
        """Where the extra is one of two ways, the whole condition stands there: a part of it would
        say another thing.
        """
        needs = needs_of(
            ("eggs; sys_platform == 'win32' or os_name == 'nt' and extra == 'x'",), ("x",)
        )
        [need] = dict(needs.extras)["x"]
        self.assertIn("extra", need.marker)

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

"""A plot of numbers by day: well-formed, without a style, and it says what it shows."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.presentation.plot import (
    FLOOR,
    HEIGHT,
    MOST_DAYS,
    MOST_WEEKS,
    TOP,
    WIDTH,
    bars,
    gathered,
)

SVG = "{http://www.w3.org/2000/svg}"
FIRST = date(2026, 1, 1)
DATES = st.dates(date(2025, 1, 1), date(2028, 1, 1))
COUNTED = st.lists(st.tuples(DATES, st.integers(-5, 10**12)), max_size=60)


def days(number: int) -> timedelta:
    """So many."""
    return timedelta(days=number)


class GatheredTests(SynchronousTestCase):
    """`gathered`."""

    def test_days(self) -> None:
        """Each day has its bar, those without any, too; what is said of a day twice is added up."""
        found = gathered(
            [(FIRST, 1), (FIRST + days(2), 2), (FIRST, 3), (FIRST - days(1), 9)],
            FIRST,
            FIRST + days(2),
        )
        self.assertEqual(
            [(bar.first, bar.last, bar.count) for bar in found[:1]], [(FIRST, FIRST, 4)]
        )
        self.assertEqual([bar.count for bar in found], [4, 0, 2])
        self.assertEqual(gathered([], FIRST, FIRST - days(1)), ())

    @given(COUNTED, DATES, st.integers(0, 1000))
    @settings(max_examples=100, deadline=None, database=None)
    def test_nothing_lost(self, counted: list[tuple[date, int]], since: date, length: int) -> None:
        """Every day is in one bar, in order; weeks end with the last day, and of a very long time
        the last ones are shown.
        """
        until = since + days(length)
        found = gathered(counted, since, until)
        self.assertLessEqual(len(found), max(MOST_DAYS, MOST_WEEKS))
        self.assertEqual(found[-1].last, until)
        begin = found[0].first
        if length < 7 * MOST_WEEKS:
            self.assertEqual(begin, since)
        for before, after in pairwise(found):
            self.assertEqual(before.last + days(1), after.first)
        self.assertEqual(
            sum(bar.count for bar in found),
            sum(max(n, 0) for day, n in counted if begin <= day <= until),
        )


class BarsTests(SynchronousTestCase):
    """`bars`."""

    @given(COUNTED, DATES, st.integers(-2, 1000), st.text(max_size=30))
    @settings(max_examples=150, deadline=None, database=None)
    def test_well_formed(
        self, counted: list[tuple[date, int]], since: date, length: int, title: str
    ) -> None:
        """It is XML whatever comes in, holds nothing but its few elements and attributes, and stays
        within its frame.
        """
        svg = ElementTree.fromstring(bars(counted, since, since + days(length), title=title))
        self.assertEqual(svg.tag, f"{SVG}svg")
        for element in svg.iter():
            self.assertIn(
                element.tag.removeprefix(SVG), ("svg", "title", "desc", "rect", "path", "text")
            )
            known = {
                "class",
                "viewBox",
                "role",
                "aria-labelledby",
                "id",
                "x",
                "y",
                "width",
                "height",
                "d",
            }
            self.assertLessEqual(set(element.attrib), known)
        for bar in svg.iter(f"{SVG}rect"):
            x, y, width, height = (
                float(bar.attrib[name]) for name in ("x", "y", "width", "height")
            )
            self.assertTrue(x >= 0 and x + width <= WIDTH + 0.01, bar.attrib)
            self.assertTrue(
                y >= TOP - 0.01 and abs(y + height - FLOOR) < 0.02 and FLOOR < HEIGHT, bar.attrib
            )
        names = [element.attrib["id"] for element in svg.iter() if "id" in element.attrib]
        self.assertEqual(svg.attrib["aria-labelledby"].split(), names)

    def test_said(self) -> None:
        """Who cannot see it hears how many there were, and when most; each bar says
        its own number.
        """
        counted = [(FIRST, 3), (FIRST + days(5), 1200)]
        plot = bars(counted, FIRST, FIRST + days(9), title="Downloads of <spam>", name="downloads")
        self.assertIn('<title id="downloads-title">Downloads of &lt;spam&gt;</title>', plot)
        self.assertIn(
            "1203 from 2026-01-01 to 2026-01-10, at most 1200 in a day (2026-01-06).", plot
        )
        self.assertIn("<title>2026-01-06: 1200</title>", plot)
        self.assertEqual(plot.count("<rect"), 2)
        year = bars(counted, FIRST, FIRST + days(363), title="x")
        self.assertIn("at most 1203 in a week (2026-01-01 to 2026-01-07)", year)
        self.assertIn("None.", bars([], FIRST, FIRST + days(9), title="x"))

    def test_small(self) -> None:
        """A quarter of a year with downloads on each day takes some kilobytes."""
        plot = bars(
            [(FIRST + days(number), number * 1000) for number in range(90)],
            FIRST,
            FIRST + days(89),
            title="x",
        )
        self.assertLess(len(plot), 12_000)

    def test_no_style(self) -> None:
        """Our own policy lets no style in."""
        self.assertNotIn("style", bars([(FIRST, 1)], FIRST, FIRST, title="x"))

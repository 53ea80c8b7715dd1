"""Moments in addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadMoment
from pypid.core.records.as_of_time import SETTLED, AsOfTime, moment_of, parse_moment, settled

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)).map(
    lambda found: found.replace(microsecond=0, tzinfo=UTC)
)
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


class ParseTests(SynchronousTestCase):
    """`parse_moment`."""

    def test_a_date(self) -> None:
        """A date means the whole day in UTC: all that happened before the next one begins."""
        self.assertEqual(
            parse_moment("2026-08-01"), AsOfTime("2026-08-01", datetime(2026, 8, 2, tzinfo=UTC))
        )
        self.assertEqual(parse_moment("2024-02-29").before, datetime(2024, 3, 1, tzinfo=UTC))

    def test_a_time(self) -> None:
        """A time is in UTC unless it says otherwise; however it is spelt, it has one canonical
        spelling.
        """
        for text in (
            *(
                "2026-08-01T12:00",
                "2026-08-01T12:00:00",
                "2026-08-01T12:00Z",
                "2026-08-01t12:00:00z",
                "2026-08-01T12:00:00Z",
            ),
            *("2026-08-01T14:00+02:00", "2026-08-01T14:00:00+02:00", "2026-08-01T06:30:00-05:30"),
        ):
            self.assertEqual(parse_moment(text), AsOfTime("2026-08-01T12:00:00Z", NOON), text)

    def test_refused(self) -> None:
        """What is no moment, or none that a calendar has, is refused with a text that says how to
        write one.
        """
        for text in (
            *(
                "",
                "now",
                "today",
                "2026",
                "2026-08",
                "2026-8-1",
                "20260801",
                "2026-02-30",
                "2026-13-01",
                "2026-08-01T",
                "latest",
            ),
            *(
                "2026-08-01T24:00",
                "2026-08-01T12",
                "2026-08-01T12:60",
                "2026-08-01T12:00:60Z",
                "2026-08-01 12:00",
                "0000-01-01",
            ),
            *(
                "2026-08-01T12:00+24:00",
                "2026-08-01T12:00+0200",
                "2026-08-01T12:00:00.5Z",
                "9999-12-31",
                "0001-01-01T00:00+01:00",
            ),
            *(
                "2026-08-01\n",
                "\u0662\u0660\u0662\u0666-08-01",
                "../2026-08-01",
                "2026-08-01T12:00ZZ",
                "x" * 10_000,
            ),
        ):
            error = self.assertRaises(BadMoment, parse_moment, text)
            self.assertIn("2026-08-01T12:30:00Z", str(error))
            self.assertLess(len(str(error)), 400)

    @given(st.text(max_size=30) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:+Z-]{0,16})?"))
    @settings(max_examples=300, deadline=None, database=None)
    def test_any_text(self, text: str) -> None:
        """Of any text comes a moment whose canonical spelling means the same, and is its own; or
        `BadMoment`.
        """
        try:
            found = parse_moment(text)
        except BadMoment:
            return
        self.assertEqual(parse_moment(found.text), found)

    @given(moments, zones)
    @settings(max_examples=100, deadline=None, database=None)
    def test_zones(self, moment: datetime, zone: timezone) -> None:
        """The same instant in any zone is the same moment."""
        self.assertEqual(parse_moment(moment.astimezone(zone).isoformat()), moment_of(moment))
        self.assertEqual(moment_of(moment).before, moment)


class SettledTests(SynchronousTestCase):
    """`settled`."""

    def test_over(self) -> None:
        """A moment that is a minute old is over; a younger one, a future one, and today are not. A
        text says what to do.
        """
        oldest = moment_of(NOON - SETTLED)
        self.assertIs(settled(oldest, NOON), oldest)
        for moment in (
            moment_of(NOON - SETTLED + timedelta(seconds=1)),
            moment_of(NOON + SETTLED),
            parse_moment("2026-08-01"),
        ):
            error = self.assertRaises(BadMoment, settled, moment, NOON)
            for advice in (
                "2026-08-01T11:59:00Z",
                "2026-07-31",
                "/simple/",
            ):
                self.assertIn(advice, str(error))

    def test_midnight(self) -> None:
        """Yesterday is over a minute after midnight."""
        midnight = datetime(2026, 8, 2, tzinfo=UTC)
        yesterday = parse_moment("2026-08-01")
        self.assertRaises(BadMoment, settled, yesterday, midnight + timedelta(seconds=59))
        self.assertIs(settled(yesterday, midnight + SETTLED), yesterday)

    @given(moments, moments)
    @settings(max_examples=100, deadline=None, database=None)
    def test_advice(self, moment: datetime, now: datetime) -> None:
        """What the text advises is taken."""
        try:
            settled(moment_of(moment), now)
        except BadMoment as error:
            advised = str(error).partition("latest time is ")[2].partition(",")[0]
            settled(parse_moment(advised), now)
            day = str(error).partition("latest day ")[2].partition(".")[0]
            settled(parse_moment(day), now)

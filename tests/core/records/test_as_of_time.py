"""Moments in addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadMoment
from pypid.core.times import moment_of, parse_moment, settled

moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)).map(
    lambda found: found.replace(microsecond=0, tzinfo=UTC)
)
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


class ParseTests(SynchronousTestCase):
    """`parse_moment`."""

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

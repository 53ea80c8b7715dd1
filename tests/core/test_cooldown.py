"""The cooldown: which files wait, how long, and which blocks of a listing are read for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.values import COOLDOWN
from pypid.core.cooldown import NEVER, Cooldown
from pypid.core.model import Listing, Presence
from pypid.core.policy import Policy, UpstreamState, changes_at, view, visible_from
from pypid.core.presentation.explanation import explain
from pypid.core.simple_api.listed_files import packed
from tests.core.test_policy import COOLDOWNS, FILES, NOW, SPAM, their_file

DAY = timedelta(days=1)
many = settings(max_examples=60, deadline=None, database=None)


def visible(cooldown: str, version: str, *, age: timedelta = DAY, now: datetime = NOW) -> bool:
    """Whether a file of this age is visible."""
    policy = Policy(mode=Mode.CACHE, cooldown=COOLDOWN.parse(cooldown))
    return visible_from(policy, their_file(version, uploaded=now - age), now) <= now


class GrammarTests(SynchronousTestCase):
    """How the value is written."""

    @many
    @given(COOLDOWNS)
    def test_every_value_can_be_written(self, cooldown: Cooldown) -> None:
        """The text of any cooldown is read as a cooldown with the same effect."""
        again = COOLDOWN.parse(COOLDOWN.show(cooldown))
        self.assertEqual(again, COOLDOWN.parse(COOLDOWN.show(again)))
        for version in ("1.0", "2.0", "3.0", "4.0"):
            self.assertEqual(
                again.rules_of(SPAM, NOW).wait_of(version),
                cooldown.rules_of(SPAM, NOW).wait_of(version),
            )

    def test_refused(self) -> None:
        """Values without a clear meaning are refused."""
        for text in (
            "",
            "3d spam",
            "3d spam==2.0",
            "3d spam>=2",
            "3d ==2.0=0",
            "3d spam==x.y=0",
            "3d spam=0@",
            "3d spam=0@soon",
            "3d spam=0@2026-02-30",
            "3d spam=0@3d",
            "-3d",
            "3d spam=-1",
        ):
            self.assertRaises(ValueError, COOLDOWN.parse, text)


class TimeTests(SynchronousTestCase):
    """When files become visible, and when the view changes."""

    @many
    @given(COOLDOWNS, FILES)
    def test_visible_from(self, cooldown: Cooldown, files: tuple[object, ...]) -> None:
        """A file is hidden until the time that is named, and visible at it."""
        policy = Policy(mode=Mode.CACHE, cooldown=cooldown)
        for file in files:
            time = visible_from(policy, file, NOW)  # type: ignore[arg-type]
            if NOW < time < NEVER:
                for each, expected in ((time, True), (time - timedelta(seconds=1), False)):
                    shown = visible_from(policy, file, each) <= each  # type: ignore[arg-type]
                    self.assertEqual(shown, expected)

    @many
    @given(COOLDOWNS, FILES, st.integers(0, 200))
    def test_changes_at(self, cooldown: Cooldown, files: object, days: int) -> None:
        """Before the time of the next change the view stays as it is."""
        listing = Listing(name=SPAM, files=files, confirmed=NOW, index="i")  # type: ignore[arg-type]
        policy, state = Policy(mode=Mode.CACHE, cooldown=cooldown), UpstreamState(listing=listing)
        change = changes_at(policy, state, SPAM, NOW)
        later = NOW + timedelta(days=days)
        if change is None or later < change:
            one, other = (view(policy, Presence.ABSENT, state, now, SPAM) for now in (NOW, later))
            self.assertEqual(one, other)

    def test_exception_expires(self) -> None:
        """A file that an exception shows is hidden again at its end; `why` says until when."""
        end = datetime(2026, 11, 2, tzinfo=UTC)
        policy = Policy(mode=Mode.CACHE, cooldown=COOLDOWN.parse("3d spam==2.0=0@2026-11-01"))
        file = their_file("2.0", uploaded=end - DAY)
        listing = Listing(name=SPAM, files=(file,), confirmed=NOW, index="i")
        state = UpstreamState(listing=listing)
        self.assertEqual(changes_at(policy, state, SPAM, end - DAY), end)
        [why] = explain(policy, SPAM, Presence.ABSENT, state, end).files
        self.assertEqual((why.visible, why.until), (False, end + 2 * DAY))


class ColumnTests(SynchronousTestCase):
    """Ten thousand files are not read for a rule about one version."""

    def test_other_versions_keep_their_wait(self) -> None:
        """The packed listing hides what the plain one hides, with versions outside PEP 440, too."""
        files = (
            their_file("1.0", uploaded=NOW - DAY),
            their_file("2.0", uploaded=NOW - 9 * DAY),
            replace(their_file("3.0", uploaded=NOW - DAY), version="4.x-rc"),
        )
        cooldown = COOLDOWN.parse("3d spam==1.0=0 spam>=2=30d")
        policy = Policy(mode=Mode.CACHE, cooldown=cooldown)
        for some in (files, packed(files)):
            state = UpstreamState(listing=Listing(name=SPAM, files=some, confirmed=NOW, index="i"))
            shown = view(policy, Presence.ABSENT, state, NOW, SPAM).files
            self.assertEqual([file.version for file in shown], ["1.0"])

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.sessions import (
    INVITATION,
    LONGEST_INVITATION,
    RESERVED,
    invite,
    read_invitation,
    refuse_taken,
)
from pypid.core.errors import BadRequest, NameTaken

quickly = settings(max_examples=60, deadline=None, database=None)
KEY, OTHER = bytes(range(32)), bytes(32)
NOW = datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
WEEK = timedelta(days=7)


def chance(size: int) -> bytes:
    return b"\xa5" * size


class NameTests(SynchronousTestCase):
    """Under which name somebody may register."""

    @quickly
    @given(
        st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9.]{0,5}", fullmatch=True),
        st.lists(st.text(max_size=6)),
    )
    def test_taken(self, name: str, others: list[str]) -> None:
        """A name that somebody has cannot be had, in other letters neither; any other can."""
        for taken in ([*others, name], [*others, name.upper()], [name.swapcase(), *others]):
            self.assertRaises(NameTaken, refuse_taken, name, taken)
        assume(name.lower() not in {other.casefold() for other in others} | RESERVED)
        refuse_taken(name, others)


class InvitationTests(SynchronousTestCase):
    """An invitation, from its making to its end."""

    @quickly
    @given(st.integers(1, int(LONGEST_INVITATION.total_seconds())))
    def test_round(self, seconds: int) -> None:
        """What was made is good until it ends, and not a moment longer."""
        made = invite(KEY, NOW, timedelta(seconds=seconds), chance)
        self.assertEqual(read_invitation(made.secret, KEY, NOW), made)
        self.assertTrue(
            NOW - timedelta(seconds=1) < made.expires - timedelta(seconds=seconds) <= NOW
        )
        just = made.expires - timedelta(microseconds=1)
        self.assertEqual(read_invitation(made.secret, KEY, just).id, made.id)
        for late in (timedelta(0), timedelta(seconds=1), timedelta(days=999)):
            self.assertRaises(BadRequest, read_invitation, made.secret, KEY, made.expires + late)

    def test_changed(self) -> None:
        """Of another key, with any letter changed, cut or longer it is none."""
        secret = invite(KEY, NOW, WEEK, chance).secret
        self.assertRaises(BadRequest, read_invitation, secret, OTHER, NOW)
        changed = [
            secret[:at] + ("A" if secret[at] != "A" else "B") + secret[at + 1 :]
            for at in range(len(secret) - 1)
        ]
        for wrong in (
            *changed,
            secret[:-1],
            secret[1:],
            secret + "A" * 4,
            secret[len(INVITATION) :],
            INVITATION,
            "",
        ):
            self.assertRaises(BadRequest, read_invitation, wrong, KEY, NOW)

    @quickly
    @given(st.text(max_size=120))
    @example("é" * 60)
    @example("A" * 61)
    @example("A" * 10_000)
    @example("=" * 66)
    def test_hostile(self, text: str) -> None:
        """Any text at all is refused, and nothing of it is in the answer."""
        error = self.assertRaises(BadRequest, read_invitation, INVITATION + text, KEY, NOW)
        self.assertEqual(
            str(error), str(self.assertRaises(BadRequest, read_invitation, "x", KEY, NOW))
        )

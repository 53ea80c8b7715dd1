from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.sessions import (
    INVITATION,
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

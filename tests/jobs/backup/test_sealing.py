"""What is sealed with a secret."""

from __future__ import annotations

import json
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unreadable
from pypid.jobs.backup import copies
from pypid.jobs.backup.copies import WrongSecret, name_of, seal, unseal
from tests.support import world

SECRET = "a-secret-that-pypid-gen-secret-could-have-made"


class SealingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.random = world().random

    def sealed(self, data: bytes, secret: str = SECRET, name: str = "admin.json") -> bytes:
        return seal(secret, name, data, self.random)

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.binary(max_size=2000), st.text(min_size=1, max_size=60), st.text(max_size=20))
    def test_round_trip(self, data: bytes, secret: str, name: str) -> None:
        """Any bytes come back, by any secret and name."""
        try:
            secret.encode(), name.encode()
        except UnicodeEncodeError:
            return
        self.assertEqual(unseal(secret, name, self.sealed(data, secret, name)), data)

    def test_says_nothing(self) -> None:
        """Neither the bytes nor the secret can be seen, and the same bytes are sealed differently
        each time.
        """
        first, second = self.sealed(b"hash of a password"), self.sealed(b"hash of a password")
        self.assertNotIn(b"password", first)
        self.assertNotIn(SECRET.encode(), first)
        self.assertNotEqual(first.partition(b"\n")[2], second.partition(b"\n")[2])
        names = {json.loads(sealed.partition(b"\n")[0])["key"] for sealed in (first, second)}
        self.assertEqual((len(names), name_of(SECRET) in names), (2, False))

    def test_copies_of_older_versions_are_read(self) -> None:
        """A copy whose head names the secret without a salt, as older versions wrote it, comes
        back.
        """
        with patch.object(copies, "name_of", lambda secret, salt=b"": name_of(secret)):
            sealed = self.sealed(b"data")
        self.assertEqual(json.loads(sealed.partition(b"\n")[0])["key"], name_of(SECRET))
        self.assertEqual(unseal(SECRET, "admin.json", sealed), b"data")

    def test_changed(self) -> None:
        """A bit changed anywhere, cut off anywhere, or put in another's place: it is refused, never
        half read.
        """
        sealed = self.sealed(b"data")
        for place in range(len(sealed)):
            with self.assertRaises((Unreadable, WrongSecret)):
                unseal(
                    SECRET,
                    "admin.json",
                    sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :],
                )
            with self.assertRaises((Unreadable, WrongSecret)):
                unseal(SECRET, "admin.json", sealed[:place])
        with self.assertRaises(Unreadable):
            unseal(SECRET, "accounts.db", sealed)

    def test_wrong_secret(self) -> None:
        """Another secret is told from damage, and no text tells either."""
        with self.assertRaises(WrongSecret) as raised:
            unseal(SECRET + "x", "admin.json", self.sealed(b"data"))
        self.assertNotIn(SECRET, str(raised.exception))
        self.assertNotEqual(name_of(SECRET), name_of(SECRET + "x"))

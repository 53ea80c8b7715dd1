"""Space that is kept for what must work on a full disk."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from pypid.flow.spool import SIZE, STEP, Reserve


class ReserveTests(SynchronousTestCase):
    """`Reserve`."""

    def setUp(self) -> None:
        self.reserve = Reserve(Path(self.mktemp()))

    def test_gives_until_nothing_is_left(self) -> None:
        """It allocates its size, gives a step at a time, and is filled again."""
        for _ in range(2):
            self.reserve.fill()
            self.reserve.fill()
            found = self.reserve.path.stat()
            self.assertEqual(
                (found.st_size, found.st_blocks * 512 >= SIZE, found.st_mode & 0o777),
                (SIZE, True, 0o600),
            )
            given = 0
            while self.reserve.release():
                given += 1
            self.assertEqual((given, self.reserve.path.stat().st_size), (SIZE // STEP, 0))

    def test_leaves_room_for_others(self) -> None:
        """On a disk that is nearly full it takes nothing; where there is no
        folder nothing happens.
        """
        self.patch(
            os, "fstatvfs", lambda descriptor: SimpleNamespace(f_bavail=2 * SIZE - 1, f_frsize=1)
        )
        self.reserve.fill()
        self.assertEqual(self.reserve.path.stat().st_size, 0)
        self.assertFalse(self.reserve.release())
        nowhere = Reserve(Path(self.mktemp()) / "not" / "there")
        nowhere.fill()
        self.assertFalse(nowhere.release())

"""The state folder while a backup is restored into it."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.cli.restored_state import RestoredState, is_unfinished
from pypid.core.errors import CannotStart
from pypid.jobs.backup import records
from tests.failing_calls import Scripted, die, in_child

NOW = datetime(2026, 11, 23, 3, 15, tzinfo=UTC)
FILES = ("accounts.db", "accounts.db-wal", "accounts-known", "session.key", "downloads.db")


class RestoredStateTests(SynchronousTestCase):
    def folder(self) -> Path:
        """A state folder with accounts."""
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        for name in FILES:
            (Path(made.name) / name).write_text(name)
        return Path(made.name)

    def assert_moved(self, folder: Path) -> None:
        (aside,) = folder.glob("before-restore-*")
        self.assertEqual({path.name for path in aside.iterdir()}, set(FILES))
        for name in FILES:
            self.assertEqual((aside / name).read_text(), name)
            self.assertFalse((folder / name).exists())

    def test_a_process_that_dies_leaves_the_note_or_all_files(self) -> None:
        """A process may die at any step: accounts are missing only where the note exists, and the
        repeated restore finds all of them in one folder.
        """
        nth = 0
        while True:
            nth += 1
            folder, scripted = self.folder(), Scripted(nth, die)

            def begin(folder: Path = folder, scripted: Scripted = scripted) -> None:
                for module in (records, sys.modules[Path.rename.__module__]):
                    self.patch(module, "os", scripted)
                RestoredState(folder, "1").begin(NOW)

            ended = in_child(begin)
            state = RestoredState(folder, "1")
            if not is_unfinished(folder):
                for name in FILES:
                    self.assertTrue((folder / name).exists(), (nth, name))
            state.begin(NOW.replace(year=2027))
            self.assert_moved(folder)
            if ended:
                break
        self.assertGreater(nth, len(FILES))

    def test_a_repeated_restore_moves_no_restored_files(self) -> None:
        """What an interrupted restore has written is replaced in place."""
        folder = self.folder()
        RestoredState(folder, "1").begin(NOW)
        (folder / "accounts.db").write_text("restored")
        RestoredState(folder, "1").begin(NOW)
        self.assertEqual((folder / "accounts.db").read_text(), "restored")
        (folder / "accounts.db").unlink()
        self.assert_moved(folder)

    def test_each_file_needs_force(self) -> None:
        """A session key or the marker of accounts is not replaced without `--force` either."""
        for name in ("session.key", "accounts-known", "accounts.db"):
            folder = self.folder()
            for other in FILES:
                if other != name:
                    (folder / other).unlink()
            self.assertIn(
                name, str(self.assertRaises(CannotStart, RestoredState(folder, "1").check))
            )
            RestoredState(folder, "1", "storage").check()

    def test_another_backup_needs_force(self) -> None:
        """After an unfinished restore, only that backup is restored without `--force`."""
        folder = self.folder()
        RestoredState(folder, "1").begin(NOW)
        RestoredState(folder, "1").check()
        self.assertRaises(CannotStart, RestoredState(folder, "2").check)

    def test_a_part_does_not_end_a_whole_restore(self) -> None:
        """After an unfinished restore, a restore of a smaller part is refused, whatever else
        allows it: pypid would start without its accounts, or without its records.
        """
        for begun, allowed in (("", [""]), ("state", ["", "state"]), ("storage", ["", "storage"])):
            folder = self.folder()
            RestoredState(folder, "1", begun).begin(NOW)
            for only in ("", "state", "storage"):
                state = RestoredState(folder, "2", only)
                if only in allowed:
                    state.check_scope()
                else:
                    self.assertRaises(CannotStart, state.check_scope)

    def test_a_note_of_an_older_pypid(self) -> None:
        """A note with the id alone is of a whole restore."""
        folder = self.folder()
        (folder / "restore-unfinished").write_text("1")
        RestoredState(folder, "1").check_scope()
        self.assertRaises(CannotStart, RestoredState(folder, "1", "storage").check_scope)

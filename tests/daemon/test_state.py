"""The state folder: where it lies, who holds it, and what a killed pypid leaves in it."""

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.daemon.state import (
    LONGEST_SOCKET_PATH,
    control_socket,
    default_state,
    join_state,
    open_state,
)


class PlaceTests(SynchronousTestCase):
    def test_default(self) -> None:
        """Without [server] state: systemd's folder, var beside etc, or pypid-state beside the file;
        the system's for /etc.
        """
        for ini, systemd, expected in (
            ("/srv/x/etc/pypid.ini", None, "/srv/x/var"),
            ("/srv/x/etc/other.ini", None, "/srv/x/etc/pypid-state"),
            ("/srv/x/pypid.ini", None, "/srv/x/pypid-state"),
            ("/etc/pypid.ini", None, "/var/lib/pypid"),
            ("/etc/pypid/pypid.ini", None, "/var/lib/pypid"),
            ("/etc/pypid/pypid.ini", "/var/lib/private/p:/other", "/var/lib/private/p"),
        ):
            self.assertEqual(default_state(Path(ini), systemd), Path(expected))


class LockTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name) / "state"

    def test_made(self) -> None:
        """The folder is made, for its owner alone, with the spool in it."""
        open_state(self.folder).release()
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertTrue((self.folder / "spool").is_dir())

    def test_one_at_a_time(self) -> None:
        """Who comes second is told so, until the first releases it."""
        first = open_state(self.folder)
        with self.assertRaisesRegex(CannotStart, "Another pypid is running"):
            open_state(self.folder)
        first.release()
        open_state(self.folder).release()

    def test_stale_socket(self) -> None:
        """The control socket of a pypid that was killed is cleared away; who does not get the lock
        leaves it.
        """
        self.folder.mkdir()
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(control_socket(self.folder)))
        stale.close()
        first = open_state(self.folder)
        self.assertFalse(first.control_socket.exists())
        with socket.socket(socket.AF_UNIX) as fresh:
            fresh.bind(str(first.control_socket))
            with self.assertRaises(CannotStart):
                open_state(self.folder)
            self.assertTrue(first.control_socket.exists())
        first.release()

    def test_too_long(self) -> None:
        """A path that no socket can have is refused with advice, before anything is made; the
        longest one works.
        """
        room = LONGEST_SOCKET_PATH - len(os.fsencode(control_socket(self.folder / "x"))) + 1
        open_state(self.folder / ("x" * room)).release()
        too_long = self.folder / ("x" * (room + 1))
        with self.assertRaisesRegex(CannotStart, r"Set \[server\] state to a shorter one"):
            open_state(too_long)
        self.assertFalse(too_long.exists())


class WorkersTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name) / "state"
        self.first = open_state(self.folder)
        self.addCleanup(self.first.release)

    def test_joined(self) -> None:
        """A further worker has the folder while the first one holds the lock, and a spool of its
        own, for its owner alone.
        """
        second, third = join_state(self.folder, 2), join_state(self.folder, 3)
        spools = {self.first.spool, second.spool, third.spool}
        self.assertEqual(
            spools, {self.folder / "spool" / name for name in (".", "worker-2", "worker-3")}
        )
        self.assertEqual({spool.stat().st_mode & 0o777 for spool in spools}, {0o700})
        second.release()  # which is not its lock
        self.assertRaises(CannotStart, open_state, self.folder)

    def test_cleared(self) -> None:
        """A worker clears what the one before it left, and nobody else's; a new first one clears
        all, `metrics` too.
        """
        second, third = join_state(self.folder, 2), join_state(self.folder, 3)
        for folder in second.spool, third.spool, self.first.metrics:
            (folder / "left").touch()
        join_state(self.folder, 2)
        self.assertEqual(
            [(each.spool / "left").exists() for each in (second, third)], [False, True]
        )
        self.first.release()
        self.first = open_state(self.folder)
        self.assertEqual([each.spool.exists() for each in (second, third)], [False, False])
        self.assertEqual(list(self.first.metrics.iterdir()), [])

    def test_in_the_way(self) -> None:
        """What cannot be used is named."""
        (self.folder / "spool/worker-2").touch()
        with self.assertRaisesRegex(CannotStart, "spool/worker-2 cannot be used: File exists"):
            join_state(self.folder, 2)

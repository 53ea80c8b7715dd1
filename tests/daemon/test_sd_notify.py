import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.daemon import sd_notify


class NotifyTests(SynchronousTestCase):
    def listen(self, address: str | Path) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(channel.close)
        channel.bind(str(address))
        channel.settimeout(5)
        return channel

    def folder(self) -> Path:
        made = (
            tempfile.TemporaryDirectory()
        )  # trial's own folder can be too long for a socket's 108 bytes
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def test_path(self) -> None:
        """The text arrives, as it is and in one datagram, at the socket that
        the environment names.
        """
        path = self.folder() / "notify"
        channel = self.listen(path)
        environ = {"NOTIFY_SOCKET": str(path)}
        self.assertTrue(
            sd_notify.notify(environ, f"{sd_notify.READY}\n{sd_notify.status('10 projects')}")
        )
        self.assertEqual(channel.recv(1000), b"READY=1\nSTATUS=10 projects")

    def test_abstract(self) -> None:
        """An address that begins with @ is in the abstract name space."""
        name = f"pypid-test-{os.getpid()}-{id(self)}"
        channel = self.listen("\0" + name)
        self.assertTrue(sd_notify.notify({"NOTIFY_SOCKET": "@" + name}, sd_notify.STOPPING))
        self.assertEqual(channel.recv(1000), b"STOPPING=1")

    def test_nobody_asked(self) -> None:
        """Without an address, or with one of a kind that we do not know, nothing is sent and
        nothing is raised.
        """
        for environ in (
            {},
            {"NOTIFY_SOCKET": ""},
            {"NOTIFY_SOCKET": "vsock:2:1234"},
            {"NOTIFY_SOCKET": "relative"},
        ):
            self.assertFalse(sd_notify.notify(environ, sd_notify.READY))

    def test_nobody_there(self) -> None:
        """A socket that is gone, a path that is too long and one with a NUL are no
        reason to fail.
        """
        for address in str(self.folder() / "gone"), "/" + "x" * 200, "/a\0b":
            self.assertFalse(sd_notify.notify({"NOTIFY_SOCKET": address}, sd_notify.READY))

    def test_never_waits(self) -> None:
        """A manager that does not read its queue cannot stop us: once it is full, the rest is
        dropped.
        """
        path = self.folder() / "notify"
        self.listen(path)
        answers = [
            sd_notify.notify({"NOTIFY_SOCKET": str(path)}, sd_notify.READY) for _ in range(3000)
        ]
        self.assertTrue(answers[0])
        self.assertFalse(answers[-1])

    def test_one_line(self) -> None:
        """A status is one line, whatever it is made of: it cannot smuggle in another assignment."""
        self.assertEqual(sd_notify.status("a\nREADY=1\r\n b"), "STATUS=a READY=1 b")

    def test_reloading(self) -> None:
        """A reload says when it began, in whole microseconds of the monotonic clock."""
        self.assertEqual(sd_notify.reloading(12.3456789), "RELOADING=1\nMONOTONIC_USEC=12345678")

    def test_names(self) -> None:
        """Each socket without a name is called unknown; given names stay; without sockets nothing
        is set.
        """
        for given, expected in (
            ({"LISTEN_FDS": "2"}, "unknown:unknown"),
            ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}, "web"),
            ({}, None),
            ({"LISTEN_FDS": "x"}, None),
        ):
            environ = dict(given)
            sd_notify.name_sockets(environ)
            self.assertEqual(environ.get("LISTEN_FDNAMES"), expected)


class WatchdogTests(SynchronousTestCase):
    def test_interval(self) -> None:
        """The seconds come from WATCHDOG_USEC, and hold for the process that WATCHDOG_PID names, if
        it names one.
        """
        self.assertEqual(sd_notify.watchdog({"WATCHDOG_USEC": "30000000"}, 7), 30.0)
        self.assertEqual(
            sd_notify.watchdog({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, 7), 0.5
        )
        self.assertIsNone(sd_notify.watchdog({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, 7))

    def test_nobody_looks(self) -> None:
        """Without a number, or with one that is none, nobody looks."""
        for said in (
            {},
            {"WATCHDOG_USEC": ""},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-1"},
            {"WATCHDOG_USEC": "soon"},
        ):
            self.assertIsNone(sd_notify.watchdog(said, 7))

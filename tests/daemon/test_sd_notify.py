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

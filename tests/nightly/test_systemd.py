"""etc/pypid.service and etc/pypid.socket, judged by systemd's own tools, and the daemon under
socket activation.
"""

import re
import shutil
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.clients import ROOT, tool
from tests.live.processes import BIN, clean_environ, configure, done, free_port, running, scratch


class UnitTests(SynchronousTestCase):
    def units(self) -> Path:
        """Copies whose program exists on this machine: `verify` looks for it."""
        made = scratch()
        folder = made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        service = (ROOT / "etc/pypid.service").read_text()
        (folder / "pypid.service").write_text(
            service.replace("ExecStart=/opt/pypid/bin/twistd", f"ExecStart={BIN / 'twistd'}")
        )
        shutil.copy(ROOT / "etc/pypid.socket", folder)
        return folder

    def test_verify(self) -> None:
        """systemd-analyze finds nothing to say about the two units: no unknown key, no missing
        program.
        """
        folder = self.units()
        said = done(
            [
                tool("systemd-analyze", "systemd"),
                "verify",
                "--man=no",
                folder / "pypid.service",
                folder / "pypid.socket",
            ]
        )
        self.assertEqual([line for line in said.splitlines() if "pypid" in line], [])

    def test_exposure(self) -> None:
        """The service is locked in: systemd's exposure score, 0 (none) to 10, is at most 1.5."""
        said = done(
            [
                tool("systemd-analyze", "systemd"),
                "security",
                "--offline=true",
                "--no-pager",
                self.units() / "pypid.service",
            ]
        )
        score = re.search(r"Overall exposure level for pypid.service: ([0-9.]+)", said)
        assert score is not None, said
        self.assertLessEqual(float(score[1]), 1.5, said)


class DaemonTests(SynchronousTestCase):
    def test_socket_activation(self) -> None:
        """With `listen = systemd:domain=INET:index=0` pypid serves on the socket that systemd made
        and handed over.
        """
        port = free_port()
        with scratch() as folder:
            config = configure(folder, "systemd:domain=INET:index=0")
            command = [tool("systemd-socket-activate", "systemd"), "--listen", f"127.0.0.1:{port}"]
            command += [
                str(BIN / "twistd"),
                "--nodaemon",
                "--pidfile=",
                "pypid",
                "--config",
                str(config),
            ]
            with running(command, folder / "log", cwd=folder) as daemon:
                page = daemon.until_answers(
                    f"http://127.0.0.1:{port}/simple/"
                )  # the connection itself starts pypid
                self.assertIn(b"<html", page.lower())
                self.assertIn(f"--repository-url http://127.0.0.1:{port}/legacy/", daemon.output())
                self.assertIn(f"answers at http://127.0.0.1:{port}", daemon.output())
                daemon.stop_in_order()

    def test_notification(self) -> None:
        """pypid says READY=1 once it serves, RELOADING=1 and READY=1 on SIGHUP, STOPPING=1 when it
        is asked to end.
        """
        port = free_port()
        with scratch() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(folder / "notify"))
            manager.settimeout(30)
            config = configure(folder, f"tcp:{port}:interface=127.0.0.1")
            command = [
                str(BIN / "twistd"),
                "--nodaemon",
                "--pidfile=",
                "pypid",
                "--config",
                str(config),
            ]
            environ = clean_environ(NOTIFY_SOCKET=str(folder / "notify"))
            with running(command, folder / "log", cwd=folder, environ=environ) as daemon:
                self.until(manager, "READY=1")
                with socket.create_connection(("127.0.0.1", port), 5):
                    pass  # ready means that it listens: no retry here
                daemon.process.send_signal(signal.SIGHUP)
                self.assertIn("MONOTONIC_USEC=", self.until(manager, "RELOADING=1"))
                self.until(manager, "READY=1")
                daemon.stop_in_order()
                self.until(manager, "STOPPING=1")

    def until(self, manager: socket.socket, wanted: str) -> str:
        """The first message with the line `wanted`; status lines may come before it."""
        while True:
            text = manager.recv(4096).decode()
            if wanted in text.splitlines():
                return text
            self.assertIn("STATUS=", text)

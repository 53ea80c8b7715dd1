"""Several processes that answer as one pypid: started, killed, reloaded, stopped, and left by the
first of them.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pypid.access.passwords import hash_password
from tests.live.asking import ask, basic, command
from tests.live.clients import tool
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid, shared
from tests.live.processes import BIN, clean_environ, free_port, running
from tests.live.projects import publish, wheel
from tests.live.workers import (
    answer,
    connections,
    is_there,
    others,
    process_of,
    until,
    until_all_answer,
)

WORKERS = 2
SEVERAL = Settings(server=f"workers = {WORKERS}")


class WorkersCase(IndexTestCase):
    """One pypid for each test, whose workers all answer."""

    settings = SEVERAL

    def start(self) -> LiveIndex:
        place = self.folder / "pypid"
        place.mkdir()
        index = self.entered(pypid(place, self.settings))
        until_all_answer(index, WORKERS)
        return index

    def processes(self) -> list[int]:
        """Of all workers, the first one's first."""
        return [self.index.running.process.pid, *others(self.index).values()]

    def owners(self, made: list[http.client.HTTPConnection]) -> list[int]:
        """The process of each connection; they are of all workers."""
        found = [process_of(each, self.processes()) for each in made]
        self.assertEqual(set(found), set(self.processes()))
        return found

    def connected(self) -> list[http.client.HTTPConnection]:
        """Connections with all workers, kept."""
        made: list[http.client.HTTPConnection] = []
        while len(made) < 16 * WORKERS:  # on a busy machine one worker may take the first ones
            made += connections(self.index, 4 * WORKERS)
            if {process_of(each, self.processes()) for each in made} == set(self.processes()):
                break
        for each in made:
            self.addCleanup(each.close)
        self.owners(made)
        return made


class KilledTests(WorkersCase):
    def test_replaced(self) -> None:
        """A worker that is killed takes its own connections with it and no other one, and another
        takes its place.
        """
        made = self.connected()
        owners = self.owners(made)
        number, victim = next(iter(others(self.index).items()))
        os.kill(victim, signal.SIGKILL)
        for _ in range(50):
            [new] = connections(self.index, 1)
            new.close()
        for each, owner in zip(made, owners, strict=True):
            if owner != victim:
                self.assertEqual(answer(each), 200)
        until(lambda: others(self.index).get(number, victim) != victim, self.index)
        said = f"worker {number} (process {others(self.index)[number]}) is ready"
        until(lambda: said in self.index.log(), self.index)
        self.assertIn(f"worker {number} (process {victim}) was ended by SIGKILL", self.index.log())
        self.connected()

    def test_first_killed(self) -> None:
        """Where the first worker is killed the others end at once, and a new pypid can start right
        away.
        """
        processes = self.processes()
        self.index.running.process.kill()
        self.index.running.process.wait()
        with running(
            [BIN / "pypid", "serve", "-c", self.index.config],
            self.folder / "again",
            cwd=self.folder,
        ) as again:
            until(lambda: not any(map(is_there, processes)), self.index, 5.0)
            again.until_answers(self.index.url())
            self.assertEqual(again.stop(), 0)
        log = (self.folder / "again").read_text()
        self.assertNotIn("cannot listen", log)
        self.index.running.process.returncode = (
            0  # so that the shared end of these tests looks at the log alone
        )
        with self.index.running.log.open("a") as file:
            file.write("Server Shut Down")


class SharedTests(WorkersCase):
    def start(self) -> LiveIndex:
        index = shared(self.settings)
        until_all_answer(index, WORKERS)
        return index

    def test_published(self) -> None:
        """What is published through one worker is listed by all within a second."""
        made = self.connected()
        publish(self.index, wheel("through-one"))
        deadline = time.monotonic() + 1.0
        seen: set[int] = set()
        while time.monotonic() < deadline:
            seen = {
                number
                for number, each in enumerate(made)
                if answer(each, "/simple/through-one/") == 200
            }
            if len(seen) == len(made):
                break
        self.assertEqual(len(seen), len(made))

    def test_block(self) -> None:
        """When the command returns, no worker gives a byte of a blocked file; after the block is
        deleted all give it again.
        """
        artifact = wheel("blocked")
        publish(self.index, artifact)
        made = self.connected()
        paths = [f"/packages/blocked/{artifact.filename}{end}" for end in ("", ".metadata")]
        paths.append(f"/local/blocked/{artifact.filename}")

        def statuses() -> set[int]:
            return {answer(each, path) for each in made for path in paths}

        until(lambda: statuses() == {200}, self.index)
        for _ in range(3):  # so that the fast path of each has it
            self.assertEqual(statuses(), {200})
        for _ in range(3):
            words = ("block", "create", "blocked==1.0", "--reason", "steals tokens", "--json")
            block = json.loads(command(self.index.config, *words))["id"]
            self.assertEqual(statuses(), {403})
            command(self.index.config, "block", "delete", str(block))
            self.assertEqual(statuses(), {200})

    def test_metrics(self) -> None:
        """Any worker tells the numbers of all; none is less than before, also when a worker is
        killed.
        """

        def listed() -> int:
            text = ask(self.index.port, "/metrics", basic("admin")).text
            wanted = {"route": "/simple/", "method": "GET", "status": "200"}
            return sum(
                int(sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "pypid_http_requests_total" and sample.labels == wanted
            )

        before = listed()
        last = before
        for _ in range(60):
            ask(self.index.port, "/simple/")
            self.assertGreaterEqual(now := listed(), last)
            last = now
        until(lambda: listed() == before + 60, self.index)
        _, victim = next(iter(others(self.index).items()))
        time.sleep(1.5)  # it writes down what it counts once a second
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            self.assertGreaterEqual(listed(), before + 60)
            time.sleep(0.1)

    def test_reload(self) -> None:
        """SIGHUP to the first worker brings a new user to all."""
        made = self.connected()
        hashed = hash_password("a new one's secret")
        text = self.index.config.read_text()
        self.index.config.write_text(text.replace("[users]\n", f"[users]\ndora = {hashed}\n"))
        login = basic("dora", "a new one's secret")
        self.assertEqual(answer(made[0], "/simple/", **login), 401)  # more would have to wait
        self.index.running.process.send_signal(signal.SIGHUP)
        until(lambda: self.index.log().count("were read again") == 2, self.index)
        logged_in = {answer(each, "/simple/", **login) for each in self.connected()}
        self.assertEqual(logged_in, {200})
        self.assertNotIn("takes effect at a restart", self.index.log())


class StopTests(WorkersCase):
    def test_drains(self) -> None:
        """SIGTERM to the first worker: requests under way are answered by whichever has them, and
        then all have ended.
        """
        made = self.connected()
        processes = self.processes()
        under_way = []
        for each in made:
            each.putrequest("POST", "/legacy/")
            each.putheader("Content-Length", "5")
            each.putheader("Authorization", basic("alice")["Authorization"])
            each.endheaders(b"ab")
            under_way.append(each)
        time.sleep(0.3)
        self.index.running.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        for each in under_way:
            each.send(b"cde")
            self.assertIn(each.getresponse().status, (400, 415))
        self.assertEqual(self.index.running.process.wait(10), 0)
        self.assertFalse(any(map(is_there, processes)))

    def test_hurries(self) -> None:
        """A second signal, also one that a terminal sends to all, ends what is under way."""
        made = self.connected()
        for each in made:
            each.putrequest("POST", "/legacy/")
            each.putheader("Content-Length", "5")
            each.putheader("Authorization", basic("alice")["Authorization"])
            each.endheaders(b"ab")
        time.sleep(0.3)
        began = time.monotonic()
        for _ in range(2):
            os.killpg(self.index.running.process.pid, signal.SIGINT)
            time.sleep(0.5)
        self.assertEqual(self.index.running.process.wait(8), 0)
        self.assertLess(time.monotonic() - began, 8)


class WaysTests(IndexTestCase):
    """Ways to start."""

    def test_daemon(self) -> None:
        """As a daemon of twistd, too, with its pid file, and one log file that is rotated for all;
        on a socket in a folder.
        """
        place = self.folder / "d"
        place.mkdir()
        socket_path = place / "s"
        ini = place / "pypid.ini"
        ini.write_text(
            f"[server]\nlisten = unix:{socket_path}:mode=600\nstate = {place / 's-state'}\n"
        )
        log, pid = place / "log", place / "pid"
        command = [
            BIN / "twistd",
            f"--pidfile={pid}",
            f"--logfile={log}",
            "pypid",
            "-c",
            ini,
            "--workers",
            "2",
        ]
        subprocess.run(
            command,
            cwd=place,
            env=clean_environ(),
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )
        process = int(pid.read_text())
        self.addCleanup(lambda: is_there(process) and os.kill(process, signal.SIGKILL))
        self.wait(lambda: "is ready" in self.text(place), place)
        self.assertEqual(socket_path.stat().st_mode & 0o777, 0o600)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(socket_path))
                connection.sendall(
                    b"GET /simple/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 200"))
        os.kill(process, signal.SIGUSR1)
        self.wait(lambda: (place / "log.1").exists(), place)
        os.kill(process, signal.SIGTERM)
        self.wait(lambda: not is_there(process), place)
        self.assertFalse(socket_path.exists())
        self.assertFalse(pid.exists())
        self.assertEqual(self.text(place).count("pypid has stopped; all changes"), 2)

    def text(self, place: Path) -> str:
        """The log files."""
        return "".join(path.read_text() for path in place.glob("log*"))

    def wait(self, condition: object, place: Path) -> None:
        """Until it is so."""
        deadline = time.monotonic() + 30
        while not condition():  # type: ignore[operator]
            self.assertLess(time.monotonic(), deadline, self.text(place))
            time.sleep(0.05)

    def test_socket_activation(self) -> None:
        """Under systemd further workers listen on its socket; it is told by the first one alone,
        once, that pypid is ready.
        """
        port = free_port()
        ini = self.folder / "pypid.ini"
        ini.write_text(
            f"[server]\nlisten = systemd:domain=INET:index=0\nstate = "
            f"{self.folder / 'sd'}\nworkers = 2\n"
        )
        command = [tool("systemd-socket-activate", "systemd"), "--listen", f"127.0.0.1:{port}"]
        command += [str(BIN / "twistd"), "--nodaemon", "--pidfile=", "pypid", "--config", str(ini)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self.folder / "notify"))
            manager.settimeout(0.5)
            command[1:1] = ["--setenv", f"NOTIFY_SOCKET={self.folder / 'notify'}"]
            with running(command, self.folder / "log", cwd=self.folder) as process:
                process.until_answers(f"http://127.0.0.1:{port}/simple/")
                self.wait(lambda: "is ready" in self.text(self.folder), self.folder)
                index = LiveIndex(self.folder, port, False, process)
                made = connections(index, 40)  # the kernel chooses who takes one
                processes = [process.process.pid, *others(index).values()]
                self.assertEqual({process_of(each, processes) for each in made}, set(processes))
                process.stop_in_order()
            said = []
            with contextlib.suppress(TimeoutError):
                while True:
                    said.append(manager.recv(4096).decode())
        self.assertEqual(said.count("READY=1"), 1, said)
        self.assertEqual(said.count("STOPPING=1"), 1, said)

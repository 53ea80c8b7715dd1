"""What the benchmarks share: a pypid on one core, a client on the other, what the kernel says of
memory, and a table.
"""

from __future__ import annotations

import base64
import getpass
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from attrs import frozen

SERVER_CORE, CLIENT_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
PASSWORD = "a password for benchmarks"
LOGIN = "Basic " + base64.b64encode(f"bench:{PASSWORD}".encode()).decode()
PIECE = 1 << 20
COMPARED = b"compared with the storage: "
"""What the log has of a finished comparison."""


def free_port() -> int:
    """Return a TCP port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a disk (``BENCH_FOLDER`` names another one), gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pypid-bench-", dir=os.environ.get("BENCH_FOLDER")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(port: int, log: Path, within: int = 10) -> None:
    """Wait until the port accepts connections; `log` is shown if it does not in so many seconds."""
    for _ in range(within * 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(log.read_text())


PINNED = ("taskset", "-c", str(SERVER_CORE))


class Server:
    """A pypid in a process of its own, pinned to one core, with its state in `folder`.

    `page` is the page that says that it has started; `more` is more of the configuration. Without
    `pinned` it takes any core.
    """

    def __init__(
        self, folder: Path, *, page: str = "/simple/", more: str = "", pinned: bool = True
    ) -> None:
        from pypid.access.passwords import hash_password

        self.folder = folder
        self.page = page
        self.pinned = pinned
        self.storage = folder / "var" / "packages"
        self.port = free_port()
        (folder / "etc").mkdir(parents=True, exist_ok=True)
        self.config = folder / "etc" / "pypid.ini"
        self.config.write_text(
            f"[server]\nlisten = tcp:{self.port}:interface=127.0.0.1\n[access]\nadmins = bench\n"
            f"[users]\nbench = {hash_password(PASSWORD)}\n{more}"
        )

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Started until it answers, stopped by SIGTERM. `started`: seconds from exec to the first
        page.
        """
        begun = time.perf_counter()
        with (self.folder / "log").open("ab") as log:
            self._logged = log.tell()
            pinned = PINNED if self.pinned else ()
            self.process = subprocess.Popen(
                [*pinned, *self.command()], stdout=log, stderr=log, cwd=self.folder
            )
        try:
            self.wait()
            self.started = time.perf_counter() - begun
            yield self
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def command(self) -> list[str]:
        """What starts it."""
        twistd = Path(sys.executable).with_name("twistd")
        return [str(twistd), "-n", "--pidfile=", "pypid", "--config", str(self.config)]

    def wait(self) -> None:
        """Until `page` answers."""
        for _ in range(6000):
            if self.process.poll() is not None:
                raise SystemExit((self.folder / "log").read_text())
            try:
                if self.get(self.page):
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)
        raise SystemExit(f"pypid did not answer {self.page} in time")

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def get(self, path: str, accept: str = "text/html") -> bytes:
        """One page over a connection of its own; raises `HTTPException` for
        anything but success.
        """
        return self.call("GET", path, {"Accept": accept})

    def call(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> bytes:
        """One request over a connection of its own; raises `HTTPException` for anything but
        success.
        """
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            if answer.status not in (200, 201):
                raise http.client.HTTPException(f"{method} {path}: {answer.status} {data[:200]!r}")
            return data
        finally:
            connection.close()

    def complete(self) -> bool:
        """Whether the storage has been compared since the start, as the log says: ``/health`` says
        so of a catalog that is trusted, too.
        """
        return COMPARED in (self.folder / "log").read_bytes()[self._logged :]

    def rss(self) -> int:
        """Bytes of memory in use now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes of memory in use since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin to look for the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def cpu(self) -> float:
        """Seconds of the processor that the threads of today have used, exact to microseconds."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def waited(self) -> float:
        """Seconds since its start that it could have run and others had the core: what of a latency
        is not pypid's.
        """
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9

    def processor_time(self) -> float:
        """Seconds for which its threads have had a core since its start."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise KeyError(name)


class Ticking(Server):
    """A pypid that knows how late its reactor comes."""

    def command(self) -> list[str]:
        ticking = Path(__file__).with_name("_ticking.py")
        return [sys.executable, str(ticking), str(self.config), str(self.folder / "ticks")]

    def ticks(self) -> dict[str, float]:
        """Since the last time: how many ticks there were, and how late they
        were, in milliseconds.
        """
        report = self.folder / "ticks"
        report.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        while not report.exists():
            time.sleep(0.01)
        return dict(json.loads(report.read_text()))

    @contextmanager
    def ticked(self) -> Iterator[dict[str, float]]:
        """How late it came meanwhile."""
        found: dict[str, float] = {}
        self.ticks()
        yield found
        found |= self.ticks()


class Nginx:
    """An nginx with a configuration of its own, one worker pinned to pypid's core, that serves the
    files below `root`.
    """

    def __init__(self, folder: Path, root: Path, types: str = "") -> None:
        self.port = free_port()
        self._folder = folder / "nginx"
        self._folder.mkdir()
        temporary = " ".join(
            f"{what}_temp_path t-{what};"
            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        (self._folder / "nginx.conf").write_text(
            f"{user} daemon off; worker_processes 1; pid nginx.pid; error_log error.log;events {{ "
            f"worker_connections 512; }}http {{ {temporary} access_log access.log; sendfile on; "
            f"tcp_nopush on; keepalive_requests 1000000000;types {{ {types} }} server {{ listen "
            f"127.0.0.1:{self.port}; root {root}; }} }}"
        )

    @staticmethod
    def path() -> str | None:
        """Where nginx is, if it is installed."""
        return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Started until it listens, stopped at the end."""
        found = self.path()
        assert found is not None
        command = [*PINNED, found, "-p", str(self._folder), "-e", "error.log", "-c", "nginx.conf"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(self.port, self._folder / "error.log")
            yield self
        finally:
            process.terminate()
            process.wait(10)


class Kept:
    """A connection that is kept open, over a bare socket: what is measured is the server, not
    Python's HTTP client.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._space = memoryview(bytearray(PIECE))

    def fetch(self, path: str, accept: str = "text/html") -> int:
        """The length of the body of one 200; it is read, and dropped."""
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n"
        self._socket.sendall(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self._socket.recv(65536)
            if not piece:
                raise OSError("the server hung up")
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path}: {head!r}")
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        assert found is not None
        length, received = int(found[1]), len(body)
        while received < length:
            received += self._socket.recv_into(self._space)
        return length

    def timed(self, path: str, accept: str = "text/html") -> float:
        """Seconds that one answer took."""
        begun = time.perf_counter()
        self.fetch(path, accept)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Watch(threading.Thread):
    """Asks for a page again and again, and keeps how long each answer took.

    At a `steady` rate, whatever happens, the time counts from when the question was *due*: a stall
    of 50 ms shows in all the answers that it held up. Else the next question comes `every` seconds
    after an answer: the longest is the longest stall.
    """

    def __init__(
        self, port: int, path: Callable[[], str], every: float, *, steady: bool = True
    ) -> None:
        super().__init__(daemon=True)
        self._kept = Kept(port)
        self._path = path
        self._every = every
        self._steady = steady
        self._ended = threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        due = time.perf_counter()
        while not self._ended.is_set():
            early = due - time.perf_counter()
            if early > 0:
                time.sleep(early)
                due = time.perf_counter()  # what this process overslept is not the server's
            self._kept.fetch(self._path())
            self.seconds.append(time.perf_counter() - due)
            due = (due if self._steady else time.perf_counter()) + self._every
        self._kept.close()

    def end(self) -> list[float]:
        """No more questions; the seconds of all."""
        self._ended.set()
        self.join()
        return self.seconds


def pin_client() -> None:
    """This process is the client: it stays off the server's core."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("stopped")
    )  # so that servers and folders go as well


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


@frozen
class Comparison:
    """One turn of two servers, or of a server and a limit: `ratio` is `ours` / `theirs`."""

    ratio: float
    ours: float
    theirs: float


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Return the turn whose ratio is the median of all turns' (of an even number the lower one).

    A machine that slows down for a while slows both servers of a turn. The medians of each alone
    would come from different turns, and contradict the ratio beside them.
    """
    turns = [
        Comparison(mine / other, mine, other) for mine, other in zip(ours, theirs, strict=True)
    ]
    return sorted(turns, key=lambda turn: turn.ratio)[(len(turns) - 1) // 2]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(title: str, rows: Sequence[tuple[str, str, str]], figures: Mapping[str, object]) -> None:
    """A table of (what, measured, goal), and a JSON line."""
    widths = [
        max(len(row[column]) for row in [("what", "measured", "goal"), *rows])
        for column in range(3)
    ]
    print(f"{title}\n")
    for row in [("what", "measured", "goal"), *rows]:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    print(json.dumps({"benchmark": title, **figures}), flush=True)

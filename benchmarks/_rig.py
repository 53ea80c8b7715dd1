"""What the benchmarks share: a pypid on one core, a client on the other, what the kernel says of memory, and a table at the end."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SERVER_CORE, CLIENT_CORE = 0, max(os.sched_getaffinity(0))
PASSWORD = "a password for benchmarks"


def free_port() -> int:
    """A TCP port that nobody listens on."""
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


class Server:
    """A pypid in a process of its own, pinned to one core, with its state in `folder`."""

    def __init__(self, folder: Path) -> None:
        from pypid.access.passwords import hash_password

        self.folder = folder
        self.port = free_port()
        (folder / "etc").mkdir(parents=True, exist_ok=True)
        self.config = folder / "etc" / "pypid.ini"
        self.config.write_text(
            f"[server]\nlisten = tcp:{self.port}:interface=127.0.0.1\n[access]\nadmins = bench\n"
            f"[users]\nbench = {hash_password(PASSWORD)}\n"
        )

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Started until it answers, stopped by SIGTERM. `started` holds the seconds from exec to the first page."""
        begun = time.perf_counter()
        with (self.folder / "log").open("ab") as log:
            twistd = Path(sys.executable).with_name("twistd")
            command = [
                "taskset",
                "-c",
                str(SERVER_CORE),
                str(twistd),
                "-n",
                "--pidfile=",
                "pypid",
                "--config",
                str(self.config),
            ]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        try:
            self._wait()
            self.started = time.perf_counter() - begun
            yield self
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def _wait(self) -> None:
        for _ in range(6000):
            if self.process.poll() is not None:
                raise SystemExit((self.folder / "log").read_text())
            try:
                self.get("/simple/")
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise SystemExit("pypid did not answer within a minute")

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def get(self, path: str) -> bytes:
        """One page over a connection of its own."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def rss(self) -> int:
        """Bytes of memory in use now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes of memory in use since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin to look for the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise KeyError(name)


def pin_client() -> None:
    """This process is the client: it stays off the server's core."""
    os.sched_setaffinity(0, {CLIENT_CORE})


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(title: str, rows: Sequence[tuple[str, str, str]], figures: dict[str, object]) -> None:
    """A table of (what, measured, goal), and a JSON line."""
    widths = [max(len(row[column]) for row in [("what", "measured", "goal"), *rows]) for column in range(3)]
    print(f"{title}\n")
    for row in [("what", "measured", "goal"), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(json.dumps({"benchmark": title, **figures}), flush=True)

"""Several processes: the page rate of two workers against one, when a change shows elsewhere, and
starts from a shared catalog.

``python benchmarks/scale.py [--seconds 3] [--runs 3] [--uploads 100] [--projects 10000]``

Each project has 10 files. PostgreSQL is Debian's, started here on a free port. A machine with two
cores cannot show two workers beside the client that asks them: by how much they are more, wrk (which
takes next to nothing) shows with pages that cost pypid much; what a page costs in time of the
processors is told beside.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from unittest import SkipTest

import _rig as rig
from _fabricate import FILES, fabricate
from _wheels import build, upload

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.live.postgresql import postgresql

TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 32


# --- workers --------------------------------------------------------------------------------------


class Workers(rig.Server):
    """A pypid of so many processes, on any core."""

    def __init__(self, folder: Path, count: int, *, front_door: bool) -> None:
        super().__init__(folder, more="[upstream]\nmode = offline\n", pinned=False)
        door = "" if front_door else "fast_path = no\n"
        self.config.write_text(
            self.config.read_text().replace("[access]", f"workers = {count}\n{door}[access]", 1)
        )

    def cpu(self) -> float:
        """Seconds that all its processes have computed."""
        children = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        fields = [
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            for pid in [self.process.pid, *children]
        ]
        return sum(int(each[11]) + int(each[12]) for each in fields) / TICK


def rate(server: Workers, path: str, seconds: int) -> tuple[float, float]:
    """Pages a second, and microseconds of all processors that each took."""
    before = server.cpu()
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        f"http://127.0.0.1:{server.port}{path}",
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found, count = (
        re.search(r"Requests/sec: *([\d.]+)", said),
        re.search(r"(\d+) requests in", said),
    )
    if found is None or count is None or "Non-2xx" in said:
        raise SystemExit(said)
    return float(found[1]), (server.cpu() - before) / int(count[1]) * 1e6


def workers(
    folder: Path, seconds: int, runs: int
) -> Iterator[tuple[tuple[str, str, str], dict[str, object]]]:
    """Two against one, in turns: pages that are made anew for each request, and those that the
    fast path has.
    """
    for title, goal, front_door in (
        ("pages through the routes", ">= 1.8", False),
        ("pages of the fast path", "", True),
    ):
        with ExitStack() as stack:
            servers = [
                Workers(folder / f"{front_door}{count}", count, front_door=front_door)
                for count in (1, 2)
            ]
            for server in servers:
                stack.enter_context(server.running())
                wheel = folder / "ten-1.0-py3-none-any.whl"
                build(wheel, "ten", "1.0", 1000)
                upload(server, wheel, sha256(wheel.read_bytes()).hexdigest())
            time.sleep(2)  # the further worker is there
            found = [
                [rate(server, "/simple/ten/", seconds) for server in servers] for _ in range(runs)
            ]
        one, two = (rig.median([run[which][0] for run in found]) for which in (0, 1))
        costs = [rig.median([run[which][1] for run in found]) for which in (0, 1)]
        said = f"{two / one:.2f} x ({one:.0f} -> {two:.0f} a second)"
        yield (
            (f"2 workers against 1, {title}", said, goal),
            {f"workers_{'door' if front_door else 'routes'}": two / one},
        )
        yield (
            (f"... processors' time for each, {title}", f"{costs[0]:.0f} -> {costs[1]:.0f} us", ""),
            {},
        )


# --- nodes ----------------------------------------------------------------------------------------


@contextmanager
def database() -> Iterator[str]:
    """The section of a new database."""
    with postgresql() as server:
        yield f"[database]\nurl = {server.database()}\n"


def visible(folder: Path, uploads: int) -> tuple[tuple[str, str, str], dict[str, object]]:
    """From the answer to an upload at one node until another node's page shows the file."""
    with ExitStack() as stack:
        shared = stack.enter_context(database())
        more = f"{shared}[upstream]\nmode = offline\n[storage]\npath = {folder}/files\n"
        one, other = (
            rig.Server(folder / node, more=more, pinned=False) for node in ("one", "other")
        )
        for server in one, other:
            stack.enter_context(server.running())
        connection = other.connect()
        took = []
        for number in range(uploads):
            wheel = folder / f"seen-{number}.0-py3-none-any.whl"
            build(wheel, "seen", f"{number}.0", 1000)
            upload(one, wheel, sha256(wheel.read_bytes()).hexdigest())
            begun = time.perf_counter()
            while True:
                connection.request("GET", "/simple/seen/")
                if wheel.name.encode() in connection.getresponse().read():
                    break
            took.append(time.perf_counter() - begun)
            wheel.unlink()
    p99 = rig.percentile(took, 0.99)
    said = (
        f"{rig.median(took) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, worst {max(took) * 1000:.0f} "
        f"ms"
    )
    return ("visible on another node", said, "p99 < 1 s"), {"visible_p99_postgresql_s": p99}


def start(
    folder: Path, projects: int, starts: int
) -> tuple[tuple[str, str, str], dict[str, object]]:
    """A node that starts on a catalog which another one has filled; until its first page."""
    with ExitStack() as stack:
        shared = stack.enter_context(database())
        with rig.Server(folder / "node").running():
            pass
        fabricate(folder / "node", projects)
        server = rig.Server(
            folder / "node", page="/simple/project-7/", more=f"{shared}[upstream]\nmode = offline\n"
        )
        with server.running():
            begun = time.perf_counter()
            while not server.complete():
                time.sleep(0.2)
            filled = time.perf_counter() - begun + server.started
        took = []
        for _ in range(starts):
            with server.running():
                took.append(server.started)
                rss = server.rss() / (1 << 20)
    said = f"{rig.median(took):.2f} s ({rss:.0f} MiB; filled from the storage in {filled:.0f} s)"
    return (f"start with {projects * FILES:,} files to the first page", said, "2 s"), {
        "start_postgresql_s": rig.median(took)
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--uploads", type=int, default=100)
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    figures: dict[str, object] = {}
    with rig.scratch() as folder:
        for row, said in workers(folder, options.seconds, options.runs) if options.runs else ():
            rows.append(row)
            figures |= said
        places = folder / "visible", folder / "start"
        for place in places:
            place.mkdir()
        try:
            measured = [visible(places[0], options.uploads)]
            measured.append(start(places[1], options.projects, options.starts))
        except SkipTest as reason:
            measured = [(("nodes", str(reason), ""), {})]
        for row, said in measured:
            rows.append(row)
            figures |= said
    rig.report("several processes", rows, figures)


if __name__ == "__main__":
    main()

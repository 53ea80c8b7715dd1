"""How late ``/health`` is answered while pypid does what takes long.

``python benchmarks/health.py [--projects 10000] [--listed 1000]``

One pypid has so many local projects (10 files each), and listings of so many upstream projects (400
files each). It is started, takes up large pages of an upstream index, and exports everything.
Meanwhile a client asks for ``/health`` every 5 ms from the other core. A delay counts
from when the request was due: one stall delays all requests that it held up.

The delay of the reactor is measured inside of pypid as well (`_ticking`): no more of it than the
processor time that pypid used meanwhile. A busy machine adds to the first figure only.
``--stacks FILE`` writes what all threads did when the reactor was held up for 10 ms.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import _rig as rig
from _fabricate import FILES, fabricate
from _listings import ListingServer

EVERY = 0.005
"""Seconds between two requests for ``/health``."""
SMALL, LARGE, LARGEST = 400, 10_000, 30_000
"""Files of upstream projects."""
CLIENTS = 8
"""Connections that ask for the pages of small projects at once."""
JSON = "application/vnd.pypi.simple.v1+json\r\nAccept-Encoding: gzip"
HTML = "text/html\r\nAccept-Encoding: gzip"
GOAL = "worst < 20 ms"
SETTLING = 3.0
"""Seconds after the comparison with the storage that belong to a start."""


class Health:
    """A pypid, and how late it answered ``/health`` in each situation."""

    def __init__(self, server: rig.Ticking) -> None:
        self.server = server
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Ask for ``/health`` as long as the block runs; delays are in milliseconds."""
        watch = rig.Watch(self.server.port, lambda: "/health", EVERY)
        with self.server.ticked() as ticks:
            watch.start()
            try:
                yield
            finally:
                late = watch.end()
        self.found[what] = {
            "p99": rig.percentile(late, 0.99) * 1000,
            "worst": max(late) * 1000,
            "own_p99": ticks["p99"],
            "own_worst": ticks["worst"],
        }


def start(health: Health) -> None:
    """From the first answer until some seconds after the comparison with the storage."""
    with health.during("after a start, with the comparison"):
        while not health.server.complete():
            time.sleep(0.2)
        time.sleep(SETTLING)


def idle(health: Health) -> None:
    """What the machine adds."""
    with health.during("idle"):
        time.sleep(3)


def pages(health: Health, count: int, projects: int) -> None:
    """Pages of so many files that pypid has to ask for, each in both formats, one after the
    other.
    """
    with health.during(f"cold pages of {count:,} files, {projects} projects"):
        client = rig.Kept(health.server.port)
        for number in range(projects):
            for accept in (JSON, HTML):
                client.fetch(f"/simple/large-{count}-{number}/", accept)
        client.close()


def small_pages(health: Health, projects: int) -> None:
    """Pages of an install of many projects at once."""
    clients = [rig.Kept(health.server.port) for _ in range(CLIENTS)]

    def ask(client: int) -> None:
        for number in range(client, projects, CLIENTS):
            clients[client].fetch(f"/simple/small-{SMALL}-{number}/", JSON)

    with (
        health.during(f"cold pages of {SMALL} files, {projects:,} projects, {CLIENTS} at once"),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        list(pool.map(ask, range(CLIENTS)))
    for client in clients:
        client.close()


def export(health: Health) -> None:
    """The export of all files into an empty folder."""
    pypid = str(Path(sys.executable).with_name("pypid"))
    options = ["--config", str(health.server.config), "--no-per-release-json"]
    target = str(health.server.folder / "tree")
    with health.during("pypid export"):
        command = [pypid, "export", *options, target]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(folder: Path, projects: int, listed: int, upstream: str) -> dict[str, dict[str, float]]:
    """All situations, in the order in which a deployment meets them."""
    more = f"[upstream]\nmode = cache\nurl = {upstream}\nunknown_names = 0\n"
    with rig.Server(folder / "node", page="/health", more=more).running():
        pass  # it makes the storage its own
    fabricate(folder / "node", projects)
    server = rig.Ticking(folder / "node", page="/health", more=more)
    health = Health(server)
    steps: tuple[Callable[[], None], ...] = (
        lambda: start(health),
        lambda: idle(health),
        lambda: pages(health, LARGE, 6),
        lambda: pages(health, LARGEST, 2),
        lambda: small_pages(health, listed),
        lambda: export(health),
    )
    with server.running():
        for step in steps:
            step()
    return health.found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--listed", type=int, default=1_000)
    parser.add_argument("--stacks", type=Path, help="a file for the stacks of late calls")
    options = parser.parse_args()
    if options.stacks:
        os.environ["BENCH_STACKS"] = str(options.stacks.absolute())
    rig.pin_client()
    with rig.scratch() as folder, ListingServer(folder).running() as upstream:
        found = measure(folder, options.projects, options.listed, upstream.index)
    rows = [
        (
            what,
            f"p99 {late['p99']:.1f}, worst {late['worst']:.1f} ms "
            f"(own {late['own_p99']:.1f}, {late['own_worst']:.1f})",
            "" if what == "idle" else GOAL,
        )
        for what, late in found.items()
    ]
    local, upstream_files = options.projects * FILES, options.listed * SMALL
    title = f"/health with {local:,} local and {upstream_files:,} listed files"
    rig.report(title, rows, {"situations": found})


if __name__ == "__main__":
    main()

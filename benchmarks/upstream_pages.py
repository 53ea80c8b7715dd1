"""What pages of upstream projects cost: the first time, after they left memory, and in memory.

``python benchmarks/upstream_pages.py [--listed 400000] [--millions]``

An index on this machine lists the files in JSON; a client asks pypid for the pages in JSON with gzip,
as uv does. CPU is what all threads of pypid used for each page, also after the answer: the kernel's
counters of nanoseconds, after a first page that imports what is needed. ``--millions`` adds
2,000,000 files in 5,000 projects, with the reactor's longest stall.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import _rig as rig
from _listings import ListingServer
from attrs import define, field

FILES, MANY = 400, 10_000
"""Files of a project."""
JSON = "application/vnd.pypi.simple.v1+json\r\nAccept-Encoding: gzip"
SMALL_PAGES, LARGE_PAGES = 60, 4
"""Pages of each batch."""
BATCHES = 3
OTHERS = 2_400
"""Pages after which the first ones have left memory: 100 MB, with gzip."""
LITTLE = "16M"
"""The memory in which they do not fit."""
MIB = 1 << 20
SETTLED = 0.0005
"""Seconds of CPU in 50 ms below which pypid does nothing more for the last page."""
SETTLING = 100
"""How often this is looked at."""


def config(upstream: str, memory: str = "") -> str:
    """Sections of the configuration."""
    bound = f"memory = {memory}\n" if memory else ""
    return f"[upstream]\nmode = cache\nurl = {upstream}\nttl = 1h\nunknown_names = 0\n{bound}"


def settle(server: rig.Server) -> None:
    """Wait until pypid uses no more of the processor."""
    before = server.cpu()
    for _ in range(SETTLING):
        time.sleep(0.05)
        now = server.cpu()
        if now - before < SETTLED:
            return
        before = now


def path_of(count: int, number: int) -> str:
    """The page of a project with so many files."""
    return f"/simple/project-{count}-{number}/"


@define
class Batch:
    """Pages that were asked for, one after the other."""

    cpu_ms: float
    """Of each, on average."""
    seconds: list[float] = field(repr=False)

    @property
    def wall_ms(self) -> float:
        """The median until all of the answer was there."""
        return rig.median(self.seconds) * 1000


def ask(server: rig.Server, paths: Iterable[str]) -> Batch:
    """One client asks for the pages."""
    client = rig.Kept(server.port)
    settle(server)
    before = server.cpu()
    seconds = [client.timed(path, JSON) for path in paths]
    settle(server)
    client.close()
    return Batch((server.cpu() - before) / len(seconds) * 1000, seconds)


def batches(ask_one: Callable[[int], Batch]) -> Batch:
    """Return the batch whose CPU is the median."""
    return sorted((ask_one(number) for number in range(BATCHES)), key=lambda each: each.cpu_ms)[
        BATCHES // 2
    ]


def first_pages(folder: Path, upstream: str) -> dict[str, Batch]:
    """Pages that pypid has never seen, and the same again."""
    server = rig.Server(folder / "first", page="/health", more=config(upstream))
    with server.running():
        ask(server, [path_of(FILES, SMALL_PAGES * BATCHES)])

        def small(batch: int) -> Batch:
            first = batch * SMALL_PAGES
            return ask(server, [path_of(FILES, first + each) for each in range(SMALL_PAGES)])

        def large(batch: int) -> Batch:
            first = batch * LARGE_PAGES
            return ask(server, [path_of(MANY, first + each) for each in range(LARGE_PAGES)])

        cold = batches(small)
        again = batches(small)
        return {"first": cold, "again": again, "large": batches(large)}


def pages_that_left(folder: Path, upstream: str) -> Batch:
    """Pages whose listings pypid has, but no longer in memory."""
    server = rig.Server(folder / "left", page="/health", more=config(upstream, LITTLE))
    paths = [path_of(FILES, number) for number in range(OTHERS)]
    with server.running():
        ask(server, paths)
        return batches(
            lambda batch: ask(server, paths[batch * SMALL_PAGES : (batch + 1) * SMALL_PAGES])
        )


def memory(folder: Path, upstream: str, files: int) -> dict[str, float]:
    """Memory after pages of so many files, in MiB, also after a restart, and the reactor's stalls
    meanwhile.
    """
    server = rig.Ticking(folder / f"memory-{files}", page="/health", more=config(upstream))
    with server.running():
        idle = server.rss()
        client = rig.Kept(server.port)
        with server.ticked() as ticks:
            for number in range(files // FILES):
                client.fetch(path_of(FILES, number), JSON)
        time.sleep(1)  # what is left to do after the last answer
        rss = server.rss()
    with server.running():  # reads the heads of the listings
        restarted = server.rss()
    return {
        "rss_mib": rss / MIB,
        "idle_mib": idle / MIB,
        "restarted_mib": restarted / MIB,
        "stall_ms": ticks["worst"],
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listed", type=int, default=400_000)
    parser.add_argument("--millions", action="store_true", help="also 2,000,000 files")
    options = parser.parse_args()
    rig.pin_client()
    with rig.scratch() as folder, ListingServer(folder).running() as upstream:
        first = first_pages(folder, upstream.index)
        left = pages_that_left(folder, upstream.index)
        held = memory(folder, upstream.index, options.listed)
        most = memory(folder, upstream.index, 2_000_000) if options.millions else None
    rows = [
        (f"first page of {FILES} files, CPU", f"{first['first'].cpu_ms:.1f} ms", "<= 2 ms"),
        ("... until the answer", f"{first['first'].wall_ms:.1f} ms", ""),
        (f"first page of {MANY:,} files, CPU", f"{first['large'].cpu_ms:.0f} ms", "<= 40 ms"),
        ("... until the answer", f"{first['large'].wall_ms:.0f} ms", ""),
        ("page in memory, CPU", f"{first['again'].cpu_ms:.2f} ms", ""),
        ("page that left memory, CPU", f"{left.cpu_ms:.2f} ms", "<= 0.3 ms"),
        ("page that left memory, until the answer", f"{left.wall_ms:.2f} ms", "< 1 ms"),
        (
            f"{options.listed:,} listed files, memory",
            f"{held['rss_mib']:.0f} MiB (idle {held['idle_mib']:.0f})",
            "<= 200 MiB",
        ),
        ("... after a restart", f"{held['restarted_mib']:.0f} MiB", "<= 200 MiB"),
        ("... the reactor's longest stall", f"{held['stall_ms']:.1f} ms", "<= 20 ms"),
    ]
    if most:
        rows += [
            (
                "2,000,000 listed files, memory",
                f"{most['rss_mib']:.0f} MiB (idle {most['idle_mib']:.0f})",
                "<= 250 MiB",
            ),
            (
                "2,000,000 listed files, the reactor's longest stall",
                f"{most['stall_ms']:.1f} ms",
                "<= 20 ms",
            ),
        ]
    figures: dict[str, object] = {
        "first_cpu_ms": first["first"].cpu_ms,
        "large_cpu_ms": first["large"].cpu_ms,
        "again_cpu_ms": first["again"].cpu_ms,
        "left_cpu_ms": left.cpu_ms,
        "left_ms": left.wall_ms,
        "memory": held,
        "memory_millions": most,
    }
    rig.report("Pages of upstream projects", rows, figures)


if __name__ == "__main__":
    main()

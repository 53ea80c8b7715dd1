"""100,000 files in 10,000 projects: starts, memory, and pages while pypid compares with the storage.

``python benchmarks/many_files.py [--projects 10000] [--starts 3]``   (10 files each)

The records are real, the artifacts are sparse. A second pypid on the same core, with a hundredth of
the projects, is what latencies are compared with, in turns.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _wheels import build, upload

from pypid.core.model import StoredFile
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import ObjectKind, key

FILES = 10
"""Of each project."""
STEADY = 0.01
"""Seconds between two pages of the client that asks at a steady rate."""
HEALTH = 0.001
"""Seconds after an answer until the next question whether it lives."""


def fabricate(storage: Path, projects: int) -> None:
    """A storage as if `projects` had been published to it."""
    for number in range(projects):
        name = project_name(f"project-{number}")
        (storage / name).mkdir(parents=True)
        for count in range(FILES):
            version = f"1.{count}.0"
            filename = f"project_{number}-{version}-py3-none-any.whl"
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
            digest = sha256(filename.encode()).hexdigest()
            file = StoredFile(
                project=name,
                filename=filename,
                version=version,
                sha256=digest,
                size=100_000,
                uploaded=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC),
                requires_python=">=3.9",
                metadata_sha256=sha256(metadata).hexdigest(),
                key=key(name, filename),
                md5=digest[:32],
                blake2b_256=digest[::-1],
                uploader="ci",
                summary="A project that the benchmark made up",
            )
            with (storage / key(name, filename)).open("wb") as artifact:
                artifact.truncate(100_000)
            (storage / key(name, filename, ObjectKind.METADATA)).write_bytes(metadata)
            (storage / key(name, filename, ObjectKind.RECORD)).write_bytes(dump_record(file))


def page_of(projects: int) -> str:
    """Any project's page."""
    return f"/simple/project-{random.randrange(projects)}/"


def until_complete(server: rig.Server) -> float:
    """Seconds from now until the storage has been compared."""
    begun = time.perf_counter()
    while not server.complete():
        time.sleep(0.05)
    return time.perf_counter() - begun


@contextmanager
def watched(server: rig.Server, projects: int) -> Iterator[dict[str, float]]:
    """Pages and `/health` at steady rates meanwhile; in milliseconds how long they took."""
    result: dict[str, float] = {}
    pages = rig.Watch(server.port, lambda: page_of(projects), STEADY)
    alive = rig.Watch(server.port, lambda: "/health", HEALTH, steady=False)
    pages.start()
    alive.start()
    begun, waited = time.perf_counter(), server.waited()
    try:
        yield result
    finally:
        seconds, lives = pages.end(), alive.end()
        result |= {
            "p50": rig.median(seconds) * 1000,
            "p99": rig.percentile(seconds, 0.99) * 1000,
            "worst": max(seconds) * 1000,
            "stall": max(lives) * 1000,
            "others": (server.waited() - waited) / (time.perf_counter() - begun),
        }


def first_start(large: rig.Server, projects: int) -> dict[str, float]:
    """No catalog: everything is read from the storage, while pages are answered."""
    with large.running():
        begun = time.perf_counter()
        with watched(large, projects) as seen:
            until_complete(large)
        rebuilt = time.perf_counter() - begun + large.started
        rss = large.rss()
        stopping = time.perf_counter()
    return {
        "rebuild_s": rebuilt,
        "stop_s": time.perf_counter() - stopping,
        "rss_mib": rss / (1 << 20),
        **seen,
    }


def restart(large: rig.Server, projects: int) -> dict[str, float]:
    """With the catalog: the first page, then pages while everything is compared."""
    with large.running():
        with watched(large, projects) as seen:
            compared = until_complete(large)
        return {
            "ready_s": large.started,
            "compare_s": compared,
            "rss_mib": large.rss() / (1 << 20),
            **seen,
        }


def compare(large: rig.Server, small: rig.Server, projects: int) -> dict[str, dict[str, float]]:
    """The same questions to both, in turns: pages that were not requested before, and one again and
    again; milliseconds.
    """
    kept = {"large": rig.Kept(large.port), "small": rig.Kept(small.port)}
    count = {"large": projects, "small": projects // 100}
    times: dict[str, list[float]] = {
        f"{which} {what}": [] for which in kept for what in ("any", "same")
    }
    for _ in range(1500):
        for which, connection in kept.items():
            times[f"{which} any"].append(connection.timed(page_of(count[which])) * 1000)
            times[f"{which} same"].append(connection.timed("/simple/project-7/") * 1000)
    return {
        what: {"p50": rig.median(seen), "p99": rig.percentile(seen, 0.99)}
        for what, seen in times.items()
    }


def publish(large: rig.Server, small: rig.Server, folder: Path) -> dict[str, float]:
    """Publishing one small file, in turns; milliseconds."""
    times: dict[str, list[float]] = {"large": [], "small": []}
    for count in range(31):
        path = folder / f"fresh-{count}.0-py3-none-any.whl"
        build(path, "fresh", f"{count}.0", 0)
        digest = sha256(path.read_bytes()).hexdigest()
        for which, server in (("large", large), ("small", small)):
            times[which].append(upload(server, path, digest) * 1000)
    return {
        which: rig.median(seen[1:]) for which, seen in times.items()
    }  # the first verifies the password


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--projects", type=int, default=10_000)
    arguments.add_argument("--starts", type=int, default=3)
    options = arguments.parse_args()
    projects: int = options.projects
    rig.pin_client()
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        large = rig.Server(folder / "large", page="/simple/project-7/")
        small = rig.Server(folder / "small", page="/simple/project-7/")
        fabricate(large.storage, projects)
        fabricate(small.storage, projects // 100)
        os.sync()
        first = first_start(large, projects)
        starts = [restart(large, projects) for _ in range(options.starts)]
        stack.enter_context(large.running())
        until_complete(large)
        rss = large.rss() / (1 << 20)
        stack.enter_context(small.running())
        until_complete(small)
        pages = compare(large, small, projects)
        published = publish(large, small, folder)
    show(projects, first, starts, rss, pages, published)


def show(
    projects: int,
    first: dict[str, float],
    starts: list[dict[str, float]],
    rss: float,
    pages: dict[str, dict[str, float]],
    published: dict[str, float],
) -> None:
    """The table."""

    def middle(name: str) -> float:
        return rig.median([start[name] for start in starts])

    def ratio(what: str, share: str) -> float:
        return pages[f"large {what}"][share] / pages[f"small {what}"][share]

    def both(what: str) -> str:
        large, small = pages[f"large {what}"], pages[f"small {what}"]
        return (
            f"{large['p50']:.2f} / {large['p99']:.2f} ms, {small['p50']:.2f} / {small['p99']:.2f} "
            f"ms"
        )

    worst = max(start["worst"] for start in starts)
    rows = [
        ("first start: everything compared after", f"{first['rebuild_s']:.1f} s", ""),
        (
            "... pages of known names meanwhile, p99 / worst",
            f"{first['p99']:.1f} / {first['worst']:.1f} ms",
            "",
        ),
        ("restart: first project page after", f"{middle('ready_s'):.2f} s", "< 2 s"),
        (
            "memory when all is compared",
            f"{max(start['rss_mib'] for start in starts):.0f} MiB",
            "< 300 MB",
        ),
        ("memory at the end", f"{rss:.0f} MiB", "< 300 MB"),
        ("comparing with the storage takes", f"{middle('compare_s'):.1f} s", ""),
        ("... pages meanwhile, p99 / worst", f"{middle('p99'):.1f} / {worst:.1f} ms", ""),
        ("... longest wait for /health meanwhile", f"{middle('stall'):.1f} ms", "< 20 ms"),
        ("... share of that time others had the core", f"{middle('others'):.0%}", ""),
        ("any page, p50 / p99: here, with 1/100", both("any"), ""),
        ("one page, p50 / p99: here, with 1/100", both("same"), ""),
        ("one page against 1/100 of the projects, p50", f"{ratio('same', 'p50'):.2f} x", "~ 1 x"),
        (
            "publishing a file: here, with 1/100",
            f"{published['large']:.1f} ms, {published['small']:.1f} ms",
            "",
        ),
    ]
    title = f"{projects * FILES:,} files in {projects:,} projects"
    figures = {
        "first": first,
        "starts": starts,
        "rss_mib": rss,
        "pages_ms": pages,
        "publish_ms": published,
    }
    rig.report(title, rows, {**figures, "rss_mib": rss})


if __name__ == "__main__":
    main()

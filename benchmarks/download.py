"""A 500 MB download, against nginx with the same file: both pinned to one core, in turns, the
client on the other.

``python benchmarks/download.py [--size 500] [--runs 5]``   (MB)

Only the first line has a goal; eight clients at once and small files are for our own knowledge.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _wheels import build, upload

CLIENTS, SMALL_FILES = 8, 400
BIG, SMALL = "big/big-1.0-py3-none-any.whl", "small/small-1.0-py3-none-any.whl"


def one(port: int, path: str) -> float:
    """Seconds that one download takes, connecting included."""
    begun = time.perf_counter()
    kept = rig.Kept(port)
    kept.fetch(path, "*/*")
    kept.close()
    return time.perf_counter() - begun


def many(port: int, path: str) -> float:
    """Seconds until the last of some clients has all, who began together."""
    threads = [threading.Thread(target=one, args=(port, path)) for _ in range(CLIENTS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def small(port: int, path: str) -> float:
    """Seconds that small downloads take, one after the other over one connection."""
    kept = rig.Kept(port)
    begun = time.perf_counter()
    for _ in range(SMALL_FILES):
        kept.fetch(path, "*/*")
    took = time.perf_counter() - begun
    kept.close()
    return took


def publish(server: rig.Server, folder: Path, name: str, size: int) -> int:
    """Publish a wheel; its size in bytes."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    build(path, name, "1.0", size)
    upload(server, path, sha256(path.read_bytes()).hexdigest())
    size = path.stat().st_size
    path.unlink()
    return size


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--size", type=int, default=500, help="MB (500)")
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    if rig.Nginx.path() is None:
        print("skipped: nginx is not installed")
        return
    rig.pin_client()
    rows: list[tuple[str, str, str]] = []
    figures: dict[str, object] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        server = stack.enter_context(rig.Server(folder).running())
        size = publish(server, folder, "big", options.size * 1_000_000)
        small_size = publish(server, folder, "small", 1 << 20)
        nginx = stack.enter_context(rig.Nginx(folder, server.storage).running())
        jobs: list[tuple[str, Callable[[int, str], float], str, int, str]] = [
            (f"{options.size} MB", one, BIG, size, ">= 0.5 x"),
            (f"{options.size} MB, {CLIENTS} clients at once", many, BIG, size * CLIENTS, ""),
            ("1 MiB, one after the other", small, SMALL, small_size * SMALL_FILES, ""),
        ]
        server.forget_peak()
        idle = server.rss()
        for title, job, path, total, goal in jobs:
            runs = options.runs if job is not many else max(2, options.runs // 2)
            ours: list[float] = []
            theirs: list[float] = []
            for run in range(runs + 1):
                theirs.append(job(nginx.port, f"/{path}"))
                ours.append(job(server.port, f"/packages/{path}"))
                if run == 0:  # the page cache is warm now
                    theirs.clear()
                    ours.clear()
            turn = rig.compare(
                *([total / took / 1e6 for took in times] for times in (ours, theirs))
            )
            measured = f"{turn.ratio:.2f} x nginx ({turn.ours:,.0f} : {turn.theirs:,.0f} MB/s)"
            rows.append((title, measured, goal))
            figures[title] = {
                "ratio": turn.ratio,
                "pypid_mb_s": turn.ours,
                "nginx_mb_s": turn.theirs,
            }
        growth = (server.peak() - idle) / (1 << 20)
    rows.append(("peak memory above idle", f"{growth:.0f} MiB", ""))
    rig.report("Download against nginx", rows, {**figures, "growth_mib": growth})


if __name__ == "__main__":
    main()

"""A million files in 100,000 projects: starts, memory, pages, the list of projects, publishing,
comparing.

``python benchmarks/million.py [--files 1000000] [--starts 3]``   (10 files in each project; ``--files 100000`` is quick)

A second pypid, with a thousand files, is what pages and publishes are compared with, in turns. How
late the reactor comes is measured inside of it (`_ticking`): no more than the processor time that
it used meanwhile.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from itertools import islice
from pathlib import Path

import _rig as rig
from _fabricate import FILES, fabricate
from _wheels import build, upload

SMALL = 1000
"""Files of the pypid to compare with."""
CHANGED = 60
"""Projects that change between two questions for the list."""
PUBLISHES = 40
PAGE = "/simple/project-7/"
LIST = "/simple/"
JSON, HTML = "application/vnd.pypi.simple.v1+json", "text/html"


def mib(size: int) -> float:
    """Bytes as MiB."""
    return size / (1 << 20)


def asking(server: rig.Server, headers: str) -> Callable[[], float]:
    """Asks for the list of projects over one connection: seconds until all of it is there."""
    kept = rig.Kept(server.port)
    return lambda: kept.timed(LIST, headers)


def starts(servers: dict[str, rig.Server], times: int) -> dict[str, dict[str, float]]:
    """From exec to the first page, as `twistd` starts each, in turns; and the memory then. Also
    after a kill -9: then the page's project is compared with the storage first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in servers}
    crashed: dict[str, list[float]] = {name: [] for name in servers}
    sizes: dict[str, int] = {}
    for _ in range(times + 1):
        for name, server in servers.items():
            with server.running():
                seconds[name].append(server.started)
                sizes[name] = server.rss()
                server.process.kill()
                server.process.wait()
            with server.running():
                crashed[name].append(server.started)
    return {
        name: {
            "start_s": rig.median(seconds[name][1:]),
            "crash_s": rig.median(crashed[name][1:]),
            "rss_mib": mib(sizes[name]),
        }
        for name in servers
    }


def compared(server: rig.Ticking) -> dict[str, float]:
    """From its start until the storage has been compared."""
    with server.ticked() as ticks:
        begun = time.perf_counter()
        while not server.complete():
            time.sleep(0.1)
    return {"seconds": time.perf_counter() - begun, **ticks}


def listed(server: rig.Ticking) -> dict[str, float]:
    """The list of projects in milliseconds: made for the first time, again, and after each of some
    changes.
    """
    figures: dict[str, float] = {}
    fresh = iter(range(CHANGED))
    for name, headers in {
        "json": JSON,
        "html": HTML,
        "gzip": f"{JSON}\r\nAccept-Encoding: gzip",
    }.items():
        ask = asking(server, headers)
        with server.ticked() as ticks:
            figures[f"{name}_first"] = ask() * 1000
        figures[f"{name}_first_worst"] = ticks["worst"]
        figures[f"{name}_again"] = rig.median([ask() for _ in range(20)]) * 1000
        after = []
        with server.ticked() as ticks:
            for number in islice(fresh, CHANGED // 3):
                yank(server, number)
                after.append(ask() * 1000)
        figures[f"{name}_changed"], figures[f"{name}_changed_worst"] = (
            rig.median(after),
            ticks["worst"],
        )
    return figures


def yank(server: rig.Server, number: int) -> None:
    """A change of a project."""
    path = f"/api/projects/project-{number}/files/project_{number}-1.0.0-py3-none-any.whl/yank"
    server.call("PUT", path, {"Authorization": rig.LOGIN}, b"{}")


def publish(servers: dict[str, rig.Ticking], folder: Path) -> dict[str, dict[str, float]]:
    """Publishes to all in turns, while others ask each for its list and for pages again and again;
    milliseconds.
    """
    times: dict[str, list[float]] = {name: [] for name in servers}
    ended = threading.Event()

    def readers(server: rig.Ticking) -> None:
        ask = asking(server, f"{JSON}\r\nAccept-Encoding: gzip")
        while not ended.wait(0.02):
            ask()

    threads = [
        threading.Thread(target=readers, args=[server], daemon=True) for server in servers.values()
    ]
    upload_one(servers, folder, 0)  # the first verifies the password
    for server in servers.values():
        server.ticks()
    for thread in threads:
        thread.start()
    for number in range(1, PUBLISHES + 1):
        for name, took in upload_one(servers, folder, number).items():
            times[name].append(took * 1000)
    ticks = {name: server.ticks() for name, server in servers.items()}
    ended.set()
    for thread in threads:
        thread.join()
    return {name: {"median": rig.median(times[name]), **ticks[name]} for name in servers}


def upload_one(servers: dict[str, rig.Ticking], folder: Path, number: int) -> dict[str, float]:
    """A file of a new project to each; seconds."""
    path = folder / f"fresh{number}-1.0-py3-none-any.whl"
    build(path, f"fresh{number}", "1.0", 0)
    digest = sha256(path.read_bytes()).hexdigest()
    return {name: upload(server, path, digest) for name, server in servers.items()}


def pages(servers: dict[str, rig.Ticking], count: dict[str, int]) -> dict[str, dict[str, float]]:
    """One page again and again, and any page: milliseconds, in turns; and pages a second of wrk, if
    there is one, in turns.
    """
    kept = {name: rig.Kept(server.port) for name, server in servers.items()}
    same: dict[str, list[float]] = {name: [] for name in servers}
    anyone: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(1000):
        for name, connection in kept.items():
            same[name].append(connection.timed(PAGE) * 1000)
            anyone[name].append(
                connection.timed(f"/simple/project-{random.randrange(count[name])}/") * 1000
            )
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(3):
        for name, server in servers.items():
            rates[name].append(wrk(server))
    return {
        name: {
            "same_ms": rig.median(same[name]),
            "any_ms": rig.median(anyone[name]),
            "rate": rig.median(rates[name]),
        }
        for name in servers
    }


def wrk(server: rig.Server) -> float:
    """Pages a second of 16 clients; 0 without wrk."""
    found = shutil.which("wrk")
    if found is None:
        return 0.0
    command = [found, "-t1", "-c16", "-d2s", f"http://127.0.0.1:{server.port}{PAGE}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.partition("Requests/sec:")[2].split()[0])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--files", type=int, default=1_000_000)
    arguments.add_argument("--starts", type=int, default=3)
    options = arguments.parse_args()
    projects = options.files // FILES
    rig.pin_client()
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        count = {"large": projects, "small": SMALL // FILES}
        begun = time.perf_counter()
        for name in count:
            with rig.Server(folder / name).running():
                pass  # it makes the storage its own
            fabricate(folder / name, count[name])
        made = time.perf_counter() - begun
        print(f"{options.files:,} files were made up in {made:.0f} s", file=sys.stderr)
        figures: dict[str, object] = {"files": options.files}
        started = starts(
            {name: rig.Server(folder / name, page=PAGE) for name in count},
            options.starts,
        )
        servers = {name: rig.Ticking(folder / name, page=PAGE) for name in count}
        for server in servers.values():
            stack.enter_context(server.running())
        comparing = compared(servers["large"])
        rss = mib(servers["large"].rss())
        compared(servers["small"])
        told = pages(servers, count)
        lists = listed(servers["large"])
        published = publish(servers, folder)
        peak = mib(servers["large"].rss())
        figures |= {
            "starts": started,
            "comparing": comparing,
            "rss_mib": rss,
            "rss_end_mib": peak,
            "pages": told,
            "list": lists,
        }
        show(
            projects,
            {**figures, "publish": published},
            started,
            comparing,
            told,
            lists,
            published,
        )


def show(
    projects: int,
    figures: dict[str, object],
    started: dict[str, dict[str, float]],
    comparing: dict[str, float],
    told: dict[str, dict[str, float]],
    lists: dict[str, float],
    published: dict[str, dict[str, float]],
) -> None:
    """The table."""
    large = projects * FILES >= 1_000_000
    late = "p99 < 5, worst < 25 ms"

    def stall(ticks: dict[str, float]) -> str:
        return f"{ticks['p99']:.1f} / {ticks['worst']:.1f} ms"

    def listing(which: str) -> str:
        return (
            " / ".join(f"{lists[f'{name}_{which}']:.0f}" for name in ("json", "html", "gzip"))
            + " ms"
        )

    ratio = told["large"]["rate"] / told["small"]["rate"] if told["small"]["rate"] else 0.0
    rows = [
        (
            "start to the first page",
            f"{started['large']['start_s']:.2f} s",
            "< 3 s" if large else "the next + 0.2 s",
        ),
        (f"... with {SMALL:,} files", f"{started['small']['start_s']:.2f} s", ""),
        (
            "... after a kill -9",
            f"{started['large']['crash_s']:.2f} s",
            "< 3 s" if large else "< 2 s",
        ),
        (
            "memory then",
            f"{started['large']['rss_mib']:.0f} MiB",
            "< 900 MiB" if large else "< 120 MiB",
        ),
        (
            f"... with {SMALL:,} files",
            f"{started['small']['rss_mib']:.0f} MiB",
            "< 60 MiB with none",
        ),
        (
            "memory when all is compared; at the end",
            f"{figures['rss_mib']:.0f}; {figures['rss_end_mib']:.0f} MiB",
            "",
        ),
        ("comparing with the storage", f"{comparing['seconds']:.1f} s", ""),
        ("... the reactor late, p99 / worst", stall(comparing), late),
        (
            "one page, against few files: wrk, c=16",
            f"{ratio:.2f} x" if ratio else "skipped: no wrk",
            "1 x",
        ),
        (
            "... median of one",
            f"{told['large']['same_ms']:.2f}, {told['small']['same_ms']:.2f} ms",
            "",
        ),
        (
            "any page: here, with few files",
            f"{told['large']['any_ms']:.2f}, {told['small']['any_ms']:.2f} ms",
            "",
        ),
        ("list of projects, first: JSON / HTML / gzip", listing("first"), ""),
        ("... the reactor late, worst", listing("first_worst"), "< 25 ms"),
        ("... again", listing("again"), ""),
        ("... after a change", listing("changed"), ""),
        ("... the reactor late, worst", listing("changed_worst"), "< 25 ms"),
        ("publishing, lists asked for all the time", f"{published['large']['median']:.1f} ms", ""),
        (f"... with {SMALL:,} files", f"{published['small']['median']:.1f} ms", ""),
        ("... the reactor late, p99 / worst", stall(published["large"]), late),
    ]
    rig.report(f"{projects * FILES:,} files in {projects:,} projects", rows, figures)


if __name__ == "__main__":
    main()

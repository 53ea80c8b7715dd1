"""One hundred named indexes over a large catalog: memory, and the time of a warm page.

``python benchmarks/named_indexes.py [--projects 10000] [--requests 2000]``

Each project has 10 files. Each named index has one project of its own, and has served one page of an
inherited project. The server without named indexes has taken the same uploads. The two servers run
side by side, and the same requests go to both in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import file_digest
from pathlib import Path

import _rig as rig
from _fabricate import FILES, fabricate
from _wheels import build, upload

INDEXES = 100
STILL = 10
"""Seconds. A server begins some of its work seconds after its start, or after a change."""
OFFLINE = "[upstream]\nmode = offline\n"


def filled(folder: Path, projects: int, stack: ExitStack, *, indexes: bool) -> rig.Server:
    """Return a running server with these projects, and with the named indexes in use; or with the
    same requests to the default index.
    """
    sections = "".join(f"[index:team{number}]\n" for number in range(INDEXES if indexes else 0))
    server = rig.Server(folder, more=OFFLINE + sections)
    with server.running():
        pass  # creates the storage
    fabricate(folder, projects)
    stack.enter_context(server.running())
    while not server.complete():
        time.sleep(0.5)
    page = page_of(server)
    for number in range(INDEXES):
        index = f"/team{number}" if indexes else ""
        publish(server, folder, number, index)
        server.get(index + page)
    return server


def settled(server: rig.Server) -> int:
    """Return the bytes of memory in use, once they have not grown for a while."""
    most, since = 0, time.monotonic()
    while time.monotonic() - since < STILL:
        if server.rss() > most:
            most, since = server.rss(), time.monotonic()
        time.sleep(0.5)
    return most


def page_of(server: rig.Server) -> str:
    """Return the path of the page of one project that all indexes show."""
    names = sorted(path.name for path in server.storage.iterdir())
    return f"/simple/{next(name for name in names if not name.startswith(('.', 'own')))}/"


def publish(server: rig.Server, folder: Path, number: int, index: str) -> None:
    """Publish a project in one index."""
    path = folder / f"own{number}-1.0-py3-none-any.whl"
    build(path, f"own{number}", "1.0", 1000)
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    upload(server, path, digest, to=f"{index}/legacy/")
    path.unlink()


def seconds(servers: Sequence[rig.Server], paths: Sequence[str], count: int) -> list[list[float]]:
    """Return how long the requests to each of the servers took, which are sent in turns."""
    kept = [rig.Kept(server.port) for server in servers]
    taken = [
        [each.timed(path) for each, path in zip(kept, paths, strict=True)] for _ in range(count)
    ]
    for each in kept:
        each.close()
    return [list(column) for column in zip(*taken, strict=True)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--projects", type=int, default=10_000)
    arguments.add_argument("--requests", type=int, default=2000)
    options = arguments.parse_args()
    rig.pin_client()
    with rig.scratch() as folder, ExitStack() as stack:
        many = filled(folder / "many", options.projects, stack, indexes=True)
        one = filled(folder / "one", options.projects, stack, indexes=False)
        memory = [settled(server) for server in (many, one)]
        page = page_of(one)
        default = seconds((many, one), (page, page), options.requests)
        inherited = seconds((many, one), (f"/team1{page}", page), options.requests)
    growth = memory[0] / memory[1] - 1
    warm, below = rig.compare(*default), rig.compare(*inherited)
    rows = [
        (
            f"memory with {INDEXES} named indexes",
            f"+{growth:.1%} (+{(memory[0] - memory[1]) / (1 << 20):.1f} MiB)",
            "< +5 %",
        ),
        ("warm page of the default index, to that without named indexes", ratio(warm), "1.0"),
        ("warm page of an inherited project, to that of the default index", ratio(below), ""),
    ]
    title = f"Named indexes over {options.projects:,} projects of {FILES} files"
    figures: dict[str, object] = {
        "memory": {"ratio": growth + 1, "many": memory[0], "one": memory[1]},
        "warm page": {"ratio": warm.ratio, "many": warm.ours, "one": warm.theirs},
        "inherited page": {"ratio": below.ratio, "many": below.ours, "one": below.theirs},
    }
    rig.report(title, rows, figures)


def ratio(found: rig.Comparison) -> str:
    """Return a cell of the table."""
    return f"{found.ratio:.2f} x ({found.ours * 1e6:.0f} : {found.theirs * 1e6:.0f} µs)"


if __name__ == "__main__":
    main()

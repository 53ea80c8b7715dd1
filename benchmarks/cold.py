"""The first request of a page after its project changed: how long the reactor's thread is at
it, in all its variants.

``python benchmarks/cold.py [--runs 30]``

In process, with the real index, catalog and threads: the project changes, and its page is made as
HTML and as JSON, each plain and gzipped. What is computed in other threads meanwhile is told apart:
no other request waits for that.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import _rig as rig
from attrs import evolve
from render import example
from twisted.internet import reactor as _reactor

from pypid.core.model import Project, StoredFile
from pypid.core.simple_api.render import Format
from pypid.flow import start
from pypid.index.views import DIRECT
from pypid.web.app.app import App
from pypid.web.http.headers import Encoding
from pypid.web.root import Routes
from pypid.wiring.platform import Platform, load_config
from pypid.wiring.recipe import make_daemon

reactor: Any = _reactor
GOALS = {10: 0.5, 1000: 8.0}
"""Files, and the milliseconds of the reactor's thread that all variants may take."""
SETTINGS = (
    "[server]\nlisten = tcp:0:interface=127.0.0.1\n[storage]\nbackend = memory\n[upstream]\nmode "
    "= offline\n"
)


async def made(app: App, project: Project[StoredFile]) -> tuple[float, float, float]:
    """Milliseconds of the reactor's thread, of other threads, and until all variants were there."""
    changed = evolve(
        project, status_reason=str(time.monotonic_ns())
    )  # which no page shows: it is as large as before
    await app.index.catalog.local.edit(project.name, lambda _: changed)
    begun, here, everywhere = time.perf_counter(), time.thread_time(), time.process_time()
    for format in Format.TEXT_HTML, Format.JSON:
        finished, _ = await app.pages.project(
            project.name, format, DIRECT, files_url="../../packages/", provenance=lambda: None
        )
        for encoding in Encoding:
            await finished.in_encoding(encoding)
    here, everywhere = time.thread_time() - here, time.process_time() - everywhere
    return here * 1000, (everywhere - here) * 1000, (time.perf_counter() - begun) * 1000


async def measured(app: App, runs: int) -> dict[int, tuple[float, float, float]]:
    """By the number of files: the medians of `made`."""
    await app.index.maintenance.reconcile()
    found = {}
    for files in GOALS:
        project = cast("Project[StoredFile]", example(files))
        times = [await made(app, project) for _ in range(runs + 3)][3:]
        found[files] = (
            rig.median([t[0] for t in times]),
            rig.median([t[1] for t in times]),
            rig.median([t[2] for t in times]),
        )
    return found


def run(
    job: Coroutine[Any, Any, dict[int, tuple[float, float, float]]],
) -> dict[int, tuple[float, float, float]]:
    """What it comes to, in a reactor that runs until then."""
    results: list[dict[int, tuple[float, float, float]]] = []
    failures: list[Any] = []
    reactor.callWhenRunning(
        lambda: (
            start(job)
            .addCallbacks(results.append, failures.append)
            .addBoth(lambda _: reactor.stop())
        )
    )
    reactor.run()
    for failure in failures:
        failure.printTraceback(sys.stderr)
        sys.exit(1)
    return results[0]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--runs", type=int, default=30)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(
        prefix="pypid-bench-"
    ) as folder:  # a short path: a socket lies there
        config = Path(folder) / "pypid.ini"
        config.write_text(SETTINGS)
        with open(os.devnull, "w") as nowhere:  # the password of a first run is not needed
            stdout, sys.stdout = sys.stdout, nowhere
            daemon = make_daemon(load_config(config), Platform(reactor, {}))
            sys.stdout = stdout
        try:
            found = run(measured(cast(Routes, daemon.sites[0].resource)._app, options.runs))
        finally:
            daemon.state.release()
    rows, figures = [], {}
    for files, (here, elsewhere, whole) in found.items():
        rows.append(
            (f"{files:,} files, the reactor's thread", f"{here:.2f} ms", f"< {GOALS[files]} ms")
        )
        rows.append((f"{files:,} files, other threads", f"{elsewhere:.2f} ms", ""))
        rows.append((f"{files:,} files, until all are there", f"{whole:.2f} ms", ""))
        figures.update(
            {
                f"reactor_{files}_ms": here,
                f"elsewhere_{files}_ms": elsewhere,
                f"whole_{files}_ms": whole,
            }
        )
    rig.report("A cold page, in all variants", rows, figures)


if __name__ == "__main__":
    main()

"""How fast a snapshot is loaded and written, what the catalog weighs, and whether the reactor
stalls meanwhile.

``python benchmarks/snapshot.py``            100,000 files in 10,000 projects
``python benchmarks/snapshot.py --large``    1,000,000 files in 100,000 projects
``python benchmarks/snapshot.py --files 5000 --projects 100``

Three processes: one makes and writes a catalog; one loads it, then writes everything anew and one
change; and one loads it by itself, for the memory. Prints a table and a JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from time import perf_counter

from _reactor import Stalls, rss, world
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from pypid.catalog.dump import CatalogDump
from pypid.catalog.lines import Loaded
from pypid.catalog.memory import MemoryCatalog
from pypid.core.model import Project, StoredFile
from pypid.core.packaging.names import project_name
from pypid.flow import start


async def settled(job: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Seconds that the job took, and of the longest stall in it."""
    gc.collect()
    gc.freeze()  # as a daemon does once it is ready: else the collector's stalls are measured here
    return await Stalls().during(job)


def made_up(number: int, files: int) -> Project[StoredFile]:
    """A project with files like those of real ones."""
    name = project_name(f"acme-project-{number}")
    made = []
    for count in range(files):
        version = f"1.{count // 2}.0"
        filename = f"acme_project_{number}-{version}" + (
            "-py3-none-any.whl" if count % 2 else ".tar.gz"
        )
        digest = sha256(filename.encode()).hexdigest()
        made.append(
            StoredFile(
                project=name,
                filename=filename,
                version=version,
                sha256=digest,
                size=123_456 + count,
                uploaded=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC),
                requires_python=">=3.9",
                metadata_sha256=digest[::-1],
                key=f"{name}/{filename}",
                md5=digest[:32],
                blake2b_256=digest,
                uploader="ci",
                summary="A project that the benchmark made up",
            )
        )
    return Project(name=name, files=tuple(made))


def _replaced(project: Project[StoredFile], _: object) -> Project[StoredFile]:
    return project


def _changed(project: Project[StoredFile] | None) -> Project[StoredFile] | None:
    return project and evolve(project, status_reason="changed")


async def make(folder: str, files: int, projects: int) -> dict[str, float]:
    """Publish everything to a catalog, and write it for the first time."""
    catalog = MemoryCatalog()
    for number in range(projects):
        project = made_up(number, files // projects)
        await catalog.local.edit(project.name, partial(_replaced, project), mark="0" * 32)
    await deferLater(reactor, 0.1)  # the reactor is only starting
    took, stall = await settled(CatalogDump(catalog.local, folder, "here", world()).write)
    return {"first write, s": took, "stall in it, ms": stall * 1000}


async def work(folder: str, files: int, projects: int) -> dict[str, float]:
    """Load; write everything anew; change one project and write that."""
    catalog = MemoryCatalog()
    snapshot = CatalogDump(catalog.local, folder, "here", world())
    load, load_stall = await settled(snapshot.load)
    names_begin = perf_counter()
    first = (await catalog.local.summaries())[0]
    names = perf_counter() - names_begin
    everything, everything_stall = await settled(
        CatalogDump(catalog.local, folder + "-2", "here", world()).write
    )
    await catalog.local.edit(first.name, _changed)
    change, change_stall = await settled(snapshot.write)
    return {
        "load, s": load,
        "stall while loading, ms": load_stall * 1000,
        "list of names after a change, ms": names * 1000,
        "write of everything, s": everything,
        "stall while writing everything, ms": everything_stall * 1000,
        "write of one change, s": change,
        "stall while writing one change, ms": change_stall * 1000,
    }


async def weigh(folder: str, files: int, projects: int) -> dict[str, float]:
    """Load, and nothing else."""
    before = rss()
    loaded = await CatalogDump(MemoryCatalog().local, folder, "here", world()).load()
    assert isinstance(loaded, Loaded)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"RSS before, MiB": before, "RSS after, MiB": rss(), "peak RSS, MiB": peak}


JOBS = {"make": make, "work": work, "weigh": weigh}


def child(job: str, folder: str, files: int, projects: int) -> None:
    """One of the jobs in this process; its figures as a line of JSON."""

    def main(_: object) -> Deferred[None]:
        return start(JOBS[job](folder, files, projects)).addCallback(
            lambda figures: print(json.dumps(figures))
        )

    react(main)


def main() -> None:
    """The jobs, each in a process of its own, and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--large", action="store_true", help="1,000,000 files in 100,000 projects")
    parser.add_argument("--job", nargs=2, metavar=("JOB", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    files, projects = (1_000_000, 100_000) if options.large else (options.files, options.projects)
    if options.job:
        job, folder = options.job
        child(job, folder, files, projects)
        return
    figures: dict[str, float] = {"files": files, "projects": projects}
    with tempfile.TemporaryDirectory() as folder:
        for job in JOBS:
            command = [sys.executable, __file__, "--files", str(files), "--projects", str(projects)]
            done = subprocess.run(
                [*command, "--job", job, folder + "/snapshot"], check=True, stdout=subprocess.PIPE
            )
            figures.update(json.loads(done.stdout))
    for name, figure in figures.items():
        print(f"{name:40} {figure:12,.2f}")
    print(
        json.dumps(
            {
                "benchmark": "snapshot",
                **{name: round(figure, 4) for name, figure in figures.items()},
            }
        )
    )


if __name__ == "__main__":
    main()

"""A machine is lost, and another one has only the bucket.

``python benchmarks/s3_rebuild.py [--objects 100000] [--delay 0.02] [--sample 2000]``

The bucket stands `delay` seconds off, which is what S3 takes for a small object. A full rebuild is
compared with one that asks one request at a time, of a sample: that of everything would take an
hour. The list of all projects is not there before all are known; a project's page is looked up in
the bucket by itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path

import _rig as rig
from _distant import BUCKET, Distant

FILES = 25


def until(what: Callable[[], bool], within: float = 900) -> float:
    """Seconds until it is so."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < within:
        try:
            if what():
                return time.perf_counter() - begun
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise SystemExit("it took too long")


def listed(server: rig.Server) -> int:
    """How many projects are on the list."""
    return len(
        json.loads(server.get("/simple/", "application/vnd.pypi.simple.v1+json"))["projects"]
    )


def said(asked: dict[str, int]) -> str:
    """Requests, in words."""
    return (
        f"{sum(asked.values()):,} requests "
        f"({', '.join(f'{count:,} {kind}' for kind, count in sorted(asked.items()))})"
    )


def one_at_a_time(distant: Distant, folder: Path) -> float:
    """Seconds for all that the bucket holds, without anything at the same time."""
    from _reactor import new_catalog
    from _reactor import world as real_world
    from tests.index.uploads import an_index
    from twisted.internet import reactor

    from pypid.blobs.s3.store import S3Settings
    from pypid.blobs.s3.store import open as open_store
    from pypid.core.policy import Policy
    from pypid.flow import start
    from pypid.index.store import reconcile, records
    from pypid.upstream.nothing import Nothing

    reconcile.PROJECTS_AT_ONCE = records.RECORDS_AT_ONCE = 1
    endpoint = f"http://127.0.0.1:{distant.port}"
    settings = S3Settings(
        bucket=BUCKET, endpoint_url=endpoint, access_key="bench", secret_key="bench"
    )
    world = real_world()
    took: list[float] = []

    async def run() -> None:
        blobs = await open_store(settings, world, reactor)
        catalog = await new_catalog(folder, world)
        index = an_index(blobs, catalog, Nothing(), Policy(), world, spool=folder)
        distant.asked()
        begun = time.perf_counter()
        await index.maintenance.reconcile()
        took.append(time.perf_counter() - begun)
        await catalog.close()
        await blobs.close()

    def begin() -> None:
        start(run()).addErrback(print).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    return took[0]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--objects", type=int, default=100_000)
    arguments.add_argument("--delay", type=float, default=0.02)
    arguments.add_argument(
        "--sample", type=int, default=2_000, help="objects that are read one at a time"
    )
    options = arguments.parse_args()
    projects = options.objects // (2 * FILES)
    rows = []
    with rig.scratch() as folder:
        with Distant(folder, options.delay, projects, FILES).running() as distant:
            page = f"/simple/p{projects - 1:05d}/"
            server = rig.Server(folder / "first", more=distant.lines, page=page)
            with server.running():
                rows.append(("start: a project's page", server.started, ""))
                all_known = server.started + until(lambda: listed(server) == projects)
                rows.append(("... the list of all projects", all_known, ""))
                rebuilt = all_known + until(server.complete)
                rows.append(("... all compared", rebuilt, said(distant.asked())))
            with server.running():
                rows.append(("start with that catalog: a project's page", server.started, ""))
        sample = max(1, options.sample // (2 * FILES))
        with Distant(folder, options.delay, sample, FILES).running() as distant:
            took = one_at_a_time(distant, folder)
            whole = took * projects / sample
            rows.append(
                (
                    (
                        f"one request at a time ({sample * 2 * FILES:,} objects, times "
                        f"{projects // sample})"
                    ),
                    whole,
                    "",
                )
            )
    print(f"{options.objects:,} objects, {options.delay * 1000:.0f} ms off")
    for what, seconds, asked in rows:
        print(f"  {what:<60} {seconds:8.1f} s  {asked}")
    print(
        f"  the full rebuild is {whole / rebuilt:.1f} times as quick as one request at a time (at "
        "least 3)"
    )
    print(f"  the first answer came after {rows[0][1]:.1f} s (below 3)")


if __name__ == "__main__":
    main()

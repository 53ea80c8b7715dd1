"""The shared catalog in a file that several real processes have open: one is killed, one keeps it
locked, it is deleted.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.engine import CatalogRow, slices
from pypid.catalog.sql import sqlite
from pypid.core.packaging.names import project_name
from tests.catalog.swapping import NAMES, engine_at, now
from tests.children import with_us
from tests.live.clients import ROOT
from tests.live.processes import clean_environ, scratch

reactor: Any = installed
SPAM = project_name("spam")

WRITES = """
import sys, time
from tests.catalog.swapping import NAMES, Writer, engine_at
url, name, count = sys.argv[1:]
writer = Writer(engine_at(url), name)
writer.epoch = writer.patiently(writer.engine.state).generation
for number in range(1, int(count) + 1):
    for row in NAMES:
        begun = time.monotonic()
        writer.add(row, number)
        print(row, number, time.monotonic() - begun, flush=True)
"""

LOCKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE pypid_catalog SET version = version + 1000")
print("locked", flush=True)
sys.stdin.readline()
"""

NODE = """
import json, os, sys
from datetime import UTC, datetime
from pathlib import Path
from twisted.internet import reactor, task
from twisted.internet.threads import deferToThread
from pypid.catalog import sql
from pypid.core.errors import CatalogDown
from pypid.flow import World, start
from tests.catalog.engines import SharedSettings, open_shared

world = World(clock=reactor, now=lambda: datetime.now(UTC), blocking=deferToThread, random=os.urandom)

async def main():
    engine = sql.open("", Path(sys.argv[1]), world, reactor)
    catalog = await open_shared(SharedSettings("storage"), engine, world)
    said = None
    while True:
        try:
            names = [each.name for each in await catalog.local.summaries()]
        except CatalogDown:
            names = None
        saying = [catalog.following.replica.generation, names]
        if saying != said:
            print(json.dumps(saying), flush=True)
            said = saying
        await task.deferLater(reactor, 0.02)

task.react(lambda _: start(main()))
"""


@contextmanager
def child(code: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs the code, until the end of the block at the latest."""
    command = [*with_us(), sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environ(PYTHONPATH=str(ROOT)), text=True, **pipes
    ) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


class KilledTests(SynchronousTestCase):
    """``kill -9`` of one of several that write."""

    count = 15

    def test_killed(self) -> None:
        """Whatever it was doing: the file is sound, what any had been told is there once, and the
        others go on at once.
        """
        for steps in (4, 17):
            with scratch() as folder:
                self.killed_after(folder / "catalog.db", steps)

    def killed_after(self, path: Path, steps: int) -> None:
        """Kill the third writer after so many changes, in the middle of one, and look at what is
        there when all is done.
        """
        url = f"sqlite:///{path}"
        engine = engine_at(url)
        state = now(engine.open("storage"))
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(child(WRITES, url, name, self.count))
                for name in ("w0", "w1", "w2")
            }
            victim = writers["w2"]
            told = [victim.stdout.readline() for _ in range(steps)]  # type: ignore[union-attr]
            time.sleep(random.random() / 100)
            victim.send_signal(signal.SIGKILL)
            # `communicate` would miss lines that `readline` has read ahead
            told += victim.stdout.readlines()  # type: ignore[union-attr]
            said = {
                name: process.communicate(timeout=60)[0].splitlines()
                for name, process in writers.items()
            }
            self.assertEqual(
                (writers["w0"].wait(), writers["w1"].wait(), victim.wait()), (0, 0, -signal.SIGKILL)
            )
        said["w2"] = told
        self.assertLess(
            max(float(line.split()[2]) for name in ("w0", "w1") for line in said[name]), sqlite.BUSY
        )

        async def rows() -> list[CatalogRow]:
            return [row async for some in slices(engine, state.beginning) for row in some.rows]

        counts = {row.name: json.loads(row.line or b"") for row in now(rows())}
        acknowledged = Counter(line.split()[0] for line in said["w2"])
        more = 0
        for name in NAMES:
            self.assertEqual((counts[name]["w0"], counts[name]["w1"]), (self.count, self.count))
            more += counts[name].get("w2", 0) - acknowledged[name]
        self.assertIn(more, (0, 1))
        self.assertEqual(
            now(engine.state()).version, sum(sum(each.values()) for each in counts.values())
        )
        now(engine.close())
        with closing(sqlite3.connect(path)) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])

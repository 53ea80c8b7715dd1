"""A node that does nothing but change rows: several such processes at once have to lose nothing.
And who follows them.

Each row counts what each writer has done to it, so that whatever happened to an attempt can be told
from the row.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pypid.core.packaging.names import ProjectName, project_name
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.engine import (
    CatalogRow,
    Conflict,
    Engine,
    Position,
    RowChange,
    RowHead,
    RowKind,
    slices,
)
from pypid.database.places import DatabaseAway, SqliteFile, place_of
from pypid.flow import World, at_once, start
from tests.children import with_us

NAMES = tuple(project_name(f"p{number}") for number in range(3))
UNSEEN = 5
"""Each so-many-th change is one that nobody can see."""
PATIENCE = 600


class Hasty(Clock):
    """A clock that rings at once: what waits before it tries again need not wait."""

    def callLater(self, *args: Any, **kwargs: Any) -> Any:
        call = super().callLater(*args, **kwargs)
        if args[0] < 1:
            self.advance(args[0])
        return call


def engine_at(where: str) -> Engine:
    """One that works in this thread, or lets the reactor run while `now` waits; `where`: the URL of
    a server, or the path of a file.
    """
    place = SqliteFile(Path(where)) if where.startswith("/") else place_of(where, Path())
    aloof = World(clock=Hasty(), now=lambda: datetime.now(UTC), blocking=at_once, random=os.urandom)  # noqa: TID251
    return SqlEngine(SqlSettings(place, at_once), aloof)


def now(coroutine: Any) -> Any:
    """What the coroutine returns, or raises."""
    done: list[Any] = []
    waiting: Deferred[Any] = start(coroutine)
    waiting.addBoth(done.append)
    if not done:  # it is one that is asked over a socket
        from tests.live.stores.waiting import wait

        wait(waiting)
    (result,) = done
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


@define
class Writer:
    """Adds 1 to its number in a row, again and again; `took` are the versions and serials that it
    got.
    """

    engine: Engine
    name: str
    epoch: str = ""
    took: list[tuple[int, int | None]] = field(factory=list)
    unsure: int = 0
    """How often an answer was lost, and the row told later that it had been done."""
    away: int = 0
    conflicts: int = 0
    """How often somebody else was faster."""

    def add(self, name: ProjectName, number: int) -> None:
        """Have the row say `number` for this writer, which says one less."""
        seen = number % UNSEEN != 0
        row = self.patiently(lambda: self.engine.row(self.epoch, RowKind.LOCAL, name))
        while True:
            counts = {} if row is None else json.loads(row[1].line)
            if counts.get(self.name) == number:
                self.unsure += 1
                return
            assert counts.get(self.name, 0) == number - 1, (
                f"{name} lost what {self.name} did: {counts}, and {number} is to come"
            )
            line = json.dumps({**counts, self.name: number}, sort_keys=True).encode()
            change = RowChange(
                RowKind.LOCAL,
                name,
                0 if row is None else row[0].version,
                RowHead(),
                line,
                seen=seen,
            )
            found = self.patiently(lambda change=change: self.engine.swap(self.epoch, change))  # type: ignore[misc]
            if isinstance(found, CatalogRow):
                self.took.append((found.version, found.serial if seen else None))
                return
            assert isinstance(found, Conflict)
            row = self.patiently(lambda: self.engine.row(self.epoch, RowKind.LOCAL, name))
            self.conflicts += 1

    def patiently(self, ask: Any) -> Any:
        """What is answered, when it is."""
        for _ in range(PATIENCE):
            try:
                return now(ask())
            except DatabaseAway:
                self.away += 1
                time.sleep(0.05)
        raise AssertionError("the engine was away for too long")


def main(url: str, name: str, count: int) -> None:
    """Change each row so many times, and tell what came of it."""
    writer = Writer(engine_at(url), name)
    writer.epoch = writer.patiently(writer.engine.state).generation
    print("ready", flush=True)
    sys.stdin.readline()  # all begin at once, and with the same row: so a few changes are a storm
    for number in range(1, count + 1):
        for row in NAMES:
            writer.add(row, number)
    told = {
        "took": writer.took,
        "unsure": writer.unsure,
        "away": writer.away,
        "conflicts": writer.conflicts,
    }
    print(json.dumps(told))


@define
class Follower:
    """A copy of the rows that is kept up to date."""

    engine: Engine
    position: Position
    rows: dict[ProjectName, dict[str, int]] = field(factory=dict)

    async def catch_up(self) -> None:
        """Read what changed. Each row is later than all that was read before."""
        async for some in slices(self.engine, self.position, 2):
            for row in some.rows:
                assert row.version > self.position.version, (row, self.position)
                await self._take(row)
                self.position = Position(self.position.generation, row.version)

    async def _take(self, row: CatalogRow) -> None:
        found = await self.engine.row(self.position.generation, row.kind, row.name)
        assert found is not None
        before, after = self.rows.get(row.name, {}), json.loads(found[1].line)
        assert all(after[name] >= count for name, count in before.items()), (before, after)
        self.rows[row.name] = after


@define
class Storm:
    """Several processes that change the same rows."""

    url: str
    writers: int
    count: int
    told: list[dict[str, Any]] = field(factory=list)

    def run(self, follower: Follower, root: Path, meanwhile: Any = lambda: None) -> None:
        """Start them, follow them, and have all that they tell."""
        with ExitStack() as stack:
            names = [f"w{number}" for number in range(self.writers)]
            running = [stack.enter_context(self._started(name, root)) for name in names]
            for process in running:
                assert process.stdout is not None
                process.stdout.readline()
            for process in running:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                process.stdin.close()
            while any(process.poll() is None for process in running):
                meanwhile()
                self._follow(follower)
                time.sleep(0.01)
            self._follow(follower)
            for process in running:
                assert process.stdout is not None
                said = process.stdout.read()
                assert process.returncode == 0, said
                self.told.append(json.loads(said))

    def _follow(self, follower: Follower) -> None:
        try:
            now(follower.catch_up())
        except DatabaseAway:
            return

    def _started(self, name: str, root: Path) -> "subprocess.Popen[bytes]":
        command: Sequence[str] = (
            *with_us(),
            sys.executable,
            "-m",
            "tests.catalog.swapping",
            self.url,
            name,
            str(self.count),
        )
        return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def prove(self, case: Any, follower: Follower) -> None:
        """Nothing was lost and nothing was done twice; each version and serial was given once; who
        followed missed nothing.
        """
        total = self.writers * self.count * len(NAMES)
        state = now(follower.engine.state())
        case.assertEqual(state.version, total)
        sure = sum(not told["unsure"] for told in self.told) == len(self.told)
        versions = [version for told in self.told for version, _ in told["took"]]
        serials = [serial for told in self.told for _, serial in told["took"] if serial is not None]
        case.assertEqual(len(set(versions)), len(versions))
        case.assertEqual(len(set(serials)), len(serials))
        case.assertEqual(len(versions) + sum(told["unsure"] for told in self.told), total)
        if sure:
            case.assertEqual(sorted(versions), list(range(1, total + 1)))
            case.assertEqual(sorted(serials), list(range(1, state.serial + 1)))
        for row in follower.rows.values():
            case.assertEqual(
                row,
                {f"w{number}": self.count for number in range(self.writers)},
            )
        case.assertEqual(set(follower.rows), set(NAMES))
        fresh = Follower(follower.engine, state.beginning)
        now(fresh.catch_up())
        case.assertEqual(fresh.rows, follower.rows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

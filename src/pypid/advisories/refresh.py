"""One process of a machine reads the sources of advisories, all read the database."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Timer
from typing import BinaryIO

import msgspec
from attrs import define, evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.advisories.archive import UnusableSource
from pypid.advisories.database import AdvisoryDatabase, writing
from pypid.advisories.parsing import LoadResult
from pypid.advisories.service import Advisories
from pypid.advisories.sources import AdvisorySource, FetchedAdvisories
from pypid.core.errors import PypidError
from pypid.flow import start
from pypid.flow.conditions import Periodic
from pypid.flow.coroutines import child_environ, program_of
from pypid.http_client.connections import Fault
from pypid.metrics import counts

# Loading advisories: a child process writes a new database, which then replaces the last one.
#
# Everything here blocks.

PROGRAM = program_of("pypid.advisories.parsing")
LIMIT = 600.0
"""Seconds that a source may take to be loaded."""
LONGEST_ANSWER = 1 << 20
"""Bytes that the child may answer."""
COMPLAINT = 500
"""Bytes of the child's last standard error that are kept for the log."""


@define(eq=False)
class AdvisoryLoader:
    """Writes the database, one load at a time. `stop` ends the load under way."""

    database: AdvisoryDatabase
    program: Sequence[str] = PROGRAM
    limit: float = LIMIT
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    is_stopped: bool = field(default=False, init=False)
    """Whether nothing is loaded any more."""

    def load(
        self,
        source: BinaryIO | None,
        own: BinaryIO | None,
        facts: Mapping[str, str],
        *,
        keeps: bool = False,
    ) -> LoadResult:
        """Read these zip archives into a new database; return what was in both.

        If it `keeps` the last data, `source` replaces the public records that it names, and `own`
        all private ones; None leaves them as they are. Raises `UnusableSource`, `OSError` and
        `sqlite3.Error`; then the last data stays.
        """
        result = LoadResult()
        if keeps and source is None and own is None:
            self.database.note(facts)
            return result
        with self.database.replacing(keeps=keeps) as path:
            if source is not None:
                result = self._load(path, source)
                if not keeps and not result.records:
                    raise UnusableSource("it has no record of a PyPI project")
            if own is not None:
                result = _sum(result, self._load(path, own, "private"))
            with writing(path) as writer:
                writer.put_meta(facts)
        return result

    def _load(self, path: Path, archive: BinaryIO, *words: str) -> LoadResult:
        """Have a child read the archive into the database at `path`."""
        archive.seek(0)
        child = subprocess.Popen(
            [*self.program, str(path.absolute()), *words],
            stdin=archive,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environ(),
            cwd="/",
        )
        self._child = child
        alarm = Timer(self.limit, child.kill)
        alarm.start()
        assert child.stdout is not None
        try:
            if self.is_stopped:
                raise UnusableSource("pypid ends")
            answer = child.stdout.read(LONGEST_ANSWER)
            if child.wait() != 0:
                raise ValueError(f"the child process ended with {child.returncode}")
            result = msgspec.json.decode(answer, type=LoadResult)
        except ValueError as error:
            raise UnusableSource(f"it could not be parsed: {error}{_complaint(child)}") from None
        finally:
            alarm.cancel()
            _end(child)
            self._child = None
        if result.is_damaged:
            raise sqlite3.DatabaseError(result.failure)
        if result.failure:
            raise UnusableSource(result.failure)
        return result

    def stop(self) -> None:
        """End the load under way, and refuse further ones."""
        self.is_stopped = True
        child = self._child
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()


def _complaint(child: subprocess.Popen[bytes]) -> str:
    child.kill()
    assert child.stderr is not None
    last = child.stderr.read()[-COMPLAINT:].decode(errors="backslashreplace").strip()
    return f" ({last.rpartition(os.linesep)[2]})" if last else ""


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()
    child.wait()


def _sum(one: LoadResult, other: LoadResult) -> LoadResult:
    return LoadResult(
        one.records + other.records,
        one.skipped + other.skipped,
        [*one.problems, *other.problems],
    )


_log = Logger()

LOOK = 2.0
"""Seconds between two looks at the database."""
AGAIN = 300.0
"""Seconds after which a source that failed is read again, if `refresh` is not sooner."""
_FAILURES = (UnusableSource, Fault, PypidError, OSError, sqlite3.Error, ValueError)


@frozen
class AdvisorySources:
    """The sources of the configuration."""

    source: AdvisorySource | None
    own: AdvisorySource | None
    names: str
    """A hash of both settings: another one means that everything is loaded again."""


@frozen
class _Round:
    """What one refresh found."""

    facts: dict[str, str]
    """Of the database; empty without one."""
    is_same: bool
    """Whether the database is of these sources."""
    found: FetchedAdvisories | None = None
    """What the source has."""
    own: FetchedAdvisories | None = None
    """The company's own advisories."""
    failures: dict[str, str] = field(factory=dict)
    """Why a key of `[advisories]`, or the database, could not be read."""

    @property
    def failure(self) -> str:
        """Why not all could be read, by key of `[advisories]`; "": all could."""
        return "; ".join(f"{key}: {reason}" for key, reason in self.failures.items())

    def known(self, key: str) -> str:
        """Return the version of a source that the database has."""
        return self.facts.get(key, "") if self.is_same else ""

    @property
    def is_whole(self) -> bool:
        """Whether a new database is written: for a whole archive, or if there is none to keep."""
        if self.found is not None:
            return not self.found.is_delta
        return not self.facts or not (self.is_same or self.failures)

    def new_facts(self, now: str, names: str, generation: str) -> dict[str, str]:
        """Return the facts to write with what was found."""
        new = {"failure": self.failure}
        if not self.failures:
            new["loaded"] = now
        if self.is_whole or self.is_same:
            new["names"] = names
        if self.is_whole or self.found is not None or self.own is not None:
            new["generation"] = generation
        if self.found is not None:
            new["version"] = self.found.version
        if self.own is not None:
            new["own_version"] = self.own.version
        return new


@define(eq=False)
class AdvisoryRefresh:
    """Reads the sources into the database."""

    advisories: Advisories
    sources: AdvisorySources
    loader: AdvisoryLoader
    _is_damaged: bool = field(default=False, init=False)
    _failing: frozenset[str] = field(default=frozenset(), init=False)
    """The keys of `_Round.failures` of the last refresh, which were logged then."""

    async def refresh(self) -> bool:
        """Read what has changed; return whether all could be read: else the last data stays."""
        world, database = self.advisories.world, self.loader.database
        facts = {} if self._is_damaged else await world.blocking(database.meta)
        found = _Round(facts, facts.get("names") == self.sources.names)
        with ExitStack() as archives:
            fetch = partial(self._fetch, found.failures, archives)
            fetched = await fetch("source", self.sources.source, found.known("version"))
            found = evolve(found, found=fetched)
            # a new database needs the company's advisories, too
            known = "" if found.is_whole else found.known("own_version")
            found = evolve(found, own=await fetch("own", self.sources.own, known))
            lacks_own = found.is_whole and facts and "own" in found.failures
            await (self._note(found) if lacks_own else self._load(found))
        await self.advisories.read()
        self._failing = frozenset(found.failures)
        return not found.failures

    async def _fetch(
        self,
        failures: dict[str, str],
        archives: ExitStack,
        key: str,
        source: AdvisorySource | None,
        known: str,
    ) -> FetchedAdvisories | None:
        """Return what the source has, with its archive open as long as `archives`."""
        try:
            found = None if source is None else await source.fetch(known)
        except _FAILURES as error:
            self._failed(failures, key, error)
            return None
        if found is not None:
            archives.enter_context(found.archive)
        return found

    async def _load(self, found: _Round) -> None:
        world = self.advisories.world
        now, generation = world.now().isoformat(), world.random(8).hex()
        facts = found.new_facts(now, self.sources.names, generation)
        archive = None if found.found is None else found.found.archive
        own = None if found.own is None else found.own.archive
        try:
            load = partial(self.loader.load, archive, own, facts, keeps=not found.is_whole)
            result = await world.blocking(load)
        except _FAILURES as error:
            if self.loader.is_stopped:
                raise CancelledError() from None
            self._is_damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.OperationalError
            )
            self._failed(found.failures, "database", error)
            await self._note(found)
        else:
            self._is_damaged = False
            if found.found is not None or found.own is not None:
                self._report(result)

    async def _note(self, found: _Round) -> None:
        """Write down why the last data stays, if there are any."""
        if found.facts:
            facts = {"failure": found.failure}
            with suppress(sqlite3.Error):
                await self.advisories.world.blocking(self.loader.database.note, facts)

    def _failed(self, failures: dict[str, str], key: str, error: Exception) -> None:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        failures[key] = reason
        self.advisories.world.counts.add(counts.ADVISORY_FAILURES)
        log = _log.debug if key in self._failing else _log.warn
        log(
            "the advisories could not be read, the last ones stay in force; pypid tries again, "
            "and logs this once: {reason} key={key} source={source}",
            reason=reason,
            key=key,
            source=self.advisories.source if key == "source" else "",
        )

    def _report(self, result: LoadResult) -> None:
        if result.skipped:
            self.advisories.world.counts.add(counts.ADVISORIES_SKIPPED, (), result.skipped)
            _log.warn(
                "advisories were skipped: {problems} skipped={skipped}",
                skipped=result.skipped,
                problems="; ".join(result.problems),
            )
        _log.info(
            "advisories loaded records={records} source={source}",
            records=result.records,
            source=self.advisories.source,
        )


class AdvisoryService(Periodic):
    """Follows the database; `refresh` reads the sources at the start, and each `interval`."""

    def __init__(
        self,
        clock: IReactorTime,
        advisories: Advisories,
        refresh: AdvisoryRefresh | None,
        interval: float,
    ) -> None:
        super().__init__(clock, LOOK, self._look, "reading the advisories")
        self._clock, self._advisories, self._refresh = clock, advisories, refresh
        self._every, self._due = interval, 0.0
        self._running: Deferred[bool] | None = None
        advisories.refresh_requested.connect(self._refresh_soon)

    def stopService(self) -> Deferred[LoopingCall] | None:
        """Stop; a refresh under way is ended."""
        if self._refresh is not None:
            self._refresh.loader.stop()
        if self._running is not None:
            self._running.cancel()
        return super().stopService()

    def _refresh_soon(self) -> None:
        self._due = 0.0

    async def _look(self) -> None:
        refresh = self._refresh
        if refresh is None or self._clock.seconds() < self._due:
            await self._advisories.read()
            return
        self._due = math.inf  # a request from now on means another refresh
        is_read = False
        try:
            self._running = start(refresh.refresh())
            is_read = await self._running
        except CancelledError:
            _log.debug("reading the advisories was ended")
        finally:
            again = self._every if is_read else min(AGAIN, self._every)
            self._due = min(self._due, self._clock.seconds() + again)
            self._running = None

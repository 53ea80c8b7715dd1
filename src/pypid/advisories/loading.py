"""Loading advisories: a child process writes a new database, which then replaces the last one.

Everything here blocks.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import BinaryIO

import msgspec
from attrs import define, field

from pypid.advisories.archive import UnusableSource
from pypid.advisories.database import AdvisoryDatabase, writing
from pypid.advisories.parsing import LoadResult
from pypid.flow.python_child import child_environ, program_of

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

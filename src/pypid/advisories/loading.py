"""Loading advisories into the database: a child process parses, a thread of this process writes.

Everything here blocks.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Timer
from typing import BinaryIO

from attrs import define, field, frozen

from pypid.advisories.archive import UnusableSource
from pypid.advisories.database import AdvisoryDatabase, AdvisoryWriter
from pypid.advisories.wire import ParsedBatch, batches_in
from pypid.flow.python_child import child_environ, program_of

PROGRAM = program_of("pypid.advisories.parsing")
LIMIT = 600.0
"""Seconds that a source may take to be parsed."""
COMPLAINT = 500
"""Bytes of the child's last standard error that are kept for the log."""


@frozen
class LoadCounts:
    """What was read from one archive: records, and documents that were skipped,
    with the first reasons.
    """

    records: int = 0
    skipped: int = 0
    problems: tuple[str, ...] = ()


@define(eq=False)
class AdvisoryLoader:
    """Writes the database, one load at a time. `stop` ends the load under way."""

    database: AdvisoryDatabase
    program: Sequence[str] = PROGRAM
    limit: float = LIMIT
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    is_stopped: bool = field(default=False, init=False)
    """Whether nothing is loaded any more."""

    def replace(
        self, source: BinaryIO | None, own: BinaryIO | None, facts: Mapping[str, str]
    ) -> LoadCounts:
        """Replace the database by these zip archives; return the counts of both.

        Raises `UnusableSource`, `OSError` and `sqlite3.Error`; then the last data stays.
        """
        with self.database.replacing() as writer:
            counts = LoadCounts()
            if source is not None:
                counts = self._put(writer, source, private=False)
                if not counts.records:
                    raise UnusableSource("it has no record of a PyPI project")
            if own is not None:
                counts = _sum(counts, self._put(writer, own, private=True))
            writer.put_meta(facts)
        return counts

    def change(
        self, delta: BinaryIO | None, own: BinaryIO | None, facts: Mapping[str, str]
    ) -> LoadCounts:
        """Replace the public records that are in `delta`, and all private ones by those of `own`;
        None leaves them as they are. Raises as `replace`.
        """
        with self.database.changing() as writer:
            counts = LoadCounts()
            if delta is not None:
                counts = self._put(writer, delta, private=False, changes=True)
            if own is not None:
                writer.forget_private()
                counts = _sum(counts, self._put(writer, own, private=True))
            writer.put_meta(facts)
        return counts

    def _put(
        self, writer: AdvisoryWriter, archive: BinaryIO, *, private: bool, changes: bool = False
    ) -> LoadCounts:
        counts = LoadCounts()
        for batch in self._parsed(archive, private):
            if batch.failure:
                raise UnusableSource(batch.failure)
            if changes:  # the former record may have named other projects
                writer.forget(record.id for record in batch.records)
            writer.put(batch.records, private=private)
            found = LoadCounts(len(batch.records), batch.skipped, tuple(batch.problems))
            counts = _sum(counts, found)
        return counts

    def _parsed(self, archive: BinaryIO, private: bool) -> Iterator[ParsedBatch]:
        archive.seek(0)
        command = [*self.program, "private"] if private else self.program
        child = subprocess.Popen(
            command,
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
            yield from batches_in(child.stdout)
        except ValueError as error:
            raise UnusableSource(f"it could not be parsed: {error}{_complaint(child)}") from None
        finally:
            alarm.cancel()
            _end(child)
            self._child = None

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


def _sum(one: LoadCounts, other: LoadCounts) -> LoadCounts:
    return LoadCounts(
        one.records + other.records,
        one.skipped + other.skipped,
        (*one.problems, *other.problems),
    )

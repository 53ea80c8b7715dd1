"""The child process that writes a source's documents into a new database.

Run as ``python -m pypid.advisories.parsing FILE``: it reads a zip archive, which is its input, into
the database, and writes a `LoadResult` as JSON to its output. A second argument, ``private``, marks
the company's own advisories, which replace the former ones.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from attrs import define, field

from pypid.advisories.archive import LONGEST_DOCUMENT, UnusableSource, read_documents
from pypid.advisories.database import (
    WITHDRAWN_RANK,
    ParsedRecord,
    encoded_summary,
    rank_of,
    writing,
)
from pypid.core.advisories import InvalidRecord, parse_record, summaries_in
from pypid.core.compression import fragment
from pypid.rendering.confinement import compute_for, confine

CPU = 300
"""Seconds of computing for a source."""
LARGEST_DATABASE = 4 << 30
"""Bytes of the database."""
BATCH = 1 << 20
"""Bytes of a batch, about."""
MOST_SUMMARIES = 256 << 20
"""Bytes of the summaries of a source, which all processes keep in memory."""
MOST_PROBLEMS = 20
"""Problems that are reported; further ones are counted."""


class LoadResult(msgspec.Struct):
    """What was read: records, and documents that were skipped, with the first reasons."""

    records: int = 0
    skipped: int = 0
    problems: list[str] = []
    failure: str = ""
    """Why the source cannot be used."""
    is_damaged: bool = False
    """Whether that is because of the former content of the database."""


@define(eq=False)
class AdvisoryParser:
    """Parses the documents of a source."""

    private: bool
    skipped: int = 0
    problems: list[str] = field(factory=list)
    """Why the first documents were skipped."""
    _records: list[ParsedRecord] = field(factory=list)
    _size: int = 0
    """Bytes that the records take, about."""
    _summaries: int = 0

    def parse(self, file: BinaryIO) -> Iterator[list[ParsedRecord]]:
        """Yield the records in the zip archive, in batches. Raises `UnusableSource`."""
        for name, data in read_documents(file):
            try:
                if isinstance(data, InvalidRecord):
                    raise data
                self._add(data)
            except InvalidRecord as problem:
                self.skipped += 1
                if len(self.problems) < MOST_PROBLEMS:
                    self.problems.append(f"{name}: {problem}"[:300])
            if self._size >= BATCH:
                yield self._records
                self._records, self._size = [], 0
        yield self._records

    def _add(self, data: bytes) -> None:
        record = parse_record(data)
        summaries, rank, size = list[tuple[str, bytes]](), WITHDRAWN_RANK, 0
        for name, each in summaries_in(record, private=self.private):
            encoded = encoded_summary(each)
            size += len(encoded)
            if size > LONGEST_DOCUMENT:  # each project has its own copy of aliases and hashes
                raise InvalidRecord("it says too much of too many projects")
            summaries.append((str(name), encoded))
            rank = max(rank, rank_of(each))
        if summaries:  # else it is of another ecosystem
            compressed = fragment(data)
            self._records.append(ParsedRecord(record.id, compressed, rank, summaries))
            self._size += len(compressed) + size
            self._summaries += size
            if self._summaries > MOST_SUMMARIES:
                most = MOST_SUMMARIES >> 20
                raise UnusableSource(f"its records would take more than {most} MiB of memory")


def load(path: Path, archive: BinaryIO, *, private: bool) -> LoadResult:
    """Read the archive into the database at `path`."""
    parser, count = AdvisoryParser(private), 0
    try:
        with writing(path) as writer:
            if private:
                writer.forget_private()
            for records in parser.parse(archive):
                writer.put(records, private=private)
                count += len(records)
    except MemoryError:
        return LoadResult(failure="it takes too much memory to be read")
    except (UnusableSource, sqlite3.Error) as error:
        is_damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.OperationalError
        )
        return LoadResult(failure=str(error), is_damaged=is_damaged)
    return LoadResult(count, parser.skipped, parser.problems)


def main() -> None:
    """Load the archive on the standard input."""
    archive = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    confine(LARGEST_DATABASE)
    compute_for(CPU)
    result = load(Path(sys.argv[1]), archive, private="private" in sys.argv[2:])
    answers.write(msgspec.json.encode(result))
    answers.flush()


if __name__ == "__main__":
    sys.setrecursionlimit(2000)
    main()

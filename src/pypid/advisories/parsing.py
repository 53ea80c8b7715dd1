"""The child process that writes a source's documents into a new database.

Run as ``python -m pypid.advisories.parsing FILE``: it reads a zip archive, which is its input, into
the database, and writes a `LoadResult` as JSON to its output. A second argument, ``private``, marks
the company's own advisories, which replace the former ones.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from attrs import define, field

from pypid.advisories.archive import (
    LONGEST_DOCUMENT,
    AdvisoryArchive,
    ArchiveMember,
    UnusableSource,
)
from pypid.advisories.database import (
    WITHDRAWN_RANK,
    ParsedRecord,
    encoded_summary,
    rank_of,
    writing,
)
from pypid.core.advisories import InvalidRecord, OsvRecord, parse_record, record_of, summaries_in
from pypid.core.compression import fragment
from pypid.core.installation import install_hint
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
FLAT = 8192
"""Bytes of YAML that cannot be nested too deeply for libyaml."""
DEEPEST = 100
"""Levels of nesting in longer YAML documents."""
_SCALARS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool")
_ALIAS = re.compile(rb"(?:^|[\s\[{,:-])\*[^\s*,\]}]+", re.MULTILINE)


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
        for member in AdvisoryArchive(file):
            self._add(member)
            if self._size >= BATCH:
                yield self._records
                self._records, self._size = [], 0
        yield self._records

    def _add(self, member: ArchiveMember | InvalidRecord) -> None:
        """Add a document, or the reason why it is skipped."""
        try:
            if isinstance(member, InvalidRecord):
                raise member
            self._parse(member)
        except InvalidRecord as problem:
            self.skipped += 1
            if len(self.problems) < MOST_PROBLEMS:
                self.problems.append(str(problem)[:300])

    def _parse(self, member: ArchiveMember) -> None:
        try:
            if member.name.lower().endswith(".json"):
                self._add_record(parse_record(member.data), member.compressed)
            else:
                document = read_yaml(member.data)
                self._add_record(record_of(document), fragment(_as_json(document)))
        except InvalidRecord as problem:
            raise InvalidRecord(f"{member.name}: {problem}") from None

    def _add_record(self, record: OsvRecord, compressed: bytes) -> None:
        summaries, rank, size = list[tuple[str, bytes]](), WITHDRAWN_RANK, 0
        for name, each in summaries_in(record, private=self.private):
            encoded = encoded_summary(each)
            size += len(encoded)
            if size > LONGEST_DOCUMENT:  # each project has its own copy of aliases and hashes
                raise InvalidRecord("it says too much of too many projects")
            summaries.append((str(name), encoded))
            rank = max(rank, rank_of(each))
        if summaries:  # else it is of another ecosystem
            self._records.append(ParsedRecord(record.id, compressed, rank, summaries))
            self._size += len(compressed) + size
            self._summaries += size
            if self._summaries > MOST_SUMMARIES:
                most = MOST_SUMMARIES >> 20
                raise UnusableSource(f"its records would take more than {most} MiB of memory")


def _as_json(document: object) -> bytes:
    try:
        data = msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRecord(f"it cannot be written as JSON: {error}") from None
    if len(data) > LONGEST_DOCUMENT:
        raise InvalidRecord("it is too large as JSON")
    return data


def read_yaml(data: bytes) -> Any:
    """Return a YAML document, where all scalars but null and booleans are text: ``1.10`` is a
    version, and ``2026-01-01`` a date. Raises `InvalidRecord`, also for aliases, which a few bytes
    can expand to gigabytes, and for deep nesting, which overflows libyaml's stack; and
    `UnusableSource` if PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise UnusableSource(f"YAML records need PyYAML. {install_hint('advisories')}") from None
    try:
        if len(data) > FLAT or _ALIAS.search(data):  # perhaps in a text
            _check_events(yaml, data)
        return yaml.load(data, Loader=_loader(yaml))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, InvalidRecord):
            raise
        raise InvalidRecord(f"no YAML: {str(error)[:200]}") from None


def _check_events(yaml: Any, data: bytes) -> None:
    depth = 0
    for event in yaml.parse(data, Loader=_loader(yaml)):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidRecord("YAML aliases are not accepted")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise InvalidRecord(f"it is nested more than {DEEPEST} levels deep")


@cache
def _loader(yaml: Any) -> Any:
    """Return PyYAML's safe loader, by libyaml if it is there, without types but null and
    booleans.
    """
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in each if tag in _SCALARS]
        for first, each in base.yaml_implicit_resolvers.items()
    }
    return type("TextLoader", (base,), {"yaml_implicit_resolvers": resolvers})


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

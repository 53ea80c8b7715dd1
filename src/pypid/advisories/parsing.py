"""The child process that makes records for the database of a source's documents.

Run as ``python -m pypid.advisories.parsing``: it reads a zip archive, which is its input, and
writes frames (`wire`) to its output. The argument ``private`` marks the company's own advisories.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec
from attrs import define, field

from pypid.advisories.archive import AdvisoryArchive, ArchiveMember, UnusableSource
from pypid.advisories.wire import (
    LONGEST_DOCUMENT,
    WITHDRAWN_RANK,
    ParsedBatch,
    ParsedRecord,
    encoded_summary,
    frame_of,
    rank_of,
)
from pypid.core.advisories.osv import (
    InvalidRecord,
    OsvRecord,
    parse_record,
    record_of,
    summaries_in,
)
from pypid.core.compression import fragment
from pypid.core.installation import install_hint
from pypid.rendering.confinement import compute_for, confine

CPU = 300
"""Seconds of computing for a source."""
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


def parsed(file: BinaryIO, *, private: bool) -> Iterator[ParsedBatch]:
    """Yield what is in the zip archive, in batches; the last one says that, or why the archive
    cannot be used.
    """
    collector = _Collector(private)
    try:
        for member in AdvisoryArchive(file):
            collector.add(member)
            if collector.size >= BATCH:
                yield collector.take()
    except UnusableSource as error:
        yield ParsedBatch(failure=str(error))
        return
    yield collector.take(is_last=True)


@define(eq=False)
class _Collector:
    """Collects parsed documents for the next batch. `size`: bytes that they take, about."""

    private: bool
    size: int = 0
    _records: list[ParsedRecord] = field(factory=list)
    _problems: list[str] = field(factory=list)
    _skipped: int = 0
    _reported: int = 0
    _summaries: int = 0

    def take(self, *, is_last: bool = False) -> ParsedBatch:
        """Return the batch, and begin another one."""
        batch = ParsedBatch(self._records, self._problems, self._skipped, is_last=is_last)
        self._records, self._problems = [], []
        self._skipped = self.size = 0
        return batch

    def add(self, member: ArchiveMember | InvalidRecord) -> None:
        """Add a document, or the reason why it is skipped."""
        try:
            if isinstance(member, InvalidRecord):
                raise member
            self._parse(member)
        except InvalidRecord as problem:
            self._skipped += 1
            if self._reported < MOST_PROBLEMS:
                self._reported += 1
                self._problems.append(str(problem)[:300])

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
            self.size += len(compressed) + size
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


def _loader(yaml: Any) -> Any:
    """Return PyYAML's safe loader, by libyaml if it is there, without types but null and
    booleans.
    """
    if not _loaders:
        base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        resolvers = {
            first: [(tag, pattern) for tag, pattern in each if tag in _SCALARS]
            for first, each in base.yaml_implicit_resolvers.items()
        }
        _loaders.append(type("TextLoader", (base,), {"yaml_implicit_resolvers": resolvers}))
    return _loaders[0]


_loaders: list[Any] = []


def main() -> None:
    """Parse the archive on the standard input."""
    archive = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    confine()
    compute_for(CPU)
    try:
        for batch in parsed(archive, private="private" in sys.argv[1:]):
            answers.write(frame_of(batch))
    except MemoryError:
        answers.write(frame_of(ParsedBatch(failure="it takes too much memory to be read")))
    answers.flush()


if __name__ == "__main__":
    sys.setrecursionlimit(2000)
    main()

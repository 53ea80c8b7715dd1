"""The files that an upstream index lists for a project, as compact bytes.

A project may have ten thousand files, of which installers want two. So a listing is kept as blocks
of finished page entries, compressed so that a page is made by joining them (`core.compression`),
and beside them what pages do not show: URLs, and hashes other than SHA-256. A `File` is made only
of an entry that is asked for.

What was learnt here, and not listed, is not in the blocks: when files were first seen, and hashes
of metadata. So the same listing gives the same blocks, and is compared as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from itertools import chain, groupby, islice, repeat
from typing import TypeVar, overload

import msgspec
from attrs import evolve, field, frozen
from msgspec.structs import replace

from pypid.core.model import Files, ListedFile
from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import ProjectName, version_key
from pypid.core.records.documents import listed_file
from pypid.core.simple_api.file_blocks import (
    BLOCK,
    WHOLE_URL,
    FileBlock,
    HiddenColumns,
    ReadEntry,
)

MANY = 16
"""Number of files from which on decoding a whole block is faster than searching it for each."""
RUN, LEARNT = 130, 200
"""Bytes that a run takes in memory, and what was learnt of a file."""
T = TypeVar("T")
K = TypeVar("K")
Runs = tuple[tuple[T, int], ...]
"""Values with the numbers of consecutive files that have them."""


class ListingFacts(msgspec.Struct, frozen=True, omit_defaults=True, rename="kebab", gc=False):
    """What is true of all files of a listing, so that rules need not look at each."""

    latest: datetime | None = None
    """The latest upload time."""
    dated: bool = True
    """Whether each file has an upload time."""
    sized: bool = True
    """Whether the size of each file is known."""
    hashed: bool = True
    """Whether the bytes of each file can be verified (`claim_of`)."""


@frozen(eq=False)
class ListedFiles(Files[ListedFile]):
    """The files of a listing, in order; immutable. Any thread may use it."""

    project: ProjectName
    blocks: tuple[FileBlock, ...] = field(repr=False)
    runs: Runs[str] = field(repr=False)
    """The versions."""
    facts: ListingFacts
    seen: Runs[datetime | None] = ()
    """When the files were first seen here; (): of none it is known."""
    learnt: Mapping[str, str] = field(factory=dict, repr=False)
    """Hashes of metadata that upstream does not list, by file name."""

    def __len__(self) -> int:
        return sum(block.count for block in self.blocks)

    @property
    def weight(self) -> int:
        """The size in memory, in bytes, roughly."""
        blocks = sum(250 + len(block.entries) + len(block.rest) for block in self.blocks)
        return 500 + blocks + RUN * (len(self.runs) + len(self.seen)) + LEARNT * len(self.learnt)

    @property
    def attested(self) -> bool:
        """Whether the provenance of any file is stored here: of a listed file it never is."""
        return False

    @property
    def latest(self) -> datetime | None:
        """The latest time that the age of a file counts from; None: of some file it is unknown."""
        times = [] if self.facts.latest is None else [self.facts.latest]
        if not self.facts.dated:
            seen = [moment for moment, _ in self.seen]
            if not seen or None in seen:
                return None
            times += [moment for moment in seen if moment is not None]
        return max(times, default=None)

    def times(self, positions: Iterable[int]) -> Iterator[tuple[int, datetime | None]]:
        """Yield these positions, which are in ascending order, and when each file was uploaded, or
        else first seen here. Only their blocks are decoded.
        """
        seen = list(islice(self.seen_times(), len(self))) if self.seen else None
        for number, some in groupby(positions, lambda position: position // BLOCK):
            uploaded = self.blocks[number].upload_times()
            for position in some:
                time = uploaded[position % BLOCK]
                yield position, seen[position] if time is None and seen is not None else time

    def _uploaded(self) -> Iterator[datetime | None]:
        for block in self.blocks:
            yield from block.upload_times()

    # --- files ---

    def __iter__(self) -> Iterator[ListedFile]:
        return chain.from_iterable(self.files_of(range(len(self.blocks))))

    @overload
    def __getitem__(self, index: int) -> ListedFile: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ListedFile]: ...

    def __getitem__(self, index: int | slice) -> ListedFile | Sequence[ListedFile]:
        positions = range(len(self))[index]
        if isinstance(positions, int):
            return next(self.files_of((positions // BLOCK,)))[positions % BLOCK]
        numbers = sorted({position // BLOCK for position in positions})
        files = dict(zip(numbers, self.files_of(numbers), strict=True))
        return tuple(files[position // BLOCK][position % BLOCK] for position in positions)

    def named(self, filename: str) -> ListedFile | None:
        """Return the file of this name, or None."""
        return self.find((filename,)).get(filename, (0, None))[1]

    def find(self, filenames: Collection[str]) -> dict[str, tuple[int, ListedFile]]:
        """Return the files of these names, each with its position."""
        wanted = self._blocks_of(filenames)
        found: dict[str, tuple[int, ListedFile]] = {}
        for number, versions, seen in self._facts_of(sorted(wanted)):
            block, names = self.blocks[number], wanted[number]
            entries = block.search(names) if len(names) <= MANY else _named(block.read(), names)
            rest = block.columns() if entries else None
            for position, entry in entries:
                assert rest is not None
                file = self._file(position, entry, rest, versions[position], seen[position])
                found[entry.filename] = number * BLOCK + position, file
        return found

    def _blocks_of(self, filenames: Iterable[str]) -> dict[int, list[str]]:
        """Return the blocks that may have files of these names, each with the names."""
        versions = {filename: version_of(filename, self.project) for filename in filenames}
        numbers = self._blocks_of_versions({each for each in versions.values() if each is not None})
        wanted: dict[int, list[str]] = {}
        for filename, version in versions.items():
            some = range(len(self.blocks)) if version is None else numbers.get(version, ())
            for number in some:
                wanted.setdefault(number, []).append(filename)
        return wanted

    def _blocks_of_versions(self, versions: Set[str]) -> dict[str, set[int]]:
        """Return the blocks with files of these versions, also if they are spelled differently."""
        found = self._blocks_by(versions, lambda version: version)
        others = {version: version_key(version) for version in versions if version not in found}
        if others:
            same = self._blocks_by(frozenset(others.values()), version_key)
            found |= {version: same.get(key, set()) for version, key in others.items()}
        return found

    def _blocks_by(self, wanted: Set[K], key_of: Callable[[str], K]) -> dict[K, set[int]]:
        found: dict[K, set[int]] = {}
        start = 0
        for version, count in self.runs:
            stop = start + count
            if (key := key_of(version)) in wanted:
                found.setdefault(key, set()).update(range(start // BLOCK, (stop - 1) // BLOCK + 1))
            start = stop
        return found

    def files_of(self, numbers: Iterable[int]) -> Iterator[list[ListedFile]]:
        """Yield the files of each of these blocks, which are in ascending order."""
        for number, versions, seens in self._facts_of(numbers):
            block = self.blocks[number]
            rest = block.columns()
            yield [
                self._file(position, entry, rest, version, seen)
                for position, (entry, version, seen) in enumerate(
                    zip(block.read(), versions, seens, strict=True)
                )
            ]

    def _facts_of(
        self, numbers: Iterable[int]
    ) -> Iterator[tuple[int, list[str], list[datetime | None]]]:
        """Yield each of these blocks with the versions of its files, and when they were first
        seen.
        """
        versions, seens, position = self._versions(), self.seen_times(), 0
        for number in numbers:
            start = number * BLOCK
            stop = start + self.blocks[number].count
            span = start - position, stop - position
            yield number, list(islice(versions, *span)), list(islice(seens, *span))
            position = stop

    def _versions(self) -> Iterator[str]:
        return chain.from_iterable([repeat(version, count) for version, count in self.runs])

    def seen_times(self) -> Iterator[datetime | None]:
        """Return when each file was first seen; then None without end."""
        runs = [repeat(moment, count) for moment, count in self.seen]
        return chain(chain.from_iterable(runs), repeat(None))

    def _file(
        self,
        number: int,
        entry: ReadEntry,
        rest: HiddenColumns,
        version: str,
        seen: datetime | None,
    ) -> ListedFile:
        if rest.odd and number in rest.odd:
            file = listed_file(self.project, rest.odd[number])
            sha256 = file.metadata_sha256 or self.learnt.get(file.filename)
            return replace(file, seen=seen, metadata_sha256=sha256)
        filename, folder, metadata = entry.filename, rest.folders[number], entry.core_metadata
        yanked = entry.yanked
        sha256 = metadata["sha256"] if isinstance(metadata, dict) else self.learnt.get(filename)
        return ListedFile(
            project=self.project,
            filename=filename,
            version=version,
            sha256=entry.hashes.get("sha256"),
            size=entry.size,
            uploaded=entry.upload_time,
            requires_python=entry.requires_python,
            metadata_sha256=sha256,
            yanked="" if yanked is True else None if yanked is False else yanked,
            source=folder[1:] if folder.startswith(WHOLE_URL) else folder + filename,
            md5=_at(rest.md5, number),
            blake2b_256=_at(rest.blake2b_256, number),
            seen=seen,
            provenance_url=_at(rest.provenance, number),
            digest=_at(rest.digests, number),
            metadata_offered=metadata is not False,
        )

    def first_seen(self, now: datetime) -> ListedFiles:
        """Return these files, of which those without upload time are first seen `now`."""
        if self.facts.dated:
            return self
        known = zip(self._uploaded(), self.seen_times(), strict=False)
        return evolve(self, seen=runs_of([None if time else seen or now for time, seen in known]))

    # --- pages ---

    def texts(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries of each block for a page, with the URLs of `FILES_URL`, joined by
        commas; and the same, compressed.
        """
        for block in self.blocks:
            yield block.text(), block.entries

    # --- comparison ---

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, ListedFiles):
            return (self.seen, self.learnt) == (other.seen, other.learnt) and self.same_listing(
                other
            )
        return _same_files(self, other)

    def __hash__(self) -> int:
        return hash((self.project, self.runs))

    def same_listing(self, other: ListedFiles) -> bool:
        """Return whether upstream listed exactly the same: `==` without what was learnt here."""
        if (self.runs, self.facts) != (other.runs, other.facts):
            return False
        return all(map(FileBlock.lists_same, self.blocks, other.blocks))

    def changed_blocks(self, other: ListedFiles) -> tuple[list[int], list[int]]:
        """Return the numbers of the blocks here and in `other` that upstream listed differently.

        A file of any other block is in both, at the same position.
        """
        same = [
            number
            for number, (one, another) in enumerate(zip(self.blocks, other.blocks, strict=False))
            if one == another
        ]
        return _others(same, len(self.blocks)), _others(same, len(other.blocks))

    def names(self) -> Iterator[str]:
        """Yield the names of all files."""
        for block in self.blocks:
            yield from block.names()


def _at(column: list[str | None], number: int) -> str | None:
    return column[number] if column else None


def _named(entries: list[ReadEntry], names: Iterable[str]) -> list[tuple[int, ReadEntry]]:
    some = frozenset(names)
    return [pair for pair in enumerate(entries) if pair[1].filename in some]


def _others(numbers: list[int], stop: int) -> list[int]:
    return sorted(set(range(stop)).difference(numbers))


def _same_files(files: Sequence[ListedFile], other: object) -> bool:
    if not isinstance(other, Sequence) or len(files) != len(other):
        return False
    return all(one == another for one, another in zip(files, other, strict=True))


def joined_runs(runs: Iterable[tuple[T, int]]) -> Runs[T]:
    """Return the runs with consecutive equal values joined."""
    groups = groupby(runs, lambda run: run[0])
    return tuple((value, sum(count for _, count in some)) for value, some in groups)


def runs_of(values: Sequence[T | None]) -> Runs[T | None]:
    """Return the values as runs; () if all are None."""
    if all(value is None for value in values):
        return ()
    return tuple((value, len(tuple(some))) for value, some in groupby(values))

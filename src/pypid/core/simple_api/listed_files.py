"""The files that an upstream index lists for a project, as compact bytes.

A project may have ten thousand files, of which installers want two. So a listing is kept as blocks
of finished page entries, compressed so that a page is made by joining them (`core.compression`),
and beside them what pages do not show: URLs, and hashes other than SHA-256. A `File` is made only
of an entry that is asked for.

What was learnt here, and not listed, is not in the blocks: when files were first seen, and hashes
of metadata. So the same listing gives the same blocks, and is compared as bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
T = TypeVar("T")
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
    attested: bool = False
    """Whether the provenance of any file is stored here."""


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
        return 500 + sum(250 + len(block.entries) + len(block.rest) for block in self.blocks)

    @property
    def attested(self) -> bool:
        """Whether the provenance of any file is stored here."""
        return self.facts.attested

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

    def times(self) -> list[datetime | None]:
        """Return when each file was uploaded, or else first seen here."""
        return [
            time or seen for time, seen in zip(self._uploaded(), self.seen_times(), strict=False)
        ]

    def _uploaded(self) -> Iterator[datetime | None]:
        for block in self.blocks:
            yield from block.upload_times()

    # --- files ---

    def __iter__(self) -> Iterator[ListedFile]:
        for number in range(len(self.blocks)):
            yield from self.block_files(number)

    @overload
    def __getitem__(self, index: int) -> ListedFile: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ListedFile]: ...

    def __getitem__(self, index: int | slice) -> ListedFile | Sequence[ListedFile]:
        positions = range(len(self))[index]
        if isinstance(positions, int):
            return self.block_files(positions // BLOCK)[positions % BLOCK]
        numbers = dict.fromkeys(position // BLOCK for position in positions)
        files = {number: self.block_files(number) for number in numbers}
        return tuple(files[position // BLOCK][position % BLOCK] for position in positions)

    def named(self, filename: str) -> ListedFile | None:
        """Return the file of this name, or None."""
        return self.find((filename,)).get(filename, (0, None))[1]

    def find(self, filenames: Collection[str]) -> dict[str, tuple[int, ListedFile]]:
        """Return the files of these names, each with its position."""
        wanted: dict[int, list[str]] = {}
        for filename in filenames:
            for number in self._numbers(filename):
                wanted.setdefault(number, []).append(filename)
        found: dict[str, tuple[int, ListedFile]] = {}
        for number, names in wanted.items():
            start = number * BLOCK
            if len(names) > MANY:
                some = frozenset(names)
                for position, file in enumerate(self.block_files(number), start):
                    if file.filename in some:
                        found[file.filename] = position, file
            else:
                for position, file in self._search(number, names):
                    found[file.filename] = start + position, file
        return found

    def _numbers(self, filename: str) -> Iterable[int]:
        """Return the blocks that may have a file of this name."""
        version = version_of(filename, self.project)
        if version is None:
            return range(len(self.blocks))
        numbers: dict[int, None] = {}
        for positions in self._positions(version) or self._positions_of_same(version):
            numbers |= dict.fromkeys(
                range(positions.start // BLOCK, (positions.stop - 1) // BLOCK + 1)
            )
        return numbers

    def _positions(self, version: str) -> list[range]:
        found, start = [], 0
        for each, count in self.runs:
            if each == version:
                found.append(range(start, start + count))
            start += count
        return found

    def _positions_of_same(self, version: str) -> list[range]:
        key = version_key(version)
        same = [each for each, _ in self.runs if version_key(each) == key]
        return [positions for each in dict.fromkeys(same) for positions in self._positions(each)]

    def _search(self, number: int, names: Iterable[str]) -> Iterator[tuple[int, ListedFile]]:
        """Yield the files of a block that have these names, each with its number in the block."""
        block = self.blocks[number]
        found = block.search(names)
        columns = block.columns() if found else None
        for position, entry in found:
            assert columns is not None
            whole = number * BLOCK + position
            version = next(islice(self._versions(), whole, None))
            seen = next(islice(self.seen_times(), whole, None))
            yield position, self._file(position, entry, columns, version, seen)

    def block_files(self, number: int) -> list[ListedFile]:
        """Return the files of one block."""
        block, start = self.blocks[number], number * BLOCK
        rest = block.columns()
        versions = islice(self._versions(), start, start + block.count)
        seens = islice(self.seen_times(), start, None)
        return [
            self._file(position, entry, rest, version, seen)
            for position, (entry, version, seen) in enumerate(
                zip(block.read(), versions, seens, strict=False)
            )
        ]

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

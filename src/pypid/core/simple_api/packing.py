"""Packing listed files as compact bytes (`core.simple_api.listed_files`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from itertools import chain, groupby
from operator import itemgetter, lt
from typing import Any, TypeVar

import msgspec
from attrs import evolve
from msgspec import UNSET
from msgspec.structs import replace

from pypid.core.compression import fragment
from pypid.core.model import ListedFile
from pypid.core.packaging.names import ProjectName, version_key
from pypid.core.records.documents import RecordedFile, stored
from pypid.core.simple_api.entries import FILES_URL, entry_of
from pypid.core.simple_api.file_blocks import BLOCK, WHOLE_URL, FileBlock, HiddenColumns
from pypid.core.simple_api.listed_files import ListedFiles, ListingFacts, joined_runs, runs_of

T = TypeVar("T")
_NAME = itemgetter(0)
_encoder = msgspec.json.Encoder()


class RareParts(msgspec.Struct, gc=False):
    """What few files have: hashes other than SHA-256, or texts that pages cannot show as they
    are.
    """

    digest: str | None = None
    md5: str | None = None
    blake2b_256: str | None = None
    odd: RecordedFile | None = None


Row = tuple[str, Any, str, str | None, RareParts | None]
"""A file to be packed, as upstream listed it: its name, its entry on a page (which is encoded as it
is), the folder as in `HiddenColumns`, the URL of its provenance, and the rest.
"""


RowsByVersion = defaultdict[str, list[Row]]


class Packer:
    """Packs the files of a page, in any order; of files with the same name the first counts."""

    def __init__(self, project: ProjectName) -> None:
        self._project = project
        self.versions: RowsByVersion = defaultdict(list)
        """The files so far, by version."""
        self.duplicates = 0
        """The number of files that had the name of another one; known when all are packed."""

    def pack(self) -> Generator[None, None, ListedFiles]:
        """Return all files in order, as slices: pauses after each block."""
        runs: list[tuple[str, int]] = []
        rows: list[Row] = []
        spellings: dict[tuple[int, Any], list[str]] = {}
        for version in self.versions:
            spellings.setdefault(version_key(version), []).append(version)
        yield
        for key in sorted(spellings):
            several = spellings[key]
            some = self._in_order(several)
            if len(several) == 1:
                runs.append((several[0], len(some)))
            else:
                versions = {row[0]: each for each in several for row in self.versions[each]}
                runs += [(versions[row[0]], 1) for row in some]
            rows += some
        yield
        return (yield from pack(self._project, rows, runs))

    def _in_order(self, versions: list[str]) -> list[Row]:
        """Return the files of these versions by name, each once."""
        rows = list(chain.from_iterable(self.versions[version] for version in versions))
        listed = list(map(_NAME, rows))
        if all(map(lt, listed, listed[1:])):  # as most indexes list them
            return rows
        rows.sort(key=_NAME)
        names = set(map(_NAME, rows))
        if len(names) == len(rows):
            return rows
        self.duplicates += len(rows) - len(names)
        return [next(some) for _, some in groupby(rows, _NAME)]


def packed(files: Sequence[ListedFile]) -> ListedFiles:
    """Return listed files that are in order, as compact bytes."""
    if isinstance(files, ListedFiles):
        return files
    project = files[0].project if files else ProjectName("")
    slices = pack(project, [row_of(file) for file in files], [(file.version, 1) for file in files])
    return evolve(
        at_once(slices),
        seen=runs_of([file.seen for file in files]),
        learnt={
            file.filename: file.metadata_sha256
            for file in files
            if file.metadata_sha256 is not None and not file.metadata_offered
        },
    )


def at_once(slices: Generator[None, None, T]) -> T:
    """Return the result of the slices, without pausing between them."""
    while True:
        try:
            next(slices)
        except StopIteration as ended:
            result: T = ended.value
            return result


def pack(
    project: ProjectName, rows: Sequence[Row], versions: Iterable[tuple[str, int]]
) -> Generator[None, None, ListedFiles]:
    """Return the files of these rows, which are in order, as slices; `versions` are theirs."""
    blocks = []
    facts = ListingFacts()
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        blocks.append(_block(some))
        facts = _facts_with(facts, some)
        yield
    return ListedFiles(project, tuple(blocks), joined_runs(versions), facts)


def _facts_with(facts: ListingFacts, rows: Sequence[Row]) -> ListingFacts:
    entries = [row[1] for row in rows]
    times = [time for entry in entries if (time := entry.upload_time) is not UNSET]
    latest = times if facts.latest is None else [*times, facts.latest]
    unhashed = [row[4] for row in rows if not row[1].hashes]
    return ListingFacts(
        latest=max(latest, default=None),
        dated=facts.dated and len(times) == len(rows),
        sized=facts.sized and UNSET not in [entry.size for entry in entries],
        hashed=facts.hashed
        and all(rare and (rare.digest or rare.blake2b_256) for rare in unhashed),
    )


def _block(rows: Sequence[Row]) -> FileBlock:
    _, entries, folders, provenance, rares = zip(*rows, strict=True)
    rest = HiddenColumns(folders=list(folders), provenance=_column(provenance))
    if any(rares):
        known = [rare or RareParts() for rare in rares]
        rest = replace(
            rest,
            digests=_column([rare.digest for rare in known]),
            md5=_column([rare.md5 for rare in known]),
            blake2b_256=_column([rare.blake2b_256 for rare in known]),
            odd={number: rare.odd for number, rare in enumerate(known) if rare.odd is not None},
        )
    text = _encoder.encode(entries)[1:-1]
    return FileBlock(len(rows), fragment(text), fragment(_encoder.encode(rest)))


def _column(values: Iterable[str | None]) -> list[str | None]:
    column = list(values)
    return column if column.count(None) < len(column) else []


def folder_of(url: str, filename: str) -> str:
    """Return the URL as it is packed: without the file name."""
    folder = url.removesuffix(filename)
    return folder if folder.endswith("/") and folder + filename == url else WHOLE_URL + url


def row_of(file: ListedFile) -> Row:
    """Return the file as upstream listed it."""
    learnt = file.metadata_sha256 is not None and not file.metadata_offered
    if file.seen is not None or learnt:
        file = replace(file, seen=None, metadata_sha256=None if learnt else file.metadata_sha256)
    entry = entry_of(file, f"{FILES_URL}{file.project}/", None)
    rare = RareParts(file.digest, file.md5, file.blake2b_256)
    if (entry.filename, entry.requires_python or None, entry.yanked or None) != (
        file.filename,
        file.requires_python,
        True if file.yanked == "" else file.yanked,
    ):
        rare = replace(rare, odd=stored(file))
    folder = folder_of(file.source, file.filename)
    return file.filename, entry, folder, file.provenance_url, rare

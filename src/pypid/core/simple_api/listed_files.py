"""Listings of upstream projects in little memory: packed, in blocks, as JSON entries, and as they
are shown.

A project may have ten thousand files, of which installers want two. So a listing is kept as blocks
of finished page entries, compressed so that a page is made by joining them (`core.compression`),
and beside them what pages do not show: URLs, and hashes other than SHA-256. A `File` is made only
of an entry that is asked for.

What was learnt here, and not listed, is not in the blocks: when files were first seen, and hashes
of metadata. So the same listing gives the same blocks, and is compared as bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from datetime import UTC, datetime
from itertools import chain, groupby, islice, repeat
from operator import itemgetter, lt
from typing import Any, TypeVar, overload
from urllib.parse import quote

import msgspec
from attrs import evolve, field, frozen
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from pypid.core.compression import content, fragment
from pypid.core.errors import Unreadable
from pypid.core.model import File, Files, ListedFile, RecordedFile
from pypid.core.packaging.names import ProjectName, listed_version, version_key
from pypid.core.records.documents import decoded, listed_file, stored

# Some consecutive files of a listing, as compressed JSON.

BLOCK = 256
"""Files of a block: its entries are read in half a millisecond."""
LARGEST_BLOCK = 64 << 20
"""Maximum size of a block in bytes, uncompressed: some texts have 4,096 characters."""
WHAT = "a listing"
BEGINNING = b'{"filename":'
SEPARATOR = b"}," + BEGINNING
"""The end of an entry and the beginning of the next one. No JSON string contains this: a quote in
one is preceded by a backslash.
"""
WHOLE_URL = "!"
"""Precedes a URL that does not end with the file name."""


class ReadEntry(msgspec.Struct, rename="kebab", frozen=True, gc=False):
    """An entry of a page, as far as it tells of a file."""

    filename: str
    hashes: dict[str, str]
    size: int | None = None
    upload_time: datetime | None = None
    requires_python: str | None = None
    core_metadata: dict[str, str] | bool = False
    yanked: bool | str = False


class _Name(msgspec.Struct, frozen=True, gc=False):
    filename: str


class _Time(msgspec.Struct, rename="kebab", frozen=True, gc=False):
    upload_time: datetime | None = None


class HiddenColumns(msgspec.Struct, omit_defaults=True, rename="kebab", gc=False):
    """What pages do not show of the files of a block; an empty list stands for many None."""

    folders: list[str]
    """The URLs without the file names, or `WHOLE_URL` and a URL."""
    provenance: list[str | None] = []
    digests: list[str | None] = []
    md5: list[str | None] = []
    blake2b_256: list[str | None] = []
    odd: dict[int, RecordedFile] = {}
    """Files with more than all this, by number."""


class FileBlock(msgspec.Struct, frozen=True, gc=False):
    """Some consecutive files. `entries` and `rest` are compressed JSON."""

    count: int
    entries: bytes
    rest: bytes

    def text(self) -> bytes:
        """Return the entries for a page, joined by commas. Raises `Unreadable`."""
        return _content(self.entries)

    def columns(self) -> HiddenColumns:
        """Return what pages do not show. Raises `Unreadable`."""
        return decoded(_columns, _content(self.rest), WHAT)

    def read(self) -> list[ReadEntry]:
        """Return all entries. Raises `Unreadable`."""
        return decoded(_entries, b"[" + self.text() + b"]", WHAT)

    def names(self) -> list[str]:
        """Return the names of the files. Raises `Unreadable`."""
        names = decoded(_names, b"[" + self.text() + b"]", WHAT)
        return [entry.filename for entry in names]

    def upload_times(self) -> list[datetime | None]:
        """Return the upload times of the files. Raises `Unreadable`."""
        times = decoded(_times, b"[" + self.text() + b"]", WHAT)
        return [entry.upload_time for entry in times]

    def search(self, filenames: Iterable[str]) -> list[tuple[int, ReadEntry]]:
        """Return the entries with these names, each with its number, without reading the others.
        Raises `Unreadable`.
        """
        text, found = self.text(), []
        for filename in filenames:
            start = text.find(BEGINNING + _encoder.encode(filename) + b",")
            if start >= 0:
                end = text.find(SEPARATOR, start)
                entry = decoded(_entry, text[start : len(text) if end < 0 else end + 1], WHAT)
                found.append((text.count(BEGINNING, 0, start), entry))
        return found

    def lists_same(self, other: FileBlock) -> bool:
        """Return whether both have the same content, even if compressed by different programs."""
        return self == other or (
            self.text() == other.text() and _content(self.rest) == _content(other.rest)
        )


def _content(data: bytes) -> bytes:
    try:
        return content(data, LARGEST_BLOCK)
    except ValueError as error:
        raise Unreadable(WHAT, str(error)) from None


_encoder = msgspec.json.Encoder()
_entries = msgspec.json.Decoder(list[ReadEntry])
_names = msgspec.json.Decoder(list[_Name])
_times = msgspec.json.Decoder(list[_Time])
_entry = msgspec.json.Decoder(ReadEntry)
_columns = msgspec.json.Decoder(HiddenColumns)


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
        versions = {filename: listed_version(filename, self.project) for filename in filenames}
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
        """Yield these blocks with their files' versions, and when they were first seen."""
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
        uploaded = chain.from_iterable(block.upload_times() for block in self.blocks)
        known = zip(uploaded, self.seen_times(), strict=False)
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


# The entry of one file on a project page of the Simple API, as JSON has it; HTML is rendered from
# it, too.

FILES_URL = "../../packages/"
"""From ``/simple/<project>/`` to where files are served. bandersnatch demands that their paths
begin with ``/packages``.
"""


class Entry(msgspec.Struct, rename="kebab", frozen=True, kw_only=True, gc=False):
    """A page's entry of one file, without unknown values: uv refuses a page with a null."""

    filename: str
    url: str
    hashes: dict[str, str]
    size: int | UnsetType = UNSET
    upload_time: datetime | UnsetType = UNSET
    requires_python: str | UnsetType = UNSET
    core_metadata: dict[str, str] | bool | UnsetType = UNSET
    # not dist-info-metadata, its older name: pip 22.3 to 23.1, Debian 12's among them, crash on an
    # object there (PEP 714)
    provenance: str | UnsetType = UNSET
    yanked: bool | str = False


_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
is_unreserved = re.compile(r"[A-Za-z0-9._~-]*\Z").match
"""Returns a match for texts that need no quotes in URLs."""


def plain(text: str) -> str:
    """Return `text` as every representation can carry it, stripped."""
    return encodable(text.strip())


def encodable(text: str) -> str:
    """Return `text` as every representation can carry it.

    Line ends become LF; control characters, halves of surrogate pairs and noncharacters, which HTML
    cannot express or UTF-8 cannot encode, become U+FFFD.
    """
    if text.isprintable():
        return text
    return _ODD.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def utc_text(moment: datetime) -> str:
    """Return `moment` as ``yyyy-mm-ddThh:mm:ss[.ffffff]Z``, the one form of PEP 700."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text: str = msgspec.to_builtins(moment)  # ten times as fast as isoformat
    return text


def quoted(part: str) -> str:
    """Return `part` as one segment of a URL's path, fully quoted."""
    if is_unreserved(part):
        return part
    return quote(part, safe="", errors="replace")


def entry_of(
    file: File,
    files_url: str,
    provenance_url: str | None,
    url_of: Callable[[File], str] | None = None,
) -> Entry:
    """Return the entry of a file; the arguments are those of `render.render_project`."""
    filename = name = file.filename
    if not is_unreserved(filename):  # nearly all are plain, and need no quotes
        filename = plain(filename)
        name = quoted(filename)
    metadata: dict[str, str] | bool | UnsetType = UNSET
    if file.metadata_sha256:
        metadata = {"sha256": file.metadata_sha256}
    elif file.metadata_offered:  # PEP 714 allows this if the hash is unknown
        metadata = True
    provenance: str | UnsetType = UNSET
    if provenance_url is not None and file.attested:
        provenance = f"{provenance_url}{file.project}/{quoted(file.version)}/{name}/provenance"
    uploaded = file.uploaded
    if uploaded is not None and uploaded.tzinfo is not UTC:
        uploaded = uploaded.astimezone(UTC)
    return Entry(
        filename=filename,
        url=files_url + name if url_of is None else url_of(file),
        hashes=hashes_of(file),
        size=UNSET if file.size is None else file.size,
        upload_time=UNSET if uploaded is None else uploaded,
        requires_python=(plain(file.requires_python) or UNSET) if file.requires_python else UNSET,
        core_metadata=metadata,
        provenance=provenance,
        # uv takes "" for yanked, pip does not: without a reason it is True.
        yanked=file.yanked is not None
        and (encodable(file.yanked) if file.yanked.strip() else True),
    )


def hashes_of(file: File) -> dict[str, str]:
    """Return the one hash that HTML has room for; uv refuses unknown algorithms."""
    if file.sha256:
        return {"sha256": file.sha256}
    if (
        file.digest and file.source is None
    ):  # of an exported list, whose readers were given this one before
        algorithm, _, value = file.digest.partition("=")
        return {algorithm: value}
    return {"md5": file.md5} if file.md5 else {}


# Packing listed files as compact bytes.

_NAME = itemgetter(0)


class RareParts(msgspec.Struct, gc=False):
    """What few files have: other hashes than SHA-256, or texts that need escapes."""

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


# Listed files as a client may see them: without hidden files, and with what is known of cached
# ones.

FILE_WEIGHT = 1000
"""Bytes that a `File` takes in memory."""
HIDDEN_WEIGHT = 100
"""Bytes that the position of a hidden file takes in memory."""


@frozen(eq=False)
class ShownFiles(Files[File]):
    """The files of `listed`, with some `replaced` and others `hidden`, both by position."""

    listed: ListedFiles
    replaced: Mapping[int, File] = field(factory=dict)
    hidden: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.listed) - len(self.hidden)

    @property
    def attested(self) -> bool:
        """Whether the provenance of any file is stored here."""
        return any(file.attested for file in self.replaced.values())

    @property
    def runs(self) -> Runs[str]:
        """The versions, with the numbers of consecutive files that have them."""
        if not self.hidden:
            return self.listed.runs
        found, start = [], 0
        for version, count in self.listed.runs:
            hidden = sum(position in self.hidden for position in range(start, start + count))
            start += count
            if hidden < count:
                found.append((version, count - hidden))
        return joined_runs(found)

    def __iter__(self) -> Iterator[File]:
        for position, file in enumerate(self.listed):
            if position not in self.hidden:
                yield self.replaced.get(position, file)

    @overload
    def __getitem__(self, index: int) -> File: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[File]: ...

    def __getitem__(self, index: int | slice) -> File | Sequence[File]:
        every: Sequence[int] = range(len(self.listed))
        if self.hidden:
            every = [position for position in every if position not in self.hidden]
        positions = every[index]
        if isinstance(positions, int):
            return self.replaced.get(positions) or self.listed[positions]
        if not positions:
            return ()
        first = min(positions)
        files = self.listed[first : max(positions) + 1]
        return tuple(self.replaced.get(each, files[each - first]) for each in positions)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash((self.listed, self.hidden))

    def named(self, filename: str) -> File | None:
        """Return the file of this name, or None."""
        for position, file in self.replaced.items():
            if file.filename == filename:
                return None if position in self.hidden else file
        for position, listed in self.listed.find((filename,)).values():
            if position not in self.hidden:
                return listed
        return None


def weight_of(files: Sequence[File]) -> int:
    """Return how many bytes the files take in memory, roughly."""
    if isinstance(files, ShownFiles):
        own = FILE_WEIGHT * len(files.replaced) + HIDDEN_WEIGHT * len(files.hidden)
        return files.listed.weight + own
    return files.weight if isinstance(files, ListedFiles) else FILE_WEIGHT * len(files)


def texts_of(files: Files, provenance_url: str | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of some consecutive files each time, for a page with the URLs of
    `FILES_URL`, joined by commas; and the same, compressed (`compression.fragment`).
    `provenance_url` as for `render.render_project`.
    """
    listed, replaced, hidden = _sources(files)
    touched: dict[int, list[int]] = {}
    for position in sorted({*replaced, *hidden}):
        touched.setdefault(position // BLOCK, []).append(position % BLOCK)
    for number, (text, compressed) in enumerate(listed.texts()):
        if number not in touched:
            yield text, compressed
            continue
        changed = _changed(text, number * BLOCK, touched[number], replaced, hidden, provenance_url)
        if changed == text:  # most cached files have the entry that upstream listed
            yield text, compressed
        elif changed:
            yield changed, fragment(changed)


def _sources(files: Files) -> tuple[ListedFiles, Mapping[int, File], Collection[int]]:
    """Return the listed files, the replaced and the hidden ones."""
    shown = files if isinstance(files, ShownFiles) else None
    listed = files if shown is None else shown.listed
    assert isinstance(listed, ListedFiles)  # there are no others
    known = dict(listed.find(listed.learnt).values())
    if shown is None:
        return listed, known, ()
    return listed, {**known, **shown.replaced}, shown.hidden


def _changed(
    text: bytes,
    start: int,
    numbers: Sequence[int],
    replaced: Mapping[int, File],
    hidden: Collection[int],
    provenance_url: str | None,
) -> bytes:
    """Return the text of a block, which begins at position `start`, with the files of these numbers
    replaced or hidden.
    """
    entries = text[len(BEGINNING) : -1].split(SEPARATOR)
    for number in reversed(numbers):
        if start + number in hidden:
            del entries[number]
        else:
            file = replaced[start + number]
            entry = _encoder.encode(entry_of(file, f"{FILES_URL}{file.project}/", provenance_url))
            entries[number] = entry[len(BEGINNING) : -1]
    return b"".join((BEGINNING, SEPARATOR.join(entries), b"}")) if entries else b""

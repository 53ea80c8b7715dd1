"""Listed files as a client may see them: without hidden files, and with what is known of cached
ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import overload

import msgspec
from attrs import field, frozen

from pypid.core.compression import fragment
from pypid.core.model import File, Files
from pypid.core.simple_api.entries import FILES_URL, entry_of
from pypid.core.simple_api.file_blocks import BEGINNING, BLOCK, SEPARATOR
from pypid.core.simple_api.listed_files import ListedFiles, Runs, joined_runs

_encoder = msgspec.json.Encoder()

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

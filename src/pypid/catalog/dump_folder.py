"""The files of a dump, written so that a crash at any step leaves the dump before. Everything here
blocks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
from attrs import field, frozen

from pypid.catalog.lines import (
    SHARDS,
    DumpedLine,
    Line,
    LinePart,
    LinesState,
    head_of,
    shard_of,
    written,
)
from pypid.catalog.packed_line import PACKED_MARK, PackedLine
from pypid.core.errors import Unreadable
from pypid.core.records.documents import FORMAT, Head, dump

MANIFEST = "manifest.json"
PACKED = 2
"""The format in which listed files are compressed."""
FORMATS = FORMAT, PACKED
"""The formats that are read."""
_PART = ".part"
_SHARD_FILE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}\.jsonl\Z")
_LARGEST_MANIFEST = 1 << 20


class StoredShard(msgspec.Struct, frozen=True):
    """The manifest's entry for one shard; `size` in bytes, `sha256` lower-case hex."""

    file: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of a dump: see `catalog.dump`. Shards are numbered in two hex digits; an empty
    one is left out.
    """

    identity: str
    serial: int
    shards: dict[str, StoredShard]
    format: int = FORMAT

    def by_number(self) -> dict[int, StoredShard]:
        """Return the shards by their number."""
        return {int(number, 16): shard for number, shard in self.shards.items()}


class _Header(msgspec.Struct, frozen=True):
    shard: int
    format: int = FORMAT


class _Format(msgspec.Struct, frozen=True):
    format: int


@frozen
class DumpFolder:
    """The folder of a dump, mode 0700; its files have mode 0600, since the names in it are
    private.
    """

    folder: Path = field(converter=Path)
    format: int = FORMAT
    """The format that is written."""

    def manifest(self) -> Manifest | None:
        """Return the current manifest; None if there is none. Raises `Unreadable`; of another
        format only `format` is filled in.
        """
        try:
            data = self.manifest_bytes()
        except FileNotFoundError:
            return None
        try:
            found = msgspec.json.decode(data, type=_Format)
            if found.format not in FORMATS:
                return Manifest("", 0, {}, found.format)
            manifest = msgspec.json.decode(data, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable(MANIFEST, str(error)) from None
        for number, shard in manifest.shards.items():
            if not re.fullmatch("[0-9a-f]{2}", number) or not _SHARD_FILE.match(shard.file):
                raise Unreadable(MANIFEST, "it names a file that is no shard")
        return manifest

    def exists(self) -> bool:
        """Return whether there is a dump, which may be damaged."""
        return os.path.lexists(self.folder / MANIFEST)

    def manifest_bytes(self) -> bytes:
        """Return the manifest as it was written. Raises `OSError`, `Unreadable`."""
        return self.read(MANIFEST, _LARGEST_MANIFEST)

    def read(self, name: str, most: int) -> bytes:
        """Return the bytes of a file; raises `OSError`, and `Unreadable` beyond `most` bytes."""
        with (self.folder / name).open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise Unreadable(name, "it is longer than it was")
        return data

    def store(
        self, identity: str, moment: LinesState, kept: Mapping[int, StoredShard]
    ) -> dict[int, StoredShard]:
        """Write a dump of the state, with its shards, and those `kept` that did not change; return
        all shards. Raises `OSError`.
        """
        shards = dict(kept)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number, lines in moment.lines.items():
                shards.pop(number, None)
                if lines:
                    shards[number] = self._store_shard(number, lines)
            self._sync()
            manifest = Manifest(
                identity,
                moment.serial,
                {f"{number:02x}": shard for number, shard in sorted(shards.items())},
                self.format,
            )
            self._put(MANIFEST, [dump(manifest)])
            self._sync()
        except OSError:
            self._sweep(kept)
            raise
        self._sweep({})
        return shards

    def _store_shard(self, number: int, lines: Sequence[Line]) -> StoredShard:
        header = dump(_Header(number, self.format))[:-1]
        data = b"\n".join((header, *map(self._dumped, lines), b""))
        digest = sha256(data).hexdigest()
        shard = StoredShard(f"{number:02x}-{digest[:32]}.jsonl", len(data), digest)
        self._put(shard.file, [data])
        return shard

    def _dumped(self, line: Line) -> bytes:
        if self.format == PACKED and isinstance(line, PackedLine):
            return line.dumped()
        return written(line)

    def _put(self, name: str, pieces: Sequence[bytes]) -> None:
        """Write a temporary file, sync, rename; the folder is synced by the caller, once for
        many.
        """
        part = self.folder / (name + _PART)
        descriptor = os.open(
            part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # `os`, which a test of crashes replaces to count these calls
        os.rename(part, self.folder / name)  # noqa: PTH104

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sweep(self, kept: Mapping[int, StoredShard]) -> None:
        """Remove files that neither the current manifest nor `kept` names.

        After a failure it is unknown which manifest a power cut would bring back, so the files of
        both stay.
        """
        with suppress(OSError, Unreadable):
            manifest = self.manifest()
            if manifest is not None and manifest.format not in FORMATS:
                return
            named = {shard.file for shard in kept.values()}
            named.update(shard.file for shard in (manifest.shards.values() if manifest else ()))
            for name in os.listdir(self.folder):  # noqa: PTH208
                ours = _SHARD_FILE.match(name.removesuffix(_PART)) or name == MANIFEST + _PART
                if ours and name not in named:
                    os.unlink(self.folder / name)  # noqa: PTH108


READERS = 2
"""Threads that read shards: reading and hashing, which are half of the work, run in parallel."""


def read_shards(
    folder: DumpFolder,
    shards: Mapping[int, StoredShard],
    adopt: Callable[[DumpedLine], Line],
) -> Iterator[tuple[int, list[tuple[Head, Line]] | Unreadable]]:
    """Yield each shard's number, and its projects as `read_shard` returns them, with their lines
    adopted; or the error of this shard.
    """
    from concurrent.futures import (
        ThreadPoolExecutor,
    )  # here, since only a dump needs it

    with ThreadPoolExecutor(READERS) as pool:
        try:
            yield from zip(
                shards,
                pool.map(partial(_read_if_sound, folder, adopt), shards, shards.values()),
                strict=True,
            )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read_if_sound(
    folder: DumpFolder, adopt: Callable[[DumpedLine], Line], number: int, stored: StoredShard
) -> list[tuple[Head, Line]] | Unreadable:
    try:
        return [(head, adopt(line)) for head, line in read_shard(folder, number, stored)]
    except Unreadable as error:
        return error
    except FileNotFoundError:
        return Unreadable(stored.file, "it is missing")
    except OSError as error:
        return Unreadable(stored.file, error.strerror or "the system refuses")


def read_shard(
    folder: DumpFolder, number: int, stored: StoredShard
) -> list[tuple[Head, DumpedLine]]:
    """Return the head and the line of each project of a shard. Raises `Unreadable` for anything but
    what was written.
    """
    data = folder.read(stored.file, stored.size)
    if len(data) != stored.size or sha256(data).hexdigest() != stored.sha256:
        raise Unreadable(stored.file, "it is not what was written (torn, or modified since)")
    header = data[: data.find(b"\n") + 1]
    headers = {dump(_Header(number, format)) for format in FORMATS}
    if number >= SHARDS or header not in headers or not data.endswith(b"\n"):
        raise Unreadable(stored.file, "it is another shard, or of another format")
    found = list(_lines(data, len(header)))
    for head, _ in found:
        if shard_of(head.name) != number:
            raise Unreadable(stored.file, f"{head.name!r} does not belong into it")
    return found


def _lines(data: bytes, start: int) -> Iterator[tuple[Head, DumpedLine]]:
    while start < len(data):
        stop = data.index(b"\n", start)
        line = LinePart(data, start, stop)
        head = head_of(line)
        if head.packed is None:
            yield head, line
        else:
            size, whole = head.packed
            part = data[stop + 1 : stop + 1 + size]
            yield head, PackedLine(data[start : data.rindex(PACKED_MARK, start, stop)], whole, part)
            stop += 1 + size
        start = stop + 1

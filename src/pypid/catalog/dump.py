"""Dumps of the catalog in memory: a folder of JSON that a start reads instead of the whole storage.

``<shard>-<hash>.jsonl``
    A header line, then the projects' lines as the catalog holds them. Named after its content, so
    never changed. The dump of upstream projects has format 2: a long line ends with the two numbers
    ``packed``, the lengths of its listed files, compressed (deflate), and of the whole line; the
    compressed files follow it.
``manifest.json``
    Written last, and replaced atomically: it *is* the dump. It names the shards with their
    SHA-256, the catalog's serial, and the identity of the storage that all this was read from.

Shard files that no manifest names are left over from a write that failed, or from the dump before:
they are removed. A damaged shard is ignored: its projects are read from the storage, as all
projects are if the manifest is damaged.
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
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pypid.catalog.lines import (
    PACKED_MARK,
    SHARDS,
    DumpedLine,
    DumpedLines,
    Line,
    LinePart,
    LinesState,
    Loaded,
    PackedLine,
    head_of,
    no_shards,
    shard_of,
    written,
)
from pypid.core.errors import Unreadable
from pypid.core.model import Status, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import FORMAT, Head, dump
from pypid.core.summaries import MutableSummaries
from pypid.flow import World, shielded

# The files of a dump, written so that a crash at any step leaves the dump before. Everything here
# blocks.

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
    """The manifest of a dump. Shards are numbered in two hex digits; an empty
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


_STATUS = {status.value: status for status in Status}


@frozen
class Ignored:
    """The reason why nothing can be loaded; `reason` follows "The catalog dump is ignored: ".
    `usual`: nothing is wrong.
    """

    reason: str
    usual: bool = False


class CatalogDump:
    """A folder that is kept up to date with a catalog. `identity` is that of the storage
    (`records.StorageIdentity`). An `optional` dump is not written before the catalog has entries.
    """

    _log = Logger()

    def __init__(
        self,
        catalog: DumpedLines,
        folder: str,
        identity: str,
        world: World,
        format: int = FORMAT,
        *,
        optional: bool = False,
    ) -> None:
        self._catalog = catalog
        self._folder = DumpFolder(folder, format)
        self._identity = identity
        self._blocking = world.blocking
        self._optional = optional
        self._turn = DeferredLock()
        self._written: LinesState | None = None
        self._shards: Mapping[int, StoredShard] = {}
        self.is_whole = False
        """Whether the last dump was loaded completely, or is optional and was never written."""

    async def load(self) -> Loaded | Ignored:
        """Fill the (still empty) catalog from the folder; if that fails, return why."""
        found = await self._blocking(read_dump, self._folder, self._identity, self._catalog.adopt)
        if isinstance(found, Ignored):
            self.is_whole = found.usual and self._optional
            return found
        self._catalog.fill(found.loaded)
        moment = self._catalog.state(
            None
        )  # its serial may be ahead of the dump's, which need not be written
        versions = tuple(
            -1 if number in found.damaged else version
            for number, version in enumerate(moment.versions)
        )
        self._written = LinesState(moment.serial, versions, {})
        self._shards = found.shards
        self.is_whole = not found.damaged
        for error in list(found.damaged.values())[:1]:
            self._log.warn(
                (
                    "{count} of {shards} files of the catalog dump are damaged; their "
                    "projects are read from the storage: {error}"
                ),
                count=len(found.damaged),
                shards=len(found.damaged) + len(found.shards),
                error=error,
            )
        return found.loaded

    async def write(self) -> bool:
        """Write what changed since the last time; return whether everything is written now.

        The dump shows the catalog at the start of the write, which follows one that is under way.
        An error of the system (a full disk) is logged, and the dump before stays; the next call
        tries again. Goes on to its end if it is cancelled.
        """
        return await shielded(self._write_in_turn())

    async def _write_in_turn(self) -> bool:
        await self._turn.acquire()
        try:
            return await self._write()
        finally:
            self._turn.release()

    async def _write(self) -> bool:
        written = self._written
        moment = self._catalog.state(None if written is None else written.versions)
        if written is not None and written.serial == moment.serial and not moment.lines:
            return True
        is_empty = written is None and not any(moment.lines.values())
        if self._optional and is_empty and not await self._blocking(self._folder.exists):
            return True
        try:
            shards = await self._blocking(self._folder.store, self._identity, moment, self._shards)
        except OSError as error:
            self._log.error(
                "The catalog dump could not be written; the previous one is kept: {error}",
                error=error,
            )
            return False
        self._written = LinesState(moment.serial, moment.versions, {})
        self._shards = shards
        return True


@frozen
class FoundDump:
    """The result of reading: the projects of all `shards` except those that are `damaged`."""

    loaded: Loaded
    shards: Mapping[int, StoredShard]
    damaged: Mapping[int, Unreadable]


def read_dump(
    folder: DumpFolder, identity: str, adopt: Callable[[DumpedLine], Line]
) -> FoundDump | Ignored:
    """Return the dump in `folder`, if it can be read and is of this storage; `adopt` returns the
    form in which a line is held. Never raises; blocks.
    """
    try:
        manifest = folder.manifest()
        if manifest is None:
            return Ignored("there is none yet.", usual=True)
        if manifest.format not in FORMATS:
            return Ignored(
                f"it has format {manifest.format}, and this version of pypid reads format "
                f"{max(FORMATS)} at most."
            )
        if manifest.identity != identity:
            return Ignored("it belongs to another storage.")
        found = _sound_shards(folder, manifest, adopt)
        return (
            found
            if found.shards or not found.damaged
            else Ignored(f"{next(iter(found.damaged.values()))}.")
        )
    except Unreadable as error:
        return Ignored(f"{error}.")
    except Exception as error:  # no error in a dump may prevent a start
        return Ignored(f"it cannot be read: {error!r}.")


def _sound_shards(
    folder: DumpFolder, manifest: Manifest, adopt: Callable[[DumpedLine], Line]
) -> FoundDump:
    shards = no_shards()
    heads: dict[ProjectName, Summary] = {}
    sound, damaged = manifest.by_number(), dict[int, Unreadable]()
    for number, projects in read_shards(folder, dict(sound), adopt):
        if isinstance(projects, Unreadable):
            damaged[number] = projects
            del sound[number]
            continue
        shard = shards[number]
        for head, line in projects:
            # The digest proves that pypid wrote this line, and it writes normalised names only.
            name = ProjectName(head.name)
            shard[name] = line
            heads[name] = Summary(name, head.serial, _STATUS[head.status], head.keeps, head.gone)
    return FoundDump(Loaded(manifest.serial, shards, MutableSummaries(heads)), sound, damaged)

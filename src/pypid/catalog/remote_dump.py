"""The dump in the storage itself: a new machine reads it with one request, instead of every record.

The last writer wins, which does no harm: the dump is compared with the listing before anything
counts as absent, and a project whose mark differs is read. It holds what the records contain, and
neither signed URLs nor passwords.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from gzip import BadGzipFile, GzipFile
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO
from zlib import error as ZlibError

import msgspec
from attrs import define, field
from twisted.logger import Logger

from pypid.catalog.dump import FORMATS
from pypid.catalog.lines import (
    DumpedLines,
    Line,
    LinesState,
    Loaded,
    PendingLine,
    head_of,
    no_shards,
    shard_of,
    written,
)
from pypid.core.errors import BadName, Missing, PypidError, StorageDown, Unreadable
from pypid.core.model import Span, Status, Summary
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import FORMAT, Head, dump, load, load_head
from pypid.core.records.layout import project_of
from pypid.core.summaries import MutableSummaries
from pypid.flow import FileBody, World
from pypid.flow.spool import PREFIX, Spool
from pypid.ports import Blobs

# A dump as one file: gzip of a head, and of the lines of all projects as the catalog holds them.
# Everything here blocks.
#
# gzip's own checksum and length, and the head's count, prove that it is complete. It can be read
# with ``zcat``.

LARGEST_FILE = 4 << 30
"""Bytes that the lines may have together: those of some eight million files."""
_LEVEL = 1
"""The level of gzip: the lines shrink to a ninth; at its best level to a twelfth, which takes ten
times as long.
"""
_LARGEST_HEAD = 10_000
_STATUS = {status.value: status for status in Status}
_WHAT = "the snapshot"


class PackHead(msgspec.Struct, frozen=True):
    """The first line. `identity` is the storage's; `lines` is the number of lines that follow.

    The dump of upstream projects has format 2, so that versions ignore it that cannot read compact
    listings.
    """

    identity: str
    serial: int
    lines: int
    format: int = FORMAT


def everything(head: Head) -> bool:
    """Return True: every line is written."""
    return True


def what_is_kept(head: Head) -> bool:
    """Return whether cached files of the upstream project are in the storage; listings alone are
    fetched again.
    """
    return head.keeps


def pack(
    path: Path,
    identity: str,
    moment: LinesState,
    wanted: Callable[[Head], bool] = everything,
    format: int = FORMAT,
) -> str:
    """Write the `wanted` lines of a state with all shards to `path`, an existing file; return the
    SHA-256 of the lines, without the serial. Raises `OSError`.
    """
    digest = sha256()
    count = (
        sum(1 for _ in _lines(moment, wanted))
        if wanted is not everything
        else sum(map(len, moment.lines.values()))
    )
    with (
        path.open("wb") as file,
        GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0, filename="") as packed,
    ):
        packed.write(dump(PackHead(identity, moment.serial, count, format)))
        for line in _lines(moment, wanted):
            digest.update(line)
            packed.write(line)
            packed.write(b"\n")
    return digest.hexdigest()


def _lines(moment: LinesState, wanted: Callable[[Head], bool]) -> Iterator[bytes]:
    for number in sorted(moment.lines):
        for each in moment.lines[number]:
            if wanted is everything:
                yield written(each)
                continue
            line = written(each) if isinstance(each, PendingLine) else each
            if wanted(head_of(line)):
                yield written(line)


def unpack(
    file: BinaryIO, identity: str, adopt: Callable[[bytes], Line] = lambda line: line
) -> Loaded:
    """Return the contents of a packed file, with its lines adopted. Raises `Unreadable`, also for a
    dump of another storage.
    """
    try:
        with GzipFile(fileobj=file, mode="rb") as packed:
            return _read(packed, identity, adopt)
    except (BadGzipFile, EOFError, ZlibError, OSError) as error:
        raise Unreadable(_WHAT, f"it is torn ({error})") from None


def _read(packed: GzipFile, identity: str, adopt: Callable[[bytes], Line]) -> Loaded:
    head = load(PackHead, packed.readline(_LARGEST_HEAD), _WHAT, FORMATS)
    if head.identity != identity:
        raise Unreadable(_WHAT, "it belongs to another storage")
    shards = no_shards()
    heads: dict[ProjectName, Summary] = {}
    size = count = 0
    while line := packed.readline(LARGEST_FILE - size):
        size += len(line)
        if not line.endswith(b"\n"):
            raise Unreadable(_WHAT, "its last line does not end")
        summary = _head_of(line[:-1])
        shards[shard_of(summary.name)][summary.name] = adopt(line[:-1])
        heads[summary.name] = summary
        count += 1
    if not count == len(heads) == head.lines:
        raise Unreadable(
            _WHAT, f"it has {count} lines, about {len(heads)} projects, instead of {head.lines}"
        )
    return Loaded(head.serial, shards, MutableSummaries(heads))


def _head_of(line: bytes) -> Summary:
    head = load_head(line)
    try:
        name, status = project_name(project_of(head.name)), _STATUS[head.status]
    except (BadName, KeyError):
        raise Unreadable(_WHAT, f"{head.name!r} is no project, or has no status") from None
    if name != project_of(head.name):
        raise Unreadable(_WHAT, f"{head.name!r} is no normal name")
    return Summary(ProjectName(head.name), head.serial, status, head.keeps, head.gone)


_log = Logger()

EVERY = timedelta(minutes=5)
"""How often changes are written."""
LARGEST = 1 << 30
"""Bytes of the largest dump that is read."""


@define(eq=False)
class RemoteDump:
    """The blob under `key`, kept up to date with a catalog. `identity` is the storage's; `wanted`
    selects the lines that are written.

    `spool` is a folder for temporary files.
    """

    catalog: DumpedLines
    blobs: Blobs
    key: str
    identity: str
    world: World
    spool: Path
    wanted: Callable[[Head], bool] = everything
    format: int = FORMAT
    """The format that is written (`dump_file.PackHead`)."""
    optional: bool = False
    """Whether the blob is not written before the catalog has entries."""
    _seen: LinesState | None = field(default=None, init=False, repr=False)
    """The state that the blob holds, as far as this node wrote it; without lines."""
    _digest: str | None = field(default=None, init=False)
    _etag: str | None = field(default=None, init=False)
    """The etag of the blob that this node wrote last, or was filled from."""

    async def fill(self) -> int | None:
        """Merge the blob's contents into the catalog, where projects that were looked up meanwhile
        take precedence; return the number of projects.

        None, and a line in the log, if it cannot be used: then the storage is read instead. Raises
        `StorageDown`.
        """
        try:
            # before the bytes: a blob that is replaced meanwhile counts as another node's
            etag = (await self.blobs.stat(self.key)).etag
            loaded = await self._read()
        except Missing:
            if self.optional:
                return None
            _log.info(
                "There is no catalog dump {key} in the storage yet: the storage is read instead.",
                key=self.key,
            )
            return None
        except Unreadable as error:
            _log.warn(
                "The catalog dump {key} in the storage is ignored: {error}.",
                key=self.key,
                error=error,
            )
            return None
        except OSError as error:
            _log.error(
                "The catalog dump {key} could not be fetched: {error}", key=self.key, error=error
            )
            return None
        count = len(loaded.roll)
        self.catalog.merge(loaded)
        self._etag = etag
        return count

    async def _read(self) -> Loaded:
        body = await self.blobs.read(self.key)
        async with aclosing(body), Spool(self.spool, self.world.blocking) as spool:
            size = 0
            try:
                async for piece in body:
                    size += len(piece)
                    if size > LARGEST:
                        raise Unreadable(self.key, "it is too large")
                    await spool.write(piece)
            except EOFError as error:
                raise StorageDown("the snapshot in it ended early.") from error
            await spool.finish()
            return await self.world.thinking(self._unpack, spool)

    def _unpack(self, spool: Spool) -> Loaded:
        with spool.inspected() as file:
            return unpack(file, self.identity, self.catalog.adopt)

    async def write(self, *, anyhow: bool = False) -> bool:
        """Write the blob if something changed; return whether it is up to date now. A failure is
        logged, and the next call tries again.

        Of several nodes one writes: a blob that another node wrote recently is left alone, unless
        `anyhow`.
        """
        moment = self.catalog.state(None)
        if self._seen is not None and self._seen.versions == moment.versions:
            return True
        if self.optional and self._etag is None and not any(moment.lines.values()):
            return True
        try:
            if not anyhow and await self._is_anothers():
                return False
            await self._write(moment)
        except (PypidError, OSError) as error:
            _log.error(
                "The catalog dump {key} could not be written to the storage: {error}",
                key=self.key,
                error=error,
            )
            return False
        self._seen = LinesState(moment.serial, moment.versions, {})
        return True

    async def _is_anothers(self) -> bool:
        """Return whether another node wrote the blob, and less than `EVERY` ago."""
        try:
            there = await self.blobs.stat(self.key)
        except Missing:
            return False
        age = self.world.now() - there.modified
        return there.etag != self._etag and timedelta(0) <= age < EVERY

    async def _write(self, moment: LinesState) -> None:
        digest, file, size = await self.world.blocking(self._packed, moment)
        body = FileBody(file, Span(0, size), self.world.blocking)
        if digest == self._digest:
            return await body.aclose()
        self._etag = (await self.blobs.write(self.key, body, replace=True)).etag
        self._digest = digest
        return None

    def _packed(self, moment: LinesState) -> tuple[str, BinaryIO, int]:
        """Return the hash of the packed lines, the packed file (without a name), and its size."""
        descriptor, name = mkstemp(prefix=PREFIX, dir=self.spool)  # mode 0600
        try:
            os.close(descriptor)
            digest = pack(Path(name), self.identity, moment, self.wanted, self.format)
            return digest, open(name, "rb"), Path(name).stat().st_size  # its body closes it
        finally:
            Path(name).unlink()

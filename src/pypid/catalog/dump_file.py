"""A dump as one file: gzip of a head, and of the lines of all projects as the catalog holds them.
Everything here blocks.

gzip's own checksum and length, and the head's count, prove that it is complete. It can be read with
``zcat``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from gzip import BadGzipFile, GzipFile
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from zlib import error as ZlibError

import msgspec

from pypid.catalog.dump_folder import FORMATS
from pypid.catalog.lines import (
    Line,
    LinesState,
    Loaded,
    PendingLine,
    head_of,
    no_shards,
    shard_of,
    written,
)
from pypid.core.errors import BadName, Unreadable
from pypid.core.model import Status, Summary
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import FORMAT, Head, dump, load, load_head
from pypid.core.records.table_keys import project_of
from pypid.core.summaries import MutableSummaries

LARGEST = 4 << 30
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
    while line := packed.readline(LARGEST - size):
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

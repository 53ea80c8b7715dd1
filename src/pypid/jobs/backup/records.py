"""The records below `state`: one file for each; a new record is a new line here. All functions
block.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import msgspec
from attrs import frozen

from pypid.access.config import RECORD as ADMIN
from pypid.core.errors import Unreadable
from pypid.core.records.documents import FORMAT, dump, load

ACCOUNTS = "accounts.db"
"""Users, groups, rights, tokens and sessions, where they are not in a database server."""
JOURNAL = "journal.db"
"""The audit log, a separate file since it is longer than the accounts: what changes with each
upload need not be copied with every account.
"""
LAST_BACKUP = "last-backup.json"
"""The file whose time is that of the last `pypid backup`."""
LARGEST = 256 << 20
"""Bytes that a record may have: it is sealed in memory."""
BUSY = 5.0
"""Seconds that a copy of a database waits for its writers."""


@frozen
class Record:
    """One file; `name` is its path below `state`, and its copy's below `layout.OF_RECORD`.

    A file is only ever replaced whole, unless it is a database of SQLite, which is written to while
    it is read: SQLite's backup gives one state of it, its write-ahead log included.
    """

    name: str
    is_database: bool = False


OF_RECORD: tuple[Record, ...] = (
    Record(ADMIN),
    Record(ACCOUNTS, is_database=True),
    Record(JOURNAL, is_database=True),
)
"""All records. (What is derived can be lost: see docs/concepts/storage.) Files are read before the
databases and copied after them: that of the first administrator may say that a database has it.
"""

Signature = tuple[tuple[int, int, int] | None, ...]
"""The signature of a file: it differs as soon as the file was written to."""


def signature(state: Path, record: Record) -> Signature | None:
    """Return the current signature; None if there is no such file. Raises `OSError`."""
    ends = ("", "-wal", "-journal") if record.is_database else ("",)
    found = tuple(_stamp(state / f"{record.name}{end}") for end in ends)
    return None if found[0] is None else found


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def read(state: Path, record: Record) -> bytes:
    """Return one state of the record. Raises `OSError`, `sqlite3.Error`, `ValueError` beyond
    `LARGEST`.
    """
    path = state / record.name
    data = _backup(path) if record.is_database else path.read_bytes()
    if len(data) > LARGEST:
        raise ValueError(f"{record.name} has {len(data)} bytes; no more than {LARGEST} are copied")
    return data


def _backup(path: Path) -> bytes:
    with (
        closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY)
        ) as source,
        closing(sqlite3.connect(":memory:")) as copy,
    ):
        source.backup(copy)
        return copy.serialize()


def put(folder: Path, name: str, data: bytes) -> None:
    """Write the file with these bytes, durably, in one step; mode 0600. Raises `OSError`."""
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore(state: Path, record: Record, data: bytes) -> None:
    """Write the data that `read` returned. Raises `OSError`."""
    if record.is_database:
        for suffix in ("-wal", "-shm", "-journal"):  # of another database
            (state / f"{record.name}{suffix}").unlink(missing_ok=True)
    put(state, record.name, data)


# The state folder's note on its copies in the bucket. A folder that has it is not new. All
# functions block.

FILE = "of-record.json"


class Marker(msgspec.Struct, frozen=True):
    """The note: `storage` and `key` name the bucket and the secret of the copies; `copied` has the
    SHA-256 of each.

    `restoring`: the copies are being fetched; the folder may have only a part of them.
    """

    storage: str
    key: str
    copied: dict[str, str]
    restoring: bool = False
    format: int = FORMAT


def read_marker(state: Path) -> Marker | None:
    """Return the marker, or None if there is none; a torn one means that there were copies, of
    which nothing is known.

    Raises `OSError`.
    """
    try:
        return load(Marker, (state / FILE).read_bytes(), FILE)
    except FileNotFoundError:
        return None
    except Unreadable:
        return Marker("", "", {})


def is_new(state: Path) -> bool:
    """Return whether the folder has no records, and never had: then the copies have to be fetched.
    Raises `OSError`.
    """
    marker = read_marker(state)
    if marker is not None:
        return marker.restoring
    return not present(state)


def present(state: Path) -> list[str]:
    """Return the names of the records in the folder."""
    return [record.name for record in OF_RECORD if (state / record.name).exists()]


def write_marker(state: Path, marker: Marker) -> None:
    """Write the marker. Raises `OSError`."""
    put(state, FILE, dump(marker))

"""SQLite files of the search index: opening, identifying, and locking them for the one process that
writes. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO

BUSY = 5.0
"""Seconds that one connection waits for another."""
_PRAGMAS = (
    "synchronous = NORMAL",
    "temp_store = MEMORY",
    "cache_size = -8000",
    "journal_size_limit = 8388608",
)


def connect(path: Path | None) -> sqlite3.Connection:
    """Return a connection to an existing file; None: to a new database in memory."""
    where = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode=rw"
    made = sqlite3.connect(
        where, uri=True, timeout=BUSY, check_same_thread=False, isolation_level=None
    )
    for pragma in _PRAGMAS:
        made.execute(f"PRAGMA {pragma}")
    return made


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def basis_of(db: sqlite3.Connection) -> str | None:
    try:
        row = db.execute("SELECT basis FROM meta").fetchone()
    except sqlite3.OperationalError:  # the table does not exist
        return None
    return None if row is None else row[0]


def which(path: Path) -> tuple[int, int] | None:
    """Return which file has the name: device and inode."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def locked(path: Path) -> IO[bytes] | None:
    """Return the lock, or None where another process has it. Raises `OSError`."""
    lock = path.open("ab")
    try:
        os.fchmod(lock.fileno(), 0o600)  # a user who may open it may hold it
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except BaseException:
        lock.close()
        raise
    return lock


def hash_of(texts: Iterable[str]) -> str:
    """Return a hash that identifies these texts."""
    return blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()

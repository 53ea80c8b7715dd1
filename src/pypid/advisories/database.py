"""The advisories of one machine in an SQLite file of the state folder.

One process writes it: a full load into a new file that replaces the old one, a delta in a
transaction. All processes read it. Everything here blocks.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec
from attrs import define, frozen

from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.packaging.names import ProjectName

FILE = "advisories.sqlite"
"""The file in the state folder."""
LAYOUT = "1"
"""The version of the tables. A file with another one is loaded again from the source."""
BUSY = 10.0
"""Seconds that one connection waits for another."""
LONGEST_DOCUMENT = 4 << 20
"""Bytes of a record."""
ROWS = 500
"""Rows that are read or written at once."""

_SCHEMA = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE record(id TEXT PRIMARY KEY, private INTEGER NOT NULL, document BLOB NOT NULL)",
    "CREATE TABLE summary(project TEXT NOT NULL, id TEXT NOT NULL, summary BLOB NOT NULL, "
    "PRIMARY KEY (project, id)) WITHOUT ROWID",
    "CREATE INDEX by_id ON summary(id)",
    "CREATE TABLE statement(project TEXT NOT NULL, statement BLOB NOT NULL)",
)


@frozen
class ParsedRecord:
    """A record for the database: its JSON, and its encoded summary for each project."""

    id: str
    private: bool
    document: bytes
    """JSON, compressed by zlib."""
    summaries: tuple[tuple[str, bytes], ...]


@frozen
class StoredAdvisory:
    """A record out of the database."""

    id: str
    private: bool
    """Whether it comes from `[advisories] own`."""
    document: bytes
    """The OSV record as JSON."""
    projects: tuple[ProjectName, ...]
    """The PyPI projects that it names."""


Stamp = tuple[int, int, int]
"""Identifies the content of the file: inode, time of modification in ns, size."""


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of the file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@define(eq=False)
class AdvisoryDatabase:
    """The database at `path`. Reading a file that is missing, damaged or of another layout finds
    nothing.
    """

    path: Path

    # --- reading ----------------------------------------------------------------------------------

    def meta(self) -> dict[str, str]:
        """Return facts about the content: `source`, `loaded`, ...; empty without a database."""
        with suppress(sqlite3.Error), self._reading() as db:
            found = dict(db.execute("SELECT key, value FROM meta"))
            if found.get("layout") == LAYOUT:
                return found
        return {}

    def record(self, id: str) -> StoredAdvisory | None:
        """Return the record with this id. Raises `sqlite3.Error` for a damaged file."""
        if not self.meta():
            return None
        with self._reading() as db:
            query = "SELECT id, private, document FROM record WHERE id = ?"
            row = db.execute(query, (id,)).fetchone()
            if row is None:
                return None
            found = db.execute("SELECT project FROM summary WHERE id = ?", (id,)).fetchall()
        unpacked = zlib.decompressobj().decompress(row[2], LONGEST_DOCUMENT)
        projects = tuple(ProjectName(project) for (project,) in found)
        return StoredAdvisory(row[0], bool(row[1]), unpacked, projects)

    def summaries(self) -> Iterator[list[tuple[str, bytes]]]:
        """Yield pairs of project and encoded summary in batches, ordered by project."""
        if not self.meta():
            return
        with self._reading() as db:
            rows = db.execute("SELECT project, summary FROM summary ORDER BY project, id")
            while batch := rows.fetchmany(ROWS):
                yield batch

    def statements(self) -> list[tuple[str, bytes]]:
        """Return pairs of project and encoded VEX statement."""
        if not self.meta():
            return []
        with self._reading() as db:
            return db.execute("SELECT project, statement FROM statement").fetchall()

    def count(self) -> int:
        """Return the number of records."""
        if not self.meta():
            return 0
        with self._reading() as db:
            number: int = db.execute("SELECT count(*) FROM record").fetchone()[0]
            return number

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None)) as db:
            yield db

    # --- writing ----------------------------------------------------------------------------------

    @contextmanager
    def replacing(self) -> Iterator[AdvisoryWriter]:
        """Yield the writer of a new database, which replaces this one at the end of the block; an
        exception there leaves this one as it is.
        """
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = OFF")  # the new file is removed after a failure
                db.execute("PRAGMA synchronous = OFF")
                db.execute("BEGIN")
                for statement in _SCHEMA:
                    db.execute(statement)
                writer = AdvisoryWriter(db)
                writer.put_meta("layout", LAYOUT)
                yield writer
                db.execute("COMMIT")
            _sync(new)
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def changing(self) -> Iterator[AdvisoryWriter]:
        """Yield a writer for changes of this database: all of them, or none after an exception."""
        with closing(sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield AdvisoryWriter(db)
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


@define(eq=False)
class AdvisoryWriter:
    """Writes to an open database."""

    _db: sqlite3.Connection
    count: int = 0
    """The number of records that were put."""

    def put_meta(self, key: str, value: str) -> None:
        """Remember a fact about the content."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def put(self, records: Iterable[ParsedRecord]) -> None:
        """Add records. A private record replaces another one of the same id, and never the other
        way round.
        """
        for record in records:
            row = self._db.execute(
                "SELECT private FROM record WHERE id = ?", (record.id,)
            ).fetchone()
            if row is not None:
                if row[0] and not record.private:
                    continue
                self.forget(record.id)
            self._db.execute(
                "INSERT INTO record VALUES (?, ?, ?)",
                (record.id, record.private, record.document),
            )
            self._db.executemany(
                "INSERT INTO summary VALUES (?, ?, ?)",
                [(project, record.id, summary) for project, summary in record.summaries],
            )
            self.count += 1

    def forget(self, id: str) -> None:
        """Remove the record with this id, if there is one."""
        self._db.execute("DELETE FROM record WHERE id = ?", (id,))
        self._db.execute("DELETE FROM summary WHERE id = ?", (id,))

    def put_statements(self, statements: Iterable[tuple[str, bytes]]) -> None:
        """Add pairs of project and encoded VEX statement."""
        self._db.executemany("INSERT INTO statement VALUES (?, ?)", statements)


def encoded_summary(summary: AdvisorySummary) -> bytes:
    """Return the summary as the database has it."""
    return _encoder.encode(summary)


def decoded_summaries(encoded: bytes) -> tuple[AdvisorySummary, ...]:
    """Return the summaries of one project, whose encoded forms were joined by `joined`."""
    return _decoder.decode(encoded)


def joined(summaries: list[bytes]) -> bytes:
    """Return the encoded summaries of one project as one encoded array (MessagePack, array 32)."""
    return b"\xdd" + len(summaries).to_bytes(4, "big") + b"".join(summaries)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[AdvisorySummary, ...])


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)

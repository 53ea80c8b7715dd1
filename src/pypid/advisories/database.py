"""The advisories of one machine in an SQLite file of the state folder.

One process writes it: a full load into a new file that replaces the old one, a delta in a
transaction. All processes read it. Everything here blocks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from attrs import define, frozen

from pypid.advisories.wire import LONGEST_DOCUMENT, ParsedRecord
from pypid.core.compression import content
from pypid.core.packaging.names import ProjectName

FILE = "advisories.sqlite"
"""The file in the state folder."""
LAYOUT = "2"
"""The version of the tables. A file with another one is loaded again from the source."""
BUSY = 10.0
"""Seconds that one connection waits for another."""
ROWS = 500
"""Rows that are read at once."""

_SCHEMA = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE record(id TEXT NOT NULL, private INTEGER NOT NULL, document BLOB NOT NULL, "
    "PRIMARY KEY (id, private))",
    "CREATE TABLE summary(project TEXT NOT NULL, id TEXT NOT NULL, private INTEGER NOT NULL, "
    "rank INTEGER NOT NULL, summary BLOB NOT NULL, PRIMARY KEY (project, id, private))",
    "CREATE INDEX by_id ON summary(id)",
)
_IN_FORCE = "(private OR id NOT IN (SELECT id FROM record WHERE private))"
"""The rows that count: a private record replaces a public one with its id."""


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


SummaryRow = tuple[str, int, bytes]
"""Project, rank (`wire.rank_of`) and encoded summary."""

Stamp = tuple[int, int, int]
"""Identifies the state of the file: inode, time of modification in ns, size."""


@define(eq=False)
class AdvisoryDatabase:
    """The database at `path`. A missing or damaged file, or one of another layout, has no facts."""

    path: Path

    # --- reading ----------------------------------------------------------------------------------

    def stamp(self) -> Stamp | None:
        """Return the stamp of the file; None if there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def meta(self) -> dict[str, str]:
        """Return facts about the content: `source`, `loaded`, ...; empty without a database."""
        with suppress(sqlite3.Error), self._reading() as db:
            found = dict(db.execute("SELECT key, value FROM meta"))
            if found.get("layout") == LAYOUT:
                return found
        return {}

    def record(self, id: str) -> StoredAdvisory | None:
        """Return the record with this id. Raises `sqlite3.Error`, and `ValueError` for a damaged
        one.
        """
        with self._reading() as db:
            query = "SELECT id, private, document FROM record WHERE id = ? ORDER BY private DESC"
            row = db.execute(query, (id,)).fetchone()
            if row is not None:
                query = "SELECT project FROM summary WHERE id = ? AND private = ?"
                found = db.execute(query, row[:2]).fetchall()
                document = content(row[2], LONGEST_DOCUMENT)
                projects = tuple(ProjectName(project) for (project,) in found)
                return StoredAdvisory(row[0], bool(row[1]), document, projects)
        return None

    def summaries(self) -> Iterator[Sequence[SummaryRow]]:
        """Yield the summaries in batches, ordered by project. Raises `sqlite3.Error`."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT project, rank, summary FROM summary WHERE {_IN_FORCE} ORDER BY project, id"
            )
            while batch := rows.fetchmany(ROWS):
                yield batch

    def count(self) -> int:
        """Return the number of records. Raises `sqlite3.Error`."""
        with self._reading() as db:
            number: int = db.execute("SELECT count(DISTINCT id) FROM record").fetchone()[0]
            return number

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # not read-only: after a crash in a change the first reader rolls it back
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
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
                writer.put_meta({"layout": LAYOUT})
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
            db.execute("PRAGMA cache_spill = OFF")  # it would keep readers out until the end
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

    def put_meta(self, facts: Mapping[str, str]) -> None:
        """Remember facts about the content."""
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())

    def put(self, records: Iterable[ParsedRecord], *, private: bool) -> None:
        """Add records. The later of two with the same id counts."""
        records = list(records)
        self._db.executemany(
            "INSERT OR REPLACE INTO record VALUES (?, ?, ?)",
            [(record.id, private, record.document) for record in records],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO summary VALUES (?, ?, ?, ?, ?)",
            [
                (project, record.id, private, record.rank, summary)
                for record in records
                for project, summary in record.summaries
            ],
        )

    def forget(self, ids: Iterable[str]) -> None:
        """Remove the public records with these ids."""
        wanted = [(id,) for id in ids]
        self._db.executemany("DELETE FROM record WHERE id = ? AND NOT private", wanted)
        self._db.executemany("DELETE FROM summary WHERE id = ? AND NOT private", wanted)

    def forget_private(self) -> None:
        """Remove the private records."""
        for table in ("record", "summary"):
            self._db.execute(f"DELETE FROM {table} WHERE private")


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)

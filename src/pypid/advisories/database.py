"""The advisories of one machine in an SQLite file of the state folder.

A child process writes a new file, which then replaces the old one. All processes read it.
Everything here blocks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from attrs import define, frozen

from pypid.advisories.archive import LONGEST_DOCUMENT
from pypid.core.advisories import AdvisorySummary
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
MALWARE_RANK = 5
WITHDRAWN_RANK = -1

_SCHEMA = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE record(id TEXT NOT NULL, private INTEGER NOT NULL, document BLOB NOT NULL, "
    "PRIMARY KEY (id, private))",
    "CREATE TABLE summary(project TEXT NOT NULL, id TEXT NOT NULL, private INTEGER NOT NULL, "
    "rank INTEGER NOT NULL, summary BLOB NOT NULL, PRIMARY KEY (project, id, private))",
    "CREATE INDEX by_id ON summary(id)",
)
_FACTS = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_IN_FORCE = "(private OR id NOT IN (SELECT id FROM record WHERE private))"
"""The rows that count: a private record replaces a public one with its id."""


@frozen
class ParsedRecord:
    """A record for the database."""

    id: str
    document: bytes
    """JSON, compressed by deflate."""
    rank: int
    """See `rank_of`."""
    summaries: Sequence[tuple[str, bytes]]
    """Pairs of a PyPI project and its encoded `AdvisorySummary`."""


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
"""Project, rank (`rank_of`) and encoded summary."""

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
        with suppress(sqlite3.Error), self._opened() as db:
            found = dict(db.execute("SELECT key, value FROM meta"))
            if found.get("layout") == LAYOUT:
                return found
        return {}

    def record(self, id: str) -> StoredAdvisory | None:
        """Return the record. Raises `sqlite3.Error`, and `ValueError` for a damaged one."""
        with self._opened() as db:
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
        with self._opened() as db:
            rows = db.execute(
                f"SELECT project, rank, summary FROM summary WHERE {_IN_FORCE} ORDER BY project, id"
            )
            while batch := rows.fetchmany(ROWS):
                yield batch

    def count(self) -> int:
        """Return the number of records. Raises `sqlite3.Error`."""
        with self._opened() as db:
            number: int = db.execute("SELECT count(DISTINCT id) FROM record").fetchone()[0]
            return number

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # not read-only: after a crash in a change the first reader rolls it back
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None)) as db:
            yield db

    # --- writing ----------------------------------------------------------------------------------

    @contextmanager
    def replacing(self, *, keeps: bool = False) -> Iterator[Path]:
        """Yield the path of a new database, with the content of this one if it `keeps` that. It
        replaces this one at the end of the block; an exception there leaves this one as it is.
        """
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            if keeps:
                with closing(_connection(new)) as db, self._opened() as old:
                    old.backup(db)
            else:
                with writing(new) as writer:
                    writer.create()
            yield new
            _sync(new)
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)

    def note(self, facts: Mapping[str, str]) -> None:
        """Remember facts about the content. Raises `sqlite3.Error`."""
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_FACTS, facts.items())
            db.execute("COMMIT")


@contextmanager
def writing(path: Path) -> Iterator[AdvisoryWriter]:
    """Yield a writer to a new database. After an exception the file is damaged."""
    with closing(_connection(path)) as db:
        db.execute("BEGIN")
        yield AdvisoryWriter(db)
        db.execute("COMMIT")


def _connection(path: Path) -> sqlite3.Connection:
    """Open a new database, which is removed after a failure: it needs no journal."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    return db


@define(eq=False)
class AdvisoryWriter:
    """Writes to an open database."""

    _db: sqlite3.Connection

    def create(self) -> None:
        """Create the tables."""
        for statement in _SCHEMA:
            self._db.execute(statement)
        self.put_meta({"layout": LAYOUT})

    def put_meta(self, facts: Mapping[str, str]) -> None:
        """Remember facts about the content."""
        self._db.executemany(_FACTS, facts.items())

    def put(self, records: Sequence[ParsedRecord], *, private: bool) -> None:
        """Add records. The later of two with the same id counts."""
        self._db.executemany(  # the former one may have named other projects
            "DELETE FROM summary WHERE id = ? AND private = ?",
            [(record.id, private) for record in records],
        )
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

    def forget_private(self) -> None:
        """Remove the private records."""
        for table in ("record", "summary"):
            self._db.execute(f"DELETE FROM {table} WHERE private")


def time_of(text: str | None) -> datetime | None:
    """Return the time in UTC, where a text without a zone is; None if it is no time."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def rank_of(summary: AdvisorySummary) -> int:
    """Return a number for the selection of blocked projects: 0 to 4 by severity, 5 for malware, -1
    for what was withdrawn.
    """
    if summary.withdrawn:
        return WITHDRAWN_RANK
    return MALWARE_RANK if summary.is_malware else summary.severity.rank


encoded_summary = msgspec.msgpack.Encoder().encode
"""Return an `AdvisorySummary` as the database has it."""
decoded_summaries = msgspec.msgpack.Decoder(tuple[AdvisorySummary, ...]).decode
"""Return the summaries of one project out of their `joined` encoded forms."""


def joined(summaries: list[bytes]) -> bytes:
    """Return the encoded summaries of one project as one encoded array (MessagePack, array 32)."""
    return b"\xdd" + len(summaries).to_bytes(4, "big") + b"".join(summaries)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)

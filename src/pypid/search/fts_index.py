"""The cards in an SQLite file with FTS5: derived, and rebuilt when outdated or damaged.

Everything here blocks. Several processes may read a file; the one with its lock writes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO

import msgspec
from attrs import define, field

from pypid.core.packaging.names import ProjectName
from pypid.core.search.ranking import ProjectDescription, status_rank
from pypid.search.cards import Filed
from pypid.search.fts_query import COLUMNS, TABLE, words
from pypid.search.reader import Reader
from pypid.search.sqlite_files import basis_of, connect, hash_of, locked, transaction, which

_SCHEMA = (
    "CREATE TABLE meta(basis TEXT NOT NULL, generation INTEGER NOT NULL, whole INTEGER NOT NULL)",
    "CREATE TABLE project(place INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, mark TEXT NOT "
    "NULL, ours INTEGER NOT NULL, version TEXT NOT NULL, summary TEXT NOT NULL, keywords TEXT "
    "NOT NULL, created REAL, updated REAL, until REAL, unread INTEGER NOT NULL, described TEXT, "
    "description BLOB)",
    "CREATE INDEX by_created ON project(created) WHERE created IS NOT NULL",
    "CREATE INDEX by_updated ON project(updated) WHERE updated IS NOT NULL",
    "CREATE INDEX by_until ON project(until) WHERE until IS NOT NULL",
    "CREATE INDEX by_unread ON project(unread) WHERE unread",
    TABLE,
)
READERS = 4
"""Connections that read concurrently."""
LAYOUT = "1"
"""The version of the layout. Older files are rebuilt, as they are when `_SCHEMA` changes."""

_PUT = (
    "INSERT INTO project(place, name, mark, ours, version, summary, keywords, created, updated, "
    "until, unread, described, description) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INDEX = f"INSERT INTO words(rowid, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"
_encoder = msgspec.json.Encoder()


class IndexOutdated(Exception):
    """The file is outdated or damaged: the writing process rebuilds it."""


@define(eq=False)
class SearchIndex:
    """The cards of one index. `path` None: in memory, of this process alone. `basis` names the
    content; another basis means another file.

    Reading raises `IndexOutdated` where nothing is readable (yet).
    """

    path: Path | None
    basis: str
    _writer: sqlite3.Connection | None = field(default=None, init=False, repr=False)
    _file: tuple[int, int] | None = field(default=None, init=False)
    """The file that the writer has opened."""
    _lock: IO[bytes] | None = field(default=None, init=False, repr=False)
    _turn: Lock = field(factory=Lock, init=False, repr=False)
    """The lock of the one connection to an index in memory."""
    _readers: list[Reader] = field(factory=list, init=False, repr=False)
    """Idle connections."""
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.basis = f"{LAYOUT} {hash_of(_SCHEMA)} {self.basis}"

    # --- the writer ---

    @property
    def opened(self) -> object:
        """The connection that is written to: another object after a rebuild; None: not open."""
        return self._writer

    def claim(self) -> bool:
        """Become the writing process, unless another process is; with a valid file, empty if it was
        not valid.

        Raises `OSError`, `sqlite3.Error`.
        """
        if self.path is not None and self._lock is None:
            self._lock = locked(self.path.with_suffix(".lock"))
            if self._lock is None:
                return False
        if self._writer is not None and self.path is not None and which(self.path) != self._file:
            self.discard()  # a reader found that it is damaged
        if self._writer is None:
            self._begin()
        return True

    def _begin(self) -> None:
        try:
            self._writer = self._opened()
        except sqlite3.DatabaseError:
            self.discard()
            self._writer = self._opened()

    def _opened(self) -> sqlite3.Connection:
        """Return the file, if its basis matches, or a new one in it. Raises `sqlite3.DatabaseError`
        for a damaged one.
        """
        if self.path is not None:
            with suppress(FileExistsError):
                os.close(
                    os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                )
        made = connect(self.path)
        try:
            made.execute("PRAGMA journal_mode = WAL")
            if (
                basis_of(made) != self.basis
                or made.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok"
            ):
                self._make(made)
        except BaseException:
            made.close()
            raise
        self._file = None if self.path is None else which(self.path)
        return made

    def _make(self, made: sqlite3.Connection) -> None:
        if made.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("it is of another kind, or damaged")
        with transaction(made):
            for statement in _SCHEMA:
                made.execute(statement)
            made.execute("INSERT INTO meta VALUES (?, 0, 0)", (self.basis,))

    def discard(self) -> None:
        """Remove the file, whatever it is: the next `claim` rebuilds it."""
        self._let_go()
        if self.path is not None:
            for suffix in ("", "-wal", "-shm", "-journal"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _let_go(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        with self._turn:
            for reader in self._readers:
                reader.close()
            self._readers.clear()

    def close(self) -> None:
        """Close all connections, and release the lock."""
        self._closed = True
        self._let_go()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- writing ---

    def held(self) -> Mapping[ProjectName, str]:
        """Return all names, with their marks."""
        with self._writing() as db:
            found = db.execute("SELECT json_group_object(name, mark) FROM project").fetchone()[0]
        return json.loads(found)  # type: ignore[no-any-return]

    def descriptions(
        self, names: Sequence[ProjectName]
    ) -> Mapping[ProjectName, tuple[str | None, ProjectDescription]]:
        """Return the descriptions of these projects, and the metadata that they were made of."""
        query = (
            "SELECT name, described, description FROM project WHERE name IN (SELECT value FROM "
            "json_each(?))"
        )
        with self._writing() as db:
            rows = db.execute(query, (json.dumps(names),)).fetchall()
        return {
            name: (described, msgspec.json.decode(text, type=ProjectDescription))
            for name, described, text in rows
        }

    def put(self, cards: Sequence[Filed], gone: Sequence[ProjectName] = ()) -> None:
        """Write these cards, in place of older ones, and remove those of `gone`; as one step."""
        names = json.dumps([*gone, *(card.name for card in cards)])
        with self._writing() as db:
            old = db.execute(
                "SELECT place FROM project WHERE name IN (SELECT value FROM json_each(?))", (names,)
            ).fetchall()
            db.executemany("DELETE FROM words WHERE rowid = ?", old)
            db.executemany("DELETE FROM project WHERE place = ?", old)
            places = _places(db, cards)
            db.executemany(
                _PUT, [_row(place, filed) for place, filed in zip(places, cards, strict=True)]
            )
            db.executemany(
                _INDEX,
                [(place, *words(filed.card)) for place, filed in zip(places, cards, strict=True)],
            )
            db.execute("UPDATE meta SET generation = generation + 1")

    def is_whole(self) -> None:
        """Note that every project of the beginning has a card."""
        with self._writing() as db:
            db.execute("UPDATE meta SET whole = 1, generation = generation + 1")

    def unread(self, most: int) -> Sequence[ProjectName]:
        """Return some projects with unread metadata, in the order in which a search shows them."""
        with self._writing() as db:
            rows = db.execute(
                "SELECT name FROM project WHERE unread ORDER BY place DESC LIMIT ?", (most,)
            ).fetchall()
        return [name for (name,) in rows]

    def due(self, now: float) -> Sequence[ProjectName]:
        """Return the projects whose visible state has changed with time."""
        with self._writing() as db:
            rows = db.execute("SELECT name FROM project WHERE until <= ?", (now,)).fetchall()
        return [name for (name,) in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self._writer is None:
            raise IndexOutdated()
        if self.path is None:
            with self._turn, transaction(self._writer):
                yield self._writer
        else:
            with transaction(self._writer):
                yield self._writer

    # --- reading ---

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Yield a reader of one consistent state. Raises `IndexOutdated`."""
        if self.path is None:
            if self._writer is None:
                raise IndexOutdated()
            with self._turn, transaction(self._writer):
                yield Reader(self._writer, None)
            return
        try:
            reader = self._taken(self.path)
            try:
                with transaction(reader.db):
                    if basis_of(reader.db) != self.basis:
                        raise IndexOutdated()
                    yield reader
            except BaseException:
                reader.close()
                raise
        except sqlite3.OperationalError:  # busy for very long, or the disk fails
            raise IndexOutdated() from None
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)  # which notifies the writer
            raise IndexOutdated() from None
        with self._turn:
            if len(self._readers) < READERS and not self._closed:
                self._readers.append(reader)
                return
        reader.close()

    def _taken(self, path: Path) -> Reader:
        file = which(path)
        if file is None:
            raise IndexOutdated()
        with self._turn:
            while self._readers:
                reader = self._readers.pop()
                if reader.file == file:
                    return reader
                reader.close()
        reader = Reader(connect(path), file)
        if which(path) != file:  # it may have opened one file, and the log of another
            reader.close()
            raise IndexOutdated()
        return reader


def _places(db: sqlite3.Connection, cards: Sequence[Filed]) -> Sequence[int]:
    """Return a free place for each card: nearly always its standing, for a few just below."""
    wanted = [status_rank(filed.card) for filed in cards]
    rows = db.execute(
        "SELECT place FROM project WHERE place IN (SELECT value FROM json_each(?))",
        (json.dumps(wanted),),
    )
    taken = {place for (place,) in rows}
    found = []
    for place in wanted:
        while place in taken:
            place -= 1
            if db.execute("SELECT 1 FROM project WHERE place = ?", (place,)).fetchone() is not None:
                taken.add(place)
        taken.add(place)
        found.append(place)
    return found


def _row(place: int, filed: Filed) -> tuple[object, ...]:
    card = filed.card
    times = (
        None if moment is None else moment.timestamp()
        for moment in (card.created, card.updated, filed.until)
    )
    texts = (card.name, filed.mark, card.ours, card.version, card.summary, "\n".join(card.keywords))
    return (
        place,
        *texts,
        *times,
        filed.unread is not None,
        filed.described,
        _encoder.encode(filed.description),
    )

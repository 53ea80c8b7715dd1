"""The tables of the shared catalog, and all operations on them.

The operations on the tables of the shared catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, frozen
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    and_,
    cast,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pypid.catalog.engine import (
    MOST_BYTES,
    CatalogReset,
    CatalogRow,
    Conflict,
    DatabaseUnusable,
    EngineState,
    Position,
    RowChange,
    RowKind,
    Slice,
)
from pypid.core.errors import CannotStart
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName

# The tables of the shared catalog, and their version: they are created, or replaced; tables of
# another version are never read.
#
# The table `pypid_catalog` has one row and the same columns in every version, so that each version
# can read the schema, the identity of the storage and the last serial. Every change takes that row
# first (SQLite: the whole file): so changes become visible in the order of the versions that they
# get.

SCHEMA = 1
PLACE = "place"
"""The key of the opened file in a connection's info."""
_LOCK = 0x70797069_65
"""PostgreSQL's number for the lock on creating the tables of pypid's shared catalog."""

_state_metadata = MetaData()
state_table = Table(
    "pypid_catalog",
    _state_metadata,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("schema", Integer, nullable=False),
    Column("identity", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("rights", BigInteger, nullable=False),
)
"""`lost` is the last version up to which removed rows may be missing.

`place` is the file that the rows were written into (for a server: nothing). A copy that is put in
its place is not trusted: it may be from last week, and SQLite would read the log of changes to the
one before into it.
"""

_tables = MetaData()
rows = Table(
    "pypid_catalog_rows",
    _tables,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, unique=True),
    Column("serial", BigInteger, nullable=False),
    Column("line", LargeBinary),
)
leases = Table(
    "pypid_catalog_leases",
    _tables,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("ends", Double, nullable=False),
)
links = Table(
    "pypid_catalog_links",
    _tables,
    Column("key", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("ends", BigInteger, nullable=False),
)
"""`ends` of a link: microseconds since 1970, in UTC."""

_READ = select(state_table).where(state_table.c.only == 1)
_TAKE = _READ.with_for_update()


@define
class CatalogSchemaState:
    """The one row of the table `pypid_catalog`."""

    state: EngineState
    lost: int


def read_state(
    connection: Connection, generation: str | None = None, *, take: bool = False
) -> CatalogSchemaState:
    """Return the row; `take`: lock it against other changes until the end of this transaction.

    Raises `CatalogReset` if it is of another generation, and `DatabaseUnusable` if it is of another
    version.
    """
    found = connection.execute(_TAKE if take else _READ).one_or_none()
    if found is None:
        raise CatalogReset
    if found.schema != SCHEMA:
        raise DatabaseUnusable(
            f"it was reset by another version of pypid, with tables of version "
            f"{found.schema} (this one: {SCHEMA}). Run "
            "the same version everywhere, and start this one again."
        )
    if found.place != _place(connection) or generation not in (None, found.epoch):
        raise CatalogReset
    return CatalogSchemaState(_state(found), found.lost)


def prepare(
    connection: Connection, identity: str, serial: int, generation: str
) -> tuple[EngineState, int | None]:
    """Create the tables, or replace those of another version, in the current transaction.

    Returns the state, and the version of the replaced tables, if that was another one. `generation`
    is one that was never used. Raises `CannotStart` if they are of another storage.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    _state_metadata.create_all(connection)
    found = connection.execute(_TAKE).one_or_none()
    if found is None:
        _begin(connection)
        first = {
            "schema": SCHEMA,
            "identity": identity,
            "epoch": generation,
            "version": 0,
            "serial": serial,
            "lost": 0,
        }
        connection.execute(
            insert(state_table).values(
                only=1, place=_place(connection), complete=False, rights=0, **first
            )
        )
    elif found.identity != identity:
        raise CannotStart(
            "The shared catalog ([catalog] url) is that of another storage. Give each storage a "
            "catalog of its own; where this is a copy of the storage that the catalog was made "
            "of, begin with an empty database or file."
        )
    elif found.schema != SCHEMA or found.place != _place(connection) or not _all_there(connection):
        if found.place != _place(connection):
            _check(connection)
        _begin(connection)
        reset(connection, generation, max(found.serial, serial))
    another = None if found is None or found.schema == SCHEMA else found.schema
    return read_state(connection).state, another


def reset(connection: Connection, generation: str, serial: int) -> None:
    """Reset the state of the catalog, after its rows were removed."""
    new = {
        "schema": SCHEMA,
        "place": _place(connection),
        "epoch": generation,
        "version": 0,
        "serial": serial,
        "lost": 0,
    }
    connection.execute(update(state_table).values(complete=False, **new))


def _begin(connection: Connection) -> None:
    _tables.drop_all(connection)
    _tables.create_all(connection)


def _all_there(connection: Connection) -> bool:
    return all(map(inspect(connection).has_table, _tables.tables))


def _place(connection: Connection) -> str:
    return str(connection.info.get(PLACE, ""))


def _check(connection: Connection) -> None:
    """Raise `DatabaseUnusable` if SQLite has mixed two files."""
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise DatabaseUnusable(
            "its file was replaced while it was in use. Stop pypid, delete it with its -wal and "
            "-shm, and start."
        )


def _state(found: Row) -> EngineState:  # type: ignore[type-arg]
    return EngineState(found.epoch, found.version, found.serial, found.complete, found.rights)


CHANNEL = "pypid_catalog"
"""The channel of PostgreSQL's notifications: "look". All catalogs of one database share it."""
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', '')")
_KINDS = [kind.value for kind in RowKind]
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@frozen
class CatalogTransaction:
    """The operations on the tables, in one transaction of the connection."""

    connection: Connection

    def state(self) -> EngineState:
        """Return the state (see `Engine.state`)."""
        return read_state(self.connection).state

    def row(self, kind: RowKind, name: ProjectName) -> CatalogRow | None:
        """Return the row; None if there is none, or it was removed (see `Engine.row`)."""
        read_state(self.connection)
        found = self._row(kind, name)
        return None if found is None or found.line is None else found

    def _row(self, kind: RowKind, name: ProjectName) -> CatalogRow | None:
        found = self.connection.execute(select(rows).where(_is(kind, name))).one_or_none()
        return None if found is None else _made(found)

    def changes(self, since: Position, most: int) -> Slice:
        """Return a slice of the rows that changed after `since` (see `Engine.changes`)."""
        now = read_state(self.connection, since.generation)
        if since.version > now.state.version or 0 < since.version < now.lost:
            raise CatalogReset
        later = rows.c.version > since.version
        size = func.coalesce(func.length(rows.c.line), 0)
        found = self.connection.execute(
            select(rows.c.version, size).where(later).order_by(rows.c.version).limit(most + 1)
        ).all()
        count = _that_fit([size for _, size in found[:most]])
        if not count:
            return Slice((), since, False)
        last = found[count - 1][0]
        taken = self.connection.execute(
            select(rows)
            .where(later, rows.c.version <= last, rows.c.kind.in_(_KINDS))
            .order_by(rows.c.version)
        )
        return Slice(tuple(map(_made, taken)), Position(since.generation, last), count < len(found))

    def swap(self, generation: str, change: RowChange) -> CatalogRow | Conflict:
        """Change the row if it has the expected version (see `Engine.swap`)."""
        now = read_state(self.connection, generation, take=True).state
        new = CatalogRow(
            change.kind, change.name, now.version + 1, now.serial + change.seen, change.line
        )
        if not change.seen:
            new = self._unseen(new)
        if not self._write(new, change.expected):
            held = self._row(change.kind, change.name)
            if held is not None and held.line == change.line:
                return held
            return Conflict(None if held is None or held.line is None else held)
        self.connection.execute(
            update(state_table).values(version=new.version, serial=now.serial + change.seen)
        )
        self._notify()
        return new

    def swap_all(
        self, generation: str, changes: Sequence[RowChange]
    ) -> Sequence[CatalogRow] | Conflict:
        """Change all rows, or none (see `Engine.swap_all`)."""
        now = read_state(self.connection, generation, take=True).state
        before = [self._row(change.kind, change.name) for change in changes]
        for change, row in zip(changes, before, strict=True):
            held = None if row is None or row.line is None else row
            is_done = row is not None and row.line == change.line
            if not is_done and change.expected != (0 if held is None else held.version):
                return Conflict(held)
        made: list[CatalogRow] = []
        version, serial = now.version, now.serial
        for change, row in zip(changes, before, strict=True):
            if row is None or row.line != change.line:
                version += 1
                own = 0 if row is None else row.serial
                if change.seen:
                    own = serial = now.serial + 1
                row = CatalogRow(change.kind, change.name, version, own, change.line)
                self._write(row, change.expected)
            made.append(row)
        if version > now.version:
            self.connection.execute(update(state_table).values(version=version, serial=serial))
            self._notify()
        return made

    def _write(self, new: CatalogRow, expected: int) -> bool:
        return self._replace(new, expected) if expected else self._add(new)

    def _unseen(self, new: CatalogRow) -> CatalogRow:
        """Return the row with the serial that it had."""
        serial = (
            self.connection.execute(
                select(rows.c.serial).where(_is(new.kind, new.name))
            ).scalar_one_or_none()
            or 0
        )
        return CatalogRow(new.kind, new.name, new.version, serial, new.line)

    def _replace(self, new: CatalogRow, expected: int) -> bool:
        """Replace the row that is expected, unless its line is the same; return whether it was
        replaced.
        """
        there = and_(_is(new.kind, new.name), rows.c.version == expected, rows.c.line.is_not(None))
        if new.line is not None:
            there = and_(there, rows.c.line != new.line)
        values = {"version": new.version, "serial": new.serial, "line": new.line}
        return self.connection.execute(update(rows).where(there).values(**values)).rowcount > 0

    def _add(self, new: CatalogRow) -> bool:
        """Add the row if there is none, or it was removed; return whether it was added."""
        values = {"version": new.version, "serial": new.serial, "line": new.line}
        return self._upsert(
            rows,
            {"kind": new.kind.value, "name": new.name, **values},
            values,
            rows.c.line.is_(None),
        )

    def mark_complete(self, generation: str) -> EngineState:
        """Record that the whole storage was reconciled (see `Engine.mark_complete`)."""
        read_state(self.connection, generation, take=True)
        self.connection.execute(update(state_table).values(complete=True))
        self._notify()
        return self.state()

    def note_rights(self) -> EngineState:
        """Notify all nodes of changed users or rights (see `Engine.note_rights`)."""
        read_state(self.connection, take=True)
        self.connection.execute(update(state_table).values(rights=state_table.c.rights + 1))
        self._notify()
        return self.state()

    def clear(self, generation: str) -> EngineState:
        """Remove all rows (see `Engine.clear`); `generation` is the new one."""
        now = read_state(self.connection, take=True).state
        self.connection.execute(delete(rows))
        reset(self.connection, generation, now.serial)
        self._notify()
        return self.state()

    def tidy(self, tombstones: int, now: datetime) -> None:
        """Remove expired links and leases, and old tombstones (see `Engine.tidy`)."""
        read_state(self.connection, take=True)
        self.connection.execute(delete(leases).where(leases.c.ends <= self._clock()))
        self.connection.execute(delete(links).where(links.c.ends <= _ticks(now)))
        gone = rows.c.line.is_(None)
        last = (
            select(rows.c.version)
            .where(gone)
            .order_by(rows.c.version.desc())
            .offset(tombstones)
            .limit(1)
        )
        lost = self.connection.execute(last).scalar_one_or_none()
        if lost is not None:
            self.connection.execute(delete(rows).where(gone, rows.c.version <= lost))
            self.connection.execute(update(state_table).values(lost=lost))

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or extend the lease; return whether the holder has it (see `Engine.lease`)."""
        read_state(self.connection)
        now = self._clock()
        free = or_(leases.c.holder == holder, leases.c.ends <= now)
        values = {"holder": holder, "ends": now + seconds}
        return self._upsert(leases, {"name": name, **values}, values, free)

    def release(self, name: str, holder: str) -> None:
        """Give the lease back (see `Engine.release`)."""
        read_state(self.connection)
        self.connection.execute(
            delete(leases).where(leases.c.name == name, leases.c.holder == holder)
        )

    def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        """Return the signed URL under `key`, if it ends after `good_after` (see `Engine.link`)."""
        read_state(self.connection)
        query = select(links.c.url, links.c.ends).where(
            links.c.key == key, links.c.ends > _ticks(good_after)
        )
        found = self.connection.execute(query).one_or_none()
        return None if found is None else SignedUrl(found.url, _BEGINNING + found.ends * _TICK)

    def keep_link(self, key: str, new: SignedUrl, good_after: datetime) -> SignedUrl:
        """Store the signed URL, unless there is a valid one; return the one in force (see
        `Engine.keep_link`).
        """
        read_state(self.connection)
        values = {"url": new.url, "ends": _ticks(new.expires)}
        ended = links.c.ends <= _ticks(good_after)
        kept = self._upsert(links, {"key": key, **values}, values, ended)
        return new if kept else self.link(key, good_after) or new

    def _upsert(
        self, table: Any, values: dict[str, Any], others: dict[str, Any], where: Any
    ) -> bool:
        """Insert the row, or update an existing one that matches `where`; return whether either was
        done.
        """
        make: Any = (
            postgresql.insert if self.connection.dialect.name == "postgresql" else sqlite.insert
        )
        keys = list(table.primary_key.columns)
        made = (
            make(table)
            .values(**values)
            .on_conflict_do_update(index_elements=keys, set_=others, where=where)
        )
        done = self.connection.execute(made, execution_options={"preserve_rowcount": True})
        return done.rowcount > 0

    def _clock(self) -> ColumnElement[float]:
        """Return an expression for the database's own time, in seconds."""
        if self.connection.dialect.name == "postgresql":
            return cast(func.extract("epoch", func.clock_timestamp()), Double)
        return (func.julianday("now") - 2440587.5) * 86400.0

    def _notify(self) -> None:
        """Notify other nodes that listen for changes (PostgreSQL)."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(_NOTIFY)


def _that_fit(sizes: Sequence[int]) -> int:
    """Return how many of the lines fit in a slice: one at least."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > MOST_BYTES:
            return count
    return len(sizes)


def _is(kind: RowKind, name: ProjectName) -> ColumnElement[bool]:
    return and_(rows.c.kind == kind.value, rows.c.name == name)


def _made(found: Any) -> CatalogRow:
    line = None if found.line is None else bytes(found.line)
    return CatalogRow(
        RowKind(found.kind), ProjectName(found.name), found.version, found.serial, line
    )


def _ticks(moment: datetime) -> int:
    return (moment - _BEGINNING) // _TICK

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
    bindparam,
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

from pypid.core.errors import CannotStart
from pypid.core.model import SignedUrl, Status
from pypid.core.packaging.names import ProjectName
from pypid.database.engine import (
    CatalogReset,
    CatalogRow,
    Conflict,
    EngineState,
    Position,
    RowChange,
    RowContents,
    RowHead,
    RowKind,
    Slice,
)
from pypid.database.places import DatabaseUnusable

# The tables of the shared catalog, and their version: they are created, or replaced; tables of
# another version are never read.
#
# The table `pypid_catalog` has one row and the same columns in every version, so that each version
# can read the schema, the identity of the storage and the last serial. Every change takes that row
# first (SQLite: the whole file): so changes become visible in the order of the versions that they
# get.

SCHEMA = 3
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
    Column("status", Text),
    Column("kept", Boolean, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("mark", Text),
    Column("confirmed", BigInteger),
    Column("size", BigInteger, nullable=False),
    Column("line", LargeBinary, nullable=False),
    Column("files", LargeBinary, nullable=False),
)
"""`status` is null in the row of a removed project; `confirmed`: microseconds since 1970, in UTC.
The contents come last: a reader of heads does not touch their pages.
"""
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

_HEADS = select(*(column for column in rows.c if column.name not in {"line", "files"}))
_THIS = and_(rows.c.kind == bindparam("kind"), rows.c.name == bindparam("name"))
_HEAD = _HEADS.where(_THIS)
_LATER = _HEADS.where(rows.c.version > bindparam("version")).order_by(rows.c.version)
_WHOLE = select(*state_table.c["schema", "place", "epoch"], *rows.c).select_from(
    state_table.outerjoin(rows, _THIS)
)
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
    _check_state(connection, found, generation)
    assert found is not None
    return CatalogSchemaState(_state(found), found.lost)


def _check_state(connection: Connection, found: Any, generation: str | None) -> None:
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
            "The catalog in [database] url is that of another storage. Give each storage a "
            "database of its own; where this is a copy of the storage that the catalog was made "
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
_KINDS = {kind.value: kind for kind in RowKind}
_STATUS = {status.value: status for status in Status}
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@frozen
class CatalogTransaction:
    """The operations on the tables, in one transaction of the connection."""

    connection: Connection

    def state(self) -> EngineState:
        """Return the state (see `Engine.state`)."""
        return read_state(self.connection).state

    def row(
        self, generation: str, kind: RowKind, name: ProjectName
    ) -> tuple[CatalogRow, RowContents] | None:
        """Return the row with its contents; None if there is none, or it was removed (see
        `Engine.row`).
        """
        # one statement, which takes half as long as two
        found = self.connection.execute(_WHOLE, _key(kind, name)).one_or_none()
        _check_state(self.connection, found, generation)
        assert found is not None
        if found.status is None:
            return None
        return _made(found[3:]), RowContents(bytes(found.line), bytes(found.files))

    def _head(self, kind: RowKind, name: ProjectName) -> CatalogRow | None:
        found = self.connection.execute(_HEAD, _key(kind, name)).one_or_none()
        return None if found is None else _made(found)

    def changes(self, since: Position, most: int) -> Slice:
        """Return a slice of the rows that changed after `since` (see `Engine.changes`)."""
        now = read_state(self.connection, since.generation)
        if since.version > now.state.version or 0 < since.version < now.lost:
            raise CatalogReset
        later = {"version": since.version}
        found = self.connection.execute(_LATER.limit(most + 1), later).all()
        if not found:
            return Slice((), since, False)
        last = found[:most][-1].version
        taken = tuple(_made(row) for row in found[:most] if row[0] in _KINDS)
        return Slice(taken, Position(since.generation, last), len(found) > most)

    def swap(self, generation: str, change: RowChange) -> CatalogRow | Conflict:
        """Change the row if it has the expected version (see `Engine.swap`)."""
        made = self.swap_all(generation, [change])
        return made if isinstance(made, Conflict) else made[0]

    def swap_all(
        self, generation: str, changes: Sequence[RowChange]
    ) -> Sequence[CatalogRow] | Conflict:
        """Change all rows, or none (see `Engine.swap_all`)."""
        now = read_state(self.connection, generation, take=True).state
        before = [self._head(change.kind, change.name) for change in changes]
        is_done = [self._is_done(change, row) for change, row in zip(changes, before, strict=True)]
        if None in is_done:
            return Conflict()
        made: list[CatalogRow] = []
        version, serial = now.version, now.serial
        for change, row, done in zip(changes, before, is_done, strict=True):
            if row is None or not done:
                version += 1
                own = 0 if row is None else row.serial
                if change.seen:
                    own = serial = now.serial + 1
                row = self._write(change, row, version, own)
            made.append(row)
        if version > now.version:
            self.connection.execute(update(state_table).values(version=version, serial=serial))
            self._notify()
        return made

    def _is_done(self, change: RowChange, row: CatalogRow | None) -> bool | None:
        """Return whether the row has the wanted contents already, so that the change was made
        before; None for a conflict.
        """
        held = 0 if row is None or row.head is None else row.version
        if held == change.expected:
            return False
        if row is None or row.head != change.head:
            return None
        if row.head is None:
            return True
        query = select(rows.c.line, rows.c.files).where(_is(change.kind, change.name))
        found = self.connection.execute(query).one()
        is_same = bytes(found.line) == change.line and change.files in (None, bytes(found.files))
        return True if is_same else None

    def _write(
        self, change: RowChange, row: CatalogRow | None, version: int, serial: int
    ) -> CatalogRow:
        head = change.head
        size = len(change.line)
        values: dict[str, Any] = {
            "version": version,
            "serial": serial,
            "status": None if head is None else head.status.value,
            "kept": head is not None and head.kept,
            "gone": head is not None and head.gone,
            "mark": None if head is None else head.mark,
            "confirmed": None if head is None or not head.confirmed else _ticks(head.confirmed),
            "line": change.line,
        }
        place = _is(change.kind, change.name)
        if change.files is None:
            kept = select(func.length(rows.c.files)).where(place)
            size += self.connection.execute(kept).scalar_one()
        else:
            size += len(change.files)
            values["files"] = change.files
        values["size"] = size
        if row is None:
            key = {"kind": change.kind.value, "name": change.name}
            self.connection.execute(insert(rows).values(**key, **values))
        else:
            self.connection.execute(update(rows).where(place).values(**values))
        return CatalogRow(change.kind, change.name, version, serial, head, size)

    def mark_complete(self, generation: str, complete: bool) -> EngineState:
        """Record whether the whole storage was reconciled (see `Engine.mark_complete`)."""
        read_state(self.connection, generation, take=True)
        self.connection.execute(update(state_table).values(complete=complete))
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
        gone = rows.c.status.is_(None)
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


def _key(kind: RowKind, name: ProjectName) -> dict[str, str]:
    return {"kind": kind.value, "name": name}


def _is(kind: RowKind, name: ProjectName) -> ColumnElement[bool]:
    return and_(rows.c.kind == kind.value, rows.c.name == name)


def _made(found: Sequence[Any]) -> CatalogRow:
    """Return the row of a result with the columns of `_HEADS` first."""
    kind, name, version, serial, status, kept, gone, mark, confirmed, size = found[:10]
    head = None
    if status is not None:
        time = None if confirmed is None else _BEGINNING + confirmed * _TICK
        head = RowHead(_STATUS[status], kept, gone, mark, time)
    return CatalogRow(_KINDS[kind], name, version, serial, head, size)


def _ticks(moment: datetime) -> int:
    return (moment - _BEGINNING) // _TICK

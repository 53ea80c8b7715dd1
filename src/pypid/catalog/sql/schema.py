"""The tables of the shared catalog, and their version: they are created, or replaced; tables of
another version are never read.

The table `pypid_catalog` has one row and the same columns in every version, so that each version
can read the schema, the identity of the storage and the last serial. Every change takes that row
first (SQLite: the whole file): so changes become visible in the order of the versions that they
get.
"""

from __future__ import annotations

from attrs import define
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
    update,
)

from pypid.catalog.engine import CatalogReset, DatabaseUnusable, EngineState
from pypid.core.errors import CannotStart

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

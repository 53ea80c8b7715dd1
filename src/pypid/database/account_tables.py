"""The tables of the accounts database, their version, its engine, and its names.

The tables, as SQLAlchemy Core has them. Their names begin with ``pypid_``: a PostgreSQL may hold
tables of other applications as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    NullPool,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeDecorator

from pypid.core.configuration.doubts import AccountNames
from pypid.core.errors import StorageFull
from pypid.database.connections import (
    BUSY,
    DatabaseErrorKind,
    NoRoom,
    PostgresqlConnections,
    away,
    error_kind,
    read_only_engine,
    server_engine,
    sqlite_engine,
)
from pypid.database.places import DatabaseUnusable, Place, Server, SqliteFile

# Versions of a database's tables: they are created in one transaction, or left alone.
#
# There is a row for each part (accounts, journal, downloads). Its `serial` counts the changes;
# each transaction that changes the part takes that row first, so that changes follow one another
# on all nodes.

_LOCK = 0x70797069_64
"""PostgreSQL's number for the lock on creating pypid's tables."""

_ID = "accounts-id"
"""The row that is no part: its serial is the random id of the accounts, committed and copied with
them.
"""

_metadata = MetaData()
schema_versions = Table(
    "pypid_schema",
    _metadata,
    Column("part", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("serial", BigInteger, nullable=False),
)
_READ_STATE = select(schema_versions.c.version, schema_versions.c.serial).where(
    schema_versions.c.part == bindparam("of")
)
_TAKE = (
    update(schema_versions)
    .where(schema_versions.c.part == bindparam("of"))
    .values(serial=schema_versions.c.serial + bindparam("taken"))
)
"""Built once: building them each time took as long as the disk, and each upload waits for an entry
of the audit log.
"""


@frozen
class SchemaPart:
    """Tables that belong together."""

    name: str
    version: int
    tables: MetaData


def read_serial(connection: Connection, part: SchemaPart) -> int | None:
    """Return the serial of the part; None if it has no tables. Raises `DatabaseUnusable` if another
    version of pypid made them.
    """
    row = connection.execute(_READ_STATE, {"of": part.name}).one_or_none()
    if row is None:
        return None
    if row.version != part.version:
        advice = (
            "Run the newer pypid that wrote them, or go back to a copy of the database from before."
            if row.version > part.version
            else "An older checkout wrote them: move the database away. Users and rights come "
            "along with `pypid acl export` of that checkout and `pypid user import` here."
        )
        raise DatabaseUnusable(
            f"its {part.name} are of version {row.version}, and this pypid knows version "
            f"{part.version}. {advice}"
        )
    serial: int = row.serial
    return serial


def id_of(connection: Connection) -> int:
    """Return the random id of the accounts, 0 if they have none yet."""
    row = connection.execute(_READ_STATE, {"of": _ID}).one_or_none()
    return 0 if row is None else row.serial


def set_id(connection: Connection, id: int) -> None:
    """Write the id that `id_of` reads; 0 removes it."""
    connection.execute(delete(schema_versions).where(schema_versions.c.part == _ID))
    if id:
        connection.execute(insert(schema_versions).values(part=_ID, version=1, serial=id))


def is_ready(connection: Connection, part: SchemaPart) -> bool:
    """Return whether the tables exist. Raises as `read_serial`."""
    if not inspect(connection).has_table(schema_versions.name):
        return False
    return read_serial(connection, part) is not None


def prepare(connection: Connection, part: SchemaPart) -> None:
    """Create the tables, in the current transaction. Raises as `read_serial`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    _metadata.create_all(connection)
    if read_serial(connection, part) is None:
        part.tables.create_all(connection)
        connection.execute(
            insert(schema_versions).values(part=part.name, version=part.version, serial=0)
        )


def take(connection: Connection, part: SchemaPart, count: int = 1) -> int:
    """Take the next `count` serials for this transaction, so that others wait for its end; return
    the last of them. Raises as `read_serial`.
    """
    connection.execute(_TAKE, {"of": part.name, "taken": count})
    return read_serial(connection, part) or 0


_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimestampColumn(TypeDecorator[datetime]):
    """An aware time, as microseconds since 1970: exact, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return None if value is None else (value - _UNIX_EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _UNIX_EPOCH + timedelta(microseconds=value)


_accounts = MetaData()

users = Table(
    "pypid_users",
    _accounts,
    Column("name", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("standing", Text, nullable=False),
    Column("created", TimestampColumn, nullable=False),
    Column("changed", TimestampColumn, nullable=False),
)
groups = Table("pypid_groups", _accounts, Column("name", Text, primary_key=True))
members = Table(  # not only of users who have an account here
    "pypid_members",
    _accounts,
    Column("group", Text, ForeignKey("pypid_groups.name", ondelete="CASCADE"), primary_key=True),
    Column("user", Text, primary_key=True),
    Index("pypid_members_user", "user"),
)
rights = Table(
    "pypid_rights",
    _accounts,
    Column("project", Text, primary_key=True),
    Column("whom", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("write", Boolean, nullable=False),
    Index("pypid_rights_name", "name"),
)
owners = Table(
    "pypid_owners",
    _accounts,
    Column("index", Text, primary_key=True),  # empty: the default one
    Column("project", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("since", TimestampColumn, nullable=False),
    Column("claimed", Boolean, nullable=False),
    Index("pypid_owners_account", "account"),
)
tokens = Table(
    "pypid_tokens",
    _accounts,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("user", Text, nullable=False, index=True),
    Column("actions", Text, nullable=False),
    Column("projects", Text, nullable=False),
    Column("created", TimestampColumn, nullable=False),
    Column("expires", TimestampColumn),
    Column("used", TimestampColumn),
    Column("used_from", Text, nullable=False),
    Column("revoked", TimestampColumn),
    Column("publisher", Boolean, nullable=False),
    Column("as_user", Text),
)
sessions = Table(
    "pypid_sessions",
    _accounts,
    Column("digest", Text, primary_key=True),
    Column("user", Text, nullable=False, index=True),
    Column("created", TimestampColumn, nullable=False),
    Column("expires", TimestampColumn, nullable=False),
    Column("address", Text, nullable=False),
)
once = Table(
    "pypid_once",
    _accounts,
    Column("digest", Text, primary_key=True),
    Column("until", TimestampColumn, nullable=False, index=True),
)
changes = Table(  # what each change has touched, so that other nodes read only that again
    "pypid_changes",
    _accounts,
    Column("serial", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("whom", Text, primary_key=True),
    Column("name", Text, primary_key=True),
)

_journal = MetaData()

audit_entries = Table(
    "pypid_deeds",
    _journal,
    Column("serial", BigInteger, primary_key=True),
    Column("when", TimestampColumn, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("head", Text, nullable=False),
    Column("where", Text, nullable=False),
    Column("token", Text),
    Column("details", Text, nullable=False),
    Column("index", Text, nullable=False, server_default=""),  # empty: the default one, or none
    Index("pypid_deeds_who", "who", "serial"),
    Index("pypid_deeds_what", "what", "serial"),
    Index("pypid_deeds_head", "head", "serial"),
    Index("pypid_deeds_index", "index", "serial"),
)

_downloads = MetaData()

downloads = Table(
    "pypid_downloads",
    _downloads,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("when", TimestampColumn, nullable=False, index=True),
    Column("sha256", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("where", Text, nullable=False),
    Column("token", Text),
    Index("pypid_downloads_sha256", "sha256", "id"),
)
# number of downloads of a project on a day: a million of them cannot be counted while a page waits
days = Table(
    "pypid_downloads_days",
    _downloads,
    Column("project", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970, in UTC
    Column("count", BigInteger, nullable=False),
    Index("pypid_downloads_days_day", "day"),
    sqlite_with_rowid=False,
)

SCHEMA_PARTS = {
    part.name: part
    for part in (
        SchemaPart("accounts", 2, _accounts),
        SchemaPart("journal", 3, _journal),
        SchemaPart("downloads", 2, _downloads),
    )
}


# SQLAlchemy's engine for an accounts database, and translation of its exceptions. Everything here
# blocks.


def open_engine(place: Place, no_room: NoRoom | None = None) -> tuple[Engine, Callable[[], None]]:
    """Return the engine of a place, and a call that ends all waiting for a server by cutting its
    connections, for when it keeps them open and does not answer. The call does not block.
    """
    if isinstance(place, Server):
        connections = PostgresqlConnections(place)
        return connections.engine, connections.cut
    pragmas = {"synchronous": "FULL" if place.of_record else "NORMAL", "foreign_keys": "ON"}
    no_room = no_room if place.of_record else None
    return sqlite_engine(place.path, BUSY, pragmas, no_room), lambda: None


def fault(place: Place, error: BaseException) -> Exception:
    """Return pypid's error for an exception of SQLAlchemy, of a driver or of the system."""
    match error_kind(error):
        case DatabaseErrorKind.DAMAGED:
            return DatabaseUnusable(
                "it is damaged. Put a copy of it from a backup in its place. If there is none, "
                "move it away: pypid begins a new one, or says how to go on without these accounts."
            )
        case DatabaseErrorKind.FULL:
            return StorageFull(
                "state folder" if isinstance(place, SqliteFile) else "accounts database"
            )
        case _:
            return away(place, error)


# Read the names of users and groups from the accounts database, beside a running pypid or without
# one. Nothing is written.

_LOCKED = 5.0
"""Seconds to wait for a writer."""


def read_names(place: Place) -> AccountNames:
    """Return the names; none if no pypid has used the database yet. Blocks.

    Raises `DatabaseAway` and `DatabaseUnusable`.
    """
    if not place.is_there():
        return AccountNames(frozenset(), frozenset())
    with _connected(place) as connection:
        if not inspect(connection).has_table(users.name):  # no pypid has used the database yet
            return AccountNames(frozenset(), frozenset())
        return AccountNames(
            frozenset(connection.scalars(select(users.c.name))),
            frozenset(connection.scalars(select(groups.c.name))),
        )


@contextmanager
def _connected(place: Place) -> Iterator[Connection]:
    engine = (
        server_engine(place, poolclass=NullPool)
        if isinstance(place, Server)
        else read_only_engine(place.path, _LOCKED)
    )
    try:
        with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise away(place, error) from None
    finally:
        engine.dispose()

"""Versions of a database's tables: they are created, migrated in one transaction, or left alone.

There is a row for each part (accounts, journal, downloads). Its `serial` counts the changes; each
transaction that changes the part takes that row first, so that changes follow one another on all
nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import Factory, define, frozen
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
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

from pypid.databases.faults import DatabaseUnusable

_LOCK = 0x70797069_64
"""PostgreSQL's number for the lock on creating and migrating pypid's tables."""

_LOGINS = "accounts-log-in"
_ID = "accounts-id"
"""The rows that are no parts: notes on the accounts, committed with their tables and copied with
them. The serial of `_ID` is the random id of the database.
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
    """Tables that belong together. `migrations` maps each older version to the function that leads
    to the next one.
    """

    name: str
    version: int
    tables: MetaData
    migrations: Mapping[int, Callable[[Connection], None]] = Factory(dict)


@define
class SchemaState:
    """The row of a part."""

    version: int
    serial: int


def read_state(connection: Connection, part: SchemaPart) -> SchemaState | None:
    """Return the row; None if there is none. Raises `DatabaseUnusable` if a newer pypid has written
    it.
    """
    row = connection.execute(_READ_STATE, {"of": part.name}).one_or_none()
    if row is None:
        return None
    if row.version > part.version:
        raise DatabaseUnusable(
            f"its {part.name} are of version {row.version}, and this pypid knows version "
            f"{part.version}: a newer pypid has written them. Run that one again, or go back to a "
            "copy of the database from before."
        )
    return SchemaState(row.version, row.serial)


def allows_logins(connection: Connection) -> bool:
    """Return whether users may log in although no configuration says so: not with tables that were
    created where their users could not, as by pypid before 1.0.
    """
    return connection.execute(_READ_STATE, {"of": _LOGINS}).one_or_none() is not None


def set_allows_logins(connection: Connection, allowed: bool) -> None:
    """Write or remove the note that `allows_logins` reads."""
    connection.execute(delete(schema_versions).where(schema_versions.c.part == _LOGINS))
    if allowed:
        connection.execute(insert(schema_versions).values(part=_LOGINS, version=1, serial=0))


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
    """Return whether the tables exist and are up to date. Raises as `read_state`."""
    if not inspect(connection).has_table(schema_versions.name):
        return False
    found = read_state(connection, part)
    return found is not None and found.version == part.version


def is_new(connection: Connection, part: SchemaPart) -> bool:
    """Return whether the part has no tables of any version. Raises as `read_state`."""
    return (
        not inspect(connection).has_table(schema_versions.name)
        or read_state(connection, part) is None
    )


def prepare(connection: Connection, part: SchemaPart, *, admits_users: bool = False) -> None:
    """Create or migrate the tables, in the current transaction; with `admits_users` new ones get
    the note that `allows_logins` reads. Raises as `read_state`.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    _metadata.create_all(connection)
    found = read_state(connection, part)
    if found is None:
        part.tables.create_all(connection)
        connection.execute(
            insert(schema_versions).values(part=part.name, version=part.version, serial=0)
        )
        if admits_users:
            set_allows_logins(connection, True)
        return
    for version in range(found.version, part.version):
        part.migrations[version](connection)
    connection.execute(
        update(schema_versions)
        .where(schema_versions.c.part == part.name)
        .values(version=part.version)
    )


def take(connection: Connection, part: SchemaPart, count: int = 1) -> int:
    """Take the next `count` serials for this transaction, so that others wait for its end; return
    the last of them.

    Raises `DatabaseUnusable` if the tables have another version by now.
    """
    connection.execute(_TAKE, {"of": part.name, "taken": count})
    found = read_state(connection, part)
    if found is None or found.version != part.version:
        raise DatabaseUnusable(
            f"its {part.name} have changed their version meanwhile. Start pypid again."
        )
    return found.serial

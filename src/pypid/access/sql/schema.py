"""Versions of a database's tables: they are created in one transaction, or left alone.

There is a row for each part (accounts, journal, downloads). Its `serial` counts the changes; each
transaction that changes the part takes that row first, so that changes follow one another on all
nodes.
"""

from __future__ import annotations

from attrs import frozen
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

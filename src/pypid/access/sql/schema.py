"""Which version of its tables a database has: they are made, brought up to date in one transaction,
or left alone.

There is a row for each part (accounts, journal, downloads). Its `serial` counts the changes;
whoever changes the part takes that row first, so that one change follows the other, whoever makes
them and on whichever node.
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
    insert,
    inspect,
    select,
    text,
    update,
)

from pypid.databases.faults import DatabaseUnusable

_LOCK = 0x70797069_64
"""PostgreSQL's number for "somebody makes or migrates pypid's tables"."""

_metadata = MetaData()
parts = Table(
    "pypid_schema",
    _metadata,
    Column("part", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("serial", BigInteger, nullable=False),
)
_STANDING = select(parts.c.version, parts.c.serial).where(parts.c.part == bindparam("of"))
_TAKE = (
    update(parts)
    .where(parts.c.part == bindparam("of"))
    .values(serial=parts.c.serial + bindparam("taken"))
)
"""Made once: to put them together each time took as long as the disk, and each upload waits for a
line of the audit log.
"""


@frozen
class SchemaPart:
    """Some tables that belong together. `migrations` has what leads from each older version to the
    next one.
    """

    name: str
    version: int
    tables: MetaData
    migrations: Mapping[int, Callable[[Connection], None]] = Factory(dict)


@define
class SchemaState:
    """What the row of a part says."""

    version: int
    serial: int


def standing(connection: Connection, part: SchemaPart) -> SchemaState | None:
    """What the row says; None where there is no row. Raises `DatabaseUnusable` where a newer pypid
    has written it.
    """
    row = connection.execute(_STANDING, {"of": part.name}).one_or_none()
    if row is None:
        return None
    if row.version > part.version:
        raise DatabaseUnusable(
            f"its {part.name} are of version {row.version}, and this pypid knows version "
            f"{part.version}: a newer pypid has "
            "written them. Run that one again, or go back to a copy of the database from before."
        )
    return SchemaState(row.version, row.serial)


def is_ready(connection: Connection, part: SchemaPart) -> bool:
    """Whether the tables are there and up to date. Raises as `standing`."""
    if not inspect(connection).has_table(parts.name):
        return False
    found = standing(connection, part)
    return found is not None and found.version == part.version


def is_new(connection: Connection, part: SchemaPart) -> bool:
    """Return whether the part has no tables of any version. Raises as `standing`."""
    return not inspect(connection).has_table(parts.name) or standing(connection, part) is None


def prepare(connection: Connection, part: SchemaPart) -> None:
    """Make the tables, or bring them up to date, in the transaction that is under way. Raises as
    `standing`.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    _metadata.create_all(connection)
    found = standing(connection, part)
    if found is None:
        part.tables.create_all(connection)
        connection.execute(insert(parts).values(part=part.name, version=part.version, serial=0))
        return
    for version in range(found.version, part.version):
        part.migrations[version](connection)
    connection.execute(update(parts).where(parts.c.part == part.name).values(version=part.version))


def take(connection: Connection, part: SchemaPart, count: int = 1) -> int:
    """Make the next `count` serials this transaction's, and whoever wants others wait for its end;
    the last of them.

    Raises `DatabaseUnusable` where another version of the tables is there by now.
    """
    connection.execute(_TAKE, {"of": part.name, "taken": count})
    found = standing(connection, part)
    if found is None or found.version != part.version:
        raise DatabaseUnusable(
            f"its {part.name} have changed their version meanwhile. Start pypid again."
        )
    return found.serial

"""Copies of the databases as SQLite files, for backups: of a SQLite database by its online backup,
of a server by reading all tables in one transaction. Everything here blocks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from pypid.access.sql.database import ACCOUNTS
from pypid.access.sql.engine import SETTING, fault
from pypid.access.sql.schema import (
    allows_logins,
    id_of,
    is_new,
    is_ready,
    prepare,
    read_state,
    schema_versions,
    set_allows_logins,
    set_id,
)
from pypid.access.sql.tables import SCHEMA_PARTS, downloads
from pypid.core.errors import CannotStart
from pypid.databases.drivers import errors
from pypid.databases.faults import DatabaseUnusable
from pypid.databases.places import Place, Server
from pypid.databases.postgresql import server_engine
from pypid.databases.sqlite import BUSY, make_file, sqlite_engine
from pypid.databases.transactions import transact

DATABASES = tuple(SCHEMA_PARTS)
"""The databases: ``accounts``, ``journal``, ``downloads``."""
_ROWS = 1000
"""Rows that are in memory at a time."""


def copy_databases(places: Mapping[str, Place], folder: Path) -> dict[str, Path]:
    """Copy the databases into new SQLite files in `folder`; return those that exist, by name.

    Raises `CannotStart`.
    """
    targets = {name: folder / f"{name}.db" for name in places}
    copied = {}
    for name, place in places.items():
        if isinstance(place, Server):
            with _connected(place, "copied") as connection:
                found = transact(connection, partial(_copy_parts, targets), False)
            return {name: targets[name] for name in found}
        if place.is_there() and place.path.stat().st_size:
            with _translated(place, "copied"):
                _copy_file(place.path, targets[name])
            copied[name] = targets[name]
    return copied


@contextmanager
def _connected(place: Server, what: str) -> Iterator[Connection]:
    with _translated(place, what):
        engine = server_engine(place, SETTING, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


@contextmanager
def _translated(place: Place, what: str) -> Iterator[None]:
    """Turn errors of the database into `CannotStart`."""
    name = "The database of [access] url" if isinstance(place, Server) else str(place.path)
    try:
        yield
    except DatabaseUnusable as error:
        raise CannotStart(f"{name} cannot be {what}: {error}") from None
    except errors() as error:
        raise CannotStart(f"{name} cannot be {what}: {fault(place, error)}") from None


def _copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is at one moment, also while others write to it. Raises `OSError`,
    `sqlite3.Error`.
    """
    make_file(target)
    with (
        closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY)
        ) as opened,
        closing(sqlite3.connect(target)) as copy,
    ):
        opened.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log


def _copy_parts(targets: Mapping[str, Path], connection: Connection) -> list[str]:
    copied = []
    for name, path in targets.items():
        if is_new(connection, SCHEMA_PARTS[name]):
            continue
        if not is_ready(connection, SCHEMA_PARTS[name]):
            raise DatabaseUnusable(
                f"its {name} are of an older version. Start this pypid once, then try again."
            )
        make_file(path)
        engine = _file_engine(path)
        try:
            with engine.connect() as target:
                transact(target, partial(_replace, name, connection), True)
        finally:
            engine.dispose()
        with closing(sqlite3.connect(path)) as written:
            written.execute("PRAGMA journal_mode = DELETE")
        copied.append(name)
    return copied


def restore_server(place: Server, sources: Mapping[str, Path]) -> None:
    """Replace the databases on a server by those of SQLite files, in one transaction. Older files
    are brought up to date. Raises `CannotStart`.
    """
    with _connected(place, "restored") as connection:
        transact(connection, partial(_restore_parts, sources), True)


def _restore_parts(sources: Mapping[str, Path], connection: Connection) -> None:
    for name, path in sources.items():
        engine = _file_engine(path)
        try:
            with engine.connect() as source:
                transact(source, partial(prepare, part=SCHEMA_PARTS[name]), True)
            with engine.connect() as source:
                transact(source, partial(_replace_in, name, connection), False)
        finally:
            engine.dispose()


def has_accounts(place: Server) -> bool:
    """Return whether the server has users, groups, rights or tokens. Raises `CannotStart`."""
    with _connected(place, "read") as connection:
        return transact(connection, _has_rows, False)


def _has_rows(connection: Connection) -> bool:
    if is_new(connection, SCHEMA_PARTS["accounts"]):
        return False
    return any(
        connection.execute(select(table).limit(1)).first() is not None
        for table in _tables("accounts")
        if table.name != "pypid_changes"
    )


def _file_engine(path: Path) -> Engine:
    return sqlite_engine(path, BUSY, {"foreign_keys": "ON"})


def _tables(name: str) -> list[Table]:
    return SCHEMA_PARTS[name].tables.sorted_tables


def _replace_in(name: str, target: Connection, source: Connection) -> None:
    _replace(name, source, target)


def _replace(name: str, source: Connection, target: Connection) -> None:
    """Replace the part's rows in `target` by those in `source`, both of this version."""
    part = SCHEMA_PARTS[name]
    prepare(target, part)
    before, found = read_state(target, part), read_state(source, part)
    for table in reversed(_tables(name)):
        target.execute(delete(table))
    for table in _tables(name):
        rows = source.execution_options(yield_per=_ROWS).execute(select(table))
        for batch in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in batch])
    if name == ACCOUNTS:
        set_allows_logins(target, allows_logins(source))
        set_id(target, id_of(source))
    # larger than both: nodes and caches take it for a change
    serial = max(state.serial for state in (before, found) if state is not None) + 1
    target.execute(
        update(schema_versions).where(schema_versions.c.part == name).values(serial=serial)
    )
    if target.dialect.name == "postgresql" and name == "downloads":
        newest = target.scalar(select(func.max(downloads.c.id))) or 0
        target.execute(
            text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :next, false)"),
            {"table": downloads.name, "next": newest + 1},
        )

"""The databases of users, of the audit log and of downloads."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.audit import SqlJournal
from pypid.access.sql.database import Database
from pypid.access.sql.download_log import SqlDownloads
from pypid.access.sql.place import Place, Server, place_of
from pypid.core.configuration.parse import Config
from pypid.daemon.state import StatePaths
from pypid.flow import World
from pypid.flow.reserve import FILE, Reserve
from pypid.flow.threads import Threads
from pypid.jobs.backup.records import ACCOUNTS, JOURNAL

DOWNLOADS = "downloads.db"
THREADS = 4
"""Threads for the accounts database."""


@frozen(kw_only=True)
class Stores:
    """The databases of users and of their actions."""

    threads: Threads
    databases: tuple[Database, ...]
    reserve: Reserve
    accounts: SqlAccounts
    journal: SqlJournal
    downloads: SqlDownloads


def accounts_place(config: Config, paths: StatePaths) -> Place:
    """Return where the accounts database is. Raises `CannotStart` for a URL that cannot be used."""
    return place_of(config.access.url or "", paths.state / ACCOUNTS)


def open_stores(config: Config, paths: StatePaths, world: World, reactor: Any) -> Stores:
    """Return the stores, not yet opened. Raises `CannotStart` for a URL that cannot be used."""
    threads = Threads(reactor, "accounts", THREADS)
    place = accounts_place(config, paths)
    reserve = Reserve(paths.state / FILE)
    database = Database(place, threads, world.clock, reserve)
    logged = passing = database
    if not isinstance(database.place, Server):  # what grows with each request has its own file
        logged = Database(
            place_of("", paths.state / JOURNAL), threads, world.clock, reserve=reserve
        )
        passing = Database(
            place_of("", paths.state / DOWNLOADS, of_record=False), threads, world.clock
        )
    return Stores(
        threads=threads,
        reserve=reserve,
        databases=tuple(dict.fromkeys((database, logged, passing))),
        accounts=SqlAccounts(database, world),
        journal=SqlJournal(logged, world),
        downloads=SqlDownloads(passing, world),
    )

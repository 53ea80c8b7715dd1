"""The catalog, opened as configured: of one process alone, or shared by several nodes; and what
else nodes do with one another through it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pypid.access.accounts import CONTACT
from pypid.catalog.replica import ReplicaFollower
from pypid.catalog.shared import SharedCatalog
from pypid.core.caches import MemoryBudget
from pypid.core.configuration.choices import StorageBackend
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, CatalogDown
from pypid.daemon.identities import OtherNodes
from pypid.daemon.state import StatePaths
from pypid.database.catalog import FILE, catalog_engine
from pypid.database.engine import Engine
from pypid.database.places import DatabaseUnusable, place_of
from pypid.flow import World, start
from pypid.flow.conditions import PeriodicJobs
from pypid.flow.derived import Signals
from pypid.jobs.cache_maintenance import CleanStop
from pypid.jobs.leases import TENDED, Shared

if TYPE_CHECKING:
    from pypid.access.accounts import SqlAccounts

_log = Logger()

TIDY = 3600.0
"""Seconds between two cleanups of the engine."""
SOON = 1.0
"""Seconds that a page waits at most for the changes of other nodes."""
NODE = "node"
"""The file below state with the name of this state folder among others."""


@define(slots=False, eq=False)
class Sharing(PeriodicJobs, OtherNodes):
    """The shared catalog of several nodes: `catalog` follows an engine once it has begun; `leases`
    are for jobs that one node does for all.

    It also keeps the `accounts` of this node in step with those of other nodes.
    """

    catalog: SharedCatalog
    engine: Engine
    leases: Shared
    world: World
    signals: Signals
    accounts: SqlAccounts
    _rights_changed: float = field(default=float("-inf"), init=False)
    """When a change of users or rights was last reported, on the clock."""
    _unseen: float = field(default=float("inf"), init=False)
    """When the first change was reported that has not been read since."""
    _reporting: Deferred[None] | None = field(default=None, init=False)
    _again: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.world.clock)
        self.add_job(TIDY, self._tidy, "tidying the shared catalog")
        self.signals.rights_reported.connect(self._read_accounts)
        self.accounts.current.on_write.append(self.report_change)

    async def begin(self) -> None:
        """Read what is shared, and follow it. Raises `CannotStart`."""
        await self.catalog.begin()

    def lease_holder(self) -> str | None:
        """Return the identity by which all nodes of the catalog hold one lease of the bucket; None
        until it is read.
        """
        return f"catalog {self.catalog.generation}" if self.catalog.generation else None

    async def catch_up(self) -> None:
        """Read all changes of other nodes until now, if that takes at most `SOON`: failures are
        reported elsewhere.
        """
        readings = self.catalog.following.catch_up(), self.accounts.current.poll()
        await DeferredList(
            [start(reading).addTimeout(SOON, self.world.clock) for reading in readings],
            consumeErrors=True,
        )

    async def _tidy(self) -> None:
        await self.leases.run(TENDED, self.engine.tidy, TIDY * 0.9)

    # --- accounts ---------------------------------------------------------------------------------

    def _read_accounts(self) -> None:
        """Read the accounts, which a node has reported to have changed."""
        self._rights_changed = self.world.clock.seconds()
        self._unseen = min(self._unseen, self._rights_changed)
        start(self.accounts.current.poll())

    def _has_seen(self) -> bool:
        has_seen = self.accounts.current.last_contact >= self._rights_changed
        if has_seen:
            self._unseen = float("inf")
        return has_seen

    def reported_until(self) -> float:
        """Return until when, on the clock, other nodes would have reported a change.

        A reported change is not known before the accounts were read, which may be delayed, or
        impossible: 0 until then.
        """
        return self.catalog.following.until if self._has_seen() else 0.0

    def has_missed(self) -> bool:
        """Return whether a reported change could not be read for too long."""
        return not self._has_seen() and self.world.clock.seconds() - self._unseen > CONTACT

    def report_change(self) -> None:
        """Have other nodes read users and rights, which have changed, at once; they do it each
        second anyway.
        """
        if self._reporting is not None:
            self._again = True
            return
        self._reporting = start(self._report())

    async def _report(self) -> None:
        try:
            await self.catalog.note_rights()
        except CatalogDown:
            return
        except Exception:
            _log.failure("other nodes could not be notified of changed users or rights")
        finally:
            self._reporting = None
            if self._again:
                self._again = False
                self.report_change()


def is_sole(config: Config) -> bool:
    """Return whether one process has the catalog for itself, in its state folder."""
    return config.database.url is None and config.server.workers == 1


def open_catalog(
    config: Config,
    paths: StatePaths,
    storage: str,
    serial: int,
    world: World,
    reactor: Any,
    signals: Signals,
    memory: MemoryBudget,
) -> SharedCatalog:
    """Return the catalog of the `storage` with this identity, not yet begun. `serial`: the first
    serial; `memory`: for its upstream listings.

    Raises `CannotStart`; blocks.
    """
    if config.storage.backend is StorageBackend.MEMORY:
        if not is_sole(config):
            raise CannotStart(
                "The catalog cannot be shared: no other process sees the files of [storage] "
                "backend = memory. Leave [database] url out, and set [server] workers = 1."
            )
        remove_database(catalog_file(paths))  # its files are gone
    return SharedCatalog(
        ReplicaFollower(
            engine_of(config, paths, world, reactor),
            storage,
            world,
            config.database.stale_for,
            first_serial=serial,
            memory=memory,
            rights_changed=signals.rights_reported.emit,
            was_reset=signals.catalog_reset.emit,
            confirmed=signals.catalog_confirmed.emit,
            is_sole=is_sole(config),
        )
    )


def open_sharing(
    config: Config,
    paths: StatePaths,
    catalog: SharedCatalog,
    accounts: SqlAccounts,
    world: World,
    signals: Signals,
) -> Sharing | None:
    """Return what nodes do with one another through the catalog; None where one process has it for
    itself. Raises `CannotStart`; blocks.
    """
    if is_sole(config):
        return None
    engine = catalog.following.engine
    return Sharing(
        catalog,
        engine,
        Shared(engine, world.random(8).hex(), world),
        world,
        signals,
        accounts,
    )


async def begin_alone(
    catalog: SharedCatalog, paths: StatePaths, clean_stop: CleanStop | None
) -> None:
    """Read the catalog of this process. One that was not left by a clean stop, or whose storage
    others may have changed meanwhile, proves no absence before it was compared; one that cannot be
    used is made again. Raises `CannotStart`.
    """
    following = catalog.following
    engine, known = following.engine, (following.identity, following.first_serial)
    try:
        state = await engine.open(*known)
    except (CannotStart, DatabaseUnusable) as error:
        _log.warn("{error} The catalog is made again from the storage.", error=error)
        await engine.close()
        remove_database(catalog_file(paths))
        state = await engine.open(*known)
    is_known = clean_stop is not None and await clean_stop.take(state)
    if state.complete and not is_known:
        await engine.mark_complete(state.generation, complete=False)
    await catalog.begin()


def engine_of(config: Config, paths: StatePaths, world: World, reactor: Any) -> Engine:
    """Return the engine of the catalog, which does not connect yet. Raises `CannotStart`."""
    place = place_of(config.database.url, catalog_file(paths))
    return catalog_engine(place, world, reactor, durable=not is_sole(config))


def catalog_file(paths: StatePaths) -> Path:
    """Return the file of the catalog in the state folder."""
    return paths.state / FILE


def remove_database(file: Path) -> None:
    """Remove a SQLite database that no process has open. Blocks. Raises `CannotStart`."""
    try:
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise CannotStart(f"The catalog {file} cannot be removed: {error.strerror}.") from None


def name_of_node(state: Path, world: World) -> str:
    """Return the name of this state folder, created the first time. Blocks briefly. Raises
    `CannotStart`.
    """
    path = state / NODE
    try:
        if not path.exists():
            part = path.with_suffix(".part")
            part.touch(0o600)
            part.write_text(world.random(16).hex())
            part.replace(path)
        return path.read_text().strip()
    except OSError as error:
        raise CannotStart(f"The state folder {state} cannot be used: {error.strerror}.") from None

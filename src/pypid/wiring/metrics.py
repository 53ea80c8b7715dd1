"""Metrics that are not counted where they happen: read when the metrics are requested, and shared
by the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pypid.advisories.service import Advisories
from pypid.core.configuration.parse import Config
from pypid.daemon.state import StateFolder
from pypid.flow import World, start
from pypid.flow.conditions import Condition
from pypid.flow.world import Threads
from pypid.index import Index
from pypid.index.named_indexes import Indexes
from pypid.jobs.backup.records import LAST_BACKUP
from pypid.jobs.leases import CLOCK, SETTINGS
from pypid.metrics import counts
from pypid.metrics.counts import Counts, Family, Labels
from pypid.metrics.worker_metrics import MetricsFolder, WorkerMetrics, own_metrics
from pypid.prefork import number
from pypid.prefork.messages import ENDED, Message, Siblings
from pypid.web.http.site import Site
from pypid.wiring.platform import Platform

if TYPE_CHECKING:
    from pypid.catalog.replica import ReplicaFollower  # for shared catalogs only

_log = Logger()

FIRST = 1
"""The number of the worker that started the others."""
EVERY = 0.5
"""Seconds between two measurements of the reactor's delay."""
WRITES = 2
"""The numbers are written for the other workers after so many measurements."""
WINDOW = 120
"""Measurements of which the longest delay is remembered; also that of the window before."""

Value = tuple[Family, Labels, float]
"""The current value of a metric with these labels."""


@define(slots=False, eq=False)
class Measuring(Service):
    """Measures this process as long as the daemon runs. `folder`: where workers share their
    metrics; None: this is the only one. The first worker keeps the counts of ended ones.
    """

    world: World
    index: Index
    site: Site
    condition: Condition
    folder: MetricsFolder | None
    siblings: Siblings
    state: Path
    """The state folder, which tells when the last backup was made."""
    advisories: Advisories
    indexes: Indexes
    _due: float = field(default=0.0, init=False)
    _later: IDelayedCall | None = field(default=None, init=False, repr=False)
    _looks: int = field(default=0, init=False)
    _latest: float = field(default=0.0, init=False)
    _latest_before: float = field(default=0.0, init=False)
    _writing: Deferred[None] | None = field(default=None, init=False, repr=False)
    _written: object = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.counts.before.append(self._look)
        if self.folder is not None and self.folder.number == FIRST:
            self.siblings.on(ENDED, self._has_ended)

    @property
    def counts(self) -> Counts:
        """The counters of this process."""
        return self.world.counts

    def _has_ended(self, message: Message) -> None:
        if self.folder is not None:
            ending = self.world.blocking(self.folder.end, message["worker"])
            ending.addErrback(
                lambda failure: _log.failure("the metrics of a stopped worker are lost", failure)
            )

    # --- the job ----------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._wait()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._later is not None:
            self._later.cancel()
            self._later = None
        return None if self.folder is None else start(self._write_last())

    async def _write_last(self) -> None:
        if self._writing is not None:
            await self._writing
        await self._write()

    def _wait(self) -> None:
        self._due = self.world.clock.seconds() + EVERY
        self._later = self.world.clock.callLater(EVERY, self._tick)

    def _tick(self) -> None:
        late = max(0.0, self.world.clock.seconds() - self._due)
        self.counts.observe(counts.LAG, (), late)
        self._latest = max(self._latest, late)
        self._looks += 1
        if self._looks % WINDOW == 0:
            self._latest_before, self._latest = self._latest, 0.0
        if self.folder is not None and self._looks % WRITES == 0 and self._writing is None:
            self._writing = start(self._write())
            self._writing.addBoth(self._has_written)
        self._wait()

    def _has_written(self, _: object) -> None:
        self._writing = None

    async def _write(self) -> None:
        """Write the metrics, if they have changed."""
        taken = self.counts.taken()
        if self.folder is None or taken == self._written:
            return
        try:
            await self.world.blocking(self.folder.write, taken)
            self._written = taken
        except OSError as error:
            _log.warn(
                "the metrics of this worker cannot be written for the others: {error}", error=error
            )

    # --- current values ---------------------------------------------------------------------------

    def _look(self) -> None:
        values = (*self._of_process(), *self._of_parts(), *self._of_shared_catalog())
        for family, labels, value in values:
            self.counts.set(family, labels, value)

    def _of_process(self) -> Sequence[Value]:
        channels, threads = self.site.channels, self.world.blocking
        values: list[Value] = [
            (counts.CONNECTIONS, (), len(channels)),
            (counts.UNDER_WAY, (), sum(len(channel.requests) for channel in channels)),
            (counts.LAG_MOST, (), max(self._latest, self._latest_before)),
            (counts.LISTINGS_MEMORY, (), self.index.memory.used),
        ]
        if isinstance(threads, Threads):
            values += [
                (counts.THREADS, ("busy",), threads.busy),
                (counts.THREADS, ("idle",), threads.idle),
                (counts.THREADS_QUEUE, (), threads.waiting),
            ]
        return values

    def _of_parts(self) -> Sequence[Value]:
        index, condition = self.index, self.condition
        comparing, loaded = index.maintenance.comparing, self.advisories.loaded
        return [
            (counts.COMPARING_OBJECTS, (), 0 if comparing is None else comparing.objects),
            (counts.COMPARING_PROJECTS, (), 0 if comparing is None else comparing.projects),
            (counts.COMPARED, (), index.catalog.was_complete),
            (counts.UPSTREAM_UP, (), not index.gate.breaker.is_down),
            *(
                (counts.NAMED_UPSTREAM_UP, (name,), not upstream.gate.breaker.is_down)
                for name, upstream in index.upstreams.items()
            ),
            (counts.PART_UP, ("access",), condition.access()),
            (counts.PART_UP, ("cache",), condition.cache()),
            (counts.PART_UP, ("storage",), condition.storage()),
            (counts.LAST_BACKUP, (), last_backup(self.state)),
            (counts.ADVISORIES, (), self.advisories.count),
            (counts.ADVISORIES_LOADED, (), 0 if loaded is None else loaded.timestamp()),
        ]

    def _of_shared_catalog(self) -> Sequence[Value]:
        following: ReplicaFollower = self.index.catalog.following  # type: ignore[attr-defined]
        if following.is_sole:
            return ()
        differs = self.condition.differs()
        return [
            (counts.CATALOG_UP, (), following.away is None),
            (counts.CATALOG_AGE, (), following.age),
            *((counts.NODES_DIFFER, (what,), what in differs) for what in (SETTINGS, CLOCK)),
        ]


def last_backup(state: Path) -> float:
    """Return when the last backup was made, in seconds since 1970; 0 if that is not known."""
    try:
        return (state / LAST_BACKUP).stat().st_mtime  # too quick for a thread
    except OSError:
        return 0.0


async def all_metrics(
    world: World, folder: MetricsFolder | None
) -> tuple[str, Sequence[WorkerMetrics]]:
    """Return the number of this worker, and the current metrics of all of them. Raises
    `OSError`.
    """
    if folder is None:
        return await own_metrics(world.counts)
    return str(folder.number), await world.blocking(folder.exchange, world.counts.taken())


def metrics_folder(config: Config, state: StateFolder, platform: Platform) -> MetricsFolder | None:
    """Return the folder where workers share their metrics; None if there is one worker."""
    if config.server.workers == 1 or not platform.serves_clients:
        return None
    return MetricsFolder(state.metrics, number())

"""Storage used by each project, according to the catalog: counted once, and then only what has
changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger

from pypid.core.errors import PypidError
from pypid.core.model import Project, StoredFile, Summary
from pypid.core.packaging.names import ProjectName
from pypid.flow import World, start
from pypid.flow.derived import Flights
from pypid.index.context import Pace
from pypid.ports import Catalog

_log = Logger()

PATIENCE = 0.5
"""Seconds that a caller waits for a count, which continues without it."""


class Sum(msgspec.Struct, frozen=True, gc=False):
    """Number and size of a project's files, at this `serial` of the project. Not an attrs class:
    there are many of them.
    """

    serial: int
    files: int = 0
    size: int = 0


class ProjectUse(msgspec.Struct, frozen=True, gc=False):
    """Storage used by a project: local `files` and cached ones (`kept`). Sizes in bytes, without
    metadata and records.
    """

    name: ProjectName
    files: int = 0
    size: int = 0
    kept: int = 0
    kept_size: int = 0


@frozen
class Used:
    """Storage used in total and by project: the largest first, `by_kept` those with cached files.
    `projects` counts local ones.
    """

    projects: int = 0
    files: int = 0
    size: int = 0
    kept: int = 0
    kept_size: int = 0
    by_size: tuple[ProjectUse, ...] = field(default=(), repr=False)
    by_kept: tuple[ProjectUse, ...] = field(default=(), repr=False)


def together(used: Used, others: Sequence[Used]) -> Used:
    """Return the total of the storage used by the default index, named indexes and further
    upstreams. A project counts with its files in all of them.
    """
    by_name = {use.name: use for use in used.by_size}
    for each in others:
        for use in each.by_size:
            known = by_name.get(use.name, ProjectUse(use.name))
            by_name[use.name] = ProjectUse(
                use.name,
                known.files + use.files,
                known.size + use.size,
                known.kept + use.kept,
                known.kept_size + use.kept_size,
            )
    return total(by_name.values())


def total(uses: Collection[ProjectUse]) -> Used:
    """Return the storage used by these projects in total."""
    held = (use for use in uses if use.kept)
    return Used(
        projects=sum(1 for use in uses if use.files),
        files=sum(use.files for use in uses),
        size=sum(use.size for use in uses),
        kept=sum(use.kept for use in uses),
        kept_size=sum(use.kept_size for use in uses),
        by_size=tuple(sorted(uses, key=lambda use: (-use.size - use.kept_size, use.name))),
        by_kept=tuple(sorted(held, key=lambda use: (-use.kept_size, use.name))),
    )


Sums = dict[ProjectName, Sum]
_NEVER = Sum(-1)


@define(eq=False)
class Usage:
    """Counts the storage used by the projects of one catalog. A hundred thousand projects take some
    seconds, yielding the reactor regularly; unchanged ones are not counted again.
    """

    catalog: Catalog
    world: World
    done: int = field(default=0, init=False)
    of: int = field(default=0, init=False)
    """Progress of a count, in projects."""
    _ours: Sums = field(factory=dict, init=False, repr=False)
    _cached: Sums = field(factory=dict, init=False, repr=False)
    _basis: tuple[object, object, str] | None = field(default=None, init=False, repr=False)
    """What the latest result was counted from."""
    _latest: Used | None = field(default=None, init=False, repr=False)
    _counts: Flights[None, None] = field(factory=Flights, init=False, repr=False)

    @property
    def is_counting(self) -> bool:
        """Whether a count is under way."""
        return None in self._counts

    async def current(self) -> Used | None:
        """Return the current usage; the last result if counting takes longer than `PATIENCE`, or
        None if there is none.

        Raises `CatalogDown`.
        """
        count = start(self._counts.single(None, self._counted))
        with suppress(TimedOut):
            await count.addTimeout(PATIENCE, self.world.clock)
        return self._latest

    async def _counted(self) -> None:
        try:
            await self._count()
        except PypidError:
            raise
        except Exception:
            _log.failure("the disk usage of projects could not be counted")

    async def _count(self) -> None:
        catalog, thinking = self.catalog, self.world.thinking
        names, cached, generation = (
            await catalog.local.summaries(),
            await catalog.upstream.summaries(),
            catalog.generation,
        )
        basis = self._basis
        if (
            basis is not None
            and basis[0] is names
            and basis[1] is cached
            and basis[2] == generation
        ):
            return
        if basis is None or basis[2] != generation:  # the same serials may mean something else
            self._ours, self._cached = {}, {}
        ours_now, cached_now = self._ours, self._cached
        stale = await thinking(_stale, names, ours_now)
        their_stale = await thinking(_stale, cached, cached_now)
        self.done, self.of = 0, len(stale) + len(their_stale)
        pace = Pace(self.world)
        for summary in stale:
            project = await catalog.local.get(summary.name)
            ours_now[summary.name] = _sum(
                summary, project.files if isinstance(project, Project) else ()
            )
            self.done += 1
            await pace.keep()
        for summary in their_stale:
            cached_now[summary.name] = _sum(
                summary, (await catalog.upstream.get(summary.name)).kept
            )
            self.done += 1
            await pace.keep()
        self._ours, self._cached, self._latest = await thinking(
            _together, names, cached, ours_now, cached_now
        )
        self._basis = (names, cached, generation)


def _stale(summaries: Iterable[Summary], sums: Sums) -> list[Summary]:
    return [
        summary for summary in summaries if sums.get(summary.name, _NEVER).serial != summary.serial
    ]


def _sum(summary: Summary, files: Sequence[StoredFile]) -> Sum:
    return Sum(summary.serial, len(files), sum(file.size for file in files))


def _together(
    names: Iterable[Summary], cached: Iterable[Summary], ours: Sums, kept: Sums
) -> tuple[Sums, Sums, Used]:
    """Return both sums without removed projects, and the total."""
    ours = {summary.name: ours[summary.name] for summary in names}
    kept = {summary.name: kept[summary.name] for summary in cached}
    uses = [
        ProjectUse(name, one.files, one.size, *_kept(kept.get(name)))
        for name, one in ours.items()
        if one.files or name in kept
    ]
    uses += [ProjectUse(name, 0, 0, *_kept(one)) for name, one in kept.items() if name not in ours]
    return ours, kept, total(uses)


def _kept(one: Sum | None) -> tuple[int, int]:
    return (0, 0) if one is None else (one.files, one.size)

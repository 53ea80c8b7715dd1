"""What all modules of the index share: storage, catalog, locks, and lookup of local projects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Protocol

from attrs import Factory, define, evolve, field, frozen
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, NoSuchProject, NotYetKnown, PypidError, StorageDown
from pypid.core.model import (
    Blob,
    Digests,
    LocalProject,
    Presence,
    Project,
    StoredFile,
    in_order,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.core.records.file_history import FileHistory, in_bounds
from pypid.core.records.layout import Plan
from pypid.flow import Blocking, World
from pypid.flow.hashes import Hashes
from pypid.flow.single_flight import Flights, Locks
from pypid.index.store import records
from pypid.index.store.records import READINGS, CompareAndSet, ConcurrentChange, as_it_is
from pypid.index.store.verified_entries import VerifiedEntries
from pypid.ports import Blobs, Catalog, Describing, Provisional

_log = Logger()

LONGEST_TURN = 0.005
"""Longest time in seconds that a job may occupy the reactor thread."""
NOTHING_CHANGED = "nothing was changed. Try again soon."
CHANGE_SAVED = "the change was saved and will become visible shortly. Retrying is safe."


@frozen
class Refreshed:
    """A project as the storage has it now. `strays`: distributions in its folder that no record
    names.
    """

    project: LocalProject | None
    strays: tuple[Blob, ...] = field(repr=False)
    changed: bool
    """Whether the catalog had a different entry."""
    in_catalog: bool = True
    """Whether the catalog has this state; False while the catalog is unavailable (see
    `IndexContext.pending_updates`).
    """


class UnderWay(Protocol):
    """Announces publishes under way to other nodes. It is a hint, not a lock: the write-if-absent
    decides.
    """

    def announced(self, place: str) -> AbstractAsyncContextManager[bool]:
        """Announce to other nodes, while the context lasts, that a publish at `place` is under way.
        Yields whether no other node is publishing there for certain: then bytes without a record at
        `place` were left by a process that died.
        """


def without_lease() -> bool:
    """Return False: without a lease, another process may write to the storage at any time."""
    return False


@frozen
class IndexContext:
    """Storage, catalog, policy and locks of one index. `shared`: other processes may write to the
    same storage; `plan`: where new bytes are stored; `describing`: the storage's descriptions of
    blobs, if it supports them. `is_sole` returns whether this process holds a lease by which no
    other may write now: bytes without a record were then left by a process that died.
    """

    blobs: Blobs
    catalog: Catalog
    policy: Policy
    world: World
    shared: bool = False
    plan: Plan = Plan()
    describing: Describing | None = None
    under_way: UnderWay | None = None
    is_sole: Callable[[], bool] = without_lease
    catalog_is_shared: bool = False
    """Whether other nodes update the catalog, too. `shared` alone, as for a bucket with a lease,
    only says that others may write to the storage.
    """
    provisional: Provisional | None = None
    """The storage's marks of blobs that are not committed yet, if it has them."""
    locks: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Locks by project name, held while the documents and the catalog entry of a project change
    together.
    """
    places: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Locks by ``<project>/<filename>``, held while the bytes of a file are written or removed;
    taken before the project's lock, never after.
    """
    being_adopted: set[ProjectName] = field(factory=set, init=False, repr=False, eq=False)
    """Projects whose pypicloud files are not all adopted yet: a client that asked now might get an
    older release.
    """
    pending_updates: set[ProjectName] = field(factory=set, init=False, repr=False, eq=False)
    """Projects for which the catalog may have missed an update. Until it is applied, the storage is
    authoritative.
    """
    flights: Flights[ProjectName, LocalProject | Presence] = field(
        factory=Flights, init=False, repr=False
    )
    proofs: Flights[ProjectName, LocalProject | Presence] = field(
        factory=Flights, init=False, repr=False
    )
    """Flights of `ours_now`."""
    verified: VerifiedEntries = field(
        default=Factory(
            lambda context: VerifiedEntries(
                context.blobs, context.catalog, context.world, context.catalog_is_shared
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )

    async def local_project(self, name: ProjectName) -> LocalProject | Presence:
        """Return the local project, or `Presence.ABSENT` once its absence is proven. Raises
        `StorageDown` if it cannot be.

        Unknown is not absent, and a dump may be old: until the catalog has been reconciled with the
        storage, a project missing from it is looked up in the storage, and an entry is compared
        with its storage listing before its first use.
        """
        if name in self.being_adopted:
            return Presence.UNKNOWN
        held = await self.catalog.local.get(name)
        if name in self.pending_updates:
            return await self._while_pending(name, held)
        if held is Presence.ABSENT or (isinstance(held, Project) and self.verified.has(name)):
            return held
        read = self._verify if isinstance(held, Project) else self.resync
        found = await self.flights.single(name, lambda: read(name))
        return Presence.UNKNOWN if found is Presence.ABSENT and self.is_taking_over() else found

    async def _verify(self, name: ProjectName) -> LocalProject | Presence:
        """Return the catalog's entry if the storage listing of the project has not changed since it
        was read; else read the project again.
        """
        async with self.locks.hold(name):
            if not self.verified.has(name) and await self.verified.matches(name):
                self.verified.add(name)
            held = await self.catalog.local.get(name)
            if isinstance(held, Project) and self.verified.has(name):
                return held
            project = (await self.refresh(name)).project
            return Presence.ABSENT if project is None else project

    async def _while_pending(
        self, name: ProjectName, held: LocalProject | Presence
    ) -> LocalProject | Presence:
        try:
            return await self.flights.single(name, lambda: self.resync(name))
        except StorageDown:
            if not isinstance(held, Project):
                raise
            return held

    def is_taking_over(self) -> bool:
        """Return whether there may be local files without a record because files of a pypicloud are
        still being adopted.
        """
        return self.plan.pypicloud and not self.catalog.was_complete

    async def ours_now(self, name: ProjectName) -> LocalProject | Presence:
        """Return the local project like `local_project`, but prove an absence by the storage
        itself, now. Raises `StorageDown`.

        Another process may have published the name a moment ago, unknown to this process's catalog;
        or may be publishing it; or an administrator has copied private files into the storage that
        are not adopted yet.
        """
        held = await self.catalog.local.get(name)
        return (
            held
            if isinstance(held, Project)
            else await self.proofs.single(name, lambda: self._prove(name))
        )

    async def _prove(self, name: ProjectName) -> LocalProject | Presence:
        found = await self._resync(name)
        held, strays = found.project, found.strays
        if held is None and self.is_taking_over():
            return Presence.UNKNOWN
        if held is None and strays:
            _log.warn(
                "{name} is not requested upstream: the storage has files under this name "
                "without a record. `pypid storage rebuild` publishes them; `pypid storage check` "
                "lists them.",
                name=name,
            )
            return Presence.UNKNOWN
        return Presence.ABSENT if held is None else held

    async def resync(self, name: ProjectName) -> LocalProject | Presence:
        """Read the project from the storage, and update the catalog if it is available. Return
        `Presence.ABSENT` if the storage holds none.
        """
        held = (await self._resync(name)).project
        return Presence.ABSENT if held is None else held

    async def _resync(self, name: ProjectName) -> Refreshed:
        async with self.locks.hold(name):
            return await self.refresh(name)

    async def refresh(self, name: ProjectName) -> Refreshed:
        """Refresh the catalog's entry from the storage; the caller holds the project's lock.

        If another node changed the entry while the storage was read, the stale result does not
        overwrite it: the project is read again.
        """
        before = None
        with suppress(CatalogDown):  # the next catalog call raises it again
            before = _serial(await self.catalog.local.get(name))
        for _ in range(READINGS):
            found = await records.read_project(self.blobs, name)
            edit = _compare_and_set(before, found.project)
            try:
                held = await self.catalog.local.edit(name, edit, mark=found.mark)
            except ConcurrentChange:
                with suppress(CatalogDown):  # the next catalog call raises it again
                    before = _serial(await self.catalog.local.edit(name, as_it_is))
            except CatalogDown:
                break
            else:
                self.pending_updates.discard(name)
                if held is not None:
                    self.verified.add(name)
                return Refreshed(held, found.strays, held != edit.old)
        return await self._without_catalog(name, found)

    async def _without_catalog(self, name: ProjectName, found: records.StoredProject) -> Refreshed:
        """Return the storage's state while the catalog cannot be updated."""
        try:
            held = await self.catalog.local.get(name)
        except CatalogDown:
            held = Presence.UNKNOWN
        old = held if isinstance(held, Project) else None
        project = found.project
        if old is not None and project is not None and evolve(project, serial=old.serial) == old:
            return Refreshed(old, found.strays, changed=False, in_catalog=False)
        if old is not None or project is not None:
            self.pending_updates.add(name)
        return Refreshed(project, found.strays, changed=True, in_catalog=False)

    async def recover(self, name: ProjectName) -> None:
        """Resync the catalog after a change that broke off half-way; if that fails, too, the
        storage is authoritative until then.
        """
        try:
            await self.resync(name)
        except PypidError:
            self.pending_updates.add(name)

    async def known(self, name: ProjectName) -> LocalProject:
        """Return the local project. Raises `NoSuchProject` or `NotYetKnown`."""
        match await self.local_project(name):
            case Project() as project:
                return project
            case Presence.ABSENT:
                raise NoSuchProject(name)
            case Presence.UNKNOWN:
                raise NotYetKnown(name)

    async def held(self, name: ProjectName) -> LocalProject:
        """Return the catalog's entry, for a caller that holds the project's lock and has called
        `known` before.
        """
        held = await self.catalog.local.get(name)
        if not isinstance(held, Project):
            raise NoSuchProject(name)
        return held

    async def amend(
        self, name: ProjectName, change: Callable[[LocalProject], LocalProject]
    ) -> LocalProject:
        """Change the catalog's entry, creating it if necessary; see `edit`."""
        held = await self.edit(name, lambda project: change(project or Project(name=name)))
        assert held is not None  # `change` makes a project
        return held

    async def edit(
        self, name: ProjectName, change: Callable[[LocalProject | None], LocalProject | None]
    ) -> LocalProject | None:
        """Change the catalog's entry, which `local_project` has verified before; the caller holds
        the project's lock and has changed the storage.

        Raises `CatalogDown` if the catalog cannot be updated: the change remains in the storage and
        becomes visible later.
        """
        try:
            held = await self.catalog.local.edit(name, change)
        except CatalogDown as error:
            self.pending_updates.add(name)
            raise CatalogDown(CHANGE_SAVED) from error
        if held is not None:
            self.verified.add(name)
        return held

    async def refuse_while_away(self) -> None:
        """Raise `CatalogDown` if a change could not be listed now, so that none is begun."""
        if await self.catalog.is_away():
            raise CatalogDown(NOTHING_CHANGED)


def _compare_and_set(
    before: int | None, found: LocalProject | None
) -> CompareAndSet[LocalProject | None]:
    return CompareAndSet(lambda held: _serial(held) == before, lambda _: found)


def _serial(held: LocalProject | Presence | None) -> int | None:
    return held.serial if isinstance(held, Project) else None


async def digests_of(context: IndexContext, where: str) -> Digests:
    """Return the hashes of the bytes stored under a key. Raises `Missing`, `StorageDown`."""
    return await stored_digests(context.blobs, context.world.blocking, where)


async def stored_digests(blobs: Blobs, blocking: Blocking, where: str) -> Digests:
    """Return the hashes of the bytes under a key; see `digests_of`."""
    hashes = Hashes()
    async with aclosing(await blobs.read(where)) as body:
        try:
            async for piece in body:
                await blocking(hashes.update, piece)
        except (EOFError, OSError) as error:
            _log.error("Reading {key} failed: {error}", key=where, error=error)
            raise StorageDown("a file in it cannot be read.") from error
    return hashes.digests()


@define
class Pace:
    """Yields the reactor thread regularly during a long job."""

    world: World
    _since: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._since = self.world.clock.seconds()

    async def keep(self) -> None:
        """Call this often: it costs nothing, and yields once `LONGEST_TURN` has passed."""
        if self.world.clock.seconds() - self._since > LONGEST_TURN:
            await self.world.blocking(
                _nothing
            )  # a round trip to a thread lets waiting events run first
            self._since = self.world.clock.seconds()


def _nothing() -> None:
    """Do nothing, in a thread, for `Pace.keep`."""


def with_files(project: LocalProject, *files: StoredFile) -> LocalProject:
    """Return `project` with these files, replacing files of the same names."""
    names = {file.filename for file in files}
    return evolve(
        project,
        files=in_order((*(file for file in project.files if file.filename not in names), *files)),
    )


def without_files(project: LocalProject, filenames: frozenset[str]) -> LocalProject:
    """Return `project` without the files of these names."""
    return evolve(
        project, files=tuple(file for file in project.files if file.filename not in filenames)
    )


def with_pasts(project: LocalProject, pasts: Iterable[FileHistory]) -> LocalProject:
    """Return `project` with these file events added to its history."""
    return evolve(
        project,
        history=in_bounds((*project.history, *pasts), {file.filename for file in project.files}),
    )

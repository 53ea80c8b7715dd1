"""What all modules of the index share: storage, catalog, locks, and lookup of local projects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from attrs import Factory, define, evolve, field, frozen
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Missing, NoSuchProject, NotYetKnown, StorageDown
from pypid.core.indexes import DEFAULT
from pypid.core.model import (
    Digests,
    FileHistory,
    LocalProject,
    Presence,
    Project,
    StoredFile,
    in_bounds,
    in_order,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.flow import Blocking, World, start
from pypid.flow.derived import Flights, Locks
from pypid.flow.spool import Hashes
from pypid.index.store.records import LocalRecords, RecordStore, UnfinishedPromotions
from pypid.ports import Blobs, Catalog, Describing, Provisional

_log = Logger()

LONGEST_TURN = 0.005
"""Longest time in seconds that a job may occupy the reactor thread."""
NOTHING_CHANGED = "nothing was changed. Try again soon."
MOST_VERIFIED = 1_000_000
"""Maximum number of local projects that are remembered as compared with the storage."""
Own = Callable[[ProjectName, bool], Awaitable[object]]
"""Called with a project, and whether it is new in its index: makes the user the owner of a new
project, or raises `Forbidden` if another user has become the owner meanwhile.
"""


Announced = Callable[[str], AbstractAsyncContextManager[bool]]
"""Announces to other nodes, while the context lasts, that a publish at a place is under way. Yields
whether no other node is publishing there for certain: then bytes without a record at the place were
left by a process that died. It is a hint, not a lock: the write-if-absent decides.
"""


class NamesElsewhere(Protocol):
    """Tells whether a name is local in another index of this pypid."""

    async def known(self, name: ProjectName) -> Presence:
        """Return `Presence.ELSEWHERE`, or `Presence.ABSENT`, or `Presence.UNKNOWN`. Raises
        `StorageDown`.
        """

    async def names(self) -> frozenset[ProjectName]:
        """Return the names of which `known` says `Presence.ELSEWHERE`; the same object until that
        changes. Raises `StorageDown`.
        """

    async def proven(self, name: ProjectName) -> Presence:
        """Return what `known` returns, but proven by the storage if other processes write to it.
        Raises `StorageDown`.
        """


async def _never_closed(project: ProjectName) -> None:
    """Do nothing: no other process closes or deletes the index."""


@frozen
class IndexContext:
    """Storage, catalog, policy and locks of one index."""

    blobs: Blobs
    catalog: Catalog
    policy: Policy
    world: World
    shared: bool = False
    """Whether other processes share the catalog, and write to the same storage."""
    lease: Callable[[], bool] | None = field(default=None, repr=False)
    """Returns whether this process holds the lease by which no other one may write to the storage
    now; None for a storage without leases.
    """
    adopts: bool = False
    """Whether files without a record are adopted at the start, as a pypicloud left them."""
    describing: Describing | None = None
    """The storage's descriptions of blobs, if it supports them."""
    provisional: Provisional | None = None
    """The storage's marks of blobs that are not committed yet, if it has them."""
    announced: Announced | None = None
    """Announces publishes under way to other nodes, if there are any."""
    promotions: UnfinishedPromotions | None = field(default=None, repr=False)
    name: str = ""
    """The name of the index or upstream; empty for the default index."""
    prefix: str = ""
    """The prefix of its keys in the whole storage. Files in its views have keys with this prefix.
    """
    names_elsewhere: NamesElsewhere | None = field(default=None, repr=False)
    """The local names of the other indexes, for an index that sends names upstream."""
    released: Callable[[ProjectName], Awaitable[object]] | None = field(default=None, repr=False)
    """Called when a local name is released, while the project's lock is held."""
    refuse_if_closed: Callable[[], object] = field(default=lambda: None, repr=False)
    """Raises an error while the index takes no files (`IndexExpired`)."""
    refuse_if_closed_elsewhere: Callable[[ProjectName], Awaitable[object]] = field(
        default=_never_closed, repr=False
    )
    """Raises the same if another process has closed or deleted the index a moment ago. Awaited
    after a file of the project was listed, and before that is acknowledged: the process that closes
    an index looks at its files afterwards. So this process sees that it is closed, or the other one
    sees the file.
    """
    places: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Locks by ``<project>/<filename>``, held while the bytes of a file are written or removed;
    taken before the project's lock, never after.
    """
    being_adopted: set[ProjectName] = field(factory=set, init=False, repr=False, eq=False)
    """Projects whose pypicloud files are not all adopted yet: a client that asked now might get an
    older release.
    """
    records: RecordStore[LocalProject | None] = field(
        default=Factory(
            lambda context: RecordStore(
                LocalRecords(
                    context.blobs,
                    context.catalog,
                    context.world,
                    context.promotions,
                    context.name or DEFAULT,
                ),
                context.blobs,
                context.catalog,
                MOST_VERIFIED,
                context.shared,
                context.promotions,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    proofs: Flights[ProjectName, LocalProject | Presence] = field(
        factory=Flights, init=False, repr=False
    )
    """Flights of `ours_now`."""

    @property
    def others_write(self) -> bool:
        """Whether other processes may write to the same storage."""
        return self.shared or self.lease is not None

    @property
    def is_sole(self) -> bool:
        """Whether no other process may write to the storage now: bytes without a record were then
        left by a process that died.
        """
        return self.lease is not None and self.lease()

    async def local_project(self, name: ProjectName) -> LocalProject | Presence:
        """Return the local project, or `Presence.ABSENT` once its absence is proven. Raises
        `StorageDown` if it cannot be.

        Unknown is not absent, and the catalog may be older than the storage: until they were
        compared, a project missing from it is looked up in the storage, and an entry is compared
        with its storage listing before its first use.
        """
        found = await self._own_project(name)
        if found is Presence.ABSENT and self.names_elsewhere is not None:
            return await self.names_elsewhere.known(name)
        return found

    async def is_new(self, name: ProjectName) -> bool:
        """Return whether the index has no local project of the name. Raises `NotYetKnown`,
        `StorageDown`.
        """
        found = await self.local_project(name)
        if found is Presence.UNKNOWN:
            raise NotYetKnown(name)
        return isinstance(found, Presence)

    async def _own_project(self, name: ProjectName) -> LocalProject | Presence:
        if name in self.being_adopted:
            return Presence.UNKNOWN
        held = await self.catalog.local.get(name)
        if name in self.records.pending_updates:
            return await self._while_pending(name, held)
        if held is Presence.ABSENT or (
            isinstance(held, Project) and self.records.is_verified(name, held)
        ):
            return held
        found = await self.records.verify(name)
        if found is None:
            return Presence.UNKNOWN if self.is_taking_over() else Presence.ABSENT
        return found

    async def _while_pending(
        self, name: ProjectName, held: LocalProject | Presence
    ) -> LocalProject | Presence:
        try:
            return await self.records.verify(name) or Presence.ABSENT
        except StorageDown:
            if not isinstance(held, Project):
                raise
            return held

    def is_taking_over(self) -> bool:
        """Return whether there may be local files without a record because files of a pypicloud are
        still being adopted.
        """
        return self.adopts and not self.catalog.was_complete

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
        # both at once: each may be a request to a bucket
        proof = (
            None
            if self.names_elsewhere is None
            else start(_outcome(self.names_elsewhere.proven(name)))
        )
        found = await self.records.resync(name)
        held, strays = found.entry, found.strays
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
        if held is not None:
            return held
        other = Presence.ABSENT if proof is None else await proof
        if isinstance(other, StorageDown):
            raise other
        return other

    async def resync(self, name: ProjectName) -> LocalProject | Presence:
        """Read the project from the storage, and update the catalog if it is available. Return
        `Presence.ABSENT` if the storage holds none.
        """
        return (await self.records.resync(name)).entry or Presence.ABSENT

    async def known(self, name: ProjectName) -> LocalProject:
        """Return the local project. Raises `NoSuchProject` or `NotYetKnown`."""
        match await self.local_project(name):
            case Project() as project:
                return project
            case Presence.UNKNOWN:
                raise NotYetKnown(name)
            case Presence():
                raise NoSuchProject(name)

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
        """Change the catalog's entry, creating it if necessary; see `RecordStore.edit`."""
        held = await self.records.edit(name, lambda project: change(project or Project(name=name)))
        assert held is not None  # `change` makes a project
        return held

    async def refuse_while_away(self) -> None:
        """Raise `CatalogDown` if a change could not be listed now, so that none is begun."""
        if await self.catalog.is_away():
            raise CatalogDown(NOTHING_CHANGED)


async def _outcome(proof: Awaitable[Presence]) -> Presence | StorageDown:
    """Return the result, or the error, for a caller that may not need it."""
    try:
        return await proof
    except StorageDown as error:
        return error


async def digests_of(context: IndexContext, where: str) -> Digests:
    """Return the hashes of the bytes stored under a key. Raises `Missing`, `StorageDown`."""
    return await stored_digests(context.blobs, context.world.blocking, where)


async def is_stored(blobs: Blobs, key: str) -> bool:
    """Return whether the storage has a blob of this key now. Raises `StorageDown`."""
    try:
        await blobs.stat(key)
    except Missing:
        return False
    return True


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
    _since: float = field(
        default=Factory(lambda self: self.world.clock.seconds(), takes_self=True), init=False
    )

    async def keep(self) -> None:
        """Call this often: it costs nothing, and yields once `LONGEST_TURN` has passed."""
        if self.world.clock.seconds() - self._since > LONGEST_TURN:
            # a round trip to a thread lets waiting events run first
            await self.world.blocking(lambda: None)
            self._since = self.world.clock.seconds()


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

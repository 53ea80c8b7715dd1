"""The records of projects in the storage, and what the catalog has of them: for local projects and
for cached files of upstream projects alike.

The storage is authoritative, and the catalog is derived from it. A `RecordKind` says what differs:
where the records are, how they become an entry of the catalog, and whether they may be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Generic, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, PypidError
from pypid.core.model import Blob, LocalProject
from pypid.core.packaging.names import ProjectName
from pypid.flow.single_flight import Flights, Locks
from pypid.ports import Blobs, Catalog

READINGS = 5
"""How often a project is read if other nodes keep changing it meanwhile."""
CHANGE_SAVED = "the change was saved and will become visible shortly. Retrying is safe."

V = TypeVar("V")

_log = Logger()


@define
class ConcurrentChange(Exception):
    """What was read is older than the catalog's entry."""


@define
class CompareAndSet(Generic[V]):
    """An edit that sets the entry to `found` if `is_as_before` confirms that it is unchanged; else
    raises `ConcurrentChange`.
    """

    is_as_before: Callable[[V], bool]
    found: Callable[[V], V]
    old: V | None = None
    """The entry before the edit."""

    def __call__(self, held: V) -> V:
        if not self.is_as_before(held):
            raise ConcurrentChange
        self.old = held
        return self.found(held)


def as_it_is(held: V) -> V:
    """Return the entry unchanged: an edit that makes the catalog load what other nodes changed."""
    return held


@frozen
class StorageState(Generic[V]):
    """A project as its records are. `into` returns an entry of the catalog with that state."""

    into: Callable[[V], V]
    mark: str | None = None
    """The fingerprint of the listing, if the catalog stores one."""
    strays: tuple[Blob, ...] = ()
    """Distributions in the project's folder that no record names."""


class RecordKind(Protocol[V]):
    """What differs between kinds of records. `V` is the entry that an edit of the table gets."""

    @property
    def is_cache(self) -> bool:
        """Whether the files may be lost and fetched again. A project without records is then looked
        up in the storage only once; else a record may appear at any time.
        """

    def folder(self, name: ProjectName) -> str:
        """Return the prefix of all keys of the project."""

    async def held(self, name: ProjectName) -> V:
        """Return the catalog's entry."""

    async def edit(self, name: ProjectName, change: Callable[[V], V], mark: str | None = None) -> V:
        """Edit the catalog's entry."""

    async def read(self, name: ProjectName, listing: Sequence[Blob]) -> StorageState[V]:
        """Read the records in the listing of the project's folder."""

    async def agrees(self, held: V, name: ProjectName, listing: Sequence[Blob]) -> bool:
        """Return whether the entry is what these records would give, without reading them."""

    def has_records(self, held: V) -> bool:
        """Return whether the entry was made from records."""

    def version(self, held: V) -> object:
        """Return what differs after each change of the entry that `StorageState.into` replaces."""

    def is_same(self, held: V, found: V) -> bool:
        """Return whether both entries show the same."""


class UnfinishedPromotions(Protocol):
    """The promotions that are committed, and not listed in the catalog yet
    (`index.promotions`).
    """

    async def finish_interrupted(self) -> None:
        """Finish those that a crash interrupted, once. Awaited before records are read, and without
        any lock. Raises `StorageDown`.
        """

    async def unlisted(
        self, target: str, project: LocalProject, held: LocalProject | None
    ) -> frozenset[str]:
        """Return the names of those files of `project`, as its records are, that a promotion into
        the index `target` will list, and has not listed yet. `held` is the catalog's entry. Raises
        `StorageDown`.
        """


@frozen
class Refreshed(Generic[V]):
    """A project as the storage has it now, and its `strays` (see `StorageState`)."""

    entry: V
    strays: tuple[Blob, ...] = field(repr=False)
    changed: bool
    """Whether the catalog had a different entry."""
    in_catalog: bool = True
    """Whether the catalog has this state; False while the catalog is unavailable (see
    `RecordStore.pending_updates`).
    """


@define(eq=False)
class RecordStore(Generic[V]):
    """Keeps the catalog in line with the records. Everything raises `StorageDown`.

    A catalog dump may be older than what was acknowledged before a crash. Until all of the storage
    was compared, an entry of the dump is therefore compared with one listing of its project's
    folder before it is used for an answer or a change. A `shared` catalog has no dump: each change
    is in it before it is acknowledged.
    """

    kind: RecordKind[V]
    blobs: Blobs
    catalog: Catalog
    most_verified: int
    """Maximum number of remembered projects that were compared with the storage."""
    shared: bool = False
    promotions: UnfinishedPromotions | None = field(default=None, repr=False)
    locks: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Locks by project, held while its records and the catalog's entry change together."""
    pending_updates: set[ProjectName] = field(factory=set, init=False, repr=False)
    """Projects for which the catalog may have missed an update. Until it is applied, the storage is
    authoritative.
    """
    dump_is_exact: bool = field(default=False, init=False)
    """Whether the catalog dump was written after the last change (`pypid.jobs.clean_stop`)."""
    _compared_in: str | None = field(default=None, init=False)
    """The generation of the catalog in which all projects were compared."""
    _verified: dict[ProjectName, None] = field(factory=dict, init=False, repr=False)
    """Projects that were compared with the storage, the last one last."""
    _verified_in: str = field(default="", init=False, repr=False)
    """The generation of the catalog in which they were: another one has lost what was found."""
    _flights: Flights[ProjectName, V] = field(factory=Flights, init=False, repr=False)

    # --- entries of a dump ---

    @property
    def is_compared(self) -> bool:
        """Whether all of the storage was compared."""
        return self.catalog.was_complete or self._compared_in == self.catalog.generation

    @property
    def knows_all(self) -> bool:
        """Whether every project with records is known."""
        return self.dump_is_exact or self.is_compared

    def is_verified(self, name: ProjectName, held: V) -> bool:
        """Return whether the catalog's entry may be used without a look at the storage."""
        if self.is_compared or (
            self.kind.has_records(held) and (self.shared or self.dump_is_exact)
        ):
            return True
        return name in self._verified and self._verified_in == self.catalog.generation

    def note_verified(self, name: ProjectName) -> None:
        """Note that the entry of the project agrees with the storage."""
        if self.is_compared:
            return
        if self._verified_in != self.catalog.generation:
            self._verified_in, self._verified = self.catalog.generation, {}
        self._verified.pop(name, None)
        self._verified[name] = None
        if len(self._verified) > self.most_verified:
            del self._verified[next(iter(self._verified))]

    def note_compared(self, generation: str) -> None:
        """Note that all of the storage was compared with this generation of the catalog."""
        self._compared_in = generation
        self.forget_verified()

    def forget_verified(self) -> None:
        """Release the memory, once all of the storage was compared."""
        self._verified = {}

    def trust_dump(self) -> None:
        """Trust all entries: the dump was written after the last change."""
        self.dump_is_exact = True

    async def verify(self, name: ProjectName) -> V:
        """Return the catalog's entry if a listing of the project's folder agrees with it; else read
        the project again. Callers at the same time share one look.
        """
        await self.finish_interrupted()
        return await self._flights.single(name, lambda: self._verify(name))

    async def finish_interrupted(self) -> None:
        """Wait until promotions that a crash interrupted are finished. Raises `StorageDown`."""
        if self.promotions is not None:
            await self.promotions.finish_interrupted()

    async def _verify(self, name: ProjectName) -> V:
        async with self.locks.hold(name):
            held = await self.kind.held(name)
            if self.kind.has_records(held) and name not in self.pending_updates:
                if self.is_verified(name, held):
                    return held
                if await self.kind.agrees(held, name, await self.listing(name)):
                    self.note_verified(name)
                    return await self.kind.held(name)
            return (await self.refresh(name)).entry

    async def listing(self, name: ProjectName) -> Sequence[Blob]:
        """Return the listing of the project's folder."""
        async with aclosing(self.blobs.list(self.kind.folder(name))) as listing:
            return [blob async for blob in listing]

    # --- reading again ---

    async def resync(self, name: ProjectName) -> Refreshed[V]:
        """Read the project from the storage, and update the catalog if it is available."""
        await self.finish_interrupted()
        async with self.locks.hold(name):
            return await self.refresh(name)

    async def refresh(self, name: ProjectName) -> Refreshed[V]:
        """Resync the project; the caller holds its lock.

        If another node changed the entry while the storage was read, the stale result does not
        overwrite it: the project is read again.
        """
        before = self.kind.version(await self.kind.held(name))
        for _ in range(READINGS):
            found = await self.kind.read(name, await self.listing(name))
            edit = self._compare_and_set(before, found)
            try:
                held = await self.kind.edit(name, edit, found.mark)
            except ConcurrentChange:
                with suppress(CatalogDown):  # the next catalog call raises it again
                    before = self.kind.version(await self.kind.edit(name, as_it_is))
            except CatalogDown:
                break
            else:
                self.pending_updates.discard(name)
                if self.kind.is_cache or self.kind.has_records(held):
                    self.note_verified(name)
                return Refreshed(held, found.strays, held != edit.old)
        return await self._without_catalog(name, found)

    async def reading(self, name: ProjectName) -> Callable[[V], V]:
        """Read the project; return the edit that lists it as the storage has it. The edit raises
        `ConcurrentChange` if the entry was changed meanwhile. The caller holds the project's lock.
        """
        before = self.kind.version(await self.kind.held(name))
        found = await self.kind.read(name, await self.listing(name))
        return self._compare_and_set(before, found)

    def _compare_and_set(self, before: object, found: StorageState[V]) -> CompareAndSet[V]:
        return CompareAndSet(lambda held: self.kind.version(held) == before, found.into)

    async def _without_catalog(self, name: ProjectName, found: StorageState[V]) -> Refreshed[V]:
        """Return the storage's state while the catalog cannot be updated."""
        held = await self.kind.held(name)
        entry = found.into(held)
        if self.kind.is_same(held, entry):
            return Refreshed(held, found.strays, changed=False, in_catalog=False)
        self.pending_updates.add(name)
        return Refreshed(entry, found.strays, changed=True, in_catalog=False)

    # --- changes ---

    async def edit(self, name: ProjectName, change: Callable[[V], V]) -> V:
        """Change the catalog's entry after a change of the storage; the caller holds the project's
        lock.

        Raises `CatalogDown` if the catalog cannot be updated: the change remains in the storage and
        becomes visible later.
        """
        try:
            held = await self.kind.edit(name, change)
        except CatalogDown as error:
            self.pending_updates.add(name)
            raise CatalogDown(CHANGE_SAVED) from error
        if self.kind.has_records(held) and not self.kind.is_cache:  # it was verified before
            self.note_verified(name)
        return held

    def refuse_if_pending(self, name: ProjectName) -> None:
        """Raise `CatalogDown` if the catalog may have missed an update of the project."""
        if name in self.pending_updates:
            raise CatalogDown(CHANGE_SAVED)

    async def recover(self, name: ProjectName) -> None:
        """Resync the catalog after a change that broke off half-way; if that fails, too, the
        storage is authoritative until then.
        """
        try:
            await self.resync(name)
        except PypidError:
            self.pending_updates.add(name)

    async def sweep(self, keys: Sequence[str]) -> None:
        """Delete blobs that no record names, the last one first; `pypid storage check` finds those
        that cannot be deleted now.
        """
        for where in reversed(list(keys)):
            try:
                await self.blobs.delete(where)
            except PypidError as error:
                _log.warn(
                    "cannot delete {key}, which no record names: {error}", key=where, error=error
                )

    async def flush_pending_updates(self) -> None:
        """Send the pending updates to the catalog, unless it is unavailable."""
        for name in list(self.pending_updates):
            if await self.catalog.is_away():
                return
            await self.resync(name)

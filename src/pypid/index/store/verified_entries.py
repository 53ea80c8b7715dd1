"""Which catalog entries were compared with the storage since this process started.

A catalog dump may be older than what was acknowledged before a crash. Until the reconciliation is
complete, an entry of the dump is therefore compared with one listing of its project's folder before
it is used for an answer or a change.
"""

from __future__ import annotations

from contextlib import aclosing

from attrs import define, field

from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import folder
from pypid.flow import World
from pypid.index.store import records
from pypid.ports import Blobs, Catalog

FEW = 1000
"""Largest number of objects whose fingerprint is computed on the reactor thread: it takes about a
millisecond.
"""


@define(eq=False)
class VerifiedEntries:
    """The verified entries of local projects. A `shared` catalog has no dump: each change is in it
    before it is acknowledged.

    `dump_is_exact`: the dump was written after the last change (`pypid.jobs.clean_stop`), so all
    its entries are as good as verified.
    """

    blobs: Blobs
    catalog: Catalog
    world: World
    shared: bool
    dump_is_exact: bool = field(default=False, init=False)
    _names: set[ProjectName] = field(factory=set, init=False, repr=False)

    @property
    def are_all(self) -> bool:
        """Whether every local project is known, and every entry may be used."""
        return self.dump_is_exact or self.catalog.was_complete

    def has(self, name: ProjectName) -> bool:
        """Whether the catalog's entry of the project may be used."""
        return self.shared or self.are_all or name in self._names

    def trust_dump(self) -> None:
        """Trust all entries: the dump was written after the last change."""
        self.dump_is_exact = True

    def add(self, name: ProjectName) -> None:
        """Note that the entry of an existing project agrees with the storage."""
        if not self.has(name):
            self._names.add(name)

    def clear(self) -> None:
        """Release the memory, once the reconciliation is complete."""
        self._names.clear()

    async def matches(self, name: ProjectName) -> bool:
        """Return whether the listing of the project's folder is the same as when the entry was
        read. Raises `StorageDown`.
        """
        async with aclosing(self.blobs.list(folder(name))) as listing:
            found = [blob async for blob in listing]
        mark = (
            records.mark_of(found)
            if len(found) <= FEW
            else await self.world.thinking(records.mark_of, found)
        )
        return mark == await self.catalog.local.mark(name)

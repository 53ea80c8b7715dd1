"""What all the rooms of the index share: the sockets, the locks, and what is ours of a name."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, field, frozen

from pypid.core.errors import NoSuchProject, NotYetKnown
from pypid.core.model import File, Presence, Project, in_order
from pypid.core.names import ProjectName
from pypid.core.policy import Policy
from pypid.flow import Flights, Locks, World
from pypid.index import truth
from pypid.ports import Blobs, Catalog


@frozen
class Parts:
    """The sockets and the locks. `shared` says that other processes may write to the same storage."""

    blobs: Blobs
    catalog: Catalog
    policy: Policy
    world: World
    shared: bool = False
    locks: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Held by name of a project while its documents and its catalog entry change together."""
    flights: Flights[ProjectName, Project | Presence] = field(factory=Flights, init=False, repr=False)

    async def ours(self, name: ProjectName) -> Project | Presence:
        """The project of ours, or `Presence.ABSENT` once that is proven. Raises `StorageDown` where it cannot be.

        Unknown is not absent: what the catalog does not hold is looked for in the storage itself until the catalog has
        been compared with it.
        """
        held = await self.catalog.ours(name)
        if held is not Presence.UNKNOWN:
            return held
        return await self.flights.single(name, lambda: self.look(name))

    async def look(self, name: ProjectName) -> Project | Presence:
        """Read the project from the storage into the catalog; `Presence.ABSENT` where the storage holds none."""
        async with self.locks.hold(name):
            found = await truth.read_project(self.blobs, name)
            held = await self.catalog.edit(name, lambda _: found.project, mark=found.mark)
        return Presence.ABSENT if held is None else held

    async def known(self, name: ProjectName) -> Project:
        """The project of ours; raises `NoSuchProject`."""
        match await self.ours(name):
            case Project() as project:
                return project
            case Presence.ABSENT:
                raise NoSuchProject(name)
            case Presence.UNKNOWN:
                raise NotYetKnown(name)

    async def held(self, name: ProjectName) -> Project:
        """The catalog's entry, for a caller that holds the project's lock and has asked `known` before."""
        held = await self.catalog.ours(name)
        if not isinstance(held, Project):
            raise NoSuchProject(name)
        return held

    async def amend(self, name: ProjectName, change: Callable[[Project], Project]) -> Project:
        """Change the catalog's entry, made if need be; the caller holds the project's lock and has changed the storage."""
        held = await self.catalog.edit(name, lambda project: change(project or Project(name=name)))
        assert held is not None  # `change` makes a project
        return held


def with_files(project: Project, *files: File) -> Project:
    """`project` with these files, in place of those of the same names."""
    names = {file.filename for file in files}
    return evolve(project, files=in_order((*(file for file in project.files if file.filename not in names), *files)))


def without_files(project: Project, filenames: frozenset[str]) -> Project:
    """`project` without the files of these names."""
    return evolve(project, files=tuple(file for file in project.files if file.filename not in filenames))

"""The check whether files of one index may be promoted to another one. It reads both and changes
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from attrs import frozen
from msgspec.structs import replace
from twisted.logger import Logger

from pypid.core.errors import (
    BadRequest,
    Busy,
    NoSuchFile,
    NotYetKnown,
    RestrictionsUnknown,
    StorageDown,
    Unreadable,
)
from pypid.core.indexes import DEFAULT
from pypid.core.model import LocalProject, Presence, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.promotion_rules import (
    ObstacleKind,
    PromotionObstacle,
    PromotionRefused,
    file_obstacles,
    to_promote,
)
from pypid.core.records.documents import Deleted
from pypid.core.records.promotions import MOST_FILES
from pypid.core.restrictions import Restrictions
from pypid.index.context import IndexContext
from pypid.index.job_group import all_of
from pypid.index.store import records

_log = Logger()

AT_ONCE = 8
"""Maximum number of files, or releases, that are read or duplicated at the same time."""
Wanted = Mapping[ProjectName, frozenset[str]]
"""The names of the files to promote, by project."""


async def _nothing(name: ProjectName) -> None:
    """Do nothing: the name is private already."""


@frozen
class IndexPart:
    """What a promotion needs of an index. Keys in `context` are relative to `prefix`."""

    name: str
    context: IndexContext
    prefix: str = ""
    make_private: Callable[[ProjectName], Awaitable[object]] = _nothing
    """Called before the index gets its first file of a project."""

    def whole_key(self, where: str) -> str:
        """Return the key in the whole storage."""
        return self.prefix + where


@frozen
class CheckedPromotion:
    """A promotion that nothing prevents. `new` are the files that the target does not list yet, as
    the source records them; `files` are all.
    """

    source: IndexPart
    target: IndexPart
    files: tuple[StoredFile, ...]
    new: tuple[StoredFile, ...]

    @property
    def projects(self) -> Mapping[ProjectName, Sequence[StoredFile]]:
        """The new files by project, in order."""
        found: dict[ProjectName, list[StoredFile]] = {}
        for file in sorted(self.new, key=lambda file: (file.project, file.filename)):
            found.setdefault(file.project, []).append(file)
        return found


async def check_promotion(source: IndexPart, target: IndexPart, wanted: Wanted) -> CheckedPromotion:
    """Return what the promotion would do. Raises `PromotionRefused`, `NoSuchProject`,
    `NoSuchFile`, `NotYetKnown`, `BadRequest`, `CatalogDown`, and what
    `IndexContext.refuse_if_closed` raises.
    """
    await _check_indexes(source, target, wanted)
    files: dict[ProjectName, Sequence[StoredFile]] = {}
    obstacles: list[PromotionObstacle] = []
    new: list[StoredFile] = []
    for name, filenames in sorted(wanted.items()):
        files[name] = await _source_files(source, name, filenames)
        ours = await target.context.local_project(name)
        if ours is Presence.UNKNOWN:
            raise NotYetKnown(name)
        held = ours if isinstance(ours, Project) else None
        missing = to_promote(files[name], held)
        tombstones = await _tombstones(target, missing)
        obstacles += file_obstacles(files[name], held, tombstones, _holds(source, target))
        new += missing
    if obstacles:
        raise PromotionRefused(obstacles)
    every = tuple(file for name in files for file in files[name])
    return CheckedPromotion(source, target, every, tuple(new))


async def _check_indexes(source: IndexPart, target: IndexPart, wanted: Wanted) -> None:
    """Check what holds for all files."""
    if source.name == target.name:
        raise BadRequest(
            f"Source and target of the promotion are the same index, {source.name or DEFAULT!r}. "
            "Name another target index."
        )
    if sum(map(len, wanted.values())) > MOST_FILES:
        raise BadRequest(f"A promotion has at most {MOST_FILES} files.")
    target.context.refuse_if_closed()
    await target.context.refuse_while_away()


async def _source_files(
    source: IndexPart, name: ProjectName, filenames: frozenset[str]
) -> Sequence[StoredFile]:
    """Return the files according to their records, with the yanks of the catalog."""
    project = await source.context.known(name)
    if not project.status.offers_files:
        text = f"the project is {project.status.value} in the source index"
        raise PromotionRefused([PromotionObstacle(ObstacleKind.SOURCE_CLOSED, name, text)])
    reading = [partial(_source_file, source, project, filename) for filename in sorted(filenames)]
    return await all_of(reading, AT_ONCE)


async def _source_file(source: IndexPart, project: LocalProject, filename: str) -> StoredFile:
    listed = project.file(filename)
    file = await recorded(source, project.name, filename)
    if file is None:
        raise NoSuchFile(filename)
    return replace(file, yanked=None if listed is None else listed.yanked)


async def _tombstones(target: IndexPart, files: Sequence[StoredFile]) -> Mapping[str, Deleted]:
    blobs = target.context.blobs
    looking = [partial(records.tombstone, blobs, file.project, file.filename) for file in files]
    found = await all_of(looking, AT_ONCE)
    return {
        file.filename: tombstone
        for file, tombstone in zip(files, found, strict=True)
        if tombstone is not None
    }


def _holds(source: IndexPart, target: IndexPart) -> tuple[Restrictions, ...]:
    """Return the rules of both indexes. Raises `RestrictionsUnknown`."""
    found = tuple(
        dict.fromkeys(part.context.policy.restrictions.current for part in (source, target))
    )
    if not all(restrictions.is_known for restrictions in found):
        raise RestrictionsUnknown()
    return found


async def recorded(part: IndexPart, name: ProjectName, filename: str) -> StoredFile | None:
    """Return the file of the index according to its record. Raises `StorageDown`."""
    try:
        return await records.read_record(part.context.blobs, name, filename)
    except Unreadable as error:
        _log.error("{error}; `pypid storage check` explains what to do.", error=error)
        raise StorageDown(f"the record of {filename!r} is damaged.") from None


@asynccontextmanager
async def announced(target: IndexPart, name: ProjectName, filename: str) -> AsyncIterator[None]:
    """Hold what a publisher of the file holds. Raises `Busy` if another process holds it."""
    context, place = target.context, f"{name}/{filename}"
    async with context.places.hold(place), AsyncExitStack() as held:
        announcing = context.under_way
        if announcing is not None and not await held.enter_async_context(
            announcing.announced(place)
        ):
            raise Busy(f"Another client is publishing {filename!r} right now.", 30)
        yield


def under_way(filename: str) -> PromotionObstacle:
    """Return the obstacle that another client works on the file."""
    text = "another client is publishing or promoting it right now; try again"
    return PromotionObstacle(ObstacleKind.UNDER_WAY, filename, text)


def changed(file: StoredFile) -> PromotionObstacle:
    """Return the obstacle that the source has changed since it was looked at."""
    text = "it was changed in the source index meanwhile; try again"
    return PromotionObstacle(ObstacleKind.UNDER_WAY, file.filename, text)

"""Stages: created, published into their base as one promotion, and removed (`core.stages`).

A publication closes the stage first: from then on its document refuses new files. Then all its
files are promoted, all or none, and the document records that the publication is done. Each step
can be repeated after a crash. If the promotion is refused, the stage is open again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial

from attrs import define, evolve, field, frozen
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.errors import (
    BadRequest,
    IndexInUse,
    NoSuchIndex,
    NoSuchStage,
    PypidError,
    StageClosed,
)
from pypid.core.indexes import IndexSettings, Publication, expiry_of, users_of
from pypid.core.packaging.names import ProjectName
from pypid.core.promotion_rules import ObstacleKind, PromotionObstacle, PromotionRefused
from pypid.core.records.layout import ObjectKind, place
from pypid.core.stages import (
    MOST_STAGES,
    StageState,
    is_interrupted,
    is_removable,
    stages_of,
    state_of,
)
from pypid.flow import World
from pypid.flow.single_flight import Locks
from pypid.index.index import Index
from pypid.index.job_group import all_of
from pypid.index.named_indexes import NamedIndexes
from pypid.index.promotion_checks import AT_ONCE, IndexPart, Wanted, recorded
from pypid.index.promotions import OwnPromoted, Promotions
from pypid.index.store import records

_log = Logger()

MOST_NAMED = 20
"""Largest number of files in a line of the log."""
Check = Callable[[Collection[ProjectName]], Awaitable[object]]
"""Raises an error unless these projects may be published in the base."""


@frozen
class PublishedStage:
    """The outcome of a publication: the id of the promotion ("": the base had all files), and the
    files. `left` arrived on another node at the same time: they are still in the stage.
    """

    promotion: str
    files: Wanted
    left: tuple[str, ...] = ()
    is_repeated: bool = False
    """Whether the stage had been published before."""


@define(eq=False)
class Stages:
    """Creates, publishes and removes stages. Everything raises `StorageDown`.

    `settling` returns the number of seconds after which all nodes have read a change of the
    indexes.
    """

    indexes: NamedIndexes
    promotions: Promotions
    settling: Callable[[], float]
    _turns: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Held while a stage is published or removed."""

    @property
    def _world(self) -> World:
        return self.promotions.log.world

    def stage(self, name: str) -> IndexSettings:
        """Return the settings of the stage. Raises `NoSuchStage`."""
        settings = self.indexes.settings.get(name)
        if settings is None or not settings.stage:
            raise NoSuchStage(name)
        return settings

    async def create(self, stage: IndexSettings) -> None:
        """Create the stage. Raises `NameTaken`, `BadRequest`, `NoSuchIndex`, `IndexExpired`."""
        now, settings = self._world.now(), self.indexes.settings
        if stages_of(stage.created_by, settings.values(), now) >= MOST_STAGES:
            raise BadRequest(
                f"{stage.created_by!r} has {MOST_STAGES} stages: publish or delete one first."
            )
        self._target(stage)
        await self.indexes.create(stage)

    def _target(self, stage: IndexSettings) -> IndexPart:
        """Return the index into which the stage is published. Raises `NoSuchIndex`,
        `IndexExpired`, `BadRequest`.
        """
        name = stage.target or ""
        settings = self.indexes.settings.get(name)
        if settings is not None and settings.stage:
            raise BadRequest(f"{name!r} is a stage, and cannot be the base of another one.")
        expired = None if settings is None else expiry_of(settings, self._world.now())
        if expired is not None:
            raise expired
        part = self.promotions.log.part_of(name)
        if part is None:
            raise NoSuchIndex(name)
        return part

    # --- publishing ---

    async def publish(self, name: str, by: str, check: Check, own: OwnPromoted) -> PublishedStage:
        """List all files of the stage in its base, all or none, as one change. For a stage that was
        published before, return that publication. `own`: as for `Promotions.promote`.

        Raises what `Promotions.promote`, `check` and `own` raise, `NoSuchStage`, `IndexExpired`,
        `BadRequest`; then nothing was published.
        """
        async with self._turns.hold(name):
            stage = self.stage(name)
            state, publication = state_of(stage, self._world.now()), stage.publication
            if state is StageState.PUBLISHED and publication is not None:
                files = await self.files(name)
                return PublishedStage(publication.promotion, files, is_repeated=True)
            if state is StageState.EXPIRED and (expired := expiry_of(stage, self._world.now())):
                raise expired
            if state is StageState.PUBLISHING:
                await self.promotions.log.recover()
                if await self._is_whole(stage):  # `check` may refuse its new owners' projects
                    return PublishedStage("", await self.files(name), await self._finish(stage, ""))
            await self._checked(name, check)  # before the stage is closed
            if state is not StageState.PUBLISHING:
                stage = await self._close(stage)
            return await self._published(stage, by, check, own, repeated=publication is not None)

    async def _close(self, stage: IndexSettings) -> IndexSettings:
        """Let the stage take no more files, on any node."""
        return await self._note(stage, Publication(self._world.now()))

    async def _note(self, stage: IndexSettings, publication: Publication | None) -> IndexSettings:
        """Replace the publication of the stage; return its settings. Raises `StageClosed` if
        another process has replaced it.
        """

        def edit(now: IndexSettings) -> IndexSettings:
            if now.publication not in (stage.publication, publication):
                raise StageClosed(stage.name, was_published=False)
            return evolve(now, publication=publication)

        return await self.indexes.change(stage.name, edit)

    async def _published(
        self, stage: IndexSettings, by: str, check: Check, own: OwnPromoted, *, repeated: bool
    ) -> PublishedStage:
        """Publish the files of the closed stage; open it again if that is refused."""
        try:
            await self._until_quiet(stage.name)
            await self._refuse_if_filled(stage.name)
            files = await self._checked(stage.name, check)
            source, target = self._source(stage.name), self._target(stage)
            document = await self.promotions.promote(source, target, files, by, own=own)
        except PypidError as error:
            if error.http_status < 500 and not (repeated and _is_under_way(error)):
                await self._reopen(stage)
            raise
        id = "" if document is None else document.id
        return PublishedStage(id, files, await self._finish(stage, id))

    async def _checked(self, name: str, check: Check) -> Wanted:
        """Return the files of the stage, which `check` lets the client publish."""
        files = await self.files(name)
        if not files:
            raise BadRequest(f"The stage {name!r} has no files.")
        await check(files)
        return files

    async def _until_quiet(self, name: str) -> None:
        """Wait until uploads that had begun have ended."""
        settling = self.settling()
        if settling:
            await deferLater(self._world.clock, settling)
        await self._index(name).context.places.until_released()

    async def _reopen(self, stage: IndexSettings) -> None:
        with suppress(StageClosed, NoSuchIndex):
            await self._note(stage, None)

    async def _refuse_if_filled(self, name: str) -> None:
        """Raise `PromotionRefused` while files are promoted to the stage."""
        if name in {promotion.target for promotion in await self.promotions.log.begun()}:
            text = "files are promoted to the stage right now; publish it again"
            raise PromotionRefused([PromotionObstacle(ObstacleKind.UNDER_WAY, name, text)])

    async def _finish(self, stage: IndexSettings, promotion: str) -> tuple[str, ...]:
        """Record that the publication is done; return the names of the files that the base does not
        have. If there are any, the stage is open again: other processes, which had not read that it
        is closed, have recorded them.
        """
        assert stage.publication is not None  # it is closed
        done = Publication(stage.publication.begun, self._world.now(), promotion)
        try:
            finished = await self._note(stage, done)
        except (StageClosed, NoSuchIndex):
            return await self.unpublished(stage)
        left = await self.unpublished(finished)  # after the stage was closed again
        if left:
            await self._reopen(finished)
        return left

    # --- files ---

    def _index(self, name: str) -> Index:
        index = self.indexes.get(name)
        if index is None:
            raise NoSuchStage(name)
        return index

    def _source(self, name: str) -> IndexPart:
        part = self.promotions.log.part_of(name)
        if part is None:
            raise NoSuchStage(name)
        return part

    async def files(self, name: str) -> Wanted:
        """Return the names of the files in the stage by project, by the storage now."""
        found: dict[ProjectName, set[str]] = {}
        async with aclosing(self._index(name).context.blobs.list()) as listing:
            async for blob in listing:
                placed = place(blob.key)
                if placed is not None and placed.kind is ObjectKind.RECORD:
                    found.setdefault(placed.project, set()).add(placed.filename)
        return {project: frozenset(filenames) for project, filenames in sorted(found.items())}

    async def unpublished(self, stage: IndexSettings) -> tuple[str, ...]:
        """Return the names of the files of the stage that its publication has not listed in the
        base, and that the base does not have.
        """
        publication, log = stage.publication, self.promotions.log
        id = "" if publication is None else publication.promotion
        done = await log.promoted(id) if id else ()
        promoted = {(file.project, file.filename): file.sha256 for file in done}
        source, target = self._source(stage.name), log.part_of(stage.target or "")
        since = None if publication is None else publication.begun
        pairs = [
            (project, filename)
            for project, filenames in (await self.files(stage.name)).items()
            for filename in sorted(filenames)
        ]
        looking = [
            partial(_is_published, source, target, *pair, since, promoted.get(pair))
            for pair in pairs
        ]
        found = await all_of(looking, AT_ONCE)
        return tuple(pair[1] for pair, is_there in zip(pairs, found, strict=True) if not is_there)

    # --- removing ---

    async def delete(self, name: str) -> int:
        """Delete the stage and its files; return the number of objects. Raises `NoSuchStage`,
        `StageClosed` while it is being published, `IndexInUse`.
        """
        stage = self.stage(name)
        if self._turns.held(name) or await self._is_being_published(stage):
            raise StageClosed(name, was_published=False)
        async with self._turns.hold(name):
            return await self._remove(self.stage(name))

    async def _remove(self, stage: IndexSettings) -> int:
        """Remove the objects first and the document last, so that an interrupted removal is
        continued.
        """
        name = stage.name
        users = users_of(name, self.indexes.settings.values())
        if users:
            raise IndexInUse(name, users)
        if not stage.has_expired(self._world.now()):
            ended = self._world.now().replace(microsecond=0)
            await self.indexes.change(name, lambda now: evolve(now, expires=ended))
            await self._until_quiet(name)
        removed = await self._index(name).maintenance.remove_all()
        await self.indexes.names.release_all(name)
        return removed + await self.indexes.delete(name, force=True)

    async def _is_being_published(self, stage: IndexSettings) -> bool:
        """Return whether any process may be publishing the stage."""
        publication, log = stage.publication, self.promotions.log
        has_begun = publication is not None and publication.done is None
        if has_begun and log.shared and not is_interrupted(stage, self._world.now()):
            return True
        return await self._is_source(stage.name)

    async def _is_source(self, name: str) -> bool:
        """Return whether files of the stage are being promoted."""
        return name in {promotion.source for promotion in await self.promotions.log.begun()}

    # --- the job ---

    async def tidy(self) -> None:
        """Remove the stages that have expired or were published, and end interrupted publications.
        A failure is logged, and the next call tries again.
        """
        now = self._world.now()
        for name, stage in [*self.indexes.settings.items()]:
            is_over = is_removable(stage, now) or is_interrupted(stage, now)
            if not (stage.stage and is_over) or self._turns.held(name):
                continue
            try:
                async with self._turns.hold(name):
                    await self._tidy(self.stage(name))
            except (NoSuchStage, NoSuchIndex):  # another process has removed it
                continue
            except PypidError as error:
                _log.warn("the stage {name} cannot be removed yet: {error}", name=name, error=error)

    async def _tidy(self, stage: IndexSettings) -> None:
        now = self._world.now()
        if is_interrupted(stage, now):
            await self._end_interrupted(stage)
            return
        left = () if stage.has_expired(now) else await self.unpublished(stage)
        if left:
            await self._reopen(stage)
            _log.warn(
                "the stage {name} was published without {files}, and is open again",
                name=stage.name,
                files=" ".join(left[:MOST_NAMED]),
            )
        elif not await self._is_being_published(stage):
            await self._remove(stage)
            _log.info("removed the stage {name}, which expired or was published", name=stage.name)

    async def _end_interrupted(self, stage: IndexSettings) -> None:
        if await self._is_source(stage.name):
            return
        if await self._is_whole(stage):
            await self._finish(stage, "")
        else:
            await self._reopen(stage)

    async def _is_whole(self, stage: IndexSettings) -> bool:
        """Return whether the stage has files, and its base has all of them."""
        return bool(await self.files(stage.name)) and not await self.unpublished(stage)


async def _is_published(
    source: IndexPart,
    target: IndexPart | None,
    project: ProjectName,
    filename: str,
    since: datetime | None,
    promoted: str | None,
) -> bool:
    """Return whether the target has the file of the source, or had it `since` this time and deleted
    it. `promoted`: the SHA-256 of the file that was promoted, which may be replaced by now.
    """
    here = await recorded(source, project, filename)
    if here is None or here.sha256 == promoted or target is None:
        return here is None or here.sha256 == promoted
    there = await recorded(target, project, filename)
    if there is not None or since is None:
        return there is not None and there.sha256 == here.sha256
    deleted = await records.tombstone(target.context.blobs, project, filename)
    return deleted is not None and deleted.sha256 == here.sha256 and deleted.deleted >= since


def _is_under_way(error: PypidError) -> bool:
    """Return whether another process may be publishing the same files."""
    return isinstance(error, PromotionRefused) and any(
        obstacle.kind is ObstacleKind.UNDER_WAY for obstacle in error.obstacles
    )

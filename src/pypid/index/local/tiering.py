"""Moving old files into a cheaper storage class. Only their bytes are moved: records and metadata
are small, and always needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from attrs import frozen
from msgspec.structs import replace

from pypid.core.errors import Archived, BadRequest, Missing, StorageDown
from pypid.core.model import ArchiveState, LocalProject, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.tiering_rules import ARCHIVES, Moved, Tiered, TieringOutcome, TieringRule, due
from pypid.flow import shielded
from pypid.index.context import IndexContext, Pace, with_files
from pypid.index.progress import Progress, Tell, all_of
from pypid.index.store.reconcile import Reconciler
from pypid.ports import Bucket

AT_ONCE = 8
"""Files inspected and moved at the same time."""


def ignored(moved: Moved) -> None:
    """Ignore the notification about a file."""


@frozen
class Tierer:
    """Moves the local files to which a rule applies. `tell` is notified of the progress, `of_file`
    of each file that was due.
    """

    context: IndexContext
    bucket: Bucket
    tell: Tell | None = None
    of_file: Callable[[Moved], object] = ignored

    async def tier(self, rule: TieringRule, *, dry: bool = False) -> Tiered:
        """Apply the rule to all projects; with `dry` nothing is moved. Raises `StorageDown`, and
        `BadRequest` for an unknown class.
        """
        if not await self.context.catalog.is_complete():
            await Reconciler(self.context, self.tell).reconcile()
        projects, files, moved = 0, 0, list[Moved]()
        progress, pace = Progress(self.context.world.clock, self.tell), Pace(self.context.world)

        async def move(file: StoredFile) -> None:
            moved.append(await self._file(file, rule, dry=dry))
            self.of_file(moved[-1])

        for summary in await self.context.catalog.local.summaries():
            ours = await self.context.catalog.local.get(summary.name)
            if isinstance(ours, Project):
                projects, files = projects + 1, files + len(ours.files)
                found = due(ours.files, rule, self.context.world.now())
                await all_of([partial(move, file) for file in found], AT_ONCE)
            text = "tiering: {} files of {} projects seen, {} were due"
            progress.at(partial(text.format, files, projects, len(moved)))
            await pace.keep()
        return Tiered(projects, files, tuple(moved))

    async def _file(self, file: StoredFile, rule: TieringRule, *, dry: bool) -> Moved:
        """Move the file that is due; return the outcome."""
        before = reason = ""
        try:
            state = await self.bucket.archive_state(file.key)
            before = state.storage_class
            outcome = _outcome(state, rule, dry=dry)
            if outcome is TieringOutcome.MOVED:
                await shielded(self._move(file, rule.storage_class))
        except Archived:
            outcome = TieringOutcome.ARCHIVED
        except (Missing, StorageDown) as error:
            before, outcome, reason = "", TieringOutcome.FAILED, str(error)
        return Moved(
            project=file.project,
            filename=file.filename,
            size=file.size,
            before=before,
            outcome=outcome,
            reason=reason,
        )

    async def _move(self, file: StoredFile, storage_class: str) -> None:
        """Move the bytes while no publish can write them, and note in the catalog whether they can
        be read at once.
        """
        name, archived = file.project, storage_class in ARCHIVES
        async with self.context.places.hold(f"{name}/{file.filename}"):
            if archived:  # before the move: a client redirected a moment later would be refused
                await self._note(name, file, archived=True)
            try:
                await self.bucket.move(file.key, storage_class)
            except BaseException:
                await self.context.records.recover(name)
                raise
            await self._note(name, file, archived=archived)

    async def _note(self, name: ProjectName, file: StoredFile, *, archived: bool) -> None:
        def noted(project: LocalProject) -> LocalProject:
            held = project.file(file.filename)
            if held is None or held.key != file.key or held.archived == archived:
                return project
            return with_files(project, replace(held, archived=archived))

        async with self.context.records.locks.hold(name):
            await self.context.records.edit(
                name, lambda project: None if project is None else noted(project)
            )


def _outcome(state: ArchiveState, rule: TieringRule, *, dry: bool) -> TieringOutcome:
    if state.storage_class == rule.storage_class:
        return TieringOutcome.THERE
    if not state.readable:
        return TieringOutcome.ARCHIVED
    return TieringOutcome.WOULD_MOVE if dry else TieringOutcome.MOVED


async def tierer(
    context: IndexContext,
    bucket: Callable[[], Awaitable[Bucket]] | None,
    tell: Tell | None = None,
    of_file: Callable[[Moved], object] = ignored,
) -> Tierer:
    """Return a `Tierer`. Raises `BadRequest` for a storage that is not a bucket."""
    if bucket is None:
        raise BadRequest(
            "Only a storage that is a bucket of S3 ([storage] backend = s3) has storage classes."
        )
    return Tierer(context, await bucket(), tell, of_file)

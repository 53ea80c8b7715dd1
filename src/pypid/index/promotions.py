"""Promotions: files of one index are listed by another one, all of them or none.

1. The open document names the files (`core.records.documents`).
2. Their bytes and sidecars get keys in the target. No record names them, so no client sees them.
3. The decision is written, only if absent: it commits the promotion.
4. The records are written, and the catalog gets all projects in one change.
5. The open document is removed.

After a crash before step 3, `recover` gives the promotion up and removes the objects that it wrote.
After a crash later, `recover` finishes the promotion. Each step can be repeated. The bytes of a
file are written only if absent, and the target's publisher leases are held: an upload of the same
file name either comes first, and the promotion is refused, or waits.

No process shows a part of a promotion. Each one first finishes those that a crash interrupted after
their commit, before it reads any records. A record that it reads while another process is between
steps 4 and 5 is left out, unless the catalog lists the file (`PromotionRecovery`).
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
    Set,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

from attrs import define, field, frozen
from msgspec.structs import replace
from twisted.logger import Logger

from pypid.core.errors import (
    BadRequest,
    Busy,
    CatalogDown,
    Exists,
    Missing,
    NoSuchFile,
    NotYetKnown,
    PypidError,
    RestrictionsUnknown,
    StorageDown,
    StorageFull,
    Unreadable,
)
from pypid.core.indexes import (
    DEFAULT,
    ObstacleKind,
    PromotionObstacle,
    PromotionRefused,
    file_obstacles,
    to_promote,
)
from pypid.core.model import Blob, Event, FileHistory, LocalProject, Presence, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import (
    FIRST_YEAR,
    LARGEST,
    MOST_FILES,
    OPEN_PROMOTIONS,
    PROMOTIONS,
    Deleted,
    PromotionDocument,
    PromotionState,
    dump,
    dump_record,
    files_of,
    id_of_key,
    load_promotion,
    open_promotion_key,
    promoted,
    promotion_id,
    promotion_key,
)
from pypid.core.records.layout import ObjectKind, key, sidecar_key
from pypid.core.restrictions import Restrictions
from pypid.flow import BytesBody, World, shielded
from pypid.flow.derived import Flights
from pypid.index.context import IndexContext, is_stored, stored_digests, with_files, with_pasts
from pypid.index.local.manage import Manager
from pypid.index.local.publish import UNDER_WAY
from pypid.index.progress import Progress, Tell, all_of
from pypid.index.store import records
from pypid.index.store.records import CHANGE_SAVED, READINGS, ConcurrentChange
from pypid.metrics.counts import PROMOTIONS as OUTCOMES
from pypid.ports import Blobs, Duplicating

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
        announcing = context.announced
        if announcing is not None and not await held.enter_async_context(announcing(place)):
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


# The documents of promotions in the storage: deciding on one, finishing it, and giving it up.
#
# The order of the steps is above. Each of them can be repeated by any process.

FORGOTTEN = timedelta(days=1)
"""Age after which an open promotion into an index that does not exist is forgotten."""
SIDECARS: tuple[tuple[ObjectKind, Callable[[StoredFile], bool]], ...] = (
    (ObjectKind.METADATA, lambda file: file.metadata_sha256 is not None),
    (ObjectKind.PROVENANCE, lambda file: file.attested),
)
"""The documents beside a file, and whether it has them."""
_Change = Callable[[LocalProject | None], LocalProject | None]


@define(eq=False)
class PromotionLog:
    """The promotions of one storage. Everything raises `StorageDown`.

    `part_of` returns the index of a name, or None. `shared`: other processes may promote at the
    same time.
    """

    blobs: Blobs
    world: World
    part_of: Callable[[str], IndexPart | None]
    shared: bool = False
    under_way: set[str] = field(factory=set, init=False, repr=False)
    """The ids of promotions that this process works on."""
    unlisted: set[str] = field(factory=set, init=False, repr=False)
    """The ids of committed promotions whose files this process could not list, such as in a full
    storage. Some of their records may be missing.
    """

    async def open(self, document: PromotionDocument) -> None:
        """Write the open document of the promotion."""
        await self.blobs.write(open_promotion_key(document.id), BytesBody(dump(document)))

    async def commit(
        self, document: PromotionDocument, target: IndexPart, written: Set[str]
    ) -> None:
        """Write the decision; if that fails, give the promotion up. `written`: the keys that it
        wrote. Raises `Busy` if another process gave it up.
        """
        try:
            await self.blobs.write(promotion_key(document.id), BytesBody(dump(document)))
        except Exists:
            raise Busy("The promotion took too long, and another pypid gave it up.", 5) from None
        except (StorageDown, StorageFull):  # it may have been written
            decided = await self.decision(document.id)
            if decided is None or decided.state is not PromotionState.COMMITTED:
                await self.give_up(document, target, written)
                raise

    async def apply(self, document: PromotionDocument, *, is_late: bool = False) -> None:
        """Write the records of a committed promotion and list its files, all at once. Raises
        `CatalogDown` or `StorageFull` if they are listed later. `is_late`: another process began
        the promotion; the storage may have been restored from a backup, so missing bytes are
        possible.
        """
        self.unlisted.add(document.id)
        await self._apply(document, is_late=is_late)
        self.unlisted.discard(document.id)

    async def _apply(self, document: PromotionDocument, *, is_late: bool) -> None:
        target = self.part_of(document.target)
        if target is None:
            await self._without_target(document)
            return
        by_project: dict[ProjectName, list[StoredFile]] = {}
        for file in files_of(document):
            by_project.setdefault(file.project, []).append(file)
        async with AsyncExitStack() as held:
            for name in sorted(by_project):
                await held.enter_async_context(target.context.records.locks.hold(name))
            changes: dict[ProjectName, _Change] = {}
            for name, files in sorted(by_project.items()):
                recording = [
                    partial(self._record, target, document, file, is_late=is_late) for file in files
                ]
                listed = await all_of(recording, AT_ONCE)
                changes[name] = partial(_with, name, [each for each in listed if each is not None])
            await self._list(target, changes)
        await self.blobs.delete(open_promotion_key(document.id))

    async def _without_target(self, document: PromotionDocument) -> None:
        """Forget a promotion whose target was deleted; not at once, since the indexes may not be
        known yet.
        """
        if self.world.now() - document.created > FORGOTTEN:
            await self.blobs.delete(open_promotion_key(document.id))

    async def _record(
        self, target: IndexPart, document: PromotionDocument, file: StoredFile, *, is_late: bool
    ) -> tuple[StoredFile, FileHistory] | None:
        """Write the record of one file; None if the file was deleted, or replaced, since the
        commit, or if its bytes are missing.
        """
        blobs, name, filename = target.context.blobs, file.project, file.filename
        tombstone = await records.tombstone(blobs, name, filename)
        if tombstone is not None and tombstone.deleted > document.created:
            return None
        there = await recorded(target, name, filename)
        if there is not None and (there.key, there.sha256) != (file.key, file.sha256):
            _log.error(
                "{filename} was published in {index} while it was promoted, and stays as it is",
                filename=filename,
                index=target.name,
            )
            return None
        if there is None and is_late and not await is_stored(blobs, file.key):
            _log.error(
                "the bytes of {filename} are missing in {index}; promote the release again",
                filename=filename,
                index=target.name,
            )
            return None
        if there is None and tombstone is not None:
            # a delete that broke off may have left the yank of the former file
            await blobs.delete(key(name, filename, ObjectKind.YANKED))
        history = await _with_arrival(blobs, file, Event(document.created, back=True))
        if there is None:
            with suppress(Exists):
                where = key(name, filename, ObjectKind.RECORD)
                await blobs.write(where, BytesBody(dump_record(file)))
        yanked = await records.yanked(blobs, name, filename)
        return replace(file, yanked=yanked), history

    async def _list(
        self,
        target: IndexPart,
        changes: Mapping[ProjectName, _Change],
    ) -> None:
        """List the projects with their new files, in one change. Projects that were not compared
        with the storage yet are read from it.
        """
        store, local = target.context.records, target.context.catalog.local
        for _ in range(READINGS):
            edits = dict(changes)
            for name, change in changes.items():
                entry = await local.get(name)
                if not isinstance(entry, Project) or not store.is_verified(name, entry):
                    edits[name] = partial(_after, await store.reading(name), change)
            try:
                await local.edit_all(edits)
            except ConcurrentChange:
                continue
            except CatalogDown as error:
                store.pending_updates.update(changes)
                raise CatalogDown(CHANGE_SAVED) from error
            for name in changes:
                store.note_verified(name)
            return
        store.pending_updates.update(changes)
        raise CatalogDown(CHANGE_SAVED)

    # --- giving up ---

    async def give_up(
        self, document: PromotionDocument, target: IndexPart, written: Set[str]
    ) -> None:
        """Decide against a promotion of this process and remove the keys that it wrote; a failure
        is logged, and `recover` tries again.
        """
        try:
            if await self._decide_against(document):
                for file in files_of(document):
                    keys = [where for where in _keys(target, file) if where in written]
                    await self._remove(target, file, keys)
                await self.blobs.delete(open_promotion_key(document.id))
        except PypidError as error:
            _log.warn(
                "the promotion {id} could not be undone and is tried again: {error}",
                id=document.id,
                error=error,
            )

    async def _decide_against(self, document: PromotionDocument) -> bool:
        """Give the promotion up, unless it is committed; return whether it is given up."""
        given_up = replace(document, state=PromotionState.GIVEN_UP)
        with suppress(Exists):
            await self.blobs.write(promotion_key(document.id), BytesBody(dump(given_up)))
        decided = await self.decision(document.id)
        return decided is not None and decided.state is PromotionState.GIVEN_UP

    async def _undo(self, document: PromotionDocument) -> None:
        """Give up a promotion whose process has died. What it wrote is unknown, so bytes are
        compared before they are removed. Raises `Busy` while another process publishes a file.
        """
        if await self._decide_against(document):
            target = self.part_of(document.target)
            if target is None:
                await self._without_target(document)
                return
            for file in files_of(document):
                at, *sidecars = _keys(target, file)
                async with announced(target, file.project, file.filename):
                    if await self._is_a_copy(at, file):
                        await self._remove(target, file, [at, *sidecars])
            await self.blobs.delete(open_promotion_key(document.id))

    async def _remove(self, target: IndexPart, file: StoredFile, keys: Sequence[str]) -> None:
        """Remove what a promotion wrote of the file, unless a record names it now."""
        async with target.context.records.locks.hold(file.project):
            if await recorded(target, file.project, file.filename) is None:
                for where in reversed(keys):
                    await self.blobs.delete(where)

    async def _is_a_copy(self, where: str, file: StoredFile) -> bool:
        """Return whether the bytes are those of the file. Empty bytes count, too: a store may have
        reserved the key with them (`Duplicating`).
        """
        try:
            found = await self.blobs.stat(where)
            if found.size not in (0, file.size):
                return False
            digests = await stored_digests(self.blobs, self.world.blocking, where)
        except Missing:
            return True
        return found.size == 0 or digests.sha256 == file.sha256

    # --- after a crash ---

    async def interrupted(self) -> Sequence[Blob]:
        """Return the open documents of promotions that this process does not work on."""
        async with aclosing(self.blobs.list(OPEN_PROMOTIONS)) as listing:
            found = [blob async for blob in listing]
        return [blob for blob in found if (id := id_of_key(blob.key)) and id not in self.under_way]

    async def begun_ids(self) -> Set[str]:
        """Return the ids of the promotions that have begun and not ended, in any process."""
        async with aclosing(self.blobs.list(OPEN_PROMOTIONS)) as listing:
            return {id async for blob in listing if (id := id_of_key(blob.key)) is not None}

    async def begun(self) -> Sequence[PromotionDocument]:
        """Return the promotions that have begun and not ended, in any process."""
        found: list[PromotionDocument] = []
        for id in await self.begun_ids():
            try:
                document = await self.read(open_promotion_key(id))
            except Unreadable as error:  # `recover` reports it
                _log.debug("{error}", error=error)
                continue
            found += [] if document is None else [document]
        return found

    async def finish(self) -> None:
        """Finish the committed promotions that were interrupted."""
        for blob in await self.interrupted():
            await self._recover(blob, self._finish)

    async def recover(self) -> int:
        """Finish the committed promotions that were interrupted, and give up those that no process
        works on any more; return how many there were.
        """
        found = await self.interrupted()
        for blob in found:
            await self._recover(blob, self._settle)
        return len(found)

    async def _recover(self, blob: Blob, settle: Callable[[Blob], Awaitable[object]]) -> None:
        try:
            await settle(blob)
        except Unreadable as error:
            _log.error("{error}; restore or delete this document of a promotion", error=error)
        except StorageFull as error:
            _log.warn("the promotion {key} is not finished yet: {error}", key=blob.key, error=error)
        except (Busy, CatalogDown) as error:
            _log.info("the promotion {key} is not finished yet: {error}", key=blob.key, error=error)

    async def _settle(self, blob: Blob) -> None:
        decided = await self._finish(blob)
        # no other process promotes in a storage that is not shared
        is_dead = not self.shared or self.world.now() - blob.modified >= UNDER_WAY
        if decided is None and not is_dead:
            return
        if decided is None or decided.state is PromotionState.GIVEN_UP:
            document = await self.read(blob.key)
            if document is not None:
                await self._undo(document)
                _log.info("the interrupted promotion {id} is undone", id=document.id)

    async def _finish(self, blob: Blob) -> PromotionDocument | None:
        """Return the decision; if the promotion is committed, it is finished then."""
        id = id_of_key(blob.key)
        assert id is not None  # by `interrupted`
        decided = await self.decision(id)
        if decided is not None and decided.state is PromotionState.COMMITTED:
            await self.apply(decided, is_late=True)
            _log.info("the interrupted promotion {id} is finished", id=id)
        return decided

    async def decision(self, id: str) -> PromotionDocument | None:
        """Return the decision about the promotion; None before there is one. Raises
        `Unreadable`.
        """
        return await self.read(promotion_key(id))

    async def read(self, where: str) -> PromotionDocument | None:
        """Return the document under this key, if there is one. Raises `Unreadable`."""
        data = await records.read_bytes(self.blobs, where, LARGEST)
        if data is None:
            return None
        return await self.world.blocking(load_promotion, data, where)


def _keys(target: IndexPart, file: StoredFile) -> list[str]:
    """Return the keys that a promotion may write of the file in the whole storage."""
    keys = [file.key, *(sidecar_key(file, kind) for kind, _ in SIDECARS)]
    return [target.prefix + each for each in keys]


async def _with_arrival(blobs: Blobs, file: StoredFile, came: Event) -> FileHistory:
    """Return the history of the file with its arrival, which is recorded once."""
    with suppress(Unreadable):  # then it is written again
        history = await records.history_of(blobs, file.project, file.filename)
        if came in history.events:
            return history
    return await records.note(blobs, file, came)


def _with(
    name: ProjectName,
    listed: Sequence[tuple[StoredFile, FileHistory]],
    project: LocalProject | None,
) -> LocalProject | None:
    if not listed:
        return project
    held = project or Project(name=name)
    known = [(file, held.file(file.filename)) for file, _ in listed]
    files = [file if old is None else replace(file, archived=old.archived) for file, old in known]
    return with_pasts(with_files(held, *files), [history for _, history in listed])


def _after(first: _Change, second: _Change, project: LocalProject | None) -> LocalProject | None:
    return second(first(project))


OwnPromoted = Callable[[IndexContext, Collection[ProjectName]], Awaitable[object]]
"""Gives owners to those projects that are new in the index."""
MOST_READ = 500
"""Largest number of documents that are read for a list of promotions."""


@frozen
class Promotions:
    """Promotes files between the indexes of one storage. Everything raises `StorageDown`."""

    log: PromotionLog
    duplicating: Duplicating

    async def promote(
        self,
        source: IndexPart,
        target: IndexPart,
        wanted: Wanted,
        by: str,
        *,
        tell: Tell | None = None,
        own: OwnPromoted | None = None,
    ) -> PromotionDocument | None:
        """List the files in the target index, all or none; None if it lists all of them already.
        `own` is awaited after the check, so that a refused promotion reserves no name.

        Once begun, it runs to its end even if the client disconnects. Raises what
        `check_promotion` and `own` raise, `StorageFull`, `Archived`; then nothing was promoted.
        After `StorageDown` it may become visible later, whole; `CatalogDown` says whether it will.
        """
        return await shielded(self._counted(self._promote(source, target, wanted, by, tell, own)))

    async def newest(self, target: str | None) -> AsyncGenerator[PromotionDocument]:
        """Yield the committed promotions into the index (None: into any index), the newest first,
        of the `MOST_READ` newest ones into any index.
        """
        left = MOST_READ
        for year in range(self.log.world.now().year, FIRST_YEAR - 1, -1):
            async with aclosing(self.log.blobs.list(f"{PROMOTIONS}{year:04}")) as listing:
                keys = sorted([blob.key async for blob in listing], reverse=True)[:left]
            left -= len(keys)
            for first in range(0, len(keys), AT_ONCE):
                reading = [partial(self._readable, key) for key in keys[first : first + AT_ONCE]]
                for document in await all_of(reading, AT_ONCE):
                    if document is not None and target in (None, document.target):
                        yield document

    async def _readable(self, where: str) -> PromotionDocument | None:
        """Return the committed promotion of this key; None if it was given up, or is damaged."""
        try:
            document = await self.log.read(where)
        except Unreadable as error:
            _log.error("{error}; restore or delete this document of a promotion", error=error)
            return None
        is_committed = document is not None and document.state is PromotionState.COMMITTED
        return document if is_committed else None

    async def _counted(
        self, promoting: Awaitable[PromotionDocument | None]
    ) -> PromotionDocument | None:
        counts, outcome = self.log.world.counts, "failed"
        try:
            done = await promoting
            outcome = "unchanged" if done is None else "promoted"
        except PromotionRefused:
            outcome = "refused"
            raise
        finally:
            counts.add(OUTCOMES, (outcome,))
        return done

    async def _promote(
        self,
        source: IndexPart,
        target: IndexPart,
        wanted: Wanted,
        by: str,
        tell: Tell | None,
        own: OwnPromoted | None,
    ) -> PromotionDocument | None:
        async with self._announced_all(target, wanted) as busy:
            checked = await check_promotion(source, target, wanted)
            if not checked.new:
                return None  # also while the leases of a process that crashed go on
            if busy:
                raise PromotionRefused(busy)
            if own is not None:
                await own(target.context, checked.projects)
            document = self._document(checked, by)
            progress = Progress(self.log.world.clock, tell)
            self.log.under_way.add(document.id)
            try:
                await self.log.open(document)
                written: set[str] = set()
                await self._prepare(checked, document, written, progress)
                await self.log.commit(document, target, written)
                await self._apply(document)
            finally:
                self.log.under_way.discard(document.id)
            return document

    async def _apply(self, document: PromotionDocument) -> None:
        try:
            await self.log.apply(document)
        except StorageFull as error:  # it is committed, so its own text would be wrong
            raise StorageDown(
                "no space is left. The promotion is saved and becomes visible when there is space."
            ) from error

    @asynccontextmanager
    async def _announced_all(
        self, target: IndexPart, wanted: Wanted
    ) -> AsyncIterator[list[PromotionObstacle]]:
        """Hold what a publisher of each of these files holds; yield the files for which another
        process holds it.
        """
        busy: list[PromotionObstacle] = []
        async with AsyncExitStack() as held:
            for name, filenames in sorted(wanted.items()):
                for filename in sorted(filenames):
                    try:
                        await held.enter_async_context(announced(target, name, filename))
                    except Busy:
                        busy.append(under_way(filename))
            yield busy

    def _document(self, checked: CheckedPromotion, by: str) -> PromotionDocument:
        now = self.log.world.now()
        files = []
        for new in checked.projects.values():
            for file in new:
                where = key(file.project, file.filename)
                source = checked.source.prefix + file.key
                files.append(promoted(replace(file, key=where), source))
        id = promotion_id(now, self.log.world.random(8))
        names = checked.source.name, checked.target.name
        return PromotionDocument(id, *names, now, by, tuple(files))

    async def _prepare(
        self,
        checked: CheckedPromotion,
        document: PromotionDocument,
        written: set[str],
        progress: Progress,
    ) -> None:
        """Give the bytes and sidecars their keys in the target. If that fails, the promotion is
        given up. Adds the keys that it wrote to `written`.
        """
        target = checked.target
        try:
            for name in checked.projects:
                await target.make_private(name)
            copies = [
                partial(self._duplicate, checked.source, target, old, new, written, progress)
                for old, new in zip(_in_order(checked), files_of(document), strict=True)
            ]
            await all_of(copies, AT_ONCE)
            await self._check_again(checked)
        except BaseException:
            await shielded(self.log.give_up(document, checked.target, written))
            raise

    async def _duplicate(
        self,
        source: IndexPart,
        target: IndexPart,
        old: StoredFile,
        new: StoredFile,
        written: set[str],
        progress: Progress,
    ) -> None:
        """Duplicate the bytes of one file, then its sidecars."""
        provisional = source.context.provisional
        if provisional is not None:  # a crash may have left the mark of a recorded file
            await provisional.confirm(old.key)
        pairs = [(old.key, new.key)]
        pairs += [
            (sidecar_key(old, kind), sidecar_key(new, kind))
            for kind, is_there in SIDECARS
            if is_there(old)
        ]
        say = partial(_say, progress, old)
        for number, (here, there) in enumerate(pairs):
            where, at = source.prefix + here, target.prefix + there
            written.add(at)  # before: it may fail and have written anyway
            try:
                if number:
                    await self.duplicating.duplicate(where, at, replace=True)
                elif not await self._duplicate_bytes(where, at, new, say):
                    written.discard(at)
            except Missing:
                raise PromotionRefused([changed(old)]) from None
            except PromotionRefused:
                written.discard(at)
                raise

    async def _duplicate_bytes(
        self, where: str, at: str, new: StoredFile, say: Callable[[int], object]
    ) -> bool:
        """Duplicate the bytes; return whether the key was free. Other bytes at the key belong to a
        publish under way or an interrupted one, or were copied there by hand; they are not
        replaced.
        """
        try:
            await self.duplicating.duplicate(where, at, tell=say)
            return True
        except Exists:
            there = await self.log.blobs.stat(at)
        if self.log.shared and there.is_younger(UNDER_WAY, self.log.world.now()):
            raise PromotionRefused([under_way(new.filename)])
        digests = await stored_digests(self.log.blobs, self.log.world.blocking, at)
        if digests.sha256 != new.sha256:
            text = f"other bytes without a record are stored at {at}; see them: pypid storage check"
            raise PromotionRefused([PromotionObstacle(ObstacleKind.STRAY, new.filename, text)])
        await self.duplicating.duplicate(where, at, replace=True, tell=say)
        return False

    async def _check_again(self, checked: CheckedPromotion) -> None:
        """Check that source and target are as they were: other processes may have changed them, or
        closed the target.
        """
        await all_of([partial(self._check_file, checked, file) for file in checked.new], AT_ONCE)
        checked.target.context.refuse_if_closed()
        for name in checked.projects:
            await checked.target.context.refuse_if_closed_elsewhere(name)

    async def _check_file(self, checked: CheckedPromotion, file: StoredFile) -> None:
        now = await recorded(checked.source, file.project, file.filename)
        if now != replace(file, yanked=None):
            raise PromotionRefused([changed(file)])
        if await recorded(checked.target, file.project, file.filename) is not None:
            raise PromotionRefused([under_way(file.filename)])


async def remove_from_source(source: IndexPart, target: IndexPart, wanted: Wanted, by: str) -> None:
    """Delete the promoted files in the source; those that were changed since then stay. Raises
    `StorageDown`, `CatalogDown`, `NoSuchProject`.
    """
    for name, filenames in sorted(wanted.items()):
        here, there = await source.context.known(name), await target.context.known(name)
        promoted = {file.filename: file.sha256 for file in there.files}
        same = [
            file.filename
            for file in here.files
            if file.filename in filenames and promoted.get(file.filename) == file.sha256
        ]
        if same:
            await Manager(source.context).delete(name, same, by)


def _in_order(checked: CheckedPromotion) -> list[StoredFile]:
    """Return the new files in the order of the document."""
    return [file for files in checked.projects.values() for file in files]


def _say(progress: Progress, file: StoredFile, copied: int) -> None:
    progress.at(lambda: f"{file.filename}: {copied} of {file.size} bytes copied")


_Promoted = tuple[str, str, str]
"""Target index, key and SHA-256 of a promoted file."""


@define(eq=False)
class PromotionRecovery:
    """Finishes interrupted promotions once, and knows the files of those that are under way. Made
    before the indexes, which `follow` adds.
    """

    _log: PromotionLog | None = field(default=None, init=False, repr=False)
    _ready: Callable[[], Awaitable[object]] | None = field(default=None, init=False, repr=False)
    _is_done: bool = field(default=False, init=False)
    _committed: dict[str, frozenset[_Promoted]] = field(factory=dict, init=False, repr=False)
    """The files of open promotions by id; none of those that are not committed."""
    _finishing: Flights[str, None] = field(factory=Flights, init=False, repr=False)

    def follow(self, log: PromotionLog, ready: Callable[[], Awaitable[object]]) -> None:
        """Add the promotions of the storage. `ready` returns once all indexes are known."""
        self._log, self._ready = log, ready

    async def unlisted(
        self, target: str, project: LocalProject, held: LocalProject | None
    ) -> frozenset[str]:
        """See `UnfinishedPromotions.unlisted`. The records were read before: a promotion that is
        not open any more has listed all its files.
        """
        listed = {} if held is None else {file.filename: file.sha256 for file in held.files}
        new = [file for file in project.files if listed.get(file.filename) != file.sha256]
        log = self._log
        if log is None or not (new and (log.shared or log.unlisted)):
            return frozenset()
        committed = {}
        for id in await log.begun_ids():
            committed[id] = self._committed.get(id) or await _committed_files(log, id)
        self._committed = committed
        found = frozenset[_Promoted]().union(*committed.values())
        return frozenset(file.filename for file in new if (target, file.key, file.sha256) in found)

    async def finish_interrupted(self) -> None:
        """Wait until the interrupted promotions are finished; the first caller finishes them.
        Raises `StorageDown`; the next caller tries again.
        """
        if not self._is_done and self._log is not None:
            await self._finishing.single("", self._finish)

    async def _finish(self) -> None:
        assert self._log is not None
        assert self._ready is not None
        try:
            if await self._log.interrupted():
                await self._ready()
                await self._log.finish()
        except StorageDown:
            raise
        except Exception:
            _log.failure("finishing interrupted promotions failed; it is tried again")
        self._is_done = True


async def _committed_files(log: PromotionLog, id: str) -> frozenset[_Promoted]:
    """Return the files of the promotion; none if it is not committed."""
    try:
        decided = await log.decision(id)
        if decided is None or decided.state is not PromotionState.COMMITTED:
            return frozenset()
        files = await log.world.blocking(files_of, decided)
    except Unreadable as error:  # `PromotionLog.recover` reports it
        _log.debug("{error}", error=error)
        return frozenset()
    return frozenset((decided.target, file.key, file.sha256) for file in files)

"""The documents of promotions in the storage: deciding on one, finishing it, and giving it up.

See `index.promotions` for the order of the steps. Each of them can be repeated by any process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import timedelta
from functools import partial

from attrs import define, field
from msgspec.structs import replace
from twisted.logger import Logger

from pypid.core.errors import (
    Busy,
    CatalogDown,
    Exists,
    Missing,
    PypidError,
    StorageDown,
    StorageFull,
    Unreadable,
)
from pypid.core.model import Blob, LocalProject, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import dump, dump_record
from pypid.core.records.file_history import Event, FileHistory
from pypid.core.records.layout import ObjectKind, key, sidecar_key
from pypid.core.records.promotions import (
    LARGEST,
    OPEN_PROMOTIONS,
    PromotionDocument,
    PromotionState,
    files_of,
    id_of_key,
    load_promotion,
    open_promotion_key,
    promotion_key,
)
from pypid.flow import BytesBody, World
from pypid.index.context import is_stored, stored_digests, with_files, with_pasts
from pypid.index.job_group import all_of
from pypid.index.local.publish import UNDER_WAY
from pypid.index.promotion_checks import AT_ONCE, IndexPart, announced, recorded
from pypid.index.store import records
from pypid.index.store.record_store import CHANGE_SAVED, READINGS, ConcurrentChange
from pypid.ports import Blobs

_log = Logger()

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
                document = await self._read(open_promotion_key(id))
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
            document = await self._read(blob.key)
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
        return await self._read(promotion_key(id))

    async def promoted(self, id: str) -> Sequence[StoredFile]:
        """Return the files of the promotion, none of an unknown one. Raises `Unreadable`."""
        decided = await self.decision(id)
        return () if decided is None else await self.world.blocking(files_of, decided)

    async def _read(self, where: str) -> PromotionDocument | None:
        data = await records.read_bytes(self.blobs, where, LARGEST)
        if data is None:
            return None
        return await self.world.blocking(load_promotion, data, where)


def _keys(target: IndexPart, file: StoredFile) -> list[str]:
    """Return the keys that a promotion may write of the file in the whole storage."""
    return [
        target.whole_key(file.key),
        *(target.whole_key(sidecar_key(file, kind)) for kind, _ in SIDECARS),
    ]


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
    files = [_as_held(file, held.file(file.filename)) for file, _ in listed]
    return with_pasts(with_files(held, *files), [history for _, history in listed])


def _after(first: _Change, second: _Change, project: LocalProject | None) -> LocalProject | None:
    return second(first(project))


def _as_held(file: StoredFile, held: StoredFile | None) -> StoredFile:
    return file if held is None else replace(file, archived=held.archived)

"""Promotions: files of one index are listed by another one, all of them or none.

1. The open document names the files (`core.records.promotions`).
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

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

from attrs import define, field, frozen
from msgspec.structs import replace
from twisted.logger import Logger

from pypid.core.errors import Busy, Exists, Missing, StorageDown, StorageFull, Unreadable
from pypid.core.model import LocalProject, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.promotion_rules import ObstacleKind, PromotionObstacle, PromotionRefused
from pypid.core.records.layout import key, sidecar_key
from pypid.core.records.promotions import (
    FIRST_YEAR,
    LARGEST,
    OPEN_PROMOTIONS,
    PROMOTIONS,
    PromotionDocument,
    PromotionState,
    files_of,
    id_of_key,
    load_promotion,
    promoted,
    promotion_id,
)
from pypid.flow import World, shielded
from pypid.flow.single_flight import Flights
from pypid.index.context import IndexContext, stored_digests
from pypid.index.job_group import all_of
from pypid.index.local.manage import Manager
from pypid.index.local.publish import UNDER_WAY
from pypid.index.progress import Progress, Tell
from pypid.index.promotion_checks import (
    AT_ONCE,
    CheckedPromotion,
    IndexPart,
    Wanted,
    announced,
    changed,
    check_promotion,
    recorded,
    under_way,
)
from pypid.index.promotion_log import SIDECARS, PromotionLog
from pypid.index.store import records
from pypid.index.store.record_store import UnfinishedPromotions
from pypid.metrics.families import PROMOTIONS as OUTCOMES
from pypid.ports import Blobs, Duplicating

_log = Logger()

OwnPromoted = Callable[[IndexContext, Collection[ProjectName]], Awaitable[object]]
"""Gives owners to those projects that are new in the index."""
MOST_READ = 500
"""Largest number of documents that are read for a list of promotions."""


@frozen
class Promotions:
    """Promotes files between the indexes of one storage. Everything raises `StorageDown`."""

    log: PromotionLog
    duplicating: Duplicating

    @property
    def _blobs(self) -> Blobs:
        return self.log.blobs

    @property
    def _world(self) -> World:
        return self.log.world

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
        for year in range(self._world.now().year, FIRST_YEAR - 1, -1):
            async with aclosing(self._blobs.list(f"{PROMOTIONS}{year:04}")) as listing:
                keys = sorted([blob.key async for blob in listing], reverse=True)[:left]
            left -= len(keys)
            for first in range(0, len(keys), AT_ONCE):
                reading = [partial(self._readable, key) for key in keys[first : first + AT_ONCE]]
                for document in await all_of(reading, AT_ONCE):
                    if document is not None and target in (None, document.target):
                        yield document

    async def _readable(self, where: str) -> PromotionDocument | None:
        """Return the committed promotion of this key; None if it was given up, or is damaged."""
        data = await records.read_bytes(self._blobs, where, LARGEST)
        if data is None:
            return None
        try:
            document = await self._world.blocking(load_promotion, data, where)
        except Unreadable as error:
            _log.error("{error}; restore or delete this document of a promotion", error=error)
            return None
        return document if document.state is PromotionState.COMMITTED else None

    async def _counted(
        self, promoting: Awaitable[PromotionDocument | None]
    ) -> PromotionDocument | None:
        counts, outcome = self._world.counts, "failed"
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
            progress = Progress(self._world.clock, tell)
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
        now = self._world.now()
        files = []
        for new in checked.projects.values():
            for file in new:
                where = key(file.project, file.filename)
                source = checked.source.whole_key(file.key)
                files.append(promoted(replace(file, key=where), source))
        id = promotion_id(now, self._world.random(8))
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
            where, at = source.whole_key(here), target.whole_key(there)
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
            there = await self._blobs.stat(at)
        if self.log.shared and there.is_younger(UNDER_WAY, self._world.now()):
            raise PromotionRefused([under_way(new.filename)])
        digests = await stored_digests(self._blobs, self._world.blocking, at)
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
        async with aclosing(log.blobs.list(OPEN_PROMOTIONS)) as listing:
            ids = [id async for blob in listing if (id := id_of_key(blob.key)) is not None]
        committed = {}
        for id in ids:
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


_: type[UnfinishedPromotions] = PromotionRecovery

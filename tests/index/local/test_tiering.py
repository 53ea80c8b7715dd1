"""Moving files into other storage classes, asking them back out of an archive, and what is left of
uploads in parts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from datetime import timedelta
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.signed_urls import Links
from pypid.core.errors import Archived, BadRequest, Missing, StorageDown
from pypid.core.model import ArchiveState, Blob, Span, StoredFile
from pypid.core.tiering_rules import ARCHIVES, Moved, Tiered, TieringOutcome, TieringRule
from pypid.flow import BytesBody, start
from pypid.index import Index
from pypid.index.local.archive_restore import PATIENCE
from pypid.index.local.tiering import tierer
from pypid.ports import Body, Bucket
from tests.index.file_cache_cases import listed, no_metadata
from tests.index.uploads import SPAM, IndexCase, digests, fetched, publishing, sent
from tests.support import world

DAY = 24 * 3600
NAMES = [f"spam-{number}.0-py3-none-any.whl" for number in (1, 2, 3)]


class Shelves(MemoryBlobs):
    """A store in memory that has storage classes."""

    def __init__(self, now: Any) -> None:
        super().__init__(now)
        self.classes: dict[str, str] = {}
        self.restored: set[str] = set()
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.waits: Deferred[None] | None = None

    # --- as any Blobs ---

    async def read(self, key: str, span: Span | None = None) -> Body:
        if self._is_archived(key) and key not in self.restored:
            raise Archived()
        return await super().read(key, span)

    async def stat(self, key: str) -> Blob:
        return self._told(await super().stat(key))

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        async for blob in super().list(prefix):
            yield self._told(blob)

    def _told(self, blob: Blob) -> Blob:
        return evolve(blob, archived=self._is_archived(blob.key))

    def _is_archived(self, key: str) -> bool:
        return self.classes.get(key) in ARCHIVES

    # --- as a Bucket ---

    async def archive_state(self, key: str) -> ArchiveState:
        found = await super().stat(key)
        readable = not self._is_archived(key) or key in self.restored
        return ArchiveState(
            storage_class=self.classes.get(key, "STANDARD"), size=found.size, readable=readable
        )

    async def move(self, key: str, storage_class: str) -> None:
        if self.waits is not None:
            await self.waits
        if self.failure is not None:
            raise self.failure
        await super().stat(key)
        self.classes[key] = storage_class

    async def copy(self, key: str, target: str) -> None:
        await super().write(target, await self.read(key), replace=True)

    async def is_versioned(self) -> bool | None:
        return None

    async def restore(self, key: str) -> None:
        self.asked.append(key)
        if self.failure is not None:
            raise self.failure

    def below(self, prefix: str) -> Any:
        return _Part(self, prefix)


@frozen
class _Part:
    """The part of such a store below a prefix."""

    whole: Shelves
    prefix: str

    def __getattr__(self, ability: str) -> Any:
        return lambda key, *more: getattr(self.whole, ability)(self.prefix + key, *more)


class TierCase(IndexCase):
    """An index over such a store, with three old releases."""

    def setUp(self) -> None:
        super().setUp()
        self.shelves = Shelves(world(self.clock).now)
        self.store = self.shelves
        self.index = self.started()
        for name in NAMES:
            self.publish(sent(name.encode(), name))
        self.have(self.index.maintenance.reconcile())
        self.clock.advance(100 * DAY)

    def started(self) -> Index:
        """As a process that starts now makes it."""
        index = self.restarted()

        async def bucket() -> Bucket:
            return self.shelves

        links = Links(
            self.shelves, index.context.world.now, timedelta(days=1), timedelta(minutes=5)
        )
        return evolve(index, bucket=bucket, links=links)

    async def tier(
        self,
        storage_class: str = "GLACIER_IR",
        keep: int = 1,
        *,
        dry: bool = False,
        of_file: Any = lambda moved: None,
    ) -> Tiered:
        """What is older than ten days."""
        found = await tierer(self.index.context, self.index.bucket, None, of_file)
        return await found.tier(TieringRule(timedelta(days=10), keep, storage_class), dry=dry)

    def outcomes(self, found: Coroutine[Any, Any, Tiered]) -> dict[str, TieringOutcome]:
        return {moved.filename: moved.outcome for moved in self.have(found).moved}

    def file(self, filename: str) -> Any:
        return self.have(self.index.file(SPAM, filename))


class TierTests(TierCase):
    """`Tierer`."""

    def test_moves(self) -> None:
        """Only the bytes go, each file is told of, and a second run has nothing to do; a dry run
        does nothing.
        """
        told: list[Moved] = []
        due = NAMES[:2]
        self.assertEqual(
            self.outcomes(self.tier(dry=True)), dict.fromkeys(due, TieringOutcome.WOULD_MOVE)
        )
        self.assertEqual(self.shelves.classes, {})
        found = self.have(self.tier(of_file=told.append))
        self.assertEqual(
            (found.projects, found.files, sorted(moved.filename for moved in told)), (1, 3, due)
        )
        self.assertEqual({moved.before for moved in told}, {"STANDARD"})
        self.assertEqual(self.shelves.classes, {f"spam/{name}": "GLACIER_IR" for name in due})
        self.assertEqual(self.outcomes(self.tier()), dict.fromkeys(due, TieringOutcome.THERE))
        self.assertFalse(self.file(NAMES[0]).archived)
        self.files()
        self.compared()
        self.at_rest()

    def test_archive(self) -> None:
        """What goes into an archive is known to lie there: by the catalog, by a process that
        compares, after a restart.
        """
        other = self.started()
        self.have(other.maintenance.reconcile())
        self.assertEqual(self.outcomes(self.tier("GLACIER", 2)), {NAMES[0]: TieringOutcome.MOVED})
        self.assertTrue(self.file(NAMES[0]).archived)
        self.assertFalse(self.have(other.file(SPAM, NAMES[0])).archived)
        for index in other, self.started():
            self.have(index.maintenance.reconcile())
            self.assertEqual(
                [self.have(index.file(SPAM, name)).archived for name in NAMES], [True, False, False]
            )
        self.compared()
        self.assertEqual(
            self.outcomes(self.tier("STANDARD", 2)), {NAMES[0]: TieringOutcome.ARCHIVED}
        )
        self.shelves.restored.add(f"spam/{NAMES[0]}")
        self.assertEqual(self.outcomes(self.tier("STANDARD", 2)), {NAMES[0]: TieringOutcome.MOVED})
        self.assertFalse(self.file(NAMES[0]).archived)

    def test_noted_before(self) -> None:
        """From the moment that a file may be in an archive nobody is sent there; if it did not come
        there they are again.
        """
        self.shelves.waits = Deferred()
        tiering = start(self.tier("GLACIER", 2))
        self.assertTrue(self.file(NAMES[0]).archived)
        self.shelves.failure = StorageDown("it is away.")
        self.shelves.waits.callback(None)
        (moved,) = self.successResultOf(tiering).moved
        self.assertEqual((moved.outcome, "away" in moved.reason), (TieringOutcome.FAILED, True))
        self.assertFalse(self.file(NAMES[0]).archived)
        self.at_rest()

    def test_failures(self) -> None:
        """What is missing or refused is told of that file, and the others go; a class that is
        unknown ends it.
        """
        self.have(self.shelves.delete(f"spam/{NAMES[0]}"))
        self.assertEqual(
            self.outcomes(self.tier()),
            {NAMES[0]: TieringOutcome.FAILED, NAMES[1]: TieringOutcome.MOVED},
        )
        self.shelves.failure = BadRequest("no such class")
        self.refused(self.tier("NO_SUCH"), BadRequest)
        self.shelves.failure = Missing("x")
        self.assertEqual(set(self.outcomes(self.tier("NO_SUCH")).values()), {TieringOutcome.FAILED})

    def test_published_again(self) -> None:
        """A file that is overwritten while its older bytes move stays what it is now."""
        self.shelves.waits = Deferred()
        tiering = start(self.tier("GLACIER", 2))
        again = start(publishing(self.index, sent(b"other", NAMES[0]), overwrite=True))
        self.shelves.waits.callback(None)
        self.successResultOf(tiering)
        self.successResultOf(again)
        found = self.file(NAMES[0])
        self.assertEqual((found.archived, self.have(fetched(self.index, found))), (False, b"other"))
        self.compared()


class ArchiveTests(TierCase):
    """What lies in an archive, and somebody wants it."""

    def setUp(self) -> None:
        super().setUp()
        self.key = f"spam/{NAMES[0]}"
        self.have(self.tier("GLACIER", 2))

    def test_asked_back_once(self) -> None:
        """It is no redirect; whoever wants it is told to come back, and it is asked back once in a
        long time.
        """
        found = self.file(NAMES[0])
        self.assertIsNone(self.have(self.index.link(found, lambda name: True)))
        for _ in range(3):
            error = self.refused(self.index.open(found), Archived)
            assert isinstance(error, Archived)
            self.assertGreater(error.retry_after, 0)
        self.assertEqual(self.shelves.asked, [self.key])
        self.clock.advance(PATIENCE.total_seconds())
        self.refused(self.index.open(found), Archived)
        self.assertEqual(self.shelves.asked, [self.key] * 2)

    def test_restored(self) -> None:
        """Restored it is read through us; when that copy is gone it is asked for again."""
        found = self.file(NAMES[0])
        self.refused(self.index.open(found), Archived)
        self.shelves.restored.add(self.key)
        self.assertEqual(self.have(fetched(self.index, found)), NAMES[0].encode())
        self.assertIsNone(self.have(self.index.link(found, lambda name: True)))
        self.shelves.restored.clear()
        self.clock.advance(7 * DAY)
        self.refused(self.index.open(found), Archived)
        self.assertEqual(len(self.shelves.asked), 2)

    def test_restore_of_a_cached_file_that_is_known_by_its_record_only(self) -> None:
        """The key of the stored copy is restored: the file on the upstream page has none."""
        data = b"cached"
        file = listed(data, "eggs-1.0.tar.gz")

        async def body() -> Body:
            return BytesBody(data)

        kept = self.have(self.index.file_cache.kept.keep(file, digests(data), body, no_metadata))
        assert isinstance(kept, StoredFile)
        self.shelves.classes[kept.key] = "GLACIER"
        for _ in range(2):  # the second time it is in the catalog
            self.refused(self.started().open(file), Archived)
        self.assertEqual(self.shelves.asked, [kept.key] * 2)

    def test_cannot_be_asked(self) -> None:
        """Where it cannot be asked for they are told the same, and the next one tries again."""
        self.shelves.failure = StorageDown("it denies access.")
        found = self.file(NAMES[0])
        for _ in range(2):
            self.refused(self.index.open(found), Archived)
        self.assertEqual(len(self.shelves.asked), 2)

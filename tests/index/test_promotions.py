"""Promotions between the indexes of one storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs import files
from pypid.blobs.files import FilesBlobs, FilesSettings
from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.store import Store
from pypid.core.errors import StorageDown, StorageFull
from pypid.core.indexes import ObstacleKind, PromotionRefused
from pypid.core.model import Blob, Project, Status, StoredFile
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import (
    OPEN_PROMOTIONS,
    PROMOTIONS,
    PromotionDocument,
    PromotionState,
    load_promotion,
)
from pypid.core.records.layout import ObjectKind, key, sidecar_key
from pypid.core.restrictions import Hold, HoldKind, ProjectRestrictions
from pypid.flow import BytesBody, start, whole
from pypid.index import Index
from pypid.index.local.manage import Manager
from pypid.index.promotions import IndexPart, PromotionLog, PromotionRecovery, Promotions, Wanted
from pypid.ports import Blobs
from tests.index.faulty_blobs import Died, Gated, Storm, Watched
from tests.index.uploads import SPAM, WHEEL, fetched, index_over, publishing, sent, signed
from tests.support import world
from tests.support.worlds import Awaiting, contents

EGGS = project_name("eggs")
SDIST = "spam-1.0.tar.gz"
OLD, OLD_EGGS = "spam-0.9.tar.gz", "eggs-0.9.tar.gz"
EGGS_WHEEL = "eggs-2.0-py3-none-any.whl"
STAGING = ".pypid/index/staging/"
RELEASE: Wanted = {SPAM: frozenset({WHEEL, SDIST})}
BOTH: Wanted = {**RELEASE, EGGS: frozenset({EGGS_WHEEL})}


class Node:
    """A process with the default index, and one that is named staging."""

    def __init__(
        self, blobs: Blobs, duplicating: Blobs, clock: Clock, *, shared: bool = False
    ) -> None:
        self.recovery = PromotionRecovery()
        more = {"shared": shared, "promotions": self.recovery}
        self.default = index_over(blobs, clock, **more)
        self.staging = index_over(Store(blobs, STAGING), clock, **more)
        self.private: list[ProjectName] = []
        self.parts = {
            "default": IndexPart("default", self.default.context, make_private=self.make_private),
            "staging": IndexPart("staging", self.staging.context, STAGING),
        }
        own = evolve(self.default.context.world, random=os.urandom)
        self.log = PromotionLog(blobs, own, self.parts.get, shared)
        self.recovery.follow(self.log, self.indexes_are_known)
        links = isinstance(duplicating, FilesBlobs)
        self.promotions = Promotions(
            self.log, duplicating if links else _Through(blobs, duplicating)
        )

    async def indexes_are_known(self) -> None:
        """All indexes are in the configuration."""

    async def make_private(self, name: ProjectName) -> None:
        self.private.append(name)

    async def promote(self, wanted: Wanted = RELEASE) -> PromotionDocument | None:
        return await self.promotions.promote(
            self.parts["staging"], self.parts["default"], wanted, "alice"
        )


class Filling(Watched):
    """A store without space for records while `is_full`."""

    is_full = False

    async def _before(self, what: str) -> None:
        await super()._before(what)
        if self.is_full and what.startswith("write ") and what.endswith(".record.json"):
            raise StorageFull("storage")


class _Through:
    """Duplicates in the store behind a watched one, which sees it as a write."""

    def __init__(self, front: Blobs, behind: Blobs) -> None:
        self._front = front
        self._behind = behind

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        data = await whole(await self._behind.read(source), 1 << 30)
        if tell is not None:
            tell(len(data))
        return await self._front.write(target, BytesBody(data), replace=replace)


class PromotionCase(Awaiting, SynchronousTestCase):
    """A storage with a release in the index staging."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.store = MemoryBlobs(world(self.clock).now)
        self.node = self.started()
        for what in (
            signed(b"wheel"),
            sent(b"sdist", SDIST, metadata=None),
            sent(b"eggs", EGGS_WHEEL),
        ):
            self.have(publishing(self.node.staging, what))
        self.clock.advance(3600)

    def started(self, blobs: Blobs | None = None, *, shared: bool = False) -> Node:
        return Node(blobs or self.store, self.store, self.clock, shared=shared)

    def listed(self, index: Index) -> dict[str, StoredFile]:
        """All files that the index lists, by name, as a client sees them."""
        found: dict[str, StoredFile] = {}
        for name in (SPAM, EGGS):
            ours = self.have(index.context.local_project(name))
            if isinstance(ours, Project):
                found.update({file.filename: file for file in ours.files})
        return found

    def refused_for(self, wanted: Wanted = RELEASE) -> Sequence[ObstacleKind]:
        """The reasons why the promotion is refused; nothing of it is there then."""
        before = self.have(contents(self.store, "spam/"))
        error = self.refused(self.node.promote(wanted), PromotionRefused)
        assert isinstance(error, PromotionRefused)
        self.assertEqual(self.have(contents(self.store, "spam/")), before)
        self.assertEqual(self.have(contents(self.store, OPEN_PROMOTIONS)), [])
        return [obstacle.kind for obstacle in error.obstacles]

    def decisions(self) -> list[PromotionDocument]:
        found = []
        for where in self.have(contents(self.store, PROMOTIONS)):
            data = self.have(whole_of(self.store, where))
            found.append(load_promotion(data, where))
        return found


async def whole_of(blobs: Blobs, where: str) -> bytes:
    return await whole(await blobs.read(where), 1 << 20)


class PromoteTests(PromotionCase):
    """What a promotion does."""

    def test_files_are_listed_as_they_were(self) -> None:
        """Hashes, upload time, uploader and sidecars are those of the source, which keeps its
        files.
        """
        before = self.listed(self.node.staging)
        document = self.have(self.node.promote(BOTH))
        assert document is not None
        now = self.listed(self.node.default)
        self.assertEqual(now, before)
        self.assertEqual(self.listed(self.node.staging), before)
        wheel = now[WHEEL]
        self.assertEqual(self.have(fetched(self.node.default, wheel)), b"wheel")
        for kind in (ObjectKind.PROVENANCE, ObjectKind.METADATA):
            where = sidecar_key(wheel, kind)
            self.assertEqual(
                self.have(whole_of(self.store, where)),
                self.have(whole_of(self.store, STAGING + where)),
            )
        self.assertEqual(
            (document.source, document.target, document.by), ("staging", "default", "alice")
        )
        self.assertEqual(self.have(contents(self.store, OPEN_PROMOTIONS)), [])
        self.assertEqual(self.decisions(), [document])

    def test_all_projects_get_one_serial(self) -> None:
        """A reader of the catalog sees none of the projects, or all."""
        catalog = self.node.default.catalog
        before = self.have(catalog.serial())
        self.have(self.node.promote(BOTH))
        self.assertEqual(self.have(catalog.serial()), before + 1)

    def test_name_is_private_before_the_first_bytes(self) -> None:
        """The name is announced as local before the target has anything of it."""
        self.have(self.node.promote(BOTH))
        self.assertEqual(sorted(self.node.private), [EGGS, SPAM])


class RefusedTests(PromotionCase):
    """What prevents a promotion prevents all of it."""

    def test_deleted_file_name(self) -> None:
        """The name of a deleted file takes the same bytes only."""
        for data, kinds in ((b"older", [ObstacleKind.USED_UP]), (b"wheel", [])):
            node = self.node.default
            self.have(publishing(node, sent(data, WHEEL), overwrite=True))
            self.have(Manager(node.context).delete(SPAM, [WHEEL], "alice"))
            if kinds:
                self.assertEqual(self.refused_for(), kinds)
        self.have(self.node.promote())
        self.assertEqual(set(self.listed(self.node.default)), {WHEEL, SDIST})

    def test_closed_projects(self) -> None:
        """A project in quarantine takes no files, and gives none."""
        default, staging = (
            Manager(each.context) for each in (self.node.default, self.node.staging)
        )
        self.have(publishing(self.node.default, sent(b"x", "spam-0.1.tar.gz")))
        self.have(default.set_status(SPAM, Status.QUARANTINED))
        self.assertEqual(self.refused_for(), [ObstacleKind.CLOSED])
        self.have(default.set_status(SPAM, Status.ACTIVE))
        self.have(staging.set_status(SPAM, Status.QUARANTINED))
        self.assertEqual(self.refused_for(), [ObstacleKind.SOURCE_CLOSED])

    def test_withheld_file(self) -> None:
        """A rule of either index that hides a file prevents its promotion."""

        class Rule:
            upstream_only = False
            by_version = True

            def hides(self, file: object) -> Hold:
                return Hold(HoldKind.BLOCKED, "a reason", "b1")

        for index in (self.node.staging, self.node.default):
            restrictions = index.context.policy.restrictions
            restrictions.replace("blocks", {SPAM: ProjectRestrictions((Rule(),))})
            self.assertEqual(self.refused_for(), [ObstacleKind.WITHHELD] * 2)
            restrictions.replace("blocks", {})

    def test_stray_bytes(self) -> None:
        """Bytes that were copied there by hand stay; the same ones are used."""
        for data, kinds in ((b"by hand", [ObstacleKind.STRAY]), (b"wheel", [])):
            self.have(self.store.write(key(SPAM, WHEEL), BytesBody(data), replace=True))
            if kinds:
                self.assertEqual(self.refused_for(), kinds)
                self.assertEqual(self.have(whole_of(self.store, key(SPAM, WHEEL))), data)
        self.have(self.node.promote())

    def test_change_of_the_source_meanwhile(self) -> None:
        """A file that another process overwrites while it is promoted is not promoted."""
        gated = Gated(self.store)
        node = self.started(gated)
        promoting = start(node.promote())
        while not any(
            "duplicate" in what or f"write {key(SPAM, WHEEL)}" in what for what, _ in gated.waiting
        ):
            gated.go()
        other = self.started()
        self.have(publishing(other.staging, sent(b"other", WHEEL), overwrite=True))
        gated.all()
        error = self.failureResultOf(promoting, PromotionRefused).value
        self.assertEqual([each.kind for each in error.obstacles], [ObstacleKind.UNDER_WAY])
        self.assertEqual(self.have(contents(self.store, "spam/")), [])


class CrashTests(PromotionCase):
    """A process dies at each step; the next one finishes the promotion or undoes it."""

    def died(self, nth: int, *, late: bool) -> bool:
        """Promote until operation `nth`, then start another process; return whether it came so
        far.
        """
        self.setUp()
        storm = Storm(self.store, nth, Died, late=late, for_good=True)
        node = self.started(storm)
        promoting = start(node.promote(BOTH))
        if not storm.struck:
            self.successResultOf(promoting)
            return False
        self.failureResultOf(promoting)
        return True

    def steps_before_commit(self) -> int:
        """The number of the operation before the commit."""
        decision = f"write {PROMOTIONS}2"
        return next(number for number, what in enumerate(self.steps()) if what.startswith(decision))

    def steps(self) -> Sequence[str]:
        """Promote, and return what was asked of the storage."""
        watched = Watched(self.store)
        self.have(self.started(watched).promote(BOTH))
        return watched.asked

    def test_each_step(self) -> None:
        """After the recovery all files are listed, or none, and nothing else is left; from the
        commit on it is all.
        """
        outcomes = []
        for late in (False, True):
            nth = 1
            while self.died(nth, late=late):
                committed = any(
                    each.state is PromotionState.COMMITTED and not where.startswith(OPEN_PROMOTIONS)
                    for where, each in zip(
                        self.have(contents(self.store, PROMOTIONS)), self.decisions(), strict=True
                    )
                )
                node = self.started()
                self.have(node.log.recover())
                listed = self.listed(node.default)
                self.assertEqual(listed, self.listed(node.staging) if committed else {}, nth)
                self.assertEqual(self.have(contents(self.store, OPEN_PROMOTIONS)), [], nth)
                if not committed:
                    self.assertEqual(self.have(contents(self.store, "spam/")), [], nth)
                    self.assertEqual(self.have(contents(self.store, "eggs/")), [], nth)
                self.have(node.promote(BOTH))
                self.assertEqual(self.listed(node.default), self.listed(node.staging), nth)
                outcomes.append(committed)
                nth += 1
        self.assertIn(True, outcomes)
        self.assertIn(False, outcomes)

    def test_first_look_after_the_crash(self) -> None:
        """Without any job, the first page of a new process has all files of the promotion, or none;
        so has a comparison. Older files of the projects are there all the time.
        """
        first = self.steps_before_commit() - 1
        for late in (False, True):
            nth, outcomes = first, set()
            while True:
                self.setUp()
                for what in (sent(b"old", OLD), sent(b"old", OLD_EGGS)):
                    self.have(publishing(self.node.default, what))
                storm = Storm(self.store, nth, Died, late=late, for_good=True)
                promoting = start(self.started(storm).promote(BOTH))
                promoting.addErrback(lambda failure: failure.trap(Died, StorageDown))
                self.successResultOf(promoting)
                if not storm.struck:
                    break
                looking, comparing = self.started(shared=late), self.started(shared=late)
                listed = self.listed(looking.default)
                self.assertIn(len(listed), (2, 5), nth)
                self.have(comparing.default.maintenance.reconcile())
                self.assertEqual(self.listed(comparing.default), listed)
                outcomes.add(len(listed))
                nth += 1
            self.assertEqual(outcomes, {2, 5})

    def test_storage_is_away_at_the_start(self) -> None:
        """No record is read before the promotion is finished; the next look tries again."""
        self.died(self.steps_before_commit() + 2, late=True)
        storm = Storm(self.store, 1, lambda: StorageDown("it is away."))
        node = self.started(storm)
        self.refused(node.default.context.known(SPAM), StorageDown)
        self.assertEqual(self.listed(node.default), self.listed(node.staging))
        self.assertEqual(len(self.listed(node.default)), 3)

    def test_storage_is_full_at_the_start(self) -> None:
        """A process that cannot finish the promotion shows nothing of it until it can, also after
        it has compared everything. One that cannot be finished does not stop others.
        """
        first_record = 1 + next(
            number
            for number, what in enumerate(self.steps())
            if what.startswith("write ") and what.endswith(".record.json")
        )
        self.died(first_record, late=True)
        filling = Filling(self.store)
        filling.is_full = True
        node = self.started(filling)
        self.assertEqual(self.listed(node.default), {})
        self.have(node.default.maintenance.reconcile())
        self.assertEqual(self.listed(node.default), {})
        self.have(node.log.recover())
        filling.is_full = False
        self.have(node.log.recover())
        self.assertEqual(self.listed(node.default), self.listed(node.staging))
        self.assertEqual(len(self.listed(node.default)), 3)
        self.assertEqual(node.log.unlisted, set())

    def test_damaged_document_does_not_stop_the_others(self) -> None:
        """It is reported, and left for an administrator."""
        self.died(self.steps_before_commit() + 2, late=True)
        (where,) = self.have(contents(self.store, OPEN_PROMOTIONS))
        damaged = where[:-10] + "00000.json"
        self.have(self.store.write(damaged, BytesBody(b"{")))
        node = self.started()
        self.assertEqual(len(self.listed(node.default)), 3)
        self.have(node.log.recover())
        self.assertEqual(self.have(contents(self.store, OPEN_PROMOTIONS)), [damaged])

    def test_missing_bytes_get_no_record(self) -> None:
        """A backup may have the documents of a promotion that was under way, and not all bytes.
        What is missing can be promoted again.
        """
        self.died(self.steps_before_commit() + 1, late=True)
        self.have(self.store.delete(key(SPAM, WHEEL)))
        node = self.started()
        self.assertEqual(set(self.listed(node.default)), {SDIST, EGGS_WHEEL})
        self.have(node.promote(BOTH))
        self.assertEqual(self.listed(node.default), self.listed(node.staging))

    def test_storage_that_fails_once(self) -> None:
        """After each failure of the storage, the promotion was done or can be repeated."""
        for late in (False, True):
            nth = 1
            while True:
                self.setUp()
                storm = Storm(self.store, nth, lambda: StorageDown("it is away."), late=late)
                node = self.started(storm)
                promoting = start(node.promote(BOTH))
                promoting.addErrback(lambda failure: failure.trap(StorageDown))
                self.successResultOf(promoting)
                if not storm.struck:
                    break
                self.have(node.log.recover())
                listed = self.listed(self.started().default)
                self.assertIn(len(listed), (0, 3), nth)
                self.clock.advance(3600)
                self.have(node.log.recover())
                self.have(node.promote(BOTH))
                self.assertEqual(len(self.listed(self.started().default)), 3, nth)
                self.assertEqual(self.have(contents(self.store, OPEN_PROMOTIONS)), [])
                nth += 1

    def test_deleted_file_does_not_come_back(self) -> None:
        """A promotion that is finished late does not list what was deleted since its commit."""
        document = self.have(self.node.promote())
        assert document is not None
        self.clock.advance(1)
        self.have(Manager(self.node.default.context).delete(SPAM, [WHEEL], "alice"))
        self.have(self.node.log.apply(document))
        self.assertEqual(list(self.listed(self.node.default)), [SDIST])

    def test_promotion_of_another_process_is_left_alone(self) -> None:
        """An open promotion that may be under way elsewhere is not given up before it is old."""
        self.died(self.steps_before_commit(), late=True)
        self.assertEqual(len(self.have(contents(self.store, OPEN_PROMOTIONS))), 1)
        other = self.started(shared=True)
        self.have(other.log.recover())
        self.assertEqual(len(self.have(contents(self.store, OPEN_PROMOTIONS))), 1)
        self.clock.advance(3600)
        self.have(other.log.recover())
        self.assertEqual(self.have(contents(self.store, OPEN_PROMOTIONS)), [])

    def test_promotion_that_was_given_up_cannot_commit(self) -> None:
        """A process that slept through its promotion finds it decided."""
        gated = Gated(self.store)
        node = self.started(gated)
        promoting = start(node.promote(BOTH))
        decision = f"write {PROMOTIONS}2"
        while not any(what.startswith(decision) for what, _ in gated.waiting):
            gated.go()
        self.clock.advance(3600)
        other = self.started()
        self.have(other.log.recover())
        gated.all()
        self.failureResultOf(promoting)
        self.assertEqual(self.listed(self.started().default), {})
        self.have(other.promote(BOTH))
        self.assertEqual(len(self.listed(other.default)), 3)


class KilledTests(Awaiting, SynchronousTestCase):
    """The real thing: a process is killed at each step that it takes on a disk."""

    def opened(self) -> FilesBlobs:
        settings = FilesSettings(str(self.root), create=True, exclusive=True)
        return self.have(files.open(settings, evolve(world(), random=os.urandom)))

    def started(self) -> Node:
        """A process that has finished what the former one left."""
        store = self.opened()
        node = Node(store, store, Clock())
        self.have(node.log.recover())
        return node

    def files(self, index: Index) -> dict[str, bytes]:
        """The bytes of all files that the index lists after a comparison."""
        self.have(index.maintenance.reconcile())
        found: dict[str, bytes] = {}
        for name in (SPAM, EGGS):
            ours = self.have(index.context.local_project(name))
            for file in ours.files if isinstance(ours, Project) else ():
                assert isinstance(file, StoredFile)
                found[file.filename] = self.have(fetched(index, file))
        return found

    def test_bytes_are_there_once(self) -> None:
        """A promotion in a folder copies nothing, and an overwrite leaves the other index alone."""
        self.root = Path(self.mktemp()).absolute()
        node = self.started()
        self.have(publishing(node.staging, signed(b"wheel")))
        self.have(node.promote({SPAM: frozenset({WHEEL})}))
        here, there = self.root / "spam" / WHEEL, self.root / STAGING / "spam" / WHEEL
        self.assertEqual(here.stat().st_ino, there.stat().st_ino)
        self.have(publishing(node.staging, sent(b"other", WHEEL), overwrite=True))
        self.assertEqual(here.read_bytes(), b"wheel")
        self.assertEqual(self.files(node.default), {WHEEL: b"wheel"})
        self.assertEqual(self.files(node.staging), {WHEEL: b"other"})
        self.have(publishing(node.default, sent(b"third", WHEEL), overwrite=True))
        self.assertEqual(self.files(node.default), {WHEEL: b"third"})
        self.assertEqual(self.files(node.staging), {WHEEL: b"other"})
        self.have(Manager(node.staging.context).delete(SPAM, [WHEEL], "alice"))
        self.assertEqual(self.files(node.default), {WHEEL: b"third"})


class TogetherTests(PromotionCase):
    """Several at once."""

    def test_promotions_of_two_processes(self) -> None:
        """In any order of their steps, files are listed once, whole, and nothing is left over."""
        for seed in range(40):
            self.setUp()
            gated = Gated(self.store)
            nodes = [self.started(gated, shared=True) for _ in range(2)]
            running = [start(node.promote(BOTH)) for node in nodes]
            gated.all(lambda number, seed=seed: (seed * 7919 + number * 31) % 97)
            results = []
            for each in running:
                each.addErrback(lambda failure: failure.trap(PromotionRefused))
                results.append(self.successResultOf(each))
            self.clock.advance(3600)
            last = self.started()
            self.have(last.log.recover())
            self.have(last.promote(BOTH))
            self.assertEqual(self.listed(last.default), self.listed(last.staging), seed)
            self.assertEqual(self.have(contents(self.store, OPEN_PROMOTIONS)), [])

    def test_upload_during_a_promotion(self) -> None:
        """An upload of the same name with other bytes is refused, or the promotion is, as a
        whole.
        """
        for seed in range(40):
            self.setUp()
            gated = Gated(self.store)
            node = self.started(gated)
            running = [
                start(node.promote(BOTH)),
                start(publishing(node.default, sent(b"other", WHEEL))),
            ]
            gated.all(lambda number, seed=seed: (seed * 7919 + number * 31) % 97)
            failures = []
            for each in running:
                each.addErrback(failures.append)
            self.assertEqual(len(failures), 1, seed)
            listed = self.listed(self.started().default)
            self.assertIn(len(listed), (1, 3), seed)

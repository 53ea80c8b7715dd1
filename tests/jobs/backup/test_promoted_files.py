"""Promoted files in a backup: written once, and restored whole or not at all."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from pypid.blobs import files
from pypid.blobs.files import FilesBlobs, FilesSettings
from pypid.blobs.memory import MemoryBlobs
from pypid.core.records.layout import ObjectKind, key
from pypid.core.records.promotions import OPEN_PROMOTIONS
from pypid.flow import BytesBody, start
from pypid.jobs.backup.backup_file import (
    FORMAT,
    FORMAT_WITHOUT_LINKS,
    STORAGE,
    BackupHeader,
    BackupTotals,
    BackupWriter,
)
from pypid.jobs.backup.backup_reader import BackupFile
from pypid.jobs.backup.storage_backup import StorageCapture
from pypid.jobs.backup.storage_restore import StorageRestore
from pypid.jobs.backup.stored_objects import format_of
from pypid.ports import Blobs
from pypid.testing import world
from pypid.testing.worlds import contents
from tests.index.faulty_blobs import Gated
from tests.index.test_promotions import (
    BOTH,
    EGGS,
    EGGS_WHEEL,
    OLD,
    OLD_EGGS,
    SDIST,
    STAGING,
    Node,
    PromotionCase,
)
from tests.index.uploads import SPAM, WHEEL, fetched, publishing, sent

ARTIFACTS = (key(SPAM, WHEEL), key(SPAM, SDIST), key(EGGS, EGGS_WHEEL))


class PromotedBackupCase(PromotionCase):
    def setUp(self) -> None:
        super().setUp()
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.path = Path(made.name) / "backup.tar.gz"

    async def backup(
        self, blobs: Blobs | None = None, *, with_files: bool = True, format: int | None = None
    ) -> BackupTotals:
        """Back up the store."""
        header = BackupHeader(
            id="1", made=world().now(), pypid="1", includes_files=with_files, includes_cache=True,
            storage="s", configuration="c",
            format=format or await format_of(self.store, files=with_files),
        )  # fmt: skip
        with self.path.open("wb") as file:
            writer = BackupWriter(file, header, None, world().random)
            capture = StorageCapture(blobs or self.store, writer, world(), with_files, True)
            await capture.capture()
            totals = BackupTotals(
                members=writer.members,
                size=writer.size,
                projects=capture.projects,
                files=capture.file_count,
                problems=tuple(capture.problems),
            )
            writer.finish(totals)
        return totals

    def links(self) -> dict[str, str]:
        """The links in the backup."""
        BackupFile(self.path).verify()
        return {
            member.path.removeprefix(STORAGE): member.link.removeprefix(STORAGE)
            for member in BackupFile(self.path).members()
            if member.link
        }

    async def restore(self, target: MemoryBlobs | FilesBlobs) -> None:
        restoring = StorageRestore(target, world(), target)
        for member in BackupFile(self.path).members():
            await restoring.put(member)
        await restoring.ended()

    def restored(self, target: MemoryBlobs | FilesBlobs | None = None) -> Node:
        """A pypid over what the backup brings back."""
        target = target or MemoryBlobs(world(self.clock).now)
        self.have(self.restore(target))
        return Node(target, target, self.clock)


class WrittenOnceTests(PromotedBackupCase):
    def test_promoted_files_are_links(self) -> None:
        """The backup has the bytes of a promoted file once. Both indexes come back as they were."""
        alone = self.have(self.backup())
        self.have(self.node.promote(BOTH))
        totals = self.have(self.backup())
        self.assertEqual(self.links(), {where: STAGING + where for where in ARTIFACTS})
        self.assertEqual((totals.files, totals.problems), (2 * alone.files, ()))
        node = self.restored()
        for index, before in (
            (node.default, self.node.default),
            (node.staging, self.node.staging),
        ):
            self.assertEqual(self.listed(index), self.listed(before))
            for file in self.listed(index).values():
                self.assertEqual(self.have(fetched(index, file)), self.have(fetched(before, file)))

    def test_other_bytes_are_no_links(self) -> None:
        """A file of the same name with other bytes is written as it is, and so is one of another
        size than its record says.
        """
        self.have(publishing(self.node.default, sent(b"other", SDIST, metadata=None)))
        self.have(self.node.promote({EGGS: BOTH[EGGS]}))
        self.have(self.store.delete(key(EGGS, EGGS_WHEEL)))
        self.have(self.store.write(key(EGGS, EGGS_WHEEL), BytesBody(b"cut")))
        totals = self.have(self.backup())
        self.assertEqual(self.links(), {})
        self.assertEqual(totals.problems, (f"{key(EGGS, EGGS_WHEEL)}: its content is damaged",))

    def test_lost_bytes_are_reported(self) -> None:
        """A promoted file whose bytes are lost in one index is no link to those of the other."""
        self.have(self.node.promote(BOTH))
        self.have(self.store.delete(key(SPAM, WHEEL)))
        totals = self.have(self.backup())
        self.assertNotIn(key(SPAM, WHEEL), self.links())
        self.assertEqual(totals.problems, (f"{key(SPAM, WHEEL)}: its content is missing",))

    def test_older_versions_read_a_backup_without_links(self) -> None:
        """The format is the former one unless the backup has files of a named index."""
        self.have(self.node.promote(BOTH))
        self.assertEqual(self.have(format_of(self.store, files=True)), FORMAT)
        self.assertEqual(self.have(format_of(self.store, files=False)), FORMAT_WITHOUT_LINKS)
        empty = MemoryBlobs(world().now)
        self.assertEqual(self.have(format_of(empty, files=True)), FORMAT_WITHOUT_LINKS)
        self.have(self.backup(format=FORMAT_WITHOUT_LINKS))
        self.assertEqual(self.links(), {})
        self.assertEqual(self.listed(self.restored().default), self.listed(self.node.default))

    def test_restored_links_are_independent(self) -> None:
        """In a folder both names are one file again. An overwrite or a deletion in one index leaves
        the bytes of the other, and a restore over existing files changes no other name of theirs.
        """
        self.have(self.node.promote(BOTH))
        self.have(self.backup())
        root = Path(self.mktemp())
        own = evolve(world(), random=os.urandom)
        store = self.have(files.open(FilesSettings(str(root), create=True), own))
        node = self.restored(store)
        for where in ARTIFACTS:
            self.assertTrue((root / where).samefile(root / (STAGING + where)), where)
        self.have(publishing(node.default, sent(b"overwritten", WHEEL), overwrite=True))
        self.have(node.staging.delete(SPAM, [SDIST], "carol"))
        found = [
            self.have(fetched(index, file))
            for index in (node.default, node.staging)
            for name, file in sorted(self.listed(index).items())
            if name in (WHEEL, SDIST)
        ]
        self.assertEqual(found, [b"overwritten", b"sdist", b"wheel"])
        other = root.with_name("other")
        os.link(root / ARTIFACTS[2], other)
        self.have(self.backup_of(b"restored"))
        self.have(self.restore(store))
        self.assertEqual(other.read_bytes(), b"eggs")

    async def backup_of(self, data: bytes) -> None:
        """Back up a storage in which the promoted file of eggs has other bytes."""
        self.store = MemoryBlobs(world(self.clock).now)
        self.node = self.started()
        await publishing(self.node.staging, sent(data, EGGS_WHEEL))
        await self.node.promote({EGGS: BOTH[EGGS]})
        await self.backup()


class MeanwhileTests(PromotedBackupCase):
    """A promotion of several projects while a backup is made. The target has older releases."""

    def setUp(self) -> None:
        super().setUp()
        for name in (OLD, OLD_EGGS):
            self.have(publishing(self.node.default, sent(name.encode(), name, metadata=None)))

    def check(self) -> bool:
        """Check what a restore shows: all of the promotion with its bytes, or nothing of it; return
        whether it is all.
        """
        BackupFile(self.path).verify()
        node = self.restored()
        self.have(node.recovery.finish_interrupted())
        shown = self.listed(node.default)
        for name in (OLD, OLD_EGGS):
            shown.pop(name)
        self.assertIn(set(shown), (set(), {WHEEL, SDIST, EGGS_WHEEL}))
        for name, file in shown.items():
            expected = self.listed(self.node.staging)[name]
            self.assertEqual(file, expected)
            for kind in (ObjectKind.ARTIFACT, ObjectKind.METADATA):
                if kind is ObjectKind.ARTIFACT or file.metadata_sha256:
                    where = file.key + kind.value
                    restored = self.have(contents(node.default.blobs, where))
                    self.assertIn(where, restored)
        self.have(node.log.recover())
        self.assertEqual(self.have(contents(node.default.blobs, OPEN_PROMOTIONS)), [])
        self.assertEqual(set(self.listed(node.default)), {*shown, OLD, OLD_EGGS})
        if not shown:
            stored = self.have(contents(node.default.blobs))
            self.assertEqual([where for where in stored if where in ARTIFACTS], [])
        return bool(shown)

    def test_between_each_two_steps(self) -> None:
        """The whole promotion between two steps of the backup, for each step."""
        outcomes, step = [], 0
        while True:
            self.setUp()
            store = Gated(self.store)
            backup = start(self.backup(store))
            for _ in range(step):
                if store.waiting:
                    store.go()
            if not store.waiting:
                break
            self.have(self.node.promote(BOTH))
            store.all()
            self.assertEqual(self.successResultOf(backup).problems, ())
            outcomes.append(self.check())
            step += 1
        self.assertEqual((outcomes[0], outcomes[-1]), (True, False))
        self.assertEqual(outcomes, sorted(outcomes, reverse=True))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), max_size=4))
    def test_in_any_order_of_steps(self, turns: list[tuple[int, int]]) -> None:
        """So many steps of the backup, then so many of the promotion, and so on."""
        self.setUp()
        stores = [Gated(self.store), Gated(self.store)]
        node = Node(stores[1], self.store, self.clock)
        backup = start(self.backup(stores[0]))
        promotion = start(node.promote(BOTH))
        for turn in turns:
            for store, steps in zip(stores, turn, strict=True):
                for _ in range(steps):
                    if store.waiting:
                        store.go()
        while waiting := [store for store in stores if store.waiting]:
            waiting[-1].go()
        self.assertIsNotNone(self.successResultOf(promotion))
        self.assertEqual(self.successResultOf(backup).problems, ())
        self.check()

"""The storage in a backup, while it changes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.prefixed import PrefixedBlobs
from pypid.core.model import Project, Status
from pypid.core.packaging.names import project_name
from pypid.core.records.file_history import FileHistory
from pypid.core.records.layout import STORAGE_IDENTITY, ObjectKind, Plan, kept_key, key
from pypid.flow import start
from pypid.index import Index
from pypid.jobs.backup.backup_file import (
    STORAGE,
    BackupHeader,
    BackupTotals,
    BackupWriter,
)
from pypid.jobs.backup.backup_reader import BackupFile
from pypid.jobs.backup.storage_backup import StorageCapture
from pypid.jobs.backup.storage_restore import (
    StorageRestore,
    first_record,
    is_document_of_record,
)
from pypid.jobs.backup.stored_objects import format_of, group_of
from pypid.ports import Blobs
from pypid.testing import world
from tests.index.faulty_blobs import Gated, Watched
from tests.index.uploads import (
    SPAM,
    WHEEL,
    Described,
    IndexCase,
    everything,
    index_over,
    publishing,
    sent,
    signed,
)

SDIST = "spam-1.0.tar.gz"
EGGS = project_name("eggs")
Change = Callable[[Index], Coroutine[Any, Any, object]]
CHANGES: dict[str, Change] = {
    "publish": lambda index: publishing(index, signed(b"new", "spam-2.0.tar.gz")),
    "publish first": lambda index: publishing(index, sent(b"new", "eggs-1.0.tar.gz")),
    "overwrite": lambda index: publishing(index, signed(b"other"), overwrite=True),
    "delete": lambda index: index.delete(SPAM, [WHEEL], "carol"),
    "yank": lambda index: index.yank(SPAM, [SDIST], "bad"),
    "status": lambda index: index.set_status(SPAM, Status.ARCHIVED, "old"),
}


class StorageBackupCase(IndexCase):
    def setUp(self) -> None:
        super().setUp()
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.path = Path(made.name) / "backup.tar.gz"
        self.begin()

    @property
    def world_now(self) -> Any:
        """The clock of a store."""
        return world(self.clock).now

    def begin(self) -> None:
        """Publish two files of a project."""
        self.have(self.index.reconcile())
        self.publish(signed())
        self.publish(sent(b"sdist", SDIST))

    async def backup(
        self, blobs: Blobs | None = None, *, files: bool = True, cached: bool = True
    ) -> BackupTotals:
        """Back up the store."""
        format = await format_of(self.store, files=files)
        header = BackupHeader(
            id="1", made=world().now(), pypid="1", includes_files=files, includes_cache=cached,
            storage="s", configuration="c", format=format,
        )  # fmt: skip
        with self.path.open("wb") as file:
            writer = BackupWriter(file, header, None, world().random)
            describing = self.store if isinstance(self.store, Described) else None
            capture = StorageCapture(
                blobs or self.store, writer, world(), files, cached, describing
            )
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

    def members(self) -> list[str]:
        """The keys in the backup, without those of the storage as a whole."""
        return [
            name
            for member in BackupFile(self.path).members()
            if not (name := member.path.removeprefix(STORAGE)).startswith(".pypid/")
        ]

    def restored(self, target: MemoryBlobs) -> Index:
        """An index over what the backup brings back."""
        describing = target if isinstance(target, Described) else None
        restore = StorageRestore(target, world(), target, describing)

        async def run() -> None:
            for member in BackupFile(self.path).members():
                await restore.put(member)
            await restore.ended()

        self.have(run())
        self.store = target
        return self.compared(self.restarted())

    def state(self, index: Index) -> object:
        """All that clients see of the index, but for serials."""
        projects = self.have(everything(index)).values()
        return [_without_unmade_events(project) for project in projects], self.files(index)


def _without_unmade_events(project: Project) -> Project:
    """The project without events that were recorded before changes that were not made then: pypid
    ignores them (`core.records.file_history.with_event`).
    """
    histories = []
    for history in project.history:
        *earlier, last = history.events
        file = project.file(history.filename)
        is_yanked_so = file is not None and file.yanked == last.yanked
        is_other = file is None or file.uploaded != last.begun
        is_made = is_other if last.gone else is_yanked_so
        events = (*earlier, last) if is_made else tuple(earlier)
        histories += [FileHistory(history.filename, events)] if events else []
    return evolve(project, history=tuple(histories))


class RoundTripTest(StorageBackupCase):
    def test_everything_comes_back(self) -> None:
        """Files, sidecars, yanks, tombstones, histories and statuses come back as they were."""
        self.have(self.index.yank(SPAM, [WHEEL], "bad"))
        self.have(self.index.delete(SPAM, [SDIST], "carol"))
        self.have(self.index.set_status(SPAM, Status.DEPRECATED, "old"))
        before, keys = self.state(self.index), self.keys()
        totals = self.have(self.backup())
        self.assertEqual((totals.projects, totals.files, totals.problems), (1, 1, ()))
        index = self.restored(MemoryBlobs(self.world_now))
        self.assertEqual(self.state(index), before)
        self.assertEqual(self.keys(), keys)

    def test_named_indexes_come_back(self) -> None:
        """Each is copied as a storage of its own: with its files and records, or the documents
        alone; and none of its files is mistaken for one of the default index.
        """
        prefix = ".pypid/index/team/"
        team = index_over(PrefixedBlobs(self.store, prefix), self.clock)
        self.have(team.reconcile())
        self.publish(sent(b"of the team"), index=team)
        self.put(f"{prefix}.kept/eggs/eggs-1.0.tar.gz", b"cached")
        self.put(".pypid/index-names/spam/team", b"")
        before, keys = self.state(self.index), self.keys()
        totals = self.have(self.backup())
        self.assertEqual((totals.projects, totals.files, totals.problems), (2, 3, ()))
        self.have(self.backup(files=False))
        documents = list(BackupFile(self.path).members())
        paths = [member.path.removeprefix(STORAGE) for member in documents]
        own = {where for where in paths if where.startswith(prefix)}
        self.assertEqual(
            own, {f"{prefix}spam/{WHEEL}{end}" for end in (".record.json", ".metadata")}
        )
        self.assertTrue(all(map(is_document_of_record, documents)))
        self.have(self.backup())
        bytes_of_team = next(
            member
            for member in BackupFile(self.path).members()
            if member.path == f"{STORAGE}{prefix}spam/{WHEEL}"
        )
        self.assertFalse(is_document_of_record(bytes_of_team))
        index = self.restored(MemoryBlobs(self.world_now))
        self.assertEqual(self.state(index), before)
        self.assertEqual(self.keys(), keys)

    def test_a_new_name_of_a_named_index_is_private_after_a_restore(self) -> None:
        """A project that is published while the backup is made has a marker if it has a record, and
        so has a project whose files were deleted.
        """
        team = index_over(PrefixedBlobs(self.store, ".pypid/index/team/"), self.clock)
        self.have(team.reconcile())
        self.publish(sent(b"old", "ham-1.0.tar.gz"), index=team)
        self.publish(sent(b"gone", "eggs-1.0.tar.gz"), index=team)
        self.have(team.delete(EGGS, ["eggs-1.0.tar.gz"], "carol"))
        store = Gated(self.store)
        backup = start(self.backup(store))
        while not store.waiting[0][0].startswith("list .pypid/index/team/.pypid/promotions/"):
            store.go()
        self.publish(sent(b"new"), index=team)
        store.all()
        self.successResultOf(backup)
        paths = {member.path.removeprefix(STORAGE) for member in BackupFile(self.path).members()}
        self.assertIn(f".pypid/index/team/spam/{WHEEL}.record.json", paths)
        markers = {where for where in paths if where.startswith(".pypid/index-names/")}
        names = {EGGS, "ham", SPAM}
        self.assertEqual(markers, {f".pypid/index-names/{name}/team" for name in names})

    def test_a_storage_with_named_indexes_only_is_not_empty(self) -> None:
        """A restore would write over it."""
        store = MemoryBlobs(self.world_now)
        team = index_over(PrefixedBlobs(store, ".pypid/index/team/"))
        self.assertIsNone(self.have(first_record(store)))
        self.have(team.reconcile())
        self.publish(sent(b"of the team"), index=team)
        record = f".pypid/index/team/spam/{WHEEL}.record.json"
        self.assertEqual(self.have(first_record(store)), record)

    def test_without_files_the_documents_come_back(self) -> None:
        """Without package files the backup has records and sidecars, and nothing of the cache."""
        self.put(kept_key(EGGS, "eggs-1.0.tar.gz"), b"cached")
        self.put(kept_key(EGGS, "eggs-1.0.tar.gz", ObjectKind.RECORD), b"{}")
        self.have(self.backup(files=False))
        files = {key(SPAM, name) for name in (WHEEL, SDIST)}
        expected = {where for where in self.keys() if not where.startswith(".kept/")} - files
        self.assertEqual(set(self.members()), expected)

    def test_cached_files_can_be_left_out(self) -> None:
        """Cached upstream files are in a backup with files, unless they are left out."""
        cached = kept_key(EGGS, "eggs-1.0.tar.gz")
        self.put(cached, b"cached")
        self.have(self.backup())
        self.assertIn(cached, self.members())
        self.have(self.backup(cached=False))
        self.assertNotIn(cached, self.members())

    def test_withheld_bytes_come_back(self) -> None:
        """Bytes that a block withholds are copied once, and come back to where they were."""
        held = f".pypid/held/b1/spam/{WHEEL}"
        data = self.get(key(SPAM, WHEEL))
        self.have(self.store.delete(key(SPAM, WHEEL)))
        self.put(held, data)
        totals = self.have(self.backup())
        self.assertEqual((totals.files, totals.problems), (2, ()))
        paths = [member.path for member in BackupFile(self.path).members()]
        self.assertEqual(paths.count(STORAGE + held), 1)
        self.have(self.backup(files=False))
        paths = [member.path for member in BackupFile(self.path).members()]
        self.assertNotIn(STORAGE + held, paths)
        self.have(self.backup())
        target = MemoryBlobs(self.world_now)
        self.restored(target)
        self.assertEqual(self.get(held), data)

    def test_withheld_bytes_are_listed_once(self) -> None:
        """However many files are withheld, their bytes are listed once to find them."""
        counts = []
        for filename in (WHEEL, SDIST):
            self.put(f".pypid/held/b1/spam/{filename}", self.get(key(SPAM, filename)))
            self.have(self.store.delete(key(SPAM, filename)))
            store = Watched(self.store)
            self.assertEqual(self.have(self.backup(store)).problems, ())
            counts.append(store.asked.count("list .pypid/held/"))
        self.assertEqual(counts[0], counts[1])

    def test_what_describes_one_storage_is_left_out(self) -> None:
        """The identity of a storage is not copied into another one; the time since when changes
        are recorded is.
        """
        self.put(STORAGE_IDENTITY, b'{"identity":"1","format":1,"recorded":"2026-01-01T00:00:00Z"}')
        self.have(self.backup())
        paths = [member.path for member in BackupFile(self.path).members()]
        self.assertNotIn(STORAGE + STORAGE_IDENTITY, paths)
        self.assertIn(f"{STORAGE}.pypid/recording.json", paths)

    def test_missing_and_damaged_content_is_reported(self) -> None:
        """A record without its bytes, or with other bytes, is named; the rest is in the backup."""
        self.have(self.store.delete(key(SPAM, WHEEL)))
        self.put(key(SPAM, SDIST), b"damaged")
        totals = self.have(self.backup())
        self.assertEqual(
            totals.problems,
            (
                f"{key(SPAM, WHEEL)}: its content is missing",
                f"{key(SPAM, SDIST)}: its content is damaged",
            ),
        )
        self.assertIn(key(SPAM, WHEEL, ObjectKind.RECORD), self.members())

    def test_the_first_record_is_found(self) -> None:
        """A storage with records is known as such, one with stray files is not."""
        self.assertIsNotNone(self.have(first_record(self.store)))
        empty = MemoryBlobs(self.world_now)
        self.assertIsNone(self.have(first_record(empty)))

    def test_groups(self) -> None:
        """The objects of a project are one group, and so are those of an upstream project."""
        self.assertEqual(group_of("spam/a"), "spam/")
        self.assertEqual(group_of(".kept/spam/a"), ".kept/spam/")
        self.assertEqual(group_of("stray"), "stray")


class ChangingTest(StorageBackupCase):
    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(sorted(CHANGES)), st.lists(st.booleans(), max_size=120))
    def test_a_change_is_contained_whole_or_not_at_all(self, name: str, order: list[bool]) -> None:
        """Whatever changes while a backup is made: it shows the index from before or after, and
        each file that it lists has its bytes.
        """
        self.setUp()
        before = self.state(self.index)
        stores = [Gated(self.store), Gated(self.store)]
        index = self.restarted(stores[0])
        compared = start(index.reconcile())
        stores[0].all()
        self.successResultOf(compared)
        changed = start(CHANGES[name](index))
        backup: Deferred[BackupTotals] = start(self.backup(stores[1]))
        while waiting := [store for store in stores if store.waiting]:
            waiting[order.pop() if order and len(waiting) > 1 else 0].go()
        self.successResultOf(changed)
        totals = self.successResultOf(backup)
        self.assertEqual(totals.problems, ())
        after = self.state(self.compared(self.restarted()))
        BackupFile(self.path).verify()
        index = self.restored(MemoryBlobs(self.world_now))
        self.assertIn(self.state(index), (before, after))


class HashedTest(StorageBackupCase):
    plan = Plan(pypicloud=True, hashed=True)

    def begin(self) -> None:
        self.store = Described(self.world_now)
        self.index = self.restarted()
        super().begin()

    def test_files_elsewhere_are_copied_once(self) -> None:
        """Where pypicloud's layout stores the bytes in other folders than the records, each file is
        in the backup once.
        """
        before = self.state(self.index)
        self.have(self.backup())
        members = self.members()
        self.assertEqual(len(members), len(set(members)))
        self.assertEqual(self.state(self.restored(Described(self.world_now))), before)

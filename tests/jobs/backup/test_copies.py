"""Copies of what is of record."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs import files
from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import CannotStart
from pypid.core.records.layout import OF_RECORD as COPIES
from pypid.flow import BytesBody, World, whole
from pypid.jobs.backup import records
from pypid.jobs.backup import records as markers
from pypid.jobs.backup.copies import Backup
from pypid.jobs.backup.records import Record, is_new
from pypid.ports import Blobs
from tests.failing_calls import Scripted, die, in_child
from tests.index.faulty_blobs import Watched
from tests.support import world
from tests.support.worlds import Awaiting, contents

SECRET = "a-secret-that-pypid-gen-secret-could-have-made"
ADMIN, PEOPLE = Record("admin.json"), Record("accounts.db", is_database=True)


class KeepingCase(Awaiting, SynchronousTestCase):
    kept: Sequence[Record] = (ADMIN, PEOPLE)

    def setUp(self) -> None:
        self.world: World = world()
        self.store: Blobs = MemoryBlobs(self.world.now)
        self.state = self.folder()
        self.file_cache = self.keeps(self.state)
        self.events: list[str] = []

        def observe(event: dict[str, object]) -> None:
            self.events.append(str(event["log_format"]))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def folder(self) -> Path:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def keeps(self, state: Path, secret: str | None = SECRET, storage: str = "bucket-1") -> Backup:
        return Backup(self.store, state, storage, secret, self.world, self.kept)

    def copies(self) -> list[str]:
        return self.have(contents(self.store, COPIES))

    def database(self) -> sqlite3.Connection:
        """That of the accounts, open for as long as the test runs."""
        opened = sqlite3.connect(self.state / PEOPLE.name)
        self.addCleanup(opened.close)
        opened.execute("pragma journal_mode = wal")
        opened.execute("create table people (name)")
        opened.commit()
        return opened

    def people(self, state: Path) -> list[str]:
        with closing(sqlite3.connect(state / PEOPLE.name)) as opened:
            assert opened.execute("pragma integrity_check").fetchall() == [("ok",)]
            return [name for (name,) in opened.execute("select name from people")]

    def restored(self) -> Path:
        """A new state folder, with what was copied."""
        state = self.folder()
        self.assertTrue(is_new(state))
        self.have(self.keeps(state).restore())
        self.assertFalse(is_new(state))
        return state


class RoundTripTests(KeepingCase):
    def test_files(self) -> None:
        """What is of record comes into a new folder, mode 0600; and in the bucket nobody can read
        it.
        """
        (self.state / "admin.json").write_bytes(b"the hash")
        self.assertTrue(self.have(self.file_cache.copy()))
        self.assertEqual(self.copies(), [f"{COPIES}admin.json"])
        self.assertNotIn(
            b"the hash", self.have(whole(self.have(self.store.read(f"{COPIES}admin.json")), 1000))
        )
        state = self.restored()
        self.assertEqual((state / "admin.json").read_bytes(), b"the hash")
        self.assertEqual({path.stat().st_mode & 0o777 for path in state.iterdir()}, {0o600})

    def test_database(self) -> None:
        """Of a database what is committed is copied, also what is in its log only; what is under
        way is not.
        """
        people = self.database()
        people.execute("insert into people values ('ann')")
        people.commit()
        people.execute("insert into people values ('bob')")
        self.assertTrue(self.have(self.file_cache.copy()))
        self.assertEqual(self.people(self.restored()), ["ann"])
        people.commit()
        self.assertTrue(self.have(self.file_cache.copy()))
        self.assertEqual(self.people(self.restored()), ["ann", "bob"])


class ChangesTests(KeepingCase):
    def written(self, file_cache: Backup) -> list[str]:
        """What one look changes in the bucket."""
        watched = file_cache.blobs = Watched(self.store)
        self.have(file_cache.copy())
        file_cache.blobs = self.store
        return [asked.replace(COPIES, "") for asked in watched.asked]

    def test_changes_only(self) -> None:
        """What did not change is not copied again, not even after a restart; what did is, each
        time.
        """
        self.assertEqual(self.written(self.file_cache), [])
        (self.state / "admin.json").write_bytes(b"1")
        self.assertEqual(
            [self.written(self.file_cache), self.written(self.file_cache)],
            [["write admin.json"], []],
        )
        self.assertEqual(self.written(self.keeps(self.state)), [])
        records.put(self.state, "admin.json", b"1")  # written again, the same
        self.assertEqual(self.written(self.file_cache), [])
        records.put(self.state, "admin.json", b"2")
        self.assertEqual(self.written(self.file_cache), ["write admin.json"])
        people = self.database()
        self.assertEqual(
            [self.written(self.file_cache), self.written(self.file_cache)],
            [["write accounts.db"], []],
        )
        people.execute("insert into people values ('ann')")
        people.commit()
        self.assertEqual(self.written(self.file_cache), ["write accounts.db"])

    def test_one_unreadable(self) -> None:
        """A database that cannot be read is said, once, and keeps nothing else
        from being copied.
        """
        self.file_cache.kept = (PEOPLE, ADMIN)
        (self.state / "accounts.db").write_bytes(b"no database" * 100)
        (self.state / "admin.json").write_bytes(b"1")
        self.assertEqual([self.have(self.file_cache.copy()) for _ in range(2)], [False, False])
        self.assertEqual(self.copies(), [f"{COPIES}admin.json"])
        self.assertEqual(len([event for event in self.events if "could not be copied" in event]), 1)

    def test_deleted(self) -> None:
        """What was deleted has no copy after a while; a folder that goes as a whole takes none with
        it.
        """
        for name in "admin.json", "accounts.db":
            (self.state / name).write_bytes(b"1") if name == "admin.json" else self.database()
        self.have(self.file_cache.copy())
        (self.state / "admin.json").unlink()
        self.assertEqual(self.written(self.file_cache), [])
        self.assertEqual(self.written(self.file_cache), ["delete admin.json"])
        self.assertEqual(self.copies(), [f"{COPIES}accounts.db"])
        shutil.rmtree(self.state)
        for _ in range(3):
            self.assertEqual(self.written(self.file_cache), [])
        self.assertEqual(self.copies(), [f"{COPIES}accounts.db"])

    def test_no_secret(self) -> None:
        """Without a secret nothing is copied."""
        (self.state / "admin.json").write_bytes(b"1")
        self.assertFalse(self.have(self.keeps(self.state, None).copy()))
        self.assertEqual(self.copies(), [])


class RefusedTests(KeepingCase):
    def setUp(self) -> None:
        super().setUp()
        (self.state / "admin.json").write_bytes(b"1")
        self.have(self.file_cache.copy())
        self.new = self.folder()

    def refusal(self, secret: str | None) -> str:
        """Why a new machine cannot start; nothing is made of its folder."""
        said = str(self.refused(self.keeps(self.new, secret).restore(), CannotStart))
        self.assertEqual(list(self.new.iterdir()), [])
        self.assertNotIn(SECRET, said)
        return said

    def test_wrong(self) -> None:
        """Another secret is refused, by name, with what to do; and none at all."""
        self.assertIn(
            "admin.json was sealed with another [server] secret. Set the one",
            self.refusal("another"),
        )
        self.assertIn("which is not set", self.refusal(None))

    def test_damaged(self) -> None:
        """A copy that is torn is refused."""
        self.have(self.store.write(f"{COPIES}admin.json", BytesBody(b"x"), replace=True))
        self.assertIn("Restore it from a backup", self.refusal(SECRET))


class CrashTests(KeepingCase):
    """The process dies, or the disk refuses, at each step of a restore and of a copy."""

    kept = (ADMIN, Record("other.json"))

    def setUp(self) -> None:
        super().setUp()
        for record in self.kept:
            (self.state / record.name).write_bytes(record.name.encode())
        self.have(self.file_cache.copy())

    def test_killed_while_restoring(self) -> None:
        """The next start begins again, until all is there: never is a part taken for the whole."""
        nth, ended = 0, False
        while not ended:
            nth += 1
            state = self.folder()
            scripted = Scripted(nth, die)

            def restore(scripted: Scripted = scripted, state: Path = state) -> None:
                self.patch(records, "os", scripted)
                self.have(self.keeps(state).restore())

            ended = in_child(restore)
            there = [record for record in self.kept if (state / record.name).exists()]
            if is_new(state):
                self.have(self.keeps(state).restore())
            else:
                self.assertEqual(len(there), len(self.kept), nth)
            for record in self.kept:
                self.assertEqual((state / record.name).read_bytes(), record.name.encode(), nth)
        self.assertGreater(nth, 8)

    def test_killed_while_copying(self) -> None:
        """However far it came, the next look ends it, and a new machine gets all as it is."""
        self.store = self.have(
            files.open(files.FilesSettings(str(self.folder())), self.world)
        )  # the child's writes last
        for nth in range(1, 7):
            self.assertTrue(markers.read_marker(self.state))
            for record in self.kept:
                records.put(self.state, record.name, b"new %d" % nth)

            def copy(nth: int = nth) -> None:
                self.patch(records, "os", Scripted(nth, die))
                self.have(self.keeps(self.state).copy())

            in_child(copy)
            self.have(self.keeps(self.state).copy())
            new = self.restored()
            self.assertEqual(
                {(new / record.name).read_bytes() for record in self.kept}, {b"new %d" % nth}
            )

"""Blobs as files below a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs import files
from pypid.blobs.files import FilesBlobs, FilesSettings, prepare
from pypid.core.errors import CannotStart, Exists, Missing, StorageDown, StorageFull
from pypid.core.model import Span
from pypid.flow import BytesBody, FileBody, at_once, start
from pypid.ports import Blobs
from tests.failing_calls import Scripted, die, in_child, refuse
from tests.support import BEGINNING, Fed, Turns, contents, world
from tests.support.blobs import BlobsContract
from tests.support.duplicates import DuplicatingContract
from tests.support.worlds import Awaiting

T = TypeVar("T")
MODULES = (files, files, files, files)


def open_files() -> int:
    """How many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class FilesContractTests(BlobsContract, SynchronousTestCase):
    """A folder keeps the contract."""

    async def make(self) -> Blobs:
        return await files.open(FilesSettings(self.mktemp(), create=True), world())


class LinklessContractTests(BlobsContract, SynchronousTestCase):
    """A folder on a file system without hard links keeps the contract."""

    async def make(self) -> Blobs:
        folder = prepare(self.mktemp(), True, b"probe", BEGINNING)
        return FilesBlobs(evolve(folder, links=False), world())


class FilesDuplicatesTests(DuplicatingContract, SynchronousTestCase):
    """A folder keeps the contract of duplicates."""

    async def make_duplicating(self) -> FilesBlobs:
        self.root = Path(self.mktemp()).absolute()
        return await files.open(FilesSettings(str(self.root), create=True), world())

    def nodes(self) -> set[int]:
        return {(self.root / key).stat().st_ino for key in ("a/x", "b/x")}

    def test_duplicate_is_a_link(self) -> None:
        """The bytes are there once; no draft is left, also where the target was a link already."""
        self.written("a/x", b"x" * (3 << 20))
        for replace in (False, True, True):
            self.have(self.both.duplicate("a/x", "b/x", replace=replace))
            self.assertEqual(len(self.nodes()), 1)
            self.assertEqual(list((self.root / ".pypid/tmp").glob("*.part")), [])

    def test_overwrite_never_writes_into_a_linked_file(self) -> None:
        """Each kind of write makes a file of its own."""
        self.written("a/x", b"before")
        self.have(self.both.duplicate("a/x", "b/x"))
        spooled = Path(self.mktemp())
        spooled.write_bytes(b"spooled")
        with spooled.open("rb") as file:
            body = FileBody(file, Span(0, 7), at_once, str(spooled))
            self.have(self.both.write("b/x", body, replace=True))
        self.assertEqual((self.bytes_at("a/x"), len(self.nodes())), (b"before", 2))
        self.have(self.both.duplicate("a/x", "b/x", replace=True))
        assert isinstance(self.both, FilesBlobs)
        self.have(self.both.write_provisional("b/x", BytesBody(b"new"), replace=True))
        self.assertEqual((self.bytes_at("a/x"), len(self.nodes())), (b"before", 2))
        self.assertFalse(self.have(self.both.stat("a/x")).provisional)

    def test_provisional_source_is_copied(self) -> None:
        """The mark belongs to the file: a link would have it, too."""
        assert isinstance(self.both, FilesBlobs)
        self.have(self.both.write_provisional("a/x", BytesBody(b"x")))
        self.assertFalse(self.have(self.both.duplicate("a/x", "b/x")).provisional)
        self.assertEqual(len(self.nodes()), 2)


class CopiedDuplicatesTests(DuplicatingContract, SynchronousTestCase):
    """Where no link is possible, the bytes are read and written."""

    async def make_duplicating(self) -> FilesBlobs:
        self.root = Path(self.mktemp()).absolute()
        blobs = await files.open(FilesSettings(str(self.root), create=True), world())
        self.patch(os, "link", self.refusing(os.link, errno.EXDEV))
        return blobs

    def refusing(self, original: Any, code: int) -> Any:
        def call(source: Any, *rest: Any) -> Any:
            if isinstance(source, bytes) and source.endswith(b".part"):  # it gets its name
                return original(source, *rest)
            raise OSError(code, os.strerror(code))

        return call

    def test_progress(self) -> None:
        """The caller is told how many bytes are copied, by steps; the last step is all of them."""
        self.patch(files, "BATCH", 1 << 20)
        self.written("a/x", b"x" * (3 << 20))
        steps: list[int] = []
        self.have(self.both.duplicate("a/x", "b/x", tell=steps.append))
        self.assertEqual(steps, sorted(steps))
        self.assertGreater(len(steps), 1)
        self.assertEqual(steps[-1], 3 << 20)

    def test_full_disk_leaves_nothing(self) -> None:
        """A copy that does not fit is removed."""
        self.written("a/x", b"x" * 100)

        def full(*_: Any) -> int:
            raise OSError(errno.ENOSPC, "full")

        self.patch(files.DraftFile, "_append", full)
        self.refused(self.both.duplicate("a/x", "b/x"), StorageFull)
        self.assertEqual(self.have(contents(self.both)), ["a/x"])
        self.assertEqual(list((self.root / ".pypid/tmp").glob("*.part")), [])


class FilesCase(Awaiting, SynchronousTestCase):
    """Each test with a folder of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.blobs = self.reopened()

    def reopened(self) -> FilesBlobs:
        """The folder as a process sees it that starts now. (Counted chance would be the same in a
        child that was killed.)
        """
        return self.have(
            files.open(FilesSettings(str(self.root)), evolve(world(), random=os.urandom))
        )

    def drafts(self) -> list[str]:
        return [
            path.name
            for path in (self.root / ".pypid/tmp").iterdir()
            if path.name.endswith(".part")
        ]

    def put(self, key: str, data: bytes, replace: bool = False) -> None:
        self.have(self.blobs.write(key, BytesBody(data), replace=replace))

    def get(self, key: str) -> bytes | None:
        return (self.root / key).read_bytes() if (self.root / key).exists() else None

    def scripted(self, nth: int, act: object) -> Scripted:
        script = Scripted(nth, act)
        for module in MODULES:
            self.patch(module, "os", script)
        return script

    def plain(self) -> None:
        for module in MODULES:
            self.patch(module, "os", os)


class FolderTests(FilesCase):
    """The folder as people and other programs see it."""

    def test_provisional_blob_is_marked_until_it_is_confirmed(self) -> None:
        """The mark is the sticky bit; it changes neither the bytes nor the ETag."""
        key = "spam/spam-1.tar.gz"
        written = self.have(self.blobs.write_provisional(key, BytesBody(b"x")))
        self.assertTrue(written.provisional)
        self.assertEqual(written, self.have(self.blobs.stat(key)))
        self.assertEqual(self.get(key), b"x")
        self.have(self.blobs.confirm(key))
        self.assertEqual(self.have(self.blobs.stat(key)), evolve(written, provisional=False))
        self.assertEqual((self.root / key).stat().st_mode & 0o7777, 0o640)
        self.have(self.blobs.write_provisional(key, BytesBody(b"y"), replace=True))
        self.have(self.blobs.write(key, BytesBody(b"z"), replace=True))
        self.assertFalse(self.have(self.blobs.stat(key)).provisional)
        self.have(self.blobs.confirm("spam/other.tar.gz"))

    def test_system_without_the_sticky_bit_marks_nothing(self) -> None:
        """A system may refuse it for files; the blob is stored all the same."""
        fchmod = os.fchmod

        def refuses(descriptor: int, mode: int) -> None:
            if mode & stat.S_ISVTX:
                raise OSError(errno.EINVAL, "not for files")
            fchmod(descriptor, mode)

        self.patch(os, "fchmod", refuses)
        written = self.have(self.blobs.write_provisional("spam/x", BytesBody(b"x")))
        self.assertFalse(written.provisional)
        self.assertEqual((self.root / "spam/x").stat().st_mode & 0o7777, 0o640)

    def test_key_is_path(self) -> None:
        """The key is the path; files are not for everybody, and nothing else is left
        in the folder.
        """
        self.put("spam/spam-1.tar.gz", b"x")
        self.assertEqual(self.get("spam/spam-1.tar.gz"), b"x")
        self.assertEqual((self.root / "spam/spam-1.tar.gz").stat().st_mode & 0o777, 0o640)
        self.assertEqual((self.root / "spam/spam-1.tar.gz").stat().st_nlink, 1)
        self.assertEqual(sorted(path.name for path in self.root.iterdir()), [".pypid", "spam"])
        self.assertEqual(self.drafts(), [])

    def test_drafts_are_no_blobs(self) -> None:
        """What lies where drafts lie is not listed, read, written or deleted through keys."""
        (self.root / ".pypid/tmp/x.part").write_bytes(b"")
        self.put(".pypid/storage.json", b"{}")
        for prefix in ("", ".pypid/tmp/", ".pypid/tmp/x"):
            self.assertNotIn(".pypid/tmp/x.part", self.have(contents(self.blobs, prefix)))
        self.refused(self.blobs.read(".pypid/tmp/x.part"), Missing)
        self.refused(self.blobs.write(".pypid/tmp/y", BytesBody(b"")), ValueError)
        self.refused(self.blobs.write(".pypid/tmp", BytesBody(b"")), ValueError)
        self.have(self.blobs.delete(".pypid/tmp/x.part"))
        self.assertEqual(self.drafts(), ["x.part"])

    def test_in_the_way(self) -> None:
        """A file where a folder belongs, or a folder where a file belongs, is the operator's to
        clear: storage down.
        """
        (self.root / "spam").write_bytes(b"")
        (self.root / "ham/x").mkdir(parents=True)
        for key in ("spam/x", "ham/x"):
            for replace in (False, True):
                self.refused(self.blobs.write(key, BytesBody(b"1"), replace=replace), StorageDown)
        self.assertEqual(self.drafts(), [])
        self.assertEqual(self.have(contents(self.blobs)), ["spam"])


class DraftTests(FilesCase):
    """What a crash leaves of a write."""

    def test_young_draft_is_removed_at_the_next_start(self) -> None:
        """A start removes a draft of a moment ago where no other machine writes; one that a process
        holds stays.
        """
        left, held = (self.root / ".pypid/tmp" / name for name in ("left.part", "held.part"))
        for path in left, held:
            path.write_bytes(b"x")
        self.have(files.open(FilesSettings(str(self.root)), world()))
        self.assertTrue(left.exists())
        with held.open("rb") as file:
            self.assertTrue(files.hold(file.fileno()))
            self.have(files.open(FilesSettings(str(self.root), exclusive=True), world()))
            self.assertEqual(
                [path.name for path in (self.root / ".pypid/tmp").iterdir()], ["held.part"]
            )


class GoneTests(FilesCase):
    """A folder that is not there (any more)."""

    def test_opens_what_is_there(self) -> None:
        """A folder is made only if that is asked for; else the daemon does not start, and is told
        what to do.
        """
        for path in (self.root / "not/there", self.root / "file"):
            (self.root / "file").write_bytes(b"")
            error = self.refused(files.open(FilesSettings(str(path)), world()), CannotStart)
            self.assertIn("[storage] path", str(error))
        self.assertFalse((self.root / "not").exists())
        self.have(files.open(FilesSettings(str(self.root / "not/there"), create=True), world()))
        self.refused(
            files.open(FilesSettings(str(self.root / "file"), create=True), world()), CannotStart
        )

    def check_down(self) -> None:
        async def listed(prefix: str) -> list[str]:
            return await contents(self.blobs, prefix)

        body = Fed(b"x", None)
        for job in (
            self.blobs.read("spam/x"),
            self.blobs.stat("spam/x"),
            self.blobs.stat(".."),
            self.blobs.delete("spam/x"),
            self.blobs.write("spam/x", body),
            self.blobs.write("spam/x", BytesBody(b"x"), replace=True),
            listed(""),
            listed("spam/"),
            listed("spam/spam-1"),
            listed("../"),
        ):
            error = self.refused(job, StorageDown)
            self.assertNotIn(str(self.root), str(error))
            self.assertNotIn(self.root.name, str(error))
        self.assertTrue(body.closed)

    def test_gone(self) -> None:
        """When the folder is gone every call says that the storage is down, no call makes it again,
        and it may come back.
        """
        self.put("spam/x", b"x")
        away = self.root.with_name("away")
        self.root.rename(away)
        self.check_down()
        self.assertFalse(self.root.exists())
        away.rename(self.root)
        self.assertEqual(self.have(contents(self.blobs)), ["spam/x"])

    def test_unmounted_while_writing(self) -> None:
        """A write that was under way when the disk went is storage down, and writes nothing to the
        bare mount point.
        """
        body = Fed(b"x" * (2 << 20))
        writing = start(self.blobs.write("spam/x", body))
        self.root.rename(self.root.with_name("away"))
        self.root.mkdir()
        body.feed(None)
        self.failureResultOf(writing, StorageDown)
        self.assertEqual(list(self.root.iterdir()), [])


class SpoolTests(FilesCase):
    """A body that is a file on the same file system."""

    def spool(self, data: bytes) -> Path:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(data)
        return path

    def body(self, spool: Path, **changes: object) -> FileBody:
        whole = FileBody(spool.open("rb"), Span(0, spool.stat().st_size), at_once, str(spool))
        return evolve(whole, **changes)

    def test_is_linked(self) -> None:
        """A whole spool becomes the blob without being copied; its own name can go then."""
        path = self.spool(b"spooled")
        for key, replace in (("spam/x", False), ("spam/y", True), ("spam/y", True)):
            body = self.body(path)
            blob = self.have(self.blobs.write(key, body, replace=replace))
            self.assertTrue(body.file.closed)
            self.assertTrue((self.root / key).samefile(path))
            self.assertEqual(blob, self.have(self.blobs.stat(key)))
            self.assertEqual((self.root / key).stat().st_mode & 0o777, 0o640)
        blob = self.have(self.blobs.write_provisional("spam/z", self.body(self.spool(b"more"))))
        self.assertTrue(blob.provisional)
        self.assertEqual(blob, self.have(self.blobs.stat("spam/z")))
        path.unlink()
        self.assertEqual(self.get("spam/x"), b"spooled")
        self.assertEqual(self.drafts(), [])

    def test_is_copied(self) -> None:
        """A part of a file, one whose name means another file by now, and one on another file
        system are copied.
        """
        path = self.spool(b"0123456789")
        renamed = self.body(path)
        path.rename(path.with_name("kept"))
        path.write_bytes(b"impostor!!")
        bodies = [
            (renamed, b"0123456789"),
            (self.body(path, span=Span(0, 4)), b"impo"),
            (self.body(path, span=Span(4, 10)), b"stor!!"),
            (self.body(path, path=str(path) + "-gone"), b"impostor!!"),
            (self.body(path, path=None), b"impostor!!"),
        ]
        other = Path("/dev/shm")
        if other.is_dir() and other.stat().st_dev != self.root.stat().st_dev:
            far = other / f"pypid-test-{os.getpid()}"
            far.write_bytes(b"far")
            self.addCleanup(far.unlink)
            bodies.append((self.body(far), b"far"))
        for number, (body, expected) in enumerate(bodies):
            self.have(self.blobs.write(f"spam/{number}", body))
            self.assertEqual(self.get(f"spam/{number}"), expected)
            self.assertEqual((self.root / f"spam/{number}").stat().st_nlink, 1)


class CrashTests(FilesCase):
    """Each step of a write refused by the system, and the process killed at each step."""

    def kinds(self) -> list[tuple[str, object, bool]]:
        """Ways to write: into a new folder, over a blob, in several turns, by link; whether it
        replaces.
        """
        spool = Path(self.mktemp()).absolute()
        spool.write_bytes(b"new")
        return [
            ("new/x", lambda: BytesBody(b"new"), False),
            ("old/x", lambda: BytesBody(b"new"), True),
            ("large/x", lambda: Fed(b"n" * (2 << 20), b"ew", None), False),
            ("spool/x", lambda: FileBody(spool.open("rb"), Span(0, 3), at_once, str(spool)), False),
            ("old/y", lambda: FileBody(spool.open("rb"), Span(0, 3), at_once, str(spool)), True),
        ]

    def check(self, key: str) -> bytes | None:
        """The blob is there whole, or as it was, and nothing else is; what is there."""
        found = self.get(key)
        self.assertIn(
            found, (b"new", b"n" * (2 << 20) + b"ew", b"old" if key.startswith("old") else None)
        )
        listed = set(self.have(contents(self.blobs)))
        self.assertEqual(listed - {key}, {"old/x", "old/y"} - {key})
        self.assertEqual(key in listed, found is not None)
        return found

    def each_step(self, act: object) -> object:
        """Every way to write, failed at every step: the key, what is to be done, and the script."""
        for folder in (False, True):
            for key, body, replace in self.kinds()[: 1 if folder else None]:
                for nth in range(1, 60):
                    for path in self.root.glob("*/*"):
                        if path.is_file():
                            path.unlink()
                    for name in ("old/x", "old/y"):
                        (self.root / name).parent.mkdir(exist_ok=True)
                        (self.root / name).write_bytes(b"old")
                    if not folder:
                        with contextlib.suppress(OSError):
                            (self.root / key).parent.rmdir()
                    script = self.scripted(nth, act)
                    yield key, body, replace, script
                    self.plain()
                    if script.failed is None and script.calls:
                        break
                else:
                    self.fail("a write of more than 60 steps")

    def test_synced(self) -> None:
        """The folder of a new name is synced each time; the folders above it once, and again if one
        was made anew.
        """
        synced: list[str] = []
        sync = files.sync_folder
        root = self.root

        def spied(folder: bytes) -> None:
            synced.append(os.path.relpath(os.fsdecode(folder), root))
            sync(folder)

        self.patch(files, "sync_folder", spied)
        for key, expected in (
            ("a/b/one", ["a/b", "a", "."]),
            ("a/b/two", ["a/b"]),
            ("a/c/one", ["a/c", "a"]),
            ("three", ["."]),
        ):
            self.have(self.blobs.write(key, BytesBody(b"x")))
            self.assertEqual(synced, expected, key)
            synced.clear()
        (root / "a" / "b").rename(root / "a" / "elsewhere")
        self.have(self.blobs.write("a/b/one", BytesBody(b"x")))
        self.assertEqual(synced, ["a/b", "a"])

    def test_killed_at_each_step(self) -> None:
        """Whatever step the process dies at, the blob is there whole or as it was, and the next
        write of it goes well.
        """
        for key, body, replace, script in self.each_step(die):

            def job(key: str = key, body: object = body, replace: bool = replace) -> None:
                self.have(self.blobs.write(key, body(), replace=replace))

            ended = in_child(job)
            self.plain()
            found = self.check(key)
            if ended:
                self.assertNotIn(found, (None, b"old"))
                script.calls.append("")  # the child's calls are its own: here is the end
            if found is None:
                self.have(self.reopened().write(key, BytesBody(b"again")))
            for name in self.drafts():
                (self.root / ".pypid/tmp" / name).unlink()

    def test_reads_refused(self) -> None:
        """A disk that reports errors, or denies, is storage down: for reading, looking, listing and
        deleting.
        """
        self.put("spam/x", b"x")
        for number in (errno.EIO, errno.EACCES, errno.ESTALE):
            for job in (
                lambda: self.blobs.read("spam/x"),
                lambda: self.blobs.stat("spam/x"),
                lambda: self.blobs.delete("spam/x"),
                lambda: contents(self.blobs),
            ):
                self.scripted(1, refuse(number))
                error = self.refused(job(), StorageDown)
                self.assertNotIn("/a/path", str(error))
                self.plain()

    def test_sweeps(self) -> None:
        """A start removes drafts that nobody touched for an hour: not those that a process holds,
        and no other files.
        """
        folder = self.root / ".pypid/tmp"
        writing = start(self.blobs.write("spam/x", body := Fed(b"x" * (2 << 20))))
        (living,) = self.drafts()
        (folder / "dead.part").write_bytes(b"")
        (folder / "note.txt").write_bytes(b"")
        (folder / "odd.part").mkdir()
        now = (folder / "dead.part").stat().st_ctime
        clock = Clock()
        clock.advance(now + 3500 - BEGINNING.timestamp())
        self.have(files.open(FilesSettings(str(self.root)), world(clock)))
        self.assertIn("dead.part", self.drafts())
        clock.advance(200)
        self.have(files.open(FilesSettings(str(self.root)), world(clock)))
        self.assertEqual(sorted(self.drafts()), sorted([living, "odd.part"]))
        self.assertTrue((folder / "note.txt").exists())
        body.feed(None)
        self.successResultOf(writing)

    def test_finds_out_about_links(self) -> None:
        """Where the file system refuses hard links at the start, writing once works
        all the same.
        """
        script = Scripted(0, die)
        self.patch(script, "link", refuse(errno.EPERM))
        for module in MODULES:
            self.patch(module, "os", script)
        self.patch(script, "link", lambda *_: refuse(errno.EPERM)(""))
        self.blobs = self.reopened()
        self.put("spam/x", b"1")
        self.refused(self.blobs.write("spam/x", BytesBody(b"2")), Exists)
        self.assertEqual(self.get("spam/x"), b"1")


class CancelTests(FilesCase):
    """A write that is cancelled while a thread is at it."""

    def test_cancelled_at_each_turn(self) -> None:
        """Whenever a write is cancelled, before or while a thread works for it: no draft, no open
        file is left.
        """
        descriptors = open_files()
        for turns_before in range(4):
            for key in (f"spam/{turns_before}", f"ham/{turns_before}"):
                turns = Turns()
                blobs = FilesBlobs(self.blobs._disk, world(blocking=turns))
                body = Fed(b"x" * (1 << 20), b"y" * (1 << 20), b"z", None)
                writing = start(blobs.write(key, body))
                for _ in range(turns_before):
                    if turns:
                        turns.turn()
                if writing.called:
                    continue
                writing.cancel()
                turns.all()
                self.failureResultOf(writing, CancelledError)
                self.assertTrue(body.closed)
                self.assertEqual(self.drafts(), [])
                self.assertIn(self.get(key), (None, b"x" * (1 << 20) + b"y" * (1 << 20) + b"z"))
                self.assertEqual(open_files(), descriptors)

"""Files on their way in: `pypid.flow.spool`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Coroutine
from errno import EIO, EROFS
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import StorageDown, StorageFull
from pypid.core.model import Checksum, Digests
from pypid.flow import at_once
from pypid.flow.spool import Spool, sweep

T = TypeVar("T")
CHECKSUMS = st.sets(st.sampled_from(Checksum))


class Slow:
    """A `Blocking` whose calls run when we say so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self.calls.append((done, lambda: call(*args)))
        return done

    def run(self) -> None:
        """Run the oldest call."""
        done, call = self.calls.pop(0)
        try:
            result = call()
        except Exception:
            done.errback()
        else:
            done.callback(result)


class SpoolTests(SynchronousTestCase):
    """A spool takes bytes, hashes them, and leaves nothing behind."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        sweep(self.folder)

    def run_now(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    @property
    def files(self) -> list[Path]:
        return list(self.folder.iterdir())

    @given(st.lists(st.binary(max_size=30)), CHECKSUMS, CHECKSUMS, CHECKSUMS)
    @settings(max_examples=60, deadline=None, database=None)
    def test_bytes_and_hashes(
        self, pieces: list[bytes], first: set[Checksum], soon: set[Checksum], late: set[Checksum]
    ) -> None:
        """What was written is what is read, and what was hashed: as it was wanted, whenever that
        was said.
        """

        async def use() -> None:
            async with Spool(self.folder, at_once, batch=16, also=first) as spool:
                spool.want(soon)
                for piece in pieces:
                    await spool.write(piece)
                spool.want(late)
                digests = await spool.finish()
                data = b"".join(pieces)
                wanted = first | soon | late
                md5 = hashlib.md5(data).hexdigest() if Checksum.MD5 in wanted else None
                blake2b = (
                    hashlib.blake2b(data, digest_size=32).hexdigest()
                    if Checksum.BLAKE2B_256 in wanted
                    else None
                )
                self.assertEqual(
                    digests, Digests(hashlib.sha256(data).hexdigest(), md5, blake2b, len(data))
                )
                body = await spool.body()
                self.assertEqual(
                    (body.size, b"".join([piece async for piece in body])), (len(data), data)
                )
                await body.aclose()
                with spool.open_for_inspection() as file:
                    self.assertEqual(file.read(), data)

        self.run_now(use())
        self.assertEqual(self.files, [])

    def test_the_file_can_be_linked(self) -> None:
        """The body says where the file lies; it is ours alone (mode 0600), and a link to it
        outlives the spool.
        """

        async def use() -> None:
            async with Spool(self.folder, at_once) as spool:
                await spool.write(b"hello")
                await spool.finish()
                body = await spool.body()
                assert body.path is not None
                self.assertEqual(Path(body.path).stat().st_mode & 0o777, 0o600)
                os.link(body.path, self.folder / "kept")
                await body.aclose()

        self.run_now(use())
        self.assertEqual([path.read_bytes() for path in self.files], [b"hello"])

    def test_unreadable_file_is_a_storage_that_is_down(self) -> None:
        """What the system refuses while a finished file is read is `StorageDown`, which clients
        hear of as 503.
        """

        async def use() -> None:
            async with Spool(self.folder, at_once) as spool:
                await spool.write(b"x")
                await spool.finish()
                with self.assertRaises(StorageDown), spool.inspected():
                    _fail(EIO)
                self.patch(Spool, "open_for_inspection", lambda spool: _fail(EROFS))
                with self.assertRaises(StorageDown):
                    await spool.body()

        self.run_now(use())

    def test_two_batches_at_most(self) -> None:
        """While one batch is written the next one fills; then the writer waits."""
        slow = Slow()
        spool = Spool(self.folder, slow, batch=10)
        self.run_now(spool.write(b"x" * 10))
        self.run_now(spool.write(b"y" * 9))
        third = Deferred.fromCoroutine(spool.write(b"z"))
        self.assertNoResult(third)
        self.assertEqual(len(slow.calls), 1)
        slow.run()
        self.successResultOf(third)
        done = Deferred.fromCoroutine(spool.finish())
        while slow.calls:
            slow.run()
        self.assertEqual(self.successResultOf(done).size, 20)
        removed = Deferred.fromCoroutine(spool.discard())
        slow.run()
        self.successResultOf(removed)

    def test_hashed_beside_the_writing(self) -> None:
        """What is wanted beside SHA-256 is taken in another thread, and waited for before the next
        batch is sent to one.
        """
        slow = Slow()
        spool = Spool(self.folder, slow, batch=10, also=Checksum)
        self.run_now(spool.write(b"x" * 10))
        self.assertEqual(len(slow.calls), 2)
        second = Deferred.fromCoroutine(spool.write(b"y" * 10))
        slow.run()
        self.assertNoResult(second)
        slow.run()
        self.successResultOf(second)
        done = Deferred.fromCoroutine(spool.finish())
        while slow.calls:
            slow.run()
        self.assertEqual(
            self.successResultOf(done).md5, hashlib.md5(b"x" * 10 + b"y" * 10).hexdigest()
        )
        removed = Deferred.fromCoroutine(spool.discard())
        slow.run()
        self.successResultOf(removed)
        self.assertEqual(self.files, [])

    def test_discarded_while_it_is_hashed(self) -> None:
        """A spool that is given up while both threads work, or while its file is read again, leaves
        nothing.
        """
        for late in ((), Checksum):
            slow = Slow()
            spool = Spool(self.folder, slow, batch=10, also=Checksum if not late else ())
            self.run_now(spool.write(b"x" * 10))
            spool.want(late)
            done = Deferred.fromCoroutine(spool.finish())
            if late:
                slow.run()
            done.cancel()
            self.failureResultOf(done, CancelledError)
            removed = Deferred.fromCoroutine(spool.discard())
            for at in (
                -1,
                *range(len(slow.calls) - 1),
            ):  # the removal overtakes what was begun before
                waiting, call = slow.calls[at]
                try:
                    call()
                except StorageDown:
                    self.assertTrue(late)
                if at == -1:
                    waiting.callback(None)
            self.successResultOf(removed)
            self.assertEqual(self.files, [])

    def test_read_while_it_grows(self) -> None:
        """Who hears what is written can read it while more comes: the first are written at once,
        all else in batches.
        """
        slow, heard = Slow(), list[int]()
        spool = Spool(self.folder, slow, batch=100, written=heard.append)
        for piece in (b"one", b"two", b"three"):
            self.run_now(spool.write(piece))
        self.assertEqual((len(slow.calls), heard), (1, []))
        slow.run()
        self.assertEqual((len(slow.calls), heard), (0, [3]))
        descriptor = spool.descriptor_of_its_own()
        self.run_now(spool.write(b"." * 92))
        self.assertEqual(len(slow.calls), 1)
        with spool.open_for_inspection() as file:
            self.assertEqual(file.read(), b"one")
            slow.run()
            self.assertEqual(
                (len(slow.calls), heard, file.read()), (0, [3, 103], b"twothree" + b"." * 92)
            )
            self.run_now(spool.write(b"four"))
            done = Deferred.fromCoroutine(spool.finish())
            while slow.calls:
                slow.run()
            self.assertEqual(self.successResultOf(done).size, 107)
            self.assertEqual((heard, file.read()), ([3, 103, 107], b"four"))
        removed = Deferred.fromCoroutine(spool.discard())
        slow.run()
        self.successResultOf(removed)
        self.assertRaises(RuntimeError, spool.open_for_inspection)
        self.assertRaises(RuntimeError, spool.descriptor_of_its_own)
        self.assertEqual(os.pread(descriptor, 200, 100), b"...four")
        os.close(descriptor)

    def test_a_growing_one_fails(self) -> None:
        """A batch that nobody waited for fails the next one, or the end; nothing of it is said to
        be written.
        """
        slow, heard = Slow(), list[int]()
        spool = Spool(self.folder / "missing", slow, written=heard.append)
        self.run_now(spool.write(b"one"))
        slow.run()
        self.run_now(spool.write(b"two"))
        self.failureResultOf(Deferred.fromCoroutine(spool.finish()), StorageDown)
        self.assertEqual(heard, [])

    def test_cancelled(self) -> None:
        """A request that is cancelled while a batch is under way leaves no file, whenever the
        thread comes to run.
        """
        slow = Slow()

        async def use() -> None:
            async with Spool(self.folder, slow, batch=4) as spool:
                for _ in range(3):
                    await spool.write(b"four")

        using = Deferred.fromCoroutine(use())
        slow.run()
        self.assertEqual(len(self.files), 1)
        using.cancel()
        while slow.calls:
            done, call = slow.calls.pop(0)
            call()
            if not done.called:
                done.callback(None)
        self.failureResultOf(using, CancelledError)
        self.assertEqual(self.files, [])

    def test_full(self) -> None:
        """No space left is `StorageFull`, from the batch or from the end, and leaves nothing."""

        async def use() -> None:
            async with Spool(self.folder, at_once, batch=4) as spool:
                await spool.write(b"four")
                full = os.open("/dev/full", os.O_WRONLY)
                os.dup2(full, spool._disk._descriptor)
                os.close(full)
                await spool.write(b"more")
                await spool.finish()

        error = self.failureResultOf(Deferred.fromCoroutine(use()), StorageFull).value
        self.assertIn("spool", str(error))
        self.assertEqual(self.files, [])

    def test_no_folder(self) -> None:
        """A folder that cannot be written is `StorageDown`, whose text has no path."""
        spool = Spool(self.folder / "missing", at_once)
        error = self.failureResultOf(Deferred.fromCoroutine(spool.finish()), StorageDown).value
        self.assertNotIn("missing", str(error))


def _fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


class SweepTests(SynchronousTestCase):
    """What a crash left is removed at the next start."""

    def test_it_makes_the_folder(self) -> None:
        """The folder is made, for us alone."""
        folder = Path(self.mktemp()) / "spool"
        self.assertEqual(sweep(folder), 0)
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)

    def test_leftovers_go_and_the_living_stay(self) -> None:
        """Files of a crash go; those that are being written, by whomever, and strangers stay."""
        folder = Path(self.mktemp())
        sweep(folder)
        (folder / "incoming-old").write_bytes(b"x")
        (folder / "stranger").write_bytes(b"x")
        spool = Spool(folder, at_once, batch=1)
        self.successResultOf(Deferred.fromCoroutine(spool.write(b"living")))
        self.assertEqual(sweep(folder), 1)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(spool.finish())).size, 6)
        self.assertEqual(len(list(folder.iterdir())), 2)
        self.successResultOf(Deferred.fromCoroutine(spool.discard()))
        self.assertEqual([path.name for path in folder.iterdir()], ["stranger"])

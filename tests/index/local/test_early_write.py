"""Uploads whose bytes are written to the storage while they are still being received."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred

from pypid.core.errors import AlreadyExists, NameUsedUp, StorageDown, StorageFull
from pypid.core.packaging.names import parse_filename
from pypid.flow import at_once, shielded, start
from pypid.flow.coroutines import is_patient
from pypid.flow.spool import Spool
from pypid.index import Index
from pypid.index.local import early_write
from pypid.index.local.early_write import EarlyWrite
from pypid.index.local.publish import PublishOutcome
from tests.index import uploads
from tests.index.faulty_blobs import Gated, Storm, Watched
from tests.index.local import test_publish
from tests.index.uploads import SPAM, WHEEL, IndexCase, Sent, index_over, sent, signed

MOST = 1 << 30


@frozen
class Received:
    """An upload that comes byte by byte."""

    index: Index
    what: Sent
    folder: Path
    early: EarlyWrite = field(init=False)
    spool: Spool = field(init=False)

    def __attrs_post_init__(self) -> None:
        early = EarlyWrite(self.index.context, MOST)
        spool = Spool(self.folder, at_once, batch=1, written=early.grew)
        object.__setattr__(self, "early", early)
        object.__setattr__(self, "spool", spool)

    async def receive(self) -> None:
        """Receive all of it."""
        await self.early.begin(self.what.upload.distribution, self.spool)
        for number in range(len(self.what.data)):
            await self.spool.write(self.what.data[number : number + 1])
        await self.spool.finish()

    async def publish(self, *, overwrite: bool = False, by: str = "alice") -> PublishOutcome:
        """Publish what was received."""
        return await self.index.publish(
            self.what.upload, self.spool.body, by, overwrite=overwrite, early=self.early
        )

    async def all(self, *, overwrite: bool, by: str) -> PublishOutcome:
        """Receive and publish it."""
        async with self.spool, self.early:
            await self.receive()
            return await self.publish(overwrite=overwrite, by=by)


class EarlyCase(IndexCase):
    """Writes begin with the second byte."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(early_write, "EARLIEST", 1)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def received(self, what: Sent, index: Index | None = None) -> Received:
        """An upload that was received, and is not published yet."""
        received = Received(index or self.index, what, self.folder)
        self.have(received.receive())
        return received

    def end(self, received: Received) -> None:
        """End the request of the upload."""

        async def ended() -> None:
            async with received.spool, received.early:
                pass

        self.have(ended())


class EarlyWriteTests(EarlyCase):
    """What becomes of the bytes that were written early."""

    def test_are_published_without_a_second_write(self) -> None:
        """The bytes are invisible until the upload is published, and written once."""
        watched = Watched(self.store)
        index = self.restarted(watched)
        received = self.received(signed(), index)
        self.assertEqual((watched.asked, self.keys()), ([f"write spam/{WHEEL}"], []))
        self.assertEqual(self.have(received.publish()), PublishOutcome.PUBLISHED)
        self.end(received)
        self.assertEqual(watched.asked.count(f"write spam/{WHEEL}"), 1)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})

    def test_small_file_is_not_written_early(self) -> None:
        """A file below the limit is written once it was received."""
        self.patch(early_write, "EARLIEST", 4)
        watched = Watched(self.store)
        received = self.received(sent(), self.restarted(watched))
        self.assertEqual(watched.asked, [])
        self.have(received.publish())
        self.end(received)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})

    def test_nothing_is_begun_where_it_is_useless(self) -> None:
        """A storage that gains nothing by it, and a name that is taken, are left alone."""
        self.assertFalse(self.index.early_write(MOST).is_useful)
        self.publish(sent())
        watched = Watched(self.store)
        index = self.restarted(watched)
        self.have(index.reconcile())
        watched.asked.clear()
        received = self.received(sent(b"other"), index)
        self.assertEqual(watched.asked, [])
        self.refused(received.publish(), AlreadyExists)
        self.end(received)

    def test_refused_upload_stores_nothing(self) -> None:
        """An upload that is refused in the end, or that ends before, stores nothing."""
        self.publish(sent())
        self.have(self.index.delete(SPAM, [WHEEL], "alice"))
        keys = self.keys()
        received = self.received(sent(b"other"))
        self.refused(received.publish(), NameUsedUp)
        self.end(received)
        self.end(self.received(sent(filename="spam-2.0-py3-none-any.whl")))
        self.assertEqual(self.keys(), keys)
        self.at_rest()

    def test_failed_early_write_is_made_up_for(self) -> None:
        """A storage that fails while the upload comes is asked again when all has come."""
        for error in (StorageDown("away."), StorageFull("storage")):
            self.setUp()
            storm = Storm(self.store, 1, lambda error=error: error)  # type: ignore[misc]
            received = self.received(signed(), self.restarted(storm))
            self.assertEqual(self.have(received.publish()), PublishOutcome.PUBLISHED)
            self.end(received)
            self.assertEqual(storm.asked.count(f"write spam/{WHEEL}"), 2)
            self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})

    def test_unexpected_failure_is_logged(self) -> None:
        """An error that no storage raises is made up for, too, and logged with its traceback."""
        storm = Storm(self.store, 1, lambda: ValueError("a mistake"))
        received = self.received(sent(), self.restarted(storm))
        self.assertEqual(self.have(received.publish()), PublishOutcome.PUBLISHED)
        self.end(received)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_failure_of_the_last_moment_fails_the_upload(self) -> None:
        """A write that fails once it may store the bytes fails the upload, as any write does."""

        class Late(Watched):
            async def _after(self, what: str) -> None:
                if what == f"write spam/{WHEEL}":
                    raise StorageDown("away.")

        received = self.received(signed(), self.restarted(Late(self.store)))
        self.refused(received.publish(), StorageDown)
        self.end(received)
        self.assertIn(self.publish(signed()), tuple(PublishOutcome))
        self.assertEqual(self.files(self.compared(self.restarted())), {WHEEL: b"spam"})

    def test_of_two_uploads_of_one_name_one_wins(self) -> None:
        """Of two that come at once, the first that is published wins."""
        first, second = self.received(sent(b"first")), self.received(sent(b"second"))
        self.assertEqual(self.have(second.publish()), PublishOutcome.PUBLISHED)
        self.refused(first.publish(), AlreadyExists)
        for received in (first, second):
            self.end(received)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"second"})
        self.assertEqual(len(self.keys()), 3)

    def test_the_same_bytes_twice_at_once(self) -> None:
        """Of two that come at once with the same bytes, the second one changes nothing."""
        first, second = self.received(sent()), self.received(sent())
        self.assertEqual(self.have(first.publish()), PublishOutcome.PUBLISHED)
        self.assertEqual(self.have(second.publish()), PublishOutcome.UNCHANGED)
        for received in (first, second):
            self.end(received)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})

    def test_overwrite_is_written_under_its_own_key(self) -> None:
        """An upload that turns out to replace a file does not use what was written early."""
        received = self.received(sent(b"newer"))
        self.publish(sent(b"older"))
        self.assertEqual(self.have(received.publish(overwrite=True)), PublishOutcome.OVERWRITTEN)
        self.end(received)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"newer"})
        self.assertEqual([key for key in self.keys() if key.endswith(WHEEL)], [])

    def test_bytes_without_a_record_are_kept(self) -> None:
        """Bytes that others put under the key meanwhile are moved aside, and the upload wins."""
        received = self.received(sent())
        self.put(f"spam/{WHEEL}", b"copied by hand")
        self.assertEqual(self.have(received.publish()), PublishOutcome.PUBLISHED)
        self.end(received)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})

    def test_lease_that_was_lost_meanwhile(self) -> None:
        """Bytes whose write began under a lease that another process has now are not stored by that
        write: the next one asks for the lease.
        """
        for is_lost, writes in ((False, 1), (True, 2)):
            self.setUp()
            held = [True]
            watched = Watched(self.store)
            index = index_over(watched, self.clock, is_sole=lambda held=held: held[0])
            received = self.received(sent(), index)
            held[0] = not is_lost
            self.assertEqual(self.have(received.publish()), PublishOutcome.PUBLISHED)
            self.end(received)
            self.assertEqual(watched.asked.count(f"write spam/{WHEEL}"), writes)
            self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})

    def test_is_patient_with_the_storage(self) -> None:
        """The client of an early write waits as that of any publish does."""
        patience: list[bool] = []

        class Asked(Watched):
            async def _before(self, what: str) -> None:
                patience.append(is_patient.get())

        self.end(self.received(sent(), self.restarted(Asked(self.store))))
        self.assertEqual((patience, is_patient.get()), ([True], False))

    def test_discarded_while_the_storage_waits(self) -> None:
        """A request that ends while the storage does not answer ends the write."""
        gated = Gated(self.store)
        received = Received(self.restarted(gated), sent(), self.folder)
        receiving: Deferred[None] = start(received.receive())
        self.successResultOf(receiving)
        self.assertEqual([what for what, _ in gated.waiting], [f"write spam/{WHEEL}"])
        self.end(received)
        self.assertEqual(self.keys(), [])

    def test_project_names_are_compared_as_parsed(self) -> None:
        """The key of an early write is that of the published file, however its name is spelt."""
        name = "Spam.Eggs-1.0.tar.gz"
        received = self.received(sent(filename=name))
        self.assertEqual(self.have(received.publish()), PublishOutcome.PUBLISHED)
        self.end(received)
        project = parse_filename(name).project
        self.assertIn(f"{project}/{name}", self.keys())


class EarlyFailureTests(test_publish.FailureTests, EarlyCase):
    """A publish whose bytes were written early survives what every publish survives."""

    def setUp(self) -> None:
        super().setUp()

        def publishing(
            index: Index, what: Sent, *, overwrite: bool = False, by: str = "alice"
        ) -> Coroutine[Any, Any, PublishOutcome]:
            received = Received(index, what, self.folder)
            return shielded(received.all(overwrite=overwrite, by=by))

        for module in (uploads, test_publish):
            self.patch(module, "publishing", publishing)

    def test_one_failure_leaves_nothing(self) -> None:
        """A write that the storage refuses once leaves nothing behind at all, or was repeated."""
        for nth in range(1, 99):
            self.setUp()
            storm = Storm(self.store, nth, lambda: StorageFull("storage"))
            outcome = start(test_publish.publishing(self.restarted(storm), signed()))
            if nth == 1 or not storm.struck:
                self.assertEqual(self.successResultOf(outcome), PublishOutcome.PUBLISHED)
            if not storm.struck:
                break
            if nth > 1:
                self.failureResultOf(outcome, StorageFull)
                self.assertEqual(self.keys(), [], storm.asked[-1])

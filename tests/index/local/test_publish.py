"""Publishing: crashes, failing writes, clients that go away, and files that were there before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from twisted.internet.defer import CancelledError

from pypid.core.errors import AlreadyExists, Busy, NameUsedUp, StorageDown, StorageFull
from pypid.core.records.layout import SET_ASIDE
from pypid.flow import start
from pypid.flow.coroutines import is_patient
from pypid.index import Index
from pypid.index.local.publish import LOOKS, PAUSE, UNDER_WAY, PublishOutcome
from tests.index.faulty_blobs import Died, Gated, Storm, Watched
from tests.index.uploads import WHEEL, IndexCase, Sent, index_over, publishing, sent, signed
from tests.support import contents

RECORD = f"spam/{WHEEL}.record.json"


class PublishTests(IndexCase):
    """What comes of one publish after another."""

    def test_publish_is_patient_with_the_storage(self) -> None:
        """Everything that a publish asks of the storage is worth waiting for; nothing that is asked
        afterwards.
        """
        patience: list[bool] = []

        class Asked(Watched):
            async def _before(self, what: str) -> None:
                patience.append(is_patient.get())

        index = self.restarted(Asked(self.store))
        self.have(publishing(index, sent()))
        self.assertEqual(set(patience), {True})
        patience.clear()
        self.have(index.maintenance.reconcile())
        self.assertEqual(set(patience), {False})

    def test_damaged_tombstone(self) -> None:
        """A tombstone that cannot be read lets no bytes come back."""
        self.put(f"spam/{WHEEL}.deleted.json", b"{")
        self.refused(publishing(self.index, sent()), NameUsedUp)
        self.flushLoggedErrors()

    def test_damaged_record(self) -> None:
        """A record that cannot be read, or is of a newer format, is not written over, and its bytes
        stay.
        """
        for damage in (b"", b"{", b'{"format": 2, "project": "spam", "file": {}}', b"[]" * 999_999):
            self.put(RECORD, damage)
            self.put(f"spam/{WHEEL}", b"theirs")
            for overwrite in (False, True):
                self.refused(publishing(self.restarted(), sent(), overwrite=overwrite), StorageDown)
            self.assertEqual((self.get(RECORD), self.get(f"spam/{WHEEL}")), (damage, b"theirs"))

    def test_lost_bytes_come_back(self) -> None:
        """Bytes that the storage has lost are put back by publishing the same file again; other
        bytes are refused.
        """
        self.publish(signed())
        for index in (self.index, self.restarted()):
            self.have(self.store.delete(f"spam/{WHEEL}"))
            self.have(self.store.delete(f"spam/{WHEEL}.metadata"))
            self.refused(publishing(index, sent(b"other")), AlreadyExists)
            self.assertEqual(self.publish(sent(), index=index), PublishOutcome.PUBLISHED)
            self.assertEqual(self.files(self.compared(index)), {WHEEL: b"spam"})

    def test_cut_bytes_come_back(self) -> None:
        """Bytes that a disk has cut short are not listed, and are made whole by publishing the file
        again.
        """
        self.publish(sent())
        self.put(f"spam/{WHEEL}", b"sp")
        self.assertEqual(self.files(self.compared(self.restarted())), {})
        self.assertEqual(self.publish(sent()), PublishOutcome.PUBLISHED)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})


class OrphanTests(IndexCase):
    """Bytes without a record that lie where a publish has to write."""

    def aside(self) -> list[bytes]:
        """The bytes that were set aside."""
        return [self.get(key) for key in self.have(contents(self.store, SET_ASIDE))]

    def test_other_bytes_are_kept(self) -> None:
        """Other bytes, put there by hand or by a publish that broke off, are set aside whole; the
        publish goes through.
        """
        self.put(f"spam/{WHEEL}", b"dropped")
        self.publish(sent())
        self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})
        self.assertEqual(self.aside(), [b"dropped"])
        self.assertEqual(self.have(self.index.maintenance.reconcile()).strays, ())

    def test_no_room_to_keep_them(self) -> None:
        """Where they cannot be kept they stay where they are, and nothing is published."""
        self.put(f"spam/{WHEEL}", b"dropped")
        for nth in range(1, 50):
            storm = Storm(self.store, nth, lambda: StorageFull("storage"))
            outcome = start(publishing(self.restarted(storm), sent()))
            if not storm.struck or storm.asked[nth - 1].startswith(
                "delete"
            ):  # what is left over then is found by a check
                self.assertEqual(self.successResultOf(outcome), PublishOutcome.PUBLISHED)
                break
            self.failureResultOf(outcome, StorageFull)
            kept = self.aside()
            self.assertIn(b"dropped", [self.get(f"spam/{WHEEL}"), *kept])
            self.assertEqual(self.files(self.compared(self.restarted())), {})
        self.assertEqual(self.aside(), [b"dropped"])

    def test_shared(self) -> None:
        """On storage that others write to, young bytes belong to another publish, which is waited
        for for a few seconds; after 15 minutes nobody holds them.
        """
        index = self.restarted(shared=True)
        self.put(f"spam/{WHEEL}", b"dropped")
        self.clock.advance(UNDER_WAY.total_seconds() - LOOKS * PAUSE - 1)
        waiting = start(publishing(index, sent()))
        self.assertNoResult(waiting)
        self.clock.pump([PAUSE] * LOOKS)
        error = self.failureResultOf(waiting, Busy).value
        assert isinstance(error, Busy)
        self.assertGreater(error.retry_after, 0)
        self.assertEqual(self.get(f"spam/{WHEEL}"), b"dropped")
        self.clock.advance(1)
        self.assertEqual(self.publish(sent(), index=index), PublishOutcome.PUBLISHED)

    def test_another_under_way(self) -> None:
        """Where the other has not committed yet, the record decides: each has bytes of its own, and
        takes away only those if it loses.
        """
        slow_gate, fast_gate = Gated(self.store), Gated(self.store)
        slow = start(publishing(self.restarted(slow_gate, shared=True), sent(b"slow")))
        while "metadata" not in slow_gate.asked[-1]:
            slow_gate.go()
        self.clock.advance(timedelta(minutes=16).total_seconds())
        fast = start(publishing(self.restarted(fast_gate, shared=True), sent(b"fast")))
        while "record" not in fast_gate.asked[-1] or "write" not in fast_gate.asked[-1]:
            fast_gate.go()
        slow_gate.all()
        self.assertEqual(self.successResultOf(slow), PublishOutcome.PUBLISHED)
        fast_gate.all()
        self.failureResultOf(fast, AlreadyExists)
        self.assertEqual(self.files(self.compared(self.restarted())), {WHEEL: b"slow"})
        self.assertEqual([key for key in self.keys() if ".at-" in key], [])


class FailureTests(IndexCase):
    """Each operation of a publish fails, or the process dies at it."""

    def storms(
        self, error: Callable[[], BaseException], what: Sent, overwrite: bool, *, once: bool = True
    ) -> Iterator[tuple[bool, Index]]:
        """One publish for each operation that can fail, before and after it is done; for good, and
        `once`.
        """
        for late, for_good in (
            (False, True),
            (True, True),
            *(((False, False), (True, False)) if once else ()),
        ):
            for nth in range(1, 99):
                self.setUp()
                if overwrite:
                    self.publish(signed(b"older"))
                storm = Storm(self.store, nth, error, late=late, for_good=for_good)
                index = self.restarted(storm)
                outcome = start(publishing(index, what, overwrite=overwrite))
                if not storm.struck:
                    self.assertEqual(
                        self.successResultOf(outcome),
                        PublishOutcome.OVERWRITTEN if overwrite else PublishOutcome.PUBLISHED,
                    )
                    break
                failed: list[object] = []
                outcome.addCallbacks(lambda result: None, failed.append)
                yield bool(failed), index
            else:
                self.fail("a publish of more than 98 operations")

    def check(self, failed: bool, overwrite: bool, index: Index) -> None:
        """Whole or not at all, whatever was acknowledged is there, and the next try goes well."""
        older = {WHEEL: b"older"} if overwrite else {}
        after = self.files(self.compared(self.restarted()))
        self.assertIn(after, (older, {WHEEL: b"spam"}))
        if not failed:
            self.assertEqual(after, {WHEEL: b"spam"})
        self.publish(signed(), overwrite=overwrite, index=self.restarted())
        self.assertEqual(self.files(self.compared(self.restarted())), {WHEEL: b"spam"})

    def test_one_failure_leaves_nothing(self) -> None:
        """A write that the storage refuses once leaves nothing behind at all."""
        for nth in range(1, 99):
            self.setUp()
            storm = Storm(self.store, nth, lambda: StorageFull("storage"))
            outcome = start(publishing(self.restarted(storm), signed()))
            if not storm.struck:
                break
            self.failureResultOf(outcome, StorageFull)
            self.assertEqual(self.keys(), [], storm.asked[-1])

    def test_process_dies(self) -> None:
        """Wherever the process dies: after a restart the file is published whole or not at all, and
        publishing goes on.
        """
        for overwrite in (False, True):
            for failed, index in self.storms(Died, signed(), overwrite, once=False):
                self.assertTrue(failed)
                self.check(failed, overwrite, index)

    def test_client_goes_away(self) -> None:
        """A publish whose client goes away at any moment goes to its end, and no
        lock stays held.
        """
        for overwrite in (False, True):
            for step in range(99):
                self.setUp()
                if overwrite:
                    self.publish(signed(b"older"))
                gated = Gated(self.store)
                index = self.restarted(gated)
                outcome = start(publishing(index, signed(), overwrite=overwrite))
                for _ in range(step):
                    if gated.waiting:
                        gated.go()
                is_over = not gated.waiting
                second = start(publishing(index, sent(b"second")))
                outcome.cancel()
                if not is_over:
                    self.failureResultOf(outcome, CancelledError)
                gated.all()
                self.failureResultOf(second, AlreadyExists)
                self.at_rest(index)
                self.assertEqual(self.files(self.compared(self.restarted())), {WHEEL: b"spam"})
                if is_over:
                    break
            else:
                self.fail("a publish of more than 99 steps")


class TwoProcessesTests(IndexCase):
    """Two processes that publish to one storage and know nothing of each other."""

    def lose(self) -> None:
        """One writes its bytes where those of the other one lie, which commits its record first."""
        first_gate, second_gate = Gated(self.store), Gated(self.store)
        indexes = [self.restarted(gate) for gate in (first_gate, second_gate)]
        for index, gate in zip(indexes, (first_gate, second_gate), strict=True):
            comparing = start(index.maintenance.reconcile())
            gate.all()
            self.successResultOf(comparing)
        first = start(publishing(indexes[0], sent(b"first")))
        while not (first_gate.asked[-1].startswith("write") and "record" in first_gate.asked[-1]):
            first_gate.go()
        second = start(publishing(indexes[1], sent(b"second")))
        while not (second_gate.asked[-1].startswith("write") and "record" in second_gate.asked[-1]):
            second_gate.go()
        first_gate.all()
        self.assertEqual(self.successResultOf(first), PublishOutcome.PUBLISHED)
        second_gate.all()
        self.failureResultOf(second, AlreadyExists)

    def test_bytes_of_the_winner_stay_where_its_record_names_them(self) -> None:
        """The one whose record is late leaves the published bytes as they are."""
        self.lose()
        self.assertEqual(self.files(self.compared(self.restarted())), {WHEEL: b"first"})

    def test_young_bytes_in_a_leased_storage_belong_to_a_publish_under_way(self) -> None:
        """In a bucket, young bytes without a record are left alone unless the lease proves that
        their writer has gone.
        """
        held = [False]
        index = index_over(self.store, self.clock, lease=lambda: held[0])
        self.put(f"spam/{WHEEL}", b"under way")
        waiting = start(publishing(index, sent()))
        self.clock.pump([PAUSE] * LOOKS)
        self.failureResultOf(waiting, Busy)
        self.assertEqual(self.get(f"spam/{WHEEL}"), b"under way")
        held[0] = True
        self.assertEqual(self.publish(sent(), index=index), PublishOutcome.PUBLISHED)

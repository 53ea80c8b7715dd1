"""What is remembered of the parts: a look every now and then, and no wait for anybody who asks."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import CatalogDown, PypidError, StorageDown
from pypid.flow import BytesBody, start
from pypid.flow.conditions import (
    EVERY,
    PATIENCE,
    Condition,
    HealthWatch,
    check_of_answer,
    check_of_blob,
)
from tests.support.worlds import world


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[bool]] = []
        self.watch = HealthWatch(self.clock, "storage", self.ask)

    async def ask(self) -> bool:
        self.asked.append(Deferred())
        return await self.asked[-1]

    def answer(self, answer: bool | Exception) -> None:
        """The question that is open is answered so."""
        if isinstance(answer, Exception):
            self.asked[-1].errback(answer)
        else:
            self.asked[-1].callback(answer)

    def test_one_is_enough(self) -> None:
        """One answer that fails is enough for away, and one that is good for there; it is asked at
        once and every 5 s.
        """
        self.watch.startService()
        self.assertEqual(len(self.asked), 1)
        for answer, is_well in (
            (False, False),
            (True, True),
            (StorageDown("secret.example is away."), False),
            (True, True),
        ):
            self.answer(answer)
            self.assertIs(self.watch.is_well, is_well)
            self.clock.advance(EVERY)
        self.assertEqual(len(self.asked), 5)

    def test_hangs(self) -> None:
        """What does not answer within 3 s is away and is not asked a second time meanwhile; its
        late answer counts.
        """
        self.watch.startService()
        self.clock.advance(PATIENCE - 0.1)
        self.assertTrue(self.watch.is_well)
        self.clock.advance(0.1)
        self.assertFalse(self.watch.is_well)
        self.clock.pump([EVERY] * 10)
        self.assertEqual(len(self.asked), 1)
        self.answer(True)
        self.assertTrue(self.watch.is_well)
        self.clock.advance(EVERY)
        self.assertEqual(len(self.asked), 2)

    def test_doubt(self) -> None:
        """Where somebody finds it away it is asked at once, as long as it is taken to be there."""
        condition = Condition(watches=(self.watch,))
        self.watch.startService()
        self.answer(True)
        condition.doubt()
        condition.doubt()
        self.assertEqual(len(self.asked), 2)
        self.answer(False)
        condition.doubt()
        self.assertEqual((len(self.asked), self.watch.is_well), (2, False))


class AskingTests(SynchronousTestCase):
    def test_storage(self) -> None:
        """A storage that has the blob is there; one without anything is not, if it was never empty;
        a bucket may be empty.
        """
        blobs = MemoryBlobs(world(Clock()).now)
        strict, lenient = (
            check_of_blob(blobs, "identity", never_empty=each) for each in (True, False)
        )
        self.assertEqual([self.had(strict), self.had(lenient)], [False, True])
        self.successResultOf(start(blobs.write("other", BytesBody(b"x"))))
        self.assertEqual([self.had(strict), self.had(lenient)], [True, True])
        self.successResultOf(start(blobs.write("identity", BytesBody(b"x"))))
        self.assertEqual([self.had(strict), self.had(lenient)], [True, True])

    def had(self, check: object) -> bool:
        return self.successResultOf(start(check()))  # type: ignore[operator,no-any-return]

    def test_catalog(self) -> None:
        """The copy of a shared catalog records itself that the engine is away; the check succeeds."""

        class Copy:
            checks = 0
            error: PypidError | None = None

            async def current(self) -> bool:
                self.checks += 1
                if self.error is not None:
                    raise self.error
                return False

        copy = Copy()
        check = check_of_answer(copy.current, CatalogDown)
        self.assertTrue(self.had(check))
        copy.error = CatalogDown()
        self.assertTrue(self.had(check))
        self.assertEqual(copy.checks, 2)

"""Running the checks of `pypid doctor`: side by side, in order, and in bounded time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.flow import World, at_once, start
from pypid.wiring.doctor.report import LIMIT, Area, CheckResult, Severity, run_checks
from pypid.wiring.doctor.services import _advice


class RunChecksTests(SynchronousTestCase):
    def test_results_keep_their_order_and_failures_are_results(self) -> None:
        """A check that is late, refused or broken becomes a problem of its area."""
        clock = Clock()
        world = World(clock, lambda: datetime.now(UTC), at_once, bytes)  # noqa: TID251
        late: Deferred[None] = Deferred()
        done: list[int] = []

        async def passes() -> Iterable[CheckResult]:
            return [Area("a").ok("fine")]

        async def waits() -> Iterable[CheckResult]:
            await late
            return []

        async def refuses() -> Iterable[CheckResult]:
            raise CannotStart("there is no bucket")

        async def breaks() -> Iterable[CheckResult]:
            raise ZeroDivisionError("x")

        checks = [("late", waits), ("a", passes), ("refused", refuses), ("broken", breaks)]
        running = start(run_checks(checks, world, done.append))
        self.assertNoResult(running)
        clock.advance(LIMIT)
        results = self.successResultOf(running)
        self.assertEqual(done, [1, 2, 3, 4])
        self.assertEqual(
            [(each.area, each.severity) for each in results],
            [
                ("late", Severity.PROBLEM),
                ("a", Severity.OK),
                ("refused", Severity.PROBLEM),
                ("broken", Severity.PROBLEM),
            ],
        )
        self.assertEqual(results[0].text, "no answer within 10 s")
        self.assertEqual(results[2].text, "there is no bucket")
        self.assertIn("ZeroDivisionError", results[3].text)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bucket_advice(self) -> None:
        """What to do about a bucket depends on the reason: only a denial is about permissions."""
        for reason, advice in (
            ("ListObjectsV2 was answered 403 SignatureDoesNotMatch", "Correct [storage] access_"),
            ("ListObjectsV2 was answered 404 NoSuchBucket", "Create the bucket"),
            ("PutObject was answered 403 AccessDenied", "Allow s3:PutObject"),
            ("ListObjectsV2 in S3 failed: it refuses connections", "endpoint_url"),
        ):
            self.assertIn(advice, _advice(reason, "acme"), reason)

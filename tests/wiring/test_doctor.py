"""Running the checks of `pypid doctor`: side by side, in order, and in bounded time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.advisories.database import FILE, AdvisoryDatabase
from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.dump import CatalogDump
from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, Missing
from pypid.core.model import Project, Span
from pypid.core.packaging.names import project_name
from pypid.daemon.state import where
from pypid.flow import World, at_once, start
from pypid.ports import Blobs, Body
from pypid.testing import contents, world
from pypid.testing.worlds import Awaiting
from pypid.wiring.doctor.machine import MachineChecks
from pypid.wiring.doctor.report import LIMIT, Area, CheckResult, Severity, run_checks
from pypid.wiring.doctor.services import _advice, probe


class AdvisoryTests(SynchronousTestCase):
    def test_age_and_failure(self) -> None:
        """The last read of the advisories is reported, with its failure."""
        with TemporaryDirectory() as name:
            ini = Path(name, "pypid.ini")
            config = Config(source=str(ini))
            paths = where(config, {})
            paths.state.mkdir()
            now = datetime(2026, 5, 6, 12, tzinfo=UTC)

            def found(config: Config) -> list[tuple[Severity, str]]:
                results = MachineChecks(config, paths, None, now).advisories()
                return [(each.severity, each.text) for each in results]

            self.assertEqual(found(config), [])
            settings = evolve(config.advisories, own="own")
            config = evolve(config, advisories=settings)
            self.assertEqual(found(config), [(Severity.WARNING, "they have not been read yet")])
            database = AdvisoryDatabase(paths.state / FILE)
            facts = {"loaded": "2026-05-06T11:00:00+00:00"}
            with database.replacing() as writer:
                writer.put_meta(facts)
            self.assertEqual(found(config), [(Severity.OK, "read at 2026-05-06 11:00 (UTC)")])
            with database.changing() as writer:
                writer.put_meta({"failure": "no archive", "loaded": "2026-05-01T11:00:00+00:00"})
            self.assertEqual(
                found(config),
                [
                    (Severity.WARNING, "the last read failed: no archive"),
                    (Severity.WARNING, "they were last read at 2026-05-01 11:00 (UTC)"),
                ],
            )


class CatalogDumpTests(Awaiting, SynchronousTestCase):
    """The dumps of a state folder."""

    def test_dumps_of_named_indexes_are_checked_too(self) -> None:
        """A damaged one is named, and so is one that cannot be read; a missing one is none of a
        state folder without named indexes.
        """
        with TemporaryDirectory() as name:
            config = Config(source=str(Path(name, "pypid.ini")))
            paths = where(config, {})
            now = datetime(2026, 5, 6, 12, tzinfo=UTC)

            def found() -> list[tuple[Severity, str]]:
                results = MachineChecks(config, paths, None, now).catalog_dump()
                return [(each.severity, each.text) for each in results]

            [(_, text)] = found()
            self.assertIn("no catalog dump yet", text)
            self.dump("spam", paths.snapshot)
            [(level, text)] = found()
            self.assertEqual(level, Severity.OK)
            self.dump("team/spam", paths.named_snapshot)
            self.assertEqual(found(), [(level, text)])
            [shard] = paths.named_snapshot.glob("*.jsonl")
            shard.write_text("{}")
            [(level, text)] = found()
            self.assertEqual(level, Severity.WARNING)
            self.assertIn(f"1 files of the catalog dump in {paths.named_snapshot}", text)
            paths.named_their_snapshot.mkdir()
            (paths.named_their_snapshot / "manifest.json").write_text("no")
            self.assertEqual(len(found()), 2)

    def dump(self, name: str, folder: Path) -> None:
        """Write a dump with one project."""
        catalog = MemoryCatalog()
        table = catalog.named_local if "/" in name else catalog.local
        self.have(table.edit(name, lambda _: Project(name=project_name(name.rpartition("/")[2]))))
        written = CatalogDump(table, str(folder), "here", world(Clock()))
        self.have(written.write())


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


class HangingBlobs(MemoryBlobs):
    """A storage that does not answer to reading, nor to deleting if `keeps` is set."""

    keeps = False

    async def read(self, key: str, span: Span | None = None) -> Body:
        await Deferred()
        raise AssertionError

    async def delete(self, key: str) -> None:
        if self.keeps:
            await Deferred()
        await super().delete(key)


class LosingBlobs(MemoryBlobs):
    """A storage that does not find what was written."""

    async def read(self, key: str, span: Span | None = None) -> Body:
        raise Missing(key)


class ProbeTests(Awaiting, SynchronousTestCase):
    """The object that is written into the bucket is deleted in any case."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = world(self.clock)

    def probing(self, blobs: Blobs) -> Deferred[Sequence[CheckResult]]:
        async def check() -> Sequence[CheckResult]:
            return await probe(Area("S3"), blobs, "bucket", self.world)

        return start(run_checks([("S3", check)], self.world, lambda done: None))

    def test_works(self) -> None:
        """A working bucket passes."""
        blobs = MemoryBlobs(self.world.now)
        (result,) = self.successResultOf(self.probing(blobs))
        self.assertEqual(result.text, "put, head, get, list and delete work")
        self.assertEqual(self.have(contents(blobs)), [])

    def test_another_failure(self) -> None:
        """A step that fails unexpectedly ends the check, after the deletion."""
        blobs = LosingBlobs(self.world.now)
        (result,) = self.successResultOf(self.probing(blobs))
        self.assertEqual(result.severity, Severity.PROBLEM)
        self.assertEqual(self.have(contents(blobs)), [])

    def test_no_answer(self) -> None:
        """A check that takes too long deletes the object; that has a time limit, too."""
        for keeps in (False, True):
            blobs = HangingBlobs(self.world.now)
            blobs.keeps = keeps
            running = self.probing(blobs)
            self.assertEqual(len(self.have(contents(blobs))), 1)
            self.clock.advance(LIMIT)
            if keeps:
                self.assertNoResult(running)
                self.clock.advance(LIMIT)
            (result,) = self.successResultOf(running)
            self.assertEqual(result.text, "no answer within 10 s")
            self.assertEqual(len(self.have(contents(blobs))), keeps)

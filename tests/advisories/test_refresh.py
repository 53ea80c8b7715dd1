"""Refreshing the advisories from their sources, what processes then know, and what is hidden."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pypid.advisories.database import FILE, AdvisoryDatabase
from pypid.advisories.index import ranks_of
from pypid.advisories.refresh import (
    AGAIN,
    LOOK,
    AdvisoryLoader,
    AdvisoryRefresh,
    AdvisoryService,
    AdvisorySources,
)
from pypid.advisories.service import Advisories
from pypid.advisories.sources import FetchedAdvisories, LocalSource
from pypid.core.configuration.choices import BlockedAdvisories as Blocked
from pypid.core.model import ListedFile, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.restrictions import HoldKind, RestrictionsInForce
from pypid.flow import start
from pypid.metrics import counts
from tests.advisories.archives import archive_of, record
from tests.support.worlds import world

FOO = ProjectName("foo")
VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def listed(version: str = "1.0", sha256: str | None = None, name: str = "foo") -> ListedFile:
    """Return an upstream file."""
    return ListedFile(
        project=ProjectName(name),
        filename=f"{name}-{version}.tar.gz",
        version=version,
        sha256=sha256,
        size=1,
        source="https://files.example/x",
    )


class RefreshCase(SynchronousTestCase):
    """Sources in a folder: ``all.zip`` and ``own``."""

    block: tuple[Blocked, ...] = (Blocked.MALWARE,)

    def setUp(self) -> None:
        super().setUp()
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.archive, self.own = self.folder / "all.zip", self.folder / "own"
        self.own.mkdir()
        self.clock = Clock()
        self.world = world(self.clock)
        self.advisories = self.process()
        self.refresh = self.refreshing("1")
        self.number = 0

    def process(self) -> Advisories:
        """Return the advisories of another process of this machine."""
        return Advisories(self.world, self.folder, "all.zip", self.block, RestrictionsInForce())

    def refreshing(self, names: str, *, with_source: bool = True) -> AdvisoryRefresh:
        """Return what the first process runs."""
        source = LocalSource(self.archive, self.folder, self.world) if with_source else None
        own = LocalSource(self.own, self.folder, self.world)
        loader = AdvisoryLoader(AdvisoryDatabase(self.folder / FILE))
        return AdvisoryRefresh(self.advisories, AdvisorySources(source, own, names), loader)

    def put(self, *records: bytes) -> None:
        """Write the archive."""
        self.archive.write_bytes(archive_of(*records).getvalue())

    def put_own(self, name: str, data: bytes) -> None:
        """Write a file of the company's."""
        (self.own / name).write_bytes(data)

    def run_refresh(self) -> bool:
        """Refresh; return whether all could be read."""
        return self.successResultOf(start(self.refresh.refresh()))

    def ids(self, advisories: Advisories | None = None, version: str = "1.0") -> list[str]:
        """Return the ids of the advisories that hit foo."""
        return [each.id for each in (advisories or self.advisories).hits(FOO, version)]


class RefreshTests(RefreshCase):
    """`AdvisoryRefresh`."""

    def test_source_and_own(self) -> None:
        self.put(record("PYSEC-1"))
        self.put_own("acme.json", record("ACME-1"))
        self.assertTrue(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1", "PYSEC-1"])
        self.assertEqual((self.advisories.count, self.advisories.age), (2, 0))
        self.assertTrue(self.advisories.knows(FOO))
        other = self.process()
        other.read_now()
        self.assertEqual(self.ids(other), self.ids())

    def test_other_processes_follow(self) -> None:
        """They read the index again after a change of the records only."""
        self.put(record("PYSEC-1"))
        self.run_refresh()
        other, changes = self.process(), list[bool]()
        other.read_now()
        other.changed.connect(lambda: changes.append(True))
        self.clock.advance(3600)
        self.run_refresh()
        self.successResultOf(start(other.read()))
        self.assertEqual((changes, other.age), ([], 0))
        self.put(record("PYSEC-1"), record("PYSEC-2"))
        self.run_refresh()
        self.successResultOf(start(other.read()))
        self.assertEqual((changes, self.ids(other)), ([True], ["PYSEC-1", "PYSEC-2"]))

    def test_source_is_away(self) -> None:
        """The last records stay, also after a restart; the age grows, and failures are counted."""
        self.put(record("PYSEC-1"))
        self.run_refresh()
        for spoil in (self.archive.unlink, lambda: self.archive.write_bytes(b"x"), self.put):
            spoil()
            self.clock.advance(60)
            self.assertFalse(self.run_refresh())
            self.assertEqual(self.ids(), ["PYSEC-1"])
            self.assertTrue(self.advisories.failure)
        self.assertEqual(self.world.counts.value(counts.ADVISORY_FAILURES, ()), 3)
        again = self.process()
        again.read_now()
        self.assertEqual((self.ids(again), again.age), (["PYSEC-1"], 180))
        self.assertTrue(again.failure)
        self.put(record("PYSEC-2"))
        self.assertTrue(self.run_refresh())
        self.assertEqual((self.ids(), self.advisories.failure), (["PYSEC-2"], ""))

    def test_own_without_source(self) -> None:
        """While the source has never been read, the company's own advisories count."""
        self.put_own("acme.json", record("ACME-1"))
        self.assertFalse(self.run_refresh())
        self.assertEqual((self.ids(), self.advisories.age), (["ACME-1"], None))
        self.put(record("PYSEC-1"))
        self.assertTrue(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1", "PYSEC-1"])

    def test_failures_are_logged_once(self) -> None:
        """Each source that fails is one log line, until it was read in between."""
        self.put_own("acme.json", record("ACME-1"))
        with capturedLogs() as events:
            self.run_refresh()
            self.run_refresh()
            aside = self.own.rename(self.folder / "aside")
            self.run_refresh()
            self.run_refresh()
            aside.rename(self.own)
            self.run_refresh()
            self.own.rename(aside)
            self.run_refresh()
        self.assertEqual(
            [
                each["key"]
                for each in events
                if "reason" in each and each["log_level"] is LogLevel.warn
            ],
            ["source", "own", "own"],
        )

    def test_own_changes(self) -> None:
        """A change of the own ones leaves the public ones as they are, also if the source is
        away.
        """
        self.put(record("PYSEC-1"))
        self.put_own("a.json", record("ACME-1"))
        self.run_refresh()
        self.archive.unlink()
        self.put_own("b.json", record("ACME-2"))
        self.assertFalse(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1", "ACME-2", "PYSEC-1"])
        (self.own / "a.json").unlink()
        self.assertFalse(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-2", "PYSEC-1"])

    def test_own_is_away(self) -> None:
        """A new archive does not drop the own advisories while these cannot be read."""
        self.put(record("PYSEC-1"))
        self.put_own("a.json", record("ACME-1"))
        self.run_refresh()
        aside = self.own.rename(self.folder / "aside")
        self.put(record("PYSEC-2"))
        self.assertFalse(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1", "PYSEC-1"])
        aside.rename(self.own)
        self.assertTrue(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1", "PYSEC-2"])

    def test_another_source(self) -> None:
        """Another configuration replaces everything once it can be read; without a source only the
        own ones stay.
        """
        self.put(record("PYSEC-1"))
        self.put_own("a.json", record("ACME-1"))
        self.run_refresh()
        self.refresh = self.refreshing("2")
        self.archive.rename(self.folder / "old.zip")
        self.assertFalse(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1", "PYSEC-1"])
        self.put(record("PYSEC-3"))
        self.assertTrue(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1", "PYSEC-3"])
        self.refresh = self.refreshing("3", with_source=False)
        self.assertTrue(self.run_refresh())
        self.assertEqual(self.ids(), ["ACME-1"])

    def test_damaged_database(self) -> None:
        """What is known stays in force, with its age, and the file is written again."""
        self.put(record("PYSEC-1"))
        self.run_refresh()
        (self.folder / FILE).write_bytes(b"nonsense" * 1000)
        self.clock.advance(60)
        self.successResultOf(start(self.advisories.read()))
        self.assertEqual((self.ids(), self.advisories.age), (["PYSEC-1"], 60))
        self.assertTrue(self.run_refresh())
        again = self.process()
        again.read_now()
        self.assertEqual(self.ids(again), ["PYSEC-1"])

    def test_skipped_documents_are_counted(self) -> None:
        self.put(record("PYSEC-1"), b"broken", b"{}")
        self.assertTrue(self.run_refresh())
        self.assertEqual(self.world.counts.value(counts.ADVISORIES_SKIPPED, ()), 2)

    def test_service(self) -> None:
        """It reads the source at once, then after the interval; after a failure sooner."""
        service = AdvisoryService(self.clock, self.advisories, self.refresh, 3600)
        service.startService()
        self.clock.advance(LOOK)
        self.assertEqual(self.ids(), [])
        self.put(record("PYSEC-1"))
        self.clock.pump([LOOK] * int(AGAIN / LOOK))
        self.assertEqual(self.ids(), ["PYSEC-1"])
        self.put(record("PYSEC-2"))
        self.clock.pump([LOOK] * 100)
        self.assertEqual(self.ids(), ["PYSEC-1"])
        self.clock.pump([LOOK] * 1750)
        self.assertEqual(self.ids(), ["PYSEC-2"])
        self.put(record("PYSEC-3"))
        self.advisories.refresh_requested.emit()
        self.clock.advance(LOOK)
        self.assertEqual(self.ids(), ["PYSEC-3"])
        service.stopService()


class EndlessSource:
    """A source that never answers."""

    def __init__(self) -> None:
        self.cancelled = False

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        try:
            await Deferred()
        except CancelledError:
            self.cancelled = True
            raise
        return None


class StopTests(RefreshCase):
    """The end of the service during a refresh."""

    def test_download_is_ended(self) -> None:
        """It does not hold up the stop, and counts as no failure."""
        endless = EndlessSource()
        loader = AdvisoryLoader(AdvisoryDatabase(self.folder / FILE))
        refresh = AdvisoryRefresh(self.advisories, AdvisorySources(endless, None, "1"), loader)
        service = AdvisoryService(self.clock, self.advisories, refresh, 3600)
        service.startService()
        self.clock.advance(LOOK)
        stopped = service.stopService()
        assert stopped is not None
        self.successResultOf(stopped)
        self.assertTrue(endless.cancelled)
        self.assertEqual(self.world.counts.value(counts.ADVISORY_FAILURES, ()), 0)

    def test_load_is_ended(self) -> None:
        """The database stays as it is, without a failure."""
        self.put(record("PYSEC-1"))
        self.run_refresh()
        self.put(record("PYSEC-2"))
        self.refresh.loader.stop()
        self.failureResultOf(start(self.refresh.refresh()), CancelledError)
        self.assertEqual((self.ids(), self.advisories.failure), (["PYSEC-1"], ""))


class HiddenTests(RefreshCase):
    """`[advisories] block`."""

    block = (Blocked.MALWARE, Blocked.CRITICAL)

    def hidden(self, file: ListedFile | StoredFile) -> tuple[HoldKind, str] | None:
        """Return the kind and the reference of the hold."""
        hold = self.advisories.restrictions.current.hold(file)
        return None if hold is None else (hold.kind, hold.reference)

    def test_malware_and_severities(self) -> None:
        high = [{"type": "CVSS_V3", "score": VECTOR}]
        self.put(
            record("MAL-1", "evil", "introduced=2", summary="Steals tokens"),
            record("PYSEC-1", "foo", "introduced=0", "fixed=1.5", severity=high),
            record("PYSEC-2", "foo", "introduced=1.6"),
            record("MAL-2", "gone", withdrawn="2026-01-01T00:00:00Z"),
        )
        self.run_refresh()
        self.assertEqual(self.hidden(listed("2.0", name="evil")), (HoldKind.MALWARE, "MAL-1"))
        self.assertEqual(self.hidden(listed("1.0")), (HoldKind.BLOCKED, "PYSEC-1"))
        for file in (listed("1.5"), listed("1.6"), listed(name="evil"), listed(name="gone")):
            self.assertIsNone(self.hidden(file))
        self.assertIsNone(self.advisories.restrictions.current.of(ProjectName("gone")))
        hold = self.advisories.restrictions.current.hold(listed("2.0", name="evil"))
        assert hold is not None
        self.assertEqual(hold.reason, "Steals tokens")

    def test_local_files_are_never_hidden(self) -> None:
        """Malware of the same name on the public index hides no local file, whatever its hash."""
        digest = "ab" * 32
        self.put(record("MAL-1", database_specific={"sha256": digest}))
        self.run_refresh()
        upstream = listed("1.0", digest, "other")
        local = StoredFile(
            project=FOO, filename="foo-1.0.tar.gz", version="1.0", sha256=digest, size=1, key="k"
        )
        self.assertEqual(self.hidden(upstream), (HoldKind.MALWARE, "MAL-1"))
        self.assertEqual(self.hidden(listed()), (HoldKind.MALWARE, "MAL-1"))
        self.assertIsNone(self.hidden(local))
        self.assertEqual(self.ids(), ["MAL-1"])

    def test_private_advisory_is_not_named_in_other_projects(self) -> None:
        """A file is hidden by the hash in a private advisory of another project, without its id
        and text.
        """
        digest = "cd" * 32
        own = record(
            "MAL-ACME-1", "secret-tool", summary="Secret", database_specific={"sha256": digest}
        )
        self.put(record("PYSEC-1"))
        self.put_own("mal.json", own)
        self.run_refresh()
        hold = self.advisories.restrictions.current.hold(listed("1.0", digest, "other"))
        assert hold is not None
        self.assertEqual((hold.kind, hold.reference), (HoldKind.MALWARE, ""))
        self.assertNotIn("Secret", hold.reason)

    def test_private_advisory_of_several_projects(self) -> None:
        """The text of a private advisory can name other projects, which not all clients who are
        refused a file may read.
        """
        own = json.loads(record("MAL-ACME-1", "foo", summary="also in secret-tool"))
        own["affected"] += json.loads(record("MAL-ACME-1", "secret-tool"))["affected"]
        self.put(record("PYSEC-1"))
        self.put_own("mal.json", json.dumps(own).encode())
        self.run_refresh()
        hold = self.advisories.restrictions.current.hold(listed("1.0"))
        assert hold is not None
        self.assertEqual((hold.kind, hold.reference), (HoldKind.MALWARE, "MAL-ACME-1"))
        self.assertNotIn("secret", hold.reason)

    def test_muted_advisories_hide_nothing(self) -> None:
        """A withdrawn record of one's own with the id of a public one takes its place."""
        digest = "ef" * 32
        self.put(record("MAL-1", database_specific={"sha256": digest}))
        self.put_own("muted.json", record("MAL-1", withdrawn="2026-01-01T00:00:00Z"))
        self.run_refresh()
        for file in (listed("1.0"), listed("1.0", digest, "other")):
            self.assertIsNone(self.hidden(file))

    def test_editions(self) -> None:
        """The view of a project changes with its advisories, and with those only."""
        self.put(record("MAL-1"), record("MAL-2", "bar"))
        self.run_refresh()
        before = self.advisories.restrictions.current
        self.put(record("MAL-1"), record("MAL-2", "bar", "introduced=5"))
        self.run_refresh()
        after = self.advisories.restrictions.current
        bar = ProjectName("bar")
        self.assertEqual(before.edition(FOO), after.edition(FOO))
        self.assertNotEqual(before.edition(bar), after.edition(bar))

    def test_ranks(self) -> None:
        for block, ranks in (
            ((), set()),
            ((Blocked.MALWARE,), {5}),
            ((Blocked.HIGH,), {3, 4}),
            ((Blocked.CRITICAL, Blocked.MALWARE), {4, 5}),
            ((Blocked.MALWARE, Blocked.NOTHING), set()),
        ):
            self.assertEqual(ranks_of(block), ranks)

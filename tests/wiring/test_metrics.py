"""What is looked at when the numbers are wanted, and the lag of the reactor."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

from twisted.application.service import MultiService

from pypid.core.errors import UpstreamDown
from pypid.jobs.backup.records import LAST_BACKUP
from pypid.metrics import counts
from pypid.metrics.worker_metrics import MetricsFolder
from pypid.prefork.messages import ENDED, Siblings
from pypid.wiring.metrics import EVERY, WINDOW, Measuring, all_metrics
from tests.web.full_app import Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere
from tests.web.named_upstream import with_upstream


class MeasuringCase(WholeCase):
    """A pypid that is measured."""

    folder: MetricsFolder | None = None

    def setUp(self) -> None:
        super().setUp()
        self.siblings = Siblings()
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.state = Path(made.name)
        self.daemon = self.measured(self.pypid)
        self.counts = self.pypid.world.counts

    def measured(self, pypid: Pypid) -> MultiService:
        daemon = MultiService()  # type: ignore[no-untyped-call]
        app, site = pypid.app, pypid.site
        app.measured = partial(all_metrics, app.world, self.folder)
        site.counts = app.world.counts
        measuring = Measuring(
            app.world, app.index, site, app.condition, self.folder, self.siblings, self.state,
            app.advisories, app.indexes,
        )  # fmt: skip
        measuring.setServiceParent(daemon)  # type: ignore[no-untyped-call]
        daemon.startService()  # type: ignore[no-untyped-call]
        return daemon

    def value(self, family: counts.Family, *labels: str) -> float:
        self.counts.taken()
        return self.counts.value(family, labels)


class LookTests(MeasuringCase):
    """One worker."""

    def test_the_last_backup_is_known(self) -> None:
        """The time of the last backup is 0 before the first one, then that of its note."""
        self.assertEqual(self.value(counts.LAST_BACKUP), 0)
        note = self.state / LAST_BACKUP
        note.write_text("{}")
        self.assertEqual(self.value(counts.LAST_BACKUP), note.stat().st_mtime)

    def test_lag(self) -> None:
        """A timer that comes late says by how much; the latest is remembered for one to two
        minutes.
        """
        clock = self.pypid.clock
        clock.advance(EVERY)
        clock.advance(EVERY + 0.3)
        self.assertEqual(self.value(counts.LAG), 2)
        self.assertAlmostEqual(self.value(counts.LAG_MOST), 0.3)
        for _ in range(WINDOW):
            clock.advance(EVERY)
        self.assertAlmostEqual(self.value(counts.LAG_MOST), 0.3)
        for _ in range(WINDOW):
            clock.advance(EVERY)
        self.assertAlmostEqual(self.value(counts.LAG_MOST), 0.0)

    def test_connections(self) -> None:
        """Connections that are open, and requests whose answer is not complete."""
        connection = self.pypid.connect()
        self.assertEqual((self.value(counts.CONNECTIONS), self.value(counts.UNDER_WAY)), (1, 0))
        connection.send(b"GET /simple/ HTTP/1.1\r\nHost: x\r\n")
        self.assertEqual(self.value(counts.UNDER_WAY), 1)
        connection.send(b"\r\n")
        self.assertEqual((self.value(counts.CONNECTIONS), self.value(counts.UNDER_WAY)), (1, 0))

    def test_parts(self) -> None:
        """Parts that are away, and an upstream that does not answer."""
        self.assertEqual(self.value(counts.PART_UP, "storage"), 1)
        self.pypid.app.condition.storage = lambda: False
        self.assertEqual(self.value(counts.PART_UP, "storage"), 0)
        self.assertEqual(self.value(counts.UPSTREAM_UP), 1)
        self.assertEqual(self.value(counts.THREADS_QUEUE), 0)

    def test_named_upstreams(self) -> None:
        """Each named upstream has a value of its own."""
        gpu = with_upstream(self.pypid.index, "gpu", Elsewhere(), "torch*")
        self.assertEqual(self.value(counts.NAMED_UPSTREAM_UP, "gpu"), 1)
        gpu.gate.breaker.failed(UpstreamDown("no answer", unreachable=True))
        self.assertEqual(self.value(counts.NAMED_UPSTREAM_UP, "gpu"), 0)
        self.assertEqual(self.value(counts.UPSTREAM_UP), 1)

    def test_end(self) -> None:
        """It ends with the daemon: nothing is left on the clock."""
        before = len(self.pypid.clock.getDelayedCalls())
        self.daemon.stopService()
        self.assertEqual(len(self.pypid.clock.getDelayedCalls()), before - 1)


class FolderTests(MeasuringCase):
    """One of several."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.folder = MetricsFolder(self.path, 1)
        super().setUp()

    def test_written(self) -> None:
        """Numbers are written down once a second, and at the end; those of an ended worker stay."""
        self.pypid.clock.advance(EVERY)
        self.assertFalse((self.path / "1.json").exists())
        self.pypid.clock.advance(EVERY)
        self.assertTrue((self.path / "1.json").exists())
        self.counts.add(counts.SENT, (), 77)
        self.daemon.stopService()
        self.assertIn('"pypid_http_sent_bytes":[[[],77', (self.path / "1.json").read_text())
        MetricsFolder(self.path, 2).write(self.counts.taken())
        self.siblings.tell({"kind": ENDED, "worker": 2})
        self.assertFalse((self.path / "2.json").exists())
        ended = json.loads((self.path / "ended.json").read_text())
        self.assertEqual(ended["taken"][0]["pypid_http_sent_bytes"], [[[], 77]])

    def test_full_disk(self) -> None:
        """Where nothing can be written it goes on measuring, and the log says why
        others know less.
        """
        self.path.rename(f"{self.path}-gone")
        for _ in range(4):
            self.pypid.clock.advance(EVERY)
        self.assertEqual(self.value(counts.LAG), 4)

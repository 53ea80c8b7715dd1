"""Counting, and putting together what several processes have counted."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.index.local.publish import PublishOutcome
from pypid.metrics import counts as families
from pypid.metrics.counts import (
    FAST_PATH,
    LOGINS,
    PUBLISHED,
    TABLE,
    Aggregation,
    Counts,
    Family,
    MetricKind,
    MetricsSample,
)
from pypid.metrics.exposition import page
from pypid.metrics.worker_metrics import MetricsFolder, WorkerMetrics, WrittenMetrics

modest = settings(max_examples=30, deadline=None, database=None)

FEW = [family for family in TABLE if family.together in (Aggregation.SUM, Aggregation.EACH)]
LABELS = st.sampled_from(["a", "b"])


@st.composite
def done(draw: st.DrawFn) -> list[tuple[Family, tuple[str, ...], int]]:
    """What is counted, one after the other."""
    found = []
    for family in draw(st.lists(st.sampled_from(FEW), max_size=8)):
        labels = tuple(draw(LABELS) for _ in family.labels)
        found.append((family, labels, draw(st.integers(0, 100))))
    return found


def count(counts: Counts, what: list[tuple[Family, tuple[str, ...], int]]) -> Counts:
    """Count it."""
    for family, labels, amount in what:
        if family.kind is MetricKind.HISTOGRAM:
            counts.observe(family, labels, amount)
        else:
            counts.add(family, labels, amount)
    return counts


class CountsTests(SynchronousTestCase):
    """`Counts`."""

    def test_buckets(self) -> None:
        """A value on a bucket's bound is in that bucket, as Prometheus has it; what is above all is
        in none but the last.
        """
        counts = Counts()
        for value in (0.0, 0.001, 0.0011, 60.0, 61.0):
            counts.observe(families.REQUEST_SECONDS, ("/", "GET"), value)
        [(_, counted)] = counts.taken().histograms["pypid_http_request_seconds"]
        self.assertEqual(counted[:2], [2, 1])
        self.assertEqual(counted[-3:-1], [1, 1])
        self.assertAlmostEqual(counted[-1], 121.0021)
        self.assertEqual(counts.value(families.REQUEST_SECONDS, ("/", "GET")), 5)

    def test_taken_stays(self) -> None:
        """What was taken does not change with what is counted afterwards."""
        counts = Counts()
        counts.observe(families.LAG, (), 0.1)
        counts.add(families.SENT, (), 7)
        before = counts.taken()
        counts.observe(families.LAG, (), 0.1)
        counts.add(families.SENT, (), 7)
        self.assertEqual(before.numbers["pypid_http_sent_bytes"], [((), 7)])
        self.assertEqual(sum(before.histograms["pypid_reactor_lag_seconds"][0][1][:-1]), 1)

    def test_before(self) -> None:
        """Whoever counts in batches does so before the numbers are taken."""
        counts = Counts()
        counts.before.append(lambda: counts.add(families.SENT, (), 5))
        self.assertEqual(counts.taken().numbers["pypid_http_sent_bytes"], [((), 5)])


class FolderTests(SynchronousTestCase):
    """`MetricsFolder`."""

    def setUp(self) -> None:
        """Three workers."""
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.counts = {number: Counts() for number in (1, 2, 3)}
        self.folders = {number: MetricsFolder(self.path, number) for number in (1, 2, 3)}

    def told(self, by: int) -> float:
        """The bytes that were sent, as this worker says."""
        return self.sum(self.folders[by].exchange(self.counts[by].taken()))

    def sum(self, workers: list[WorkerMetrics]) -> float:
        return sum(
            value
            for each in workers
            for _, value in each.taken.numbers.get("pypid_http_sent_bytes", ())
        )

    def send(self, by: int, size: int) -> None:
        self.counts[by].add(families.SENT, (), size)

    def test_all(self) -> None:
        """Each worker tells what all have told; its own numbers are those of now."""
        for number in (1, 2, 3):
            self.send(number, 10**number)
            self.folders[number].write(self.counts[number].taken())
        self.send(1, 1)
        self.assertEqual(self.told(2), 1110)
        self.assertEqual(self.told(1), 1111)
        self.assertEqual(self.told(3), 1111)  # what was told once is not taken back

    def test_ended(self) -> None:
        """What an ended worker counted stays, once; its gauges do not. The next one of its number
        begins at nothing.
        """
        self.send(2, 100)
        self.counts[2].set(families.CONNECTIONS, (), 5)
        self.folders[2].write(self.counts[2].taken())
        for _ in range(2):
            self.folders[1].end(2)
            self.assertEqual(self.told(1), 100)
        gauges = [
            each.taken.numbers.get("pypid_http_connections")
            for each in self.folders[1].exchange(MetricsSample())
        ]
        self.assertEqual([each for each in gauges if each], [])
        self.counts[2], self.folders[2] = Counts(), MetricsFolder(self.path, 2)
        self.send(2, 11)
        self.assertEqual(self.told(2), 111)
        self.folders[1].end(2)
        self.assertEqual(self.told(1), 111)

    def test_replaced_before_it_was_told(self) -> None:
        """A worker that takes the place of one whose end nobody has told of yet loses nothing of
        that one's numbers.
        """
        self.send(2, 100)
        self.folders[2].write(self.counts[2].taken())
        self.counts[2], self.folders[2] = Counts(), MetricsFolder(self.path, 2)
        self.send(2, 11)
        self.assertEqual(self.told(2), 111)
        self.assertEqual(self.told(1), 111)

    def test_crash_while_moving(self) -> None:
        """What was moved to the ended ones counts once, also where the crash came before the file
        was taken away.
        """
        self.send(2, 100)
        self.folders[2].write(self.counts[2].taken())
        kept = (self.path / "2.json").read_bytes()
        self.folders[1].end(2)
        (self.path / "2.json").write_bytes(kept)
        self.folders[1].end(2)
        self.assertEqual(self.told(1), 100)

    def test_whole(self) -> None:
        """All that can be counted comes back as it was."""
        for family in TABLE:
            labels = tuple("x" for _ in family.labels)
            if family.kind is MetricKind.HISTOGRAM:
                self.counts[1].observe(family, labels, 1e9)
            else:
                self.counts[1].set(family, labels, True)
        taken = self.counts[1].taken()
        self.folders[1].write(taken)
        [found] = [
            worker for worker in self.folders[2].exchange(MetricsSample()) if worker.number == "1"
        ]
        self.assertEqual((found.taken, found.pid), (taken, os.getpid()))

    def test_damaged(self) -> None:
        """A damaged file counts for nothing, and the next numbers take its place; half a file is
        never there.
        """
        self.send(1, 1)
        (self.path / "2.json").write_bytes(b"{")
        (self.path / "ended.json").write_bytes(b"")
        self.assertEqual(self.told(1), 1)
        self.send(2, 10)
        self.assertEqual(self.told(2), 11)
        self.assertEqual(list(self.path.glob("*.new")), [])

    def test_of_another_shape(self) -> None:
        """So does one that another version of pypid has left, with other labels or buckets; and
        what is no text at all.
        """
        self.send(1, 1)
        shapes = (
            MetricsSample({families.REQUESTS.name: [(("GET",), 5.0)]}),
            MetricsSample({}, {families.REQUEST_SECONDS.name: [(("/", "GET"), [1.0, 2.0])]}),
            MetricsSample(
                {},
                {
                    families.REQUEST_SECONDS.name: [
                        ((), [0.0] * (len(families.REQUEST_SECONDS.buckets) + 2))
                    ]
                },
            ),
        )
        for written in (
            *(msgspec.json.encode(WrittenMetrics("x", 1, taken)) for taken in shapes),
            b'{"run":"\xff"}',
        ):
            for name in "2.json", "3.json", "ended.json":
                (self.path / name).write_bytes(written)
            self.assertEqual(self.told(1), 1)
            told = self.folders[1].exchange(self.counts[1].taken())
            self.assertIn(b"pypid_workers", page(told, "1", "")[0])
            self.folders[1].end(3)

    @modest
    @given(
        st.lists(
            st.tuples(st.sampled_from(["send", "write", "tell", "die"]), st.integers(1, 3)),
            max_size=40,
        )
    )
    def test_never_down(self, steps: list[tuple[str, int]]) -> None:
        """Whatever workers do and whoever ends, no counter that was told is less the next time,
        whoever is asked.
        """
        self.setUp()
        last = 0.0
        for what, number in steps:
            match what:
                case "send":
                    self.send(number, 1)
                case "write":
                    self.folders[number].write(self.counts[number].taken())
                case "tell":
                    now = self.told(number)
                    self.assertGreaterEqual(now, last)
                    last = now
                case "die":
                    self.counts[number], self.folders[number] = (
                        Counts(),
                        MetricsFolder(self.path, number),
                    )
                    if number > 1:
                        self.folders[1].end(number)


class TableTests(SynchronousTestCase):
    """`families.TABLE`."""

    def test_names(self) -> None:
        """Names are those of Prometheus' conventions: base units, no ``_total`` of our own; each
        once, with its help.
        """
        self.assertEqual(len({family.name for family in TABLE}), len(TABLE))
        for family in TABLE:
            self.assertRegex(family.name, r"\Apypid(_[a-z0-9]+)+\Z")
            self.assertNotRegex(family.name, r"(_total|_count|_sum|_bucket|_milli|_ms|_kb)\Z")
            self.assertTrue(family.help.endswith("."), family.name)
            self.assertEqual(bool(family.buckets), family.kind is MetricKind.HISTOGRAM)
            self.assertEqual(list(family.buckets), sorted(set(family.buckets)))

    def test_no_names_in_labels(self) -> None:
        """No label is called so that a name of somebody or something could stand in it."""
        allowed = {
            "route",
            "method",
            "status",
            "source",
            "because",
            "outcome",
            "operation",
            "whose",
            "part",
            "credential",
        }
        allowed |= {"kind", "state", "generation", "version", "python", "cache"}
        allowed.add("upstream")  # a section of the configuration
        allowed.add("index")  # shown to administrators and named users only: `web.api.metrics`
        self.assertLessEqual({label for family in TABLE for label in family.labels}, allowed)


class InitialTests(SynchronousTestCase):
    """Series that exist before anything was counted."""

    def test_alerts_see_the_first_failure(self) -> None:
        """`increase()` misses the first count of a series that begins with it, so these begin at
        zero.
        """
        numbers = Counts().taken().numbers
        self.assertIn((("failed",), 0), numbers[PUBLISHED.name])
        for outcome in ("refused", "throttled"):
            self.assertIn((("password", outcome), 0), numbers[LOGINS.name])
        self.assertEqual(numbers[FAST_PATH.name], [((), 0)])

    def test_values_are_those_that_are_counted(self) -> None:
        """What is counted has a series from the start, and no series is there for nothing."""
        [outcomes] = PUBLISHED.values
        self.assertEqual(
            {each.value for each in PublishOutcome} | {"refused", "failed"}, set(outcomes)
        )

"""The page that Prometheus reads, and what is made for those who look at it: documentation,
dashboard, alerts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from pypid.metrics import counts as families
from pypid.metrics.counts import TABLE, Counts, MetricKind
from pypid.metrics.exposition import OfProcess, page
from pypid.metrics.worker_metrics import WorkerMetrics
from tests.extensions import extension

rows = extension("metrics_table").rows

ETC = Path(__file__).parents[2] / "etc"
_NAMES = re.compile(r"\b(?:pypid|process)_[a-z0-9_]+")
_SELECTORS = re.compile(r"\b((?:pypid|process)_[a-z0-9_]+)\{([^}]*)\}")
_BY = re.compile(r"by \(([^)]*)\)")


def everything() -> Counts:
    """All families, each with one number."""
    counts = Counts()
    for family in TABLE:
        labels = tuple("x" for _ in family.labels)
        if family.kind is MetricKind.HISTOGRAM:
            counts.observe(family, labels, 0.5)
        else:
            counts.add(family, labels, 1)
    return counts


def shown(workers: list[WorkerMetrics], accept: str = "", here: str = "1") -> str:
    """The page."""
    return page(workers, here, accept)[0].decode()


def values(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of this name, by their labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


class PageTests(SynchronousTestCase):
    """`exposition.page`."""

    def test_complete(self) -> None:
        """Every family is there with its help and its kind, counted or not, in both formats;
        nothing else is.
        """
        for counts in (everything(), Counts()):
            workers = [WorkerMetrics("1", os.getpid(), counts.taken())]
            for accept, parse in (
                ("", text_string_to_metric_families),
                (OPENMETRICS, openmetrics_families),
            ):
                found = {each.name: each for each in parse(shown(workers, accept))}
                told = {
                    name.removesuffix("_total"): (kind, meaning)
                    for name, kind, _, meaning in rows()
                }
                self.assertEqual(
                    {name: (each.type, each.documentation) for name, each in found.items()}, told
                )

    def test_content_type(self) -> None:
        """Prometheus gets OpenMetrics, as it asks for it; everybody else text."""
        workers = [WorkerMetrics("1", 0, Counts().taken())]
        self.assertIn(
            "application/openmetrics-text; version=1.0.0", page(workers, "1", OPENMETRICS)[1]
        )
        for accept in (
            "",
            "*/*",
            "text/plain",
            "application/json",
            "text/html;q=x,,;",
            "application/openmetrics-text;version=9.x",
        ):
            self.assertIn("charset=utf-8", page(workers, "1", accept)[1])

    def test_together(self) -> None:
        """Counters and levels add up, the worst is told of what is bad, and what all know is told
        once.
        """
        one, two = everything(), everything()
        one.set(families.CATALOG_UP, (), 1)
        two.set(families.CATALOG_UP, (), 0)
        one.set(families.CATALOG_AGE, (), 0.5)
        two.set(families.CATALOG_AGE, (), 50)
        one.set(families.PROJECTS, ("ours",), 10)
        two.set(families.PROJECTS, ("ours",), 9)
        ended = WorkerMetrics("", 0, everything().taken())
        text = shown(
            [
                ended,
                WorkerMetrics("1", os.getpid(), one.taken()),
                WorkerMetrics("2", os.getpid(), two.taken()),
            ]
        )
        self.assertEqual(values(text, "pypid_http_sent_bytes_total"), {(): 3})
        self.assertEqual(values(text, "pypid_catalog_up"), {(): 0})
        self.assertEqual(values(text, "pypid_catalog_age_seconds"), {(): 50})
        self.assertEqual(values(text, "pypid_projects")[(("whose", "ours"),)], 10)
        self.assertEqual(values(text, "pypid_workers"), {(): 2})
        self.assertEqual(
            values(text, "pypid_upstream_request_seconds_count"), {(("operation", "x"),): 3}
        )
        self.assertEqual(
            {key[0][1] for key in values(text, "process_resident_memory_bytes")}, {"1", "2"}
        )
        lag = values(text, "pypid_reactor_lag_seconds_count")
        self.assertEqual(
            {key: value for key, value in lag.items() if dict(key)["worker"]},
            {(("worker", n),): 1.0 for n in "12"},
        )

    def test_buckets(self) -> None:
        """Buckets add up from below, and the last one is the count."""
        counts = Counts()
        for value in (0.0, 0.3, 99.0):
            counts.observe(families.REQUEST_SECONDS, ("/", "GET"), value)
        found = values(
            shown([WorkerMetrics("1", 0, counts.taken())]), "pypid_http_request_seconds_bucket"
        )
        by_bound = {float(dict(key)["le"]): value for key, value in found.items()}
        self.assertEqual(
            (by_bound[0.001], by_bound[0.25], by_bound[0.5], by_bound[float("inf")]), (1, 1, 2, 3)
        )
        self.assertEqual(
            sorted(by_bound.values()), [value for _, value in sorted(by_bound.items())]
        )

    def test_gone(self) -> None:
        """Of a process that is gone by now nothing is told, and all else is."""
        self.assertNotIn(
            "process_",
            shown([WorkerMetrics("2", 2**22 + 1, Counts().taken())]).replace("pypid_", ""),
        )

    def test_only_processes_are_seen(self) -> None:
        """With ``ProcSubset=pid``, as in our unit, there is no /proc/stat: a process is told of all
        the same.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
        found = {}
        for proc in "/proc", str(folder):
            told = OfProcess(pid=os.getpid, registry=None, proc=proc).collect()
            found[proc] = {
                sample.name: sample.value for metric in told for sample in metric.samples
            }
        self.assertEqual(set(found["/proc"]), set(found[str(folder)]))
        started = {proc: each["process_start_time_seconds"] for proc, each in found.items()}
        self.assertLess(abs(started["/proc"] - started[str(folder)]), 2, started)
        self.assertEqual(
            list(OfProcess(pid=os.getpid, registry=None, proc=str(folder / "none")).collect()), []
        )


OPENMETRICS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
)


class MadeTests(SynchronousTestCase):
    """What is written down of the numbers elsewhere."""

    def setUp(self) -> None:
        """All names of samples, with their labels."""
        self.labels: dict[str, set[str]] = {}
        for name, kind, labels, _ in rows():
            own = {label for label in labels.split(", ") if label}
            for each in (
                [f"{name}_{end}" for end in ("bucket", "count", "sum")]
                if kind == "histogram"
                else [name]
            ):
                self.labels[each] = own | ({"le"} if each.endswith("_bucket") else set())

    def assert_known(self, expression: str) -> None:
        """Every number and every label in it is one of ours."""
        names = set(_NAMES.findall(expression))
        self.assertLessEqual(names, set(self.labels), expression)
        for name, selector in _SELECTORS.findall(expression):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector))
            self.assertLessEqual(asked, self.labels[name] | {"job", "instance"}, expression)
        for group in _BY.findall(expression):
            everywhere = set().union(*(self.labels[name] for name in names)) | {"job", "instance"}
            self.assertLessEqual(
                {label.strip() for label in group.split(",")}, everywhere, expression
            )
        self.assertEqual(expression.count("("), expression.count(")"), expression)

    def test_dashboard(self) -> None:
        """The dashboard is one that Grafana imports, asks for numbers that there are, and for all
        but a few of them.
        """
        dashboard = json.loads((ETC / "grafana.json").read_text())
        self.assertIsNone(dashboard["id"])
        self.assertGreaterEqual(dashboard["schemaVersion"], 36)
        variables = {each["name"]: each for each in dashboard["templating"]["list"]}
        self.assertEqual(variables["datasource"]["type"], "datasource")
        panels = dashboard["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken: set[tuple[int, int]] = set()
        asked: set[str] = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            self.assertTrue(taken.isdisjoint(cells), panel["title"])
            taken |= cells
            for target in panel.get("targets", ()):
                self.assertEqual(target["datasource"]["uid"], "${datasource}")
                self.assert_known(target["expr"])
                self.assertLessEqual(
                    set(re.findall(r"\$(\w+)", target["expr"])), {*variables, "__rate_interval"}
                )
                asked |= set(_NAMES.findall(target["expr"]))
        shown = {name.removesuffix("_bucket") for name in asked}
        unasked = {name for name, _, _, _ in rows()} - shown
        self.assertEqual(unasked, {"process_virtual_memory_bytes", "process_start_time_seconds"})

    def test_alerts(self) -> None:
        """The alerts are about numbers that there are, and say in words what is wrong."""
        alerts = list(rules((ETC / "prometheus-alerts.yml").read_text()))
        self.assertEqual(len({alert["alert"] for alert in alerts}), len(alerts))
        for alert in alerts:
            self.assert_known(alert["expr"])
            self.assertTrue(
                "pypid_" in alert["expr"]
                or "process_" in alert["expr"]
                or alert["alert"] == "PypidDown"
            )
            self.assertLess(alert.get("for", "0m"), "9")
        text = (ETC / "prometheus-alerts.yml").read_text()
        self.assertEqual(text.count("summary:"), len(alerts))
        self.assertEqual(text.count("description:"), len(alerts))


def rules(text: str) -> Iterator[dict[str, Any]]:
    """The alerts, read as far as this file goes: no library for YAML is needed for that."""
    for block in text.split("- alert: ")[1:]:
        lines = block.splitlines()
        alert: dict[str, Any] = {"alert": lines[0]}
        fields = "\n".join(lines[1:])
        folded = re.search(r"expr: >-\n((?: {10,}.*\n)+)", fields)
        plain = re.search(r"expr: (.*)", fields)
        assert plain is not None, block
        alert["expr"] = " ".join(folded[1].split()) if folded else plain[1]
        if (lasting := re.search(r"for: (\S+)", fields)) is not None:
            alert["for"] = lasting[1]
        yield alert

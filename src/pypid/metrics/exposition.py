"""The page for Prometheus, by its own library. Imported only when the page is requested."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

from prometheus_client import exposition, process_collector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from pypid.metrics.counts import TABLE, Aggregation, Family, Labels, MetricKind
from pypid.metrics.worker_metrics import WorkerMetrics

WORKER_COUNT = "Worker processes whose numbers are in this response."
OF_PROCESSES = {
    "process_virtual_memory_bytes": "Virtual memory size in bytes.",
    "process_resident_memory_bytes": "Resident memory size in bytes.",
    "process_start_time_seconds": "Start time of the process since unix epoch in seconds.",
    "process_cpu_seconds": "Total user and system CPU time spent in seconds.",
    "process_open_fds": "Number of open file descriptors.",
    "process_max_fds": "Maximum number of open file descriptors.",
}
"""What prometheus_client reports of a process, on Linux; here for each worker."""


def page(metrics: Sequence[WorkerMetrics], here: str, accept: str) -> tuple[bytes, str]:
    """Return the page and its Content-Type: OpenMetrics for a client that accepts it. `here`: the
    number of the worker that answers.
    """
    encode, content_type = exposition.choose_encoder(accept)
    return encode(All(metrics, here)), content_type


class All(Collector):
    """The collector of all families, those without any number as well."""

    def __init__(self, metrics: Sequence[WorkerMetrics], here: str) -> None:
        self._metrics = metrics
        self._here = here

    def collect(self) -> Iterator[Metric]:
        for family in TABLE:
            yield _metric(family, self._metrics, self._here)
        yield GaugeMetricFamily(
            "pypid_workers", WORKER_COUNT, value=sum(1 for worker in self._metrics if worker.pid)
        )
        yield from _of_processes(self._metrics)


def _metric(family: Family, metrics: Sequence[WorkerMetrics], here: str) -> Metric:
    match family.kind:
        case MetricKind.COUNTER:
            counter = CounterMetricFamily(family.name, family.help, labels=family.shown_labels)
            for labels, value in _numbers(family, metrics, here):
                counter.add_metric(labels, value)
            return counter
        case MetricKind.GAUGE:
            gauge = GaugeMetricFamily(family.name, family.help, labels=family.shown_labels)
            for labels, value in _numbers(family, metrics, here):
                gauge.add_metric(labels, value)
            return gauge
        case MetricKind.HISTOGRAM:
            histogram = HistogramMetricFamily(family.name, family.help, labels=family.shown_labels)
            bounds = [*map(floatToGoString, family.buckets), "+Inf"]
            for labels, counted in _histograms(family, metrics):
                histogram.add_metric(
                    labels, list(zip(bounds, accumulate(counted[:-1]), strict=True)), counted[-1]
                )
            return histogram


def _numbers(
    family: Family, metrics: Iterable[WorkerMetrics], here: str
) -> Iterator[tuple[Labels, float]]:
    found: dict[Labels, list[float]] = {}
    if not family.labels and family.together is Aggregation.SUM:
        found[()] = [0]
    for worker in metrics:
        if family.together is Aggregation.HERE and worker.number != here:
            continue
        for labels, value in worker.taken.numbers.get(family.name, ()):
            found.setdefault(_labels(family, worker, labels), []).append(value)
    for labels, values in sorted(found.items()):
        match family.together:
            case Aggregation.LEAST:
                yield labels, min(values)
            case Aggregation.MOST:
                yield labels, max(values)
            case Aggregation.SUM | Aggregation.EACH | Aggregation.HERE:
                yield labels, sum(values)


def _histograms(
    family: Family, metrics: Iterable[WorkerMetrics]
) -> Iterator[tuple[Labels, list[float]]]:
    found: dict[Labels, list[float]] = {}
    if not family.shown_labels:
        found[()] = [0] * (len(family.buckets) + 2)
    for worker in metrics:
        for labels, counted in worker.taken.histograms.get(family.name, ()):
            labels = _labels(family, worker, labels)
            found[labels] = (
                [a + b for a, b in zip(found[labels], counted, strict=True)]
                if labels in found
                else counted
            )
    yield from sorted(found.items())


def _labels(family: Family, worker: WorkerMetrics, labels: Labels) -> Labels:
    return (worker.number, *labels) if family.together is Aggregation.EACH else labels


def _of_processes(metrics: Iterable[WorkerMetrics]) -> Iterator[Metric]:
    found: dict[str, Metric] = {}
    for worker in metrics:
        for metric in _of_process(worker.pid) if worker.pid else ():
            into = found.setdefault(
                metric.name, Metric(metric.name, OF_PROCESSES[metric.name], metric.type)
            )
            for sample in metric.samples:
                into.add_sample(
                    sample.name, {"worker": worker.number, **sample.labels}, sample.value
                )
    yield from found.values()


def _of_process(pid: int) -> Iterable[Metric]:
    """Return what is known of the process; nothing without /proc, or without a limit of open files
    (which the library takes for a number).
    """
    try:
        return list(OfProcess(pid=lambda: pid, registry=None).collect())
    except ValueError:
        return ()


class OfProcess(process_collector.ProcessCollector):
    """The library's collector, which also works where only processes are visible below /proc, as
    with ``ProcSubset=pid`` in a systemd unit.
    """

    def _boot_time(self) -> float | None:
        try:
            return super()._boot_time()  # type: ignore[no-any-return, no-untyped-call]
        except OSError:
            return _booted() if Path(self._proc, str(self._pid())).is_dir() else None


@cache
def _booted() -> float:
    now = time.time()  # noqa: TID251  # of the machine itself, as what it is compared with
    return float(
        round(now - time.clock_gettime(time.CLOCK_BOOTTIME))
    )  # whole seconds, as in /proc/stat

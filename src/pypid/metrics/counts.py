"""Counters, as cheap as Python allows: one dictionary look-up for each number."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

import msgspec

from pypid.metrics.families import FAMILIES, TABLE, Aggregation, Family, MetricKind

Labels = tuple[str, ...]
"""The values of a family's labels, in its order."""


class MetricsSample(msgspec.Struct, array_like=True, frozen=True):
    """All numbers of one process at one time, by the name of the family.

    A histogram is the count of each of its buckets (not cumulative), of what is above all, and the
    sum.
    """

    numbers: dict[str, list[tuple[Labels, float]]] = {}
    histograms: dict[str, list[tuple[Labels, list[float]]]] = {}


class Counts:
    """The numbers of one process."""

    __slots__ = ("_histograms", "_numbers", "before")

    def __init__(self) -> None:
        self._numbers: defaultdict[Family, dict[Labels, float]] = defaultdict(dict)
        self._histograms: defaultdict[Family, dict[Labels, list[float]]] = defaultdict(dict)
        for family in TABLE:
            for labels in family.initial:
                self._numbers[family][labels] = 0
        self.before: list[Callable[[], object]] = []
        """Callbacks that are called before the numbers are read, for what counts in batches, or has
        something to `set`.
        """

    def add(self, family: Family, labels: Labels = (), amount: float = 1) -> None:
        """Increase a number."""
        values = self._numbers[family]
        values[labels] = values.get(labels, 0) + amount

    def set(self, family: Family, labels: Labels, value: float) -> None:
        """Set a number."""
        self._numbers[family][labels] = float(value)  # a bool is not a number in JSON

    def reset(self, family: Family) -> None:
        """Remove all numbers of a family whose labels may disappear."""
        self._numbers[family].clear()

    def observe(self, family: Family, labels: Labels, value: float, times: int = 1) -> None:
        """Record an observation of a histogram, once or `times` times."""
        counted = self._histograms[family].get(labels)
        if counted is None:
            counted = self._histograms[family][labels] = [0] * (len(family.buckets) + 2)
        counted[bisect_left(family.buckets, value)] += times
        counted[-1] += value * times

    def value(self, family: Family, labels: Labels = ()) -> float:
        """Return a number; for a histogram, the number of observations."""
        if family.kind is MetricKind.HISTOGRAM:
            return sum(self._histograms[family].get(labels, [0, 0])[:-1])
        return self._numbers[family].get(labels, 0)

    def taken(self) -> MetricsSample:
        """Return all current numbers."""
        for each in self.before:
            each()
        histograms = {
            family.name: [(labels, counted.copy()) for labels, counted in values.items()]
            for family, values in self._histograms.items()
        }
        return MetricsSample(
            {family.name: list(values.items()) for family, values in self._numbers.items()},
            histograms,
        )


def is_whole(taken: MetricsSample) -> bool:
    """Return whether everything has as many labels and buckets as its family has (unknown families
    are ignored).
    """
    for name, values in taken.numbers.items():
        if (family := FAMILIES.get(name)) and any(
            len(labels) != len(family.labels) for labels, _ in values
        ):
            return False
    for name, histogram in taken.histograms.items():
        family, size = (
            FAMILIES.get(name),
            len(FAMILIES[name].buckets) + 2 if name in FAMILIES else 0,
        )
        if family and any(
            len(labels) != len(family.labels) or len(counted) != size
            for labels, counted in histogram
        ):
            return False
    return True


def lasting(taken: MetricsSample) -> MetricsSample:
    """Return what remains valid after the process has ended: all but the gauges, and what is shown
    for each worker.
    """
    kept = {
        name: values
        for name, values in taken.numbers.items()
        if name in FAMILIES and FAMILIES[name].kind is MetricKind.COUNTER
    }
    histograms = {
        name: values
        for name, values in taken.histograms.items()
        if name in FAMILIES and FAMILIES[name].together is not Aggregation.EACH
    }
    return MetricsSample(kept, histograms)


def summed(first: MetricsSample, second: MetricsSample) -> MetricsSample:
    """Return the lasting metrics of two processes, added."""
    numbers = {name: dict(values) for name, values in first.numbers.items()}
    for name, values in second.numbers.items():
        into = numbers.setdefault(name, {})
        for labels, value in values:
            into[labels] = into.get(labels, 0) + value
    histograms = {name: dict(values) for name, values in first.histograms.items()}
    for name, histogram in second.histograms.items():
        onto = histograms.setdefault(name, {})
        for labels, counted in histogram:
            onto[labels] = (
                [a + b for a, b in zip(onto[labels], counted, strict=True)]
                if labels in onto
                else counted
            )
    return MetricsSample(
        {name: list(values.items()) for name, values in numbers.items()},
        {name: list(values.items()) for name, values in histograms.items()},
    )

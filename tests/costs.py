"""Measures that the cost of an operation grows at most linearly with the size of its input.

CPU time of this thread is measured, not wall time, without the garbage collector, and the least of
several attempts counts. So other processes on the machine do not matter much, and what they still
do is within `SLACK`.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import thread_time
from typing import Any

STEPS = (1, 2, 4, 8)
"""Sizes that are measured, as multiples of an eighth of the largest one."""
SLACK = 3.0
"""How many times more than linear a cost may grow: quadratic growth over `STEPS` is 8 times more.
"""
CHEAP = 0.012
"""Seconds that are too few to be measured: such a cost passes."""
SMALL = 1 << 20
"""Bytes that are too few to be a problem: such a peak passes."""
ATTEMPTS = 4


def cpu_seconds(operation: Callable[[], Any]) -> float:
    """Return the CPU time that `operation` takes in this thread. A refusal (any exception) is a
    result like others.
    """
    gc.collect(0)
    was_enabled = gc.isenabled()
    gc.disable()
    begin = thread_time()
    try:
        with suppress(Exception):
            operation()
        return thread_time() - begin
    finally:
        if was_enabled:
            gc.enable()


def peak_bytes(operation: Callable[[], Any]) -> int:
    """Return the memory that Python objects take at most while `operation` runs."""
    tracemalloc.start()
    try:
        with suppress(Exception):
            operation()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def growth(costs: Sequence[float], least: float) -> float:
    """Return how many times more than linear `costs` (at `STEPS`) grow; 1 is linear, 8 quadratic.

    Costs below `least` count as `least`: constant parts of them would hide growth, or be taken for
    it.
    """
    if max(costs) <= least:
        return 0.0
    pairs = zip(costs, STEPS, strict=True)
    return costs[-1] / STEPS[-1] / max(min(cost / step for cost, step in pairs), least / STEPS[-1])


def time_growth(
    make: Callable[[int], Any], run: Callable[[Any], Any], largest: int
) -> tuple[float, list[float]]:
    """Return the growth of the CPU time of ``run(make(size))`` up to the size `largest`, and the
    times themselves.

    The largest input is measured first: if it is cheap, the others cannot change the result.
    """
    inputs = [make(largest * step // STEPS[-1]) for step in STEPS]
    best = [float("inf")] * len(STEPS)
    for _ in range(ATTEMPTS):
        for number in reversed(range(len(STEPS))):
            best[number] = min(best[number], cpu_seconds(partial(run, inputs[number])))
            if best[-1] <= CHEAP:
                return 0.0, best
        if growth(best, CHEAP) < SLACK:
            break
    return growth(best, CHEAP), best


def memory_growth(
    make: Callable[[int], Any], run: Callable[[Any], Any], largest: int
) -> tuple[float, list[int]]:
    """Return the growth of the peak memory of ``run(make(size))``, and the peaks, up to the size
    `largest`. As with the time, the largest input comes first.
    """
    peaks: list[int] = []
    for step in reversed(STEPS):
        given = make(largest * step // STEPS[-1])
        peaks.insert(0, peak_bytes(partial(run, given)))
        if peaks[-1] <= SMALL:
            return 0.0, peaks
    return growth([float(peak) for peak in peaks], SMALL), peaks

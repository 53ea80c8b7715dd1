"""A pypid in the foreground whose reactor has a call due each millisecond, and writes down how late
it comes.

``python _ticking.py CONFIG REPORT``; SIGUSR2 has the report written (a line of JSON), and begins
anew. Where the environment variable BENCH_STACKS names a file, the stacks of all threads are
added to it whenever a call is late and this process has used the processor for 10 ms meanwhile.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import cast

from twisted.internet.interfaces import IReactorFromThreads

from pypid.wiring.recipe import serve

TICK = 0.001
LATE = 0.010
"""Seconds of processor time after which the stacks are written."""


class Ticks:
    """How late each was, in seconds: no more of it than the processor time that this process used
    meanwhile (the rest is what other processes had).
    """

    def __init__(self, report: Path) -> None:
        from twisted.internet import reactor

        self._reactor = reactor
        self._report = report
        self._late: list[float] = []
        stacks = os.environ.get("BENCH_STACKS")
        self._watched = bool(stacks)
        if stacks:
            file = Path(stacks).open("a")  # noqa: SIM115
            faulthandler.register(signal.SIGPROF, file=file, all_threads=True)
        self._due, self._used = perf_counter() + TICK, process_time()
        reactor.callWhenRunning(self._tick)
        reactor.callWhenRunning(
            lambda: signal.signal(
                signal.SIGUSR2,
                lambda *_: cast(IReactorFromThreads, reactor).callFromThread(self._write),
            )
        )

    def _tick(self) -> None:
        now, used = perf_counter(), process_time()
        self._late.append(max(0.0, min(now - self._due, used - self._used)))
        if self._watched:
            signal.setitimer(signal.ITIMER_PROF, LATE)
        self._due, self._used = perf_counter() + TICK, process_time()
        self._reactor.callLater(TICK, self._tick)

    def _write(self) -> None:
        late, self._late = sorted(self._late) or [0.0], []
        figures = {
            "ticks": len(late),
            "p99": late[int(len(late) * 0.99)] * 1000,
            "worst": late[-1] * 1000,
        }
        part = self._report.with_suffix(".part")
        part.write_text(json.dumps(figures))
        part.replace(self._report)


if __name__ == "__main__":
    Ticks(Path(sys.argv[2]))
    serve(Path(sys.argv[1]))

"""The clock of the process: monotonic, so that setting the machine's wall clock moves no timer and
no age.

Twisted's reactors schedule by `time.time`. After the wall clock was set back by an hour (NTP, a
resumed virtual machine) a timer of ten seconds fires an hour late. `use_monotonic_clock` gives a
reactor another clock, which counts suspension, too.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.logger import Logger

_log = Logger()

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TWISTED = ("_newTimedCalls", "_pendingTimedCalls")
"""The private names of `ReactorBase` that hold its delayed calls; a test asserts that they
exist.
"""


def boot_seconds() -> float:
    """Return the seconds since the machine booted, including those in which it was suspended."""
    return time.clock_gettime(_CLOCK)


def use_monotonic_clock(reactor: Any) -> bool:
    """Make `reactor` schedule by `boot_seconds`; return whether it does. Calls that are scheduled
    already keep their delay.

    A reactor that schedules in another way than `ReactorBase` keeps its clock, with a warning.
    """
    if reactor.seconds is boot_seconds:
        return True
    if not isinstance(reactor, ReactorBase):  # a test clock
        return False
    if not _is_known(reactor):
        _log.warn(
            (
                "timers follow the wall clock: reactor={reactor} cannot be given another one. Set "
                "the clock by slewing only."
            ),
            reactor=type(reactor).__name__,
        )
        return False
    shift = boot_seconds() - reactor.seconds()
    # Twisted's reactor and its calls take their clock from attributes, and offer nothing else
    for call in (*reactor._newTimedCalls, *reactor._pendingTimedCalls):
        call.time += shift  # equal for all calls: the heap stays a heap
        call.seconds = boot_seconds
    reactor.seconds = boot_seconds
    return True


def _is_known(reactor: ReactorBase) -> bool:
    """Return whether the reactor's timers are those of `ReactorBase`, which reads the clock from
    `self.seconds`.
    """
    return (
        type(reactor).callLater is ReactorBase.callLater
        and type(reactor).timeout is ReactorBase.timeout
        and all(hasattr(reactor, name) for name in _TWISTED)
    )

"""Timers go by a clock that nobody can set."""

from __future__ import annotations

from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.flow import world as clock_of_process
from pypid.flow.world import _TWISTED, boot_seconds, use_monotonic_clock
from pypid.wiring.platform import the_world

DAY = 86400.0


class Wall:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.ahead = 1.8e9

    def __call__(self) -> float:
        return boot_seconds() + self.ahead


class ClockTests(SynchronousTestCase):
    """`use_monotonic_clock`."""

    def setUp(self) -> None:
        self.wall = Wall()
        self.reactor: Any = EPollReactor()
        self.reactor.seconds = self.wall
        self.addCleanup(self.reactor.disconnectAll)

    def test_timers_keep_their_delay_when_the_wall_clock_is_set(self) -> None:
        """What is scheduled before and after the clock is replaced is due when it was to be,
        however the wall clock is set.
        """
        for step in (-DAY, -3600, DAY):
            reactor = self.reactor = EPollReactor()
            reactor.seconds = self.wall
            for delay in (900, 20, 300):
                reactor.callLater(delay, lambda: None)
            reactor.runUntilCurrent()  # they are in the heap
            reactor.callLater(10, lambda: None)
            self.assertTrue(use_monotonic_clock(reactor))
            self.assertTrue(use_monotonic_clock(reactor))
            late = reactor.callLater(5, lambda: None)
            self.wall.ahead += step
            self.assertAlmostEqual(reactor.timeout(), 5, places=1)
            late.cancel()
            reactor.runUntilCurrent()
            left = sorted(call.getTime() - reactor.seconds() for call in reactor.getDelayedCalls())
            for found, delay in zip(left, (10, 20, 300, 900), strict=True):
                self.assertAlmostEqual(found, delay, places=1)
            again = reactor.getDelayedCalls()[0]
            again.reset(7)
            self.assertAlmostEqual(again.getTime() - reactor.seconds(), 7, places=1)

    def test_world_of_the_process_is_monotonic(self) -> None:
        """Whatever starts pypid, a worker, or a command: its world has this clock."""
        self.assertIs(the_world(self.reactor).clock.seconds, boot_seconds)

    def test_unknown_reactor_keeps_its_clock(self) -> None:
        """Where Twisted's names are not there its own clock goes on, and the log says so; what is
        no reactor is left alone.
        """
        warned: list[LogEvent] = []
        globalLogPublisher.addObserver(warned.append)
        self.addCleanup(globalLogPublisher.removeObserver, warned.append)
        clock = Clock()
        self.assertFalse(use_monotonic_clock(clock))
        self.assertEqual((clock.seconds(), warned), (0.0, []))
        self.patch(clock_of_process, "_TWISTED", ("_of_another_twisted",))
        self.assertFalse(use_monotonic_clock(self.reactor))
        self.assertIs(self.reactor.seconds, self.wall)
        [event] = warned
        self.assertIn("wall clock", event["log_format"])

    def test_private_names_are_there(self) -> None:
        """This Twisted has the names that are needed."""
        self.assertTrue(all(hasattr(self.reactor, name) for name in _TWISTED))

"""Which worker takes the next connection."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.prefork.supervisor import Scales, make_scales, weighed


class Port:
    """A port of Twisted's, as far as it is weighed."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.connected, self.disconnecting, self.reading = True, False, True
        self.accepts: list[int] = []
        self.numberAccepts = 100

    def doRead(self) -> None:
        self.accepts.append(self.numberAccepts)
        self.numberAccepts = 120

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class WeighingReactor(Clock):
    """One that runs."""

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        call()


class ScalesTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.counts = [0, 0]
        self.first = make_scales(Path(made.name), lambda: self.counts[0])
        self.second = Scales(self.first.descriptor, 2, lambda: self.counts[1])
        self.reactor = WeighingReactor()  # type: ignore[no-untyped-call]
        self.port: Any = Port(self.reactor)

    def weigh(self, first: int, second: int) -> None:
        """They have so many connections."""
        self.counts[:] = first, second
        self.first.weigh()
        self.second.weigh()

    def test_one_at_a_time(self) -> None:
        """Whoever has as few as any takes one connection, at once, and one the next time."""
        weighed(self.port, self.first)
        self.weigh(3, 3)
        self.port.doRead()
        self.port.doRead()
        self.assertEqual(self.port.accepts, [1, 1])

    def test_lets_others(self) -> None:
        """Whoever has more looks away for a moment; if nobody else takes it by then, it does, for
        it is better than to wait.
        """
        weighed(self.port, self.first)
        self.weigh(10, 3)
        looks = 0
        while not self.port.accepts:
            self.port.doRead()
            looks += 1
            self.reactor.advance(0.002)
            self.assertTrue(self.port.reading)
        self.assertEqual(looks, 11)
        self.port.doRead()
        self.assertEqual(self.port.accepts, [1, 1])  # nobody else has the time just now

    def test_absent(self) -> None:
        """Nobody waits for a worker that has not begun, or has ended."""
        self.counts[0] = 50
        self.first.weigh()
        self.assertFalse(self.first.has_more())
        self.weigh(50, 0)
        self.assertTrue(self.first.has_more())
        self.first.leave(2)
        self.assertFalse(self.first.has_more())

    def test_by_chance(self) -> None:
        """A little more is nothing: else the last ones would wait for each other."""
        self.weigh(1, 0)
        self.assertFalse(self.first.has_more())
        self.weigh(90, 80)
        self.assertFalse(self.first.has_more())
        self.weigh(92, 80)
        self.assertTrue(self.first.has_more())

    def test_closed(self) -> None:
        """A port that was closed meanwhile is not opened again."""
        weighed(self.port, self.first)
        self.weigh(10, 0)
        self.port.doRead()
        self.port.connected = False
        self.reactor.advance(1)
        self.assertFalse(self.port.reading)

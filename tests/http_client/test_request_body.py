"""One question to another service: what is no question leaves nothing behind."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent

from pypid.flow import start
from pypid.http_client.request_body import exchange


class NoUrlTests(SynchronousTestCase):
    """Texts that are no URLs."""

    def test_nothing_is_left(self) -> None:
        """A URL that cannot be asked is an error at once, and no alarm goes off later."""
        for url in (
            "https://h.example/a b",
            "https://h.example/\r\nHost: x",
            "https://h.example/\xe9",
            "https://h.example:-/",
        ):
            clock = Clock()
            asked = start(exchange(Agent(MemoryReactorClock()), clock, "GET", url, {}, None, 10.0))
            self.assertIsInstance(
                self.failureResultOf(asked).value, (ValueError, OverflowError), url
            )
            self.assertEqual(clock.getDelayedCalls(), [])

"""What tests of an upstream share: fakes on ports of their own, and a look at what
is left behind.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase

from pypid.core.packaging.names import project_name
from pypid.flow import World, at_once
from pypid.http_client.connections import Trust
from pypid.ports import Upstream
from pypid.upstream.indexes import UpstreamSourceSettings, connected, open
from tests.upstream.fake import Fake, Script

T = TypeVar("T", bound=BaseException)
SPAM = project_name("spam")
OWN = "pypid-own"
NOW = datetime(2026, 5, 6, tzinfo=UTC)


class UpstreamCase(TestCase):
    """Each test has a fake; all that a test leaves open fails it."""

    timeout = 20
    patience = 0.8
    """How long a fake may be silent."""
    file_hosts: tuple[str, ...] = ("localhost",)

    def setUp(self) -> None:
        """Make a fake, and watch the log."""
        # Twisted notices that no address can be reached when it would try the next one
        self.patch(HostnameEndpoint, "_DEFAULT_ATTEMPT_DELAY", 0.01)
        self.reactor: Any = reactor
        self.fakes: list[Fake] = []
        self.fake = self.another()
        self.warnings: list[str] = []
        self.now = NOW
        globalLogPublisher.addObserver(self._watch)
        self.addCleanup(globalLogPublisher.removeObserver, self._watch)
        self.trust = Trust()
        self.reached = connected(self.reactor, self.trust, self.settings())
        self.world = World(self.reactor, self._tick, at_once, lambda size: b"x" * size)

    def _tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def _watch(self, event: Any) -> None:
        if event["log_level"] in (LogLevel.warn, LogLevel.error, LogLevel.critical):
            self.warnings.append(
                event["log_format"].format(**event) if event["log_format"] else repr(event)
            )

    async def tearDown(self) -> None:
        """No connection is left, no script failed."""
        await deferLater(self.reactor, 0)  # out of the turn in which the last byte came
        await self.reached.close()
        for fake in self.fakes:
            await maybeDeferred(fake.port.stopListening)
            self.assertTrue(await fake.all_gone(), "a connection is left open")
            self.assertEqual(fake.errors, [])

    def another(self, certificate: PrivateCertificate | None = None) -> Fake:
        """One more fake."""
        fake = Fake(self.reactor, certificate)
        self.fakes.append(fake)
        return fake

    def settings(self, *urls: str) -> UpstreamSourceSettings:
        """Of an upstream at these URLs, or at the fake; all fakes are at hosts that may have any
        address.
        """
        return UpstreamSourceSettings(
            urls or (f"{self.fake.url}/simple/",), self.patience, self.file_hosts
        )

    def asks(self, *urls: str) -> Upstream:
        """The upstream at these base URLs, or at the fake's ``/simple/``."""
        return open(self.settings(*urls), self.world, OWN, self.reached)

    def script(self, script: Script, path: str = "/simple/spam/") -> None:
        """What the fake does when it is asked for this."""
        self.fake.scripts[path] = script

    async def refused(self, question: Awaitable[object], kind: type[T]) -> T:
        """The exception that the question ends with; it does so in bounded time, and without a
        secret.
        """
        begun = self.reactor.seconds()
        try:
            answer = await question
        except kind as error:
            self.assertLess(self.reactor.seconds() - begun, 3.0)
            self.assertNotIn("http:", str(error))
            self.assertNotIn("sesame", str(error) + repr(error))
            return error
        raise AssertionError(f"there was an answer: {answer!r}")

    async def page_fails(
        self, script: Script, kind: type[T], upstream: Upstream | None = None
    ) -> T:
        """What comes of asking for a page of this script; one line of the log says it."""
        self.script(script)
        del self.warnings[:]
        error = await self.refused((upstream or self.asks()).project(SPAM, None, ()), kind)
        self.assertEqual(len(self.warnings), 1, self.warnings)
        self.assertIn("the page of 'spam'", self.warnings[0])
        return error

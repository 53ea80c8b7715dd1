"""The servers that upstream files come from: what is retried, and what a failure closes."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import NotThere, PypidError, UpstreamDown
from pypid.flow import BytesBody, start
from pypid.http_client.circuit_breaker import FIRST_PAUSE, STRIKES
from pypid.index.upstream.listings import FileHostBreakers
from pypid.ports import Body
from tests.support.worlds import Awaiting, world

REFUSES = UpstreamDown("it refuses connections.", unreachable=True)
SILENT = UpstreamDown("it did not answer within 10 seconds.", timed_out=True)
URL = "https://files.example/spam-1.0.tar.gz"


def answers(status: int, retry_after: int | None = None) -> UpstreamDown:
    """The failure of an HTTP status."""
    return UpstreamDown(f"it answers HTTP {status}.", status=status, retry_after=retry_after)


class FileHostsTests(Awaiting, SynchronousTestCase):
    """Fetches with answers that the test gives one after the other."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.hosts = FileHostBreakers(world(self.clock))
        self.answers: list[PypidError | None] = []
        self.asked = 0

    async def ask(self) -> Body:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return BytesBody(b"bytes")

    def fetch(self, *answers: PypidError | None, url: str = URL) -> PypidError | None:
        """Fetch the URL, with these answers; returns what it fails with once all
        retries are over.
        """
        self.answers = list(answers)
        result: list[object] = []
        start(self.hosts.fetch(url, self.ask)).addBoth(result.append)
        for _ in range(20):
            self.clock.advance(0.1)
        [found] = result
        error = getattr(found, "value", None)
        return error if isinstance(error, PypidError) else None

    def test_transient_5xx_is_retried_twice(self) -> None:
        """One or two answers 500, 502, 503 or 504 are not seen by the client; the third is."""
        for status in (500, 502, 503, 504):
            self.hosts, self.asked = FileHostBreakers(world(self.clock)), 0
            self.assertIsNone(self.fetch(answers(status), None))
            self.assertIsNone(self.fetch(answers(status), answers(status), None))
            self.assertEqual(self.asked, 5)
            last = answers(status)
            self.assertIs(self.fetch(answers(status), answers(status), last), last)
            self.assertEqual(self.asked, 8)

    def test_other_failures_are_not_retried(self) -> None:
        """Nor is what says itself that it takes longer."""
        for failure in (
            answers(403),
            answers(501),
            answers(503, 30),
            SILENT,
            REFUSES,
            NotThere("spam-1.0.tar.gz"),
        ):
            self.hosts, self.asked = FileHostBreakers(world(self.clock)), 0
            self.assertIs(self.fetch(failure), failure)
            self.assertEqual(self.asked, 1)

    def test_url_that_fails_three_times_is_not_asked_for_a_moment(self) -> None:
        """Its clients get the failure at once; other files of the same host are fetched."""
        for _ in range(STRIKES):
            self.assertIs(self.fetch(SILENT), SILENT)
        self.assertIs(self.fetch(), SILENT)
        self.assertEqual(self.asked, STRIKES)
        for number in range(2 * STRIKES):
            self.assertIs(self.fetch(SILENT, url=f"{URL}?{number}"), SILENT)
        self.assertIsNone(self.fetch(url=f"{URL}.metadata"))
        self.clock.advance(FIRST_PAUSE.total_seconds())
        self.assertIsNone(self.fetch())

    def test_host_without_connections_is_not_asked_for_a_moment(self) -> None:
        """After three failures to connect in a row; other hosts are asked, another port is another
        host.
        """
        for number in range(STRIKES):
            self.assertIs(self.fetch(REFUSES, url=f"{URL}?{number}"), REFUSES)
        self.assertIs(self.fetch(url=f"{URL}?new"), REFUSES)
        for other in (
            "https://files.example:8443/x",
            "http://files.example/x",
            "https://other.example/x",
        ):
            self.assertIsNone(self.fetch(url=other))
        self.clock.advance(FIRST_PAUSE.total_seconds())
        self.assertIsNone(self.fetch(url=f"{URL}?new"))

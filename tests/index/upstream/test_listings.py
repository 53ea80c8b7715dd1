"""What upstream says of projects: asked once for many and remembered, believed while it cannot be
asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode
from pypid.core.errors import BadListing, PypidError, UpstreamDown
from pypid.core.model import File, Listing, Presence, Span
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy, UpstreamState
from pypid.flow import BytesBody, start
from pypid.flow.spool import Hashes
from pypid.http_client.circuit_breaker import FIRST_PAUSE, STRIKES, CircuitBreaker
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.listings import (
    MOST_LATE,
    PAUSE,
    FileHostBreakers,
    UpstreamGate,
    UpstreamListings,
)
from pypid.ports import Body
from tests.index.file_cache_cases import listed, no_metadata
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting, WallClock, world

SPAM, EGGS = project_name("spam"), project_name("eggs")
TTL = timedelta(minutes=10)
TIMEOUT = timedelta(seconds=10)
INDEX = "https://up.example/simple/"
REFUSES = UpstreamDown("it refuses connections.", unreachable=True)
ANSWERS_500 = UpstreamDown("it answers HTTP 500.")


class Upstream:
    """Says of every project that it has these files, or what else it is told to."""

    def __init__(self, clock: Clock) -> None:
        self.now = world(clock).now
        self.files: tuple[File, ...] | None = (listed(b"data"),)
        self.fails: PypidError | None = None
        self.is_doubtful = False
        self.waits: Deferred[None] | None = None
        self.asked: list[tuple[str, bool]] = []
        """The names, and whether something was known of them."""

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        self.asked.append((name, known is not None))
        if self.waits is not None:
            await self.waits
        if self.fails is not None:
            raise self.fails
        return Listing(
            name=name,
            files=self.files,
            confirmed=self.now(),
            index=INDEX,
            etag='"1"',
            is_doubtful=self.is_doubtful,
        )

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        raise NotImplementedError

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        raise NotImplementedError


class CorrespondentCase(Awaiting, SynchronousTestCase):
    """One with an upstream that is told what to say, and time that the test lets pass."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.upstream = Upstream(self.clock)
        self.blobs = MemoryBlobs(world().now)
        self.catalog = a_catalog()
        self.made = self.another()
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._watch)
        self.addCleanup(globalLogPublisher.removeObserver, self._watch)

    def another(self) -> UpstreamListings:
        """A new process."""

        async def nothing(name: ProjectName) -> Presence:
            return Presence.ABSENT

        self.wall = WallClock(self.clock)
        self.upstream.now = self.wall
        outside = world(self.clock, wall=self.wall)
        self.outage = CircuitBreaker(outside)
        gate = UpstreamGate(
            self.upstream,
            Policy(mode=Mode.CACHE),
            "pypid-here",
            nothing,
            self.outage,
            FileHostBreakers(outside),
        )
        self.kept = CacheStore(self.blobs, self.catalog, outside.blocking)
        return UpstreamListings(gate, self.kept, self.catalog, outside, TTL, TIMEOUT)

    def _watch(self, event: Any) -> None:
        if event["log_level"] is LogLevel.warn:
            self.warnings.append(event["log_format"].format(**event))

    def pass_time(self, time: timedelta) -> None:
        self.clock.advance(time.total_seconds())

    def theirs(self, name: ProjectName = SPAM) -> UpstreamState:
        """What is known now."""
        return self.have(self.made.state(name))

    def times(self, name: ProjectName = SPAM) -> int:
        """How often upstream was asked for it."""
        return sum(asked == name for asked, _ in self.upstream.asked)

    def keep(self, data: bytes = b"data") -> File:
        """Store a file, as a fetch does."""
        hashes = Hashes()
        hashes.update(data)

        async def body() -> Body:
            return BytesBody(data)

        return self.have(self.kept.keep(listed(data), hashes.digests(), body, no_metadata))


class AskingTests(CorrespondentCase):
    """While upstream is there."""

    def test_listing_from_the_future_is_not_fresh(self) -> None:
        """What was asked before the clock was set back is asked again at once, not for as long as
        the step was.
        """
        self.theirs()
        self.wall.step(-86400)
        self.theirs()
        self.theirs()
        self.assertEqual(self.times(), 2)


class DoubtTests(CorrespondentCase):
    """Pages without files that may be error pages."""

    def doubtful(self) -> None:
        """From now on upstream answers with such a page."""
        self.upstream.files, self.upstream.is_doubtful = (), True

    def names(self) -> list[str]:
        """The files that are listed."""
        said = self.theirs().listing
        assert said is not None
        return [file.filename for file in said.files or ()]

    def test_doubtful_page_does_not_replace_a_known_listing_until_it_comes_again(self) -> None:
        """Only if it still comes a `ttl` later; until then the known listing is served, and the
        page asked for again.
        """
        before = self.names()
        self.assertEqual(len(before), 1)
        self.doubtful()
        for _ in range(3):
            self.pass_time(TTL // 3)
            self.assertEqual(self.names(), before)
        self.pass_time(TTL // 2)
        found = self.theirs()
        self.assertEqual((self.names(), type(found.failure)), (before, BadListing))
        self.pass_time(TTL)
        self.assertEqual(self.names(), [])
        self.assertIsNone(self.theirs().failure)

    def test_doubtful_page_never_hides_stored_files(self) -> None:
        """Not when it comes again and again, nor where nothing was known but what is stored."""
        before = self.names()
        self.keep()
        self.doubtful()
        for _ in range(4):
            self.pass_time(TTL)
            self.assertEqual(self.names(), before)
        self.assertIsNone(self.theirs().failure)
        self.catalog = a_catalog()
        self.made = self.another()
        self.doubtful()
        self.assertEqual(self.names(), before)
        self.pass_time(TTL)
        self.upstream.is_doubtful = False  # a listing that says so hides it
        self.assertEqual(self.names(), [])


class SlowTests(CorrespondentCase):
    """Upstream takes its time."""

    def setUp(self) -> None:
        """A listing is known, and no longer fresh; a page is on its way."""
        super().setUp()
        self.first = self.theirs()
        self.pass_time(TTL)
        self.page = self.upstream.waits = Deferred()
        self.upstream.files = ()

    def test_known_listing_is_served_after_the_timeout(self) -> None:
        """A client waits for the new page no longer than that; later ones do not wait; what comes
        in the end is remembered.
        """
        waiting = start(self.made.state(SPAM))
        self.pass_time(TIMEOUT - timedelta(seconds=1))
        second = start(self.made.state(SPAM))
        self.assertNoResult(waiting)
        self.pass_time(timedelta(seconds=1))
        stale = self.successResultOf(waiting)
        self.assertEqual(
            (stale.listing, stale.reachable, type(stale.failure)),
            (self.first.listing, False, UpstreamDown),
        )
        self.assertNoResult(second)
        third = self.theirs()
        self.assertEqual(
            (third.listing, str(third.failure)), (self.first.listing, str(stale.failure))
        )
        self.page.callback(None)
        self.assertEqual(self.successResultOf(second).listing, self.theirs().listing)
        self.assertEqual((self.theirs().listing or self.first.listing).files, ())
        self.assertIsNone(self.theirs().failure)
        self.assertEqual(self.times(), 2)

    def test_page_that_fails_behind_is_asked_for_again(self) -> None:
        """After the pause."""
        waiting = start(self.made.state(SPAM))
        self.pass_time(TIMEOUT)
        self.successResultOf(waiting)
        self.upstream.fails = ANSWERS_500
        self.page.callback(None)
        self.assertIs(self.theirs().failure, ANSWERS_500)
        self.pass_time(PAUSE)
        self.upstream.fails = None
        self.assertIsNone(self.theirs().failure)
        self.assertEqual(self.times(), 3)

    def test_unknown_project_is_waited_for_as_long(self) -> None:
        """Then it is unavailable, before the client gives up; a refresh waits to the end."""
        waiting = start(self.made.state(EGGS))
        renewing = start(self.made.state(SPAM, renewed=True))
        self.pass_time(TIMEOUT)
        self.failureResultOf(waiting, UpstreamDown)
        self.failureResultOf(start(self.made.state(EGGS)), UpstreamDown)
        self.pass_time(2 * TIMEOUT)
        self.assertNoResult(renewing)
        self.page.callback(None)
        self.assertIsNone(self.successResultOf(renewing).failure)
        self.assertIsNone(self.theirs(EGGS).failure)

    def test_pages_that_are_read_on_behind_are_bounded(self) -> None:
        """Beyond that number known listings are served without asking."""
        names = [project_name(f"slow-{number}") for number in range(MOST_LATE + 10)]
        self.upstream.waits = None
        for name in names:
            self.theirs(name)
        self.pass_time(TTL)
        self.upstream.waits = self.page
        waiting = [start(self.made.state(name)) for name in names[:MOST_LATE]]
        self.pass_time(TIMEOUT)
        for each in waiting:
            self.assertFalse(self.successResultOf(each).reachable)
        for name in names:
            self.assertFalse(self.theirs(name).reachable)
        self.assertEqual([self.times(name) for name in names[-10:]], [1] * 10)
        self.page.callback(None)
        for name in names:
            self.assertTrue(self.theirs(name).reachable)


class AwayTests(CorrespondentCase):
    """While it cannot be asked."""

    def test_stale(self) -> None:
        """What it said last is told, with what it failed with, and one line of the log says from
        when that is.
        """
        first = self.theirs()
        self.pass_time(TTL)
        for failure in (REFUSES, ANSWERS_500, BadListing("it is no page.")):
            self.made = self.another()
            del self.warnings[:]
            self.upstream.fails = failure
            stale = self.theirs()
            self.assertEqual(
                (stale.listing, stale.reachable, stale.failure), (first.listing, False, failure)
            )
            [line] = [
                line
                for line in self.warnings
                if "its listing of 2026-01-01 00:00:00 UTC is served" in line
            ]
            self.assertIn(str(failure), line)

    def test_nothing_known(self) -> None:
        """Where nothing is known of a project, that upstream failed is what is said; never that
        there is none.
        """
        for failure in (REFUSES, ANSWERS_500, BadListing("it is no page.")):
            self.made = self.another()
            self.upstream.fails = failure
            self.assertIs(self.refused(self.made.state(SPAM), type(failure)), failure)
        self.assertIsNone(self.have(self.catalog.upstream.get(SPAM)).listing)

    def test_only_kept(self) -> None:
        """Where what it said was lost (a snapshot), what is kept is told, out of the storage."""
        kept = self.keep()
        self.catalog = a_catalog()
        self.made = self.another()
        self.upstream.fails = REFUSES
        found = self.theirs()
        self.assertEqual(
            ([file.filename for file in found.kept], found.listing), ([kept.filename], None)
        )
        self.assertFalse(found.reachable)

    def test_pause_for_a_project(self) -> None:
        """A page that failed is not asked for again for a moment, with the same
        answer; others are.
        """
        self.upstream.fails = ANSWERS_500
        for _ in range(3):
            self.assertIs(self.refused(self.made.state(SPAM), UpstreamDown), ANSWERS_500)
        self.assertEqual(self.times(), 1)
        self.refused(self.made.state(EGGS), UpstreamDown)
        self.assertEqual(self.times(EGGS), 1)
        self.pass_time(PAUSE)
        self.upstream.fails = None
        self.assertTrue(self.theirs().reachable)
        self.assertEqual(self.times(), 2)

    def test_outage(self) -> None:
        """Once no connection can be made nobody waits for one: every project is told as it is
        known, a fresh one too, and one question now and then finds out when it is over.
        """
        self.theirs()
        self.theirs(EGGS)
        del self.upstream.asked[:]
        self.upstream.fails = REFUSES
        self.refused(self.made.state(project_name("ham")), UpstreamDown)
        for name in (SPAM, EGGS, SPAM, EGGS):
            self.assertIs(self.theirs(name).failure, REFUSES)
        self.assertEqual([name for name, _ in self.upstream.asked], ["ham"])
        self.pass_time(FIRST_PAUSE)
        for name in (SPAM, EGGS, SPAM, EGGS):
            self.assertFalse(self.theirs(name).reachable)
        self.assertEqual([name for name, _ in self.upstream.asked], ["ham", SPAM])
        self.upstream.fails = None
        self.pass_time(4 * FIRST_PAUSE)
        self.assertTrue(self.theirs(SPAM).reachable)
        self.assertTrue(self.theirs(EGGS).reachable)

    def test_some_bad_pages(self) -> None:
        """A page or two that upstream fails at do not put the others away."""
        self.theirs(EGGS)
        self.upstream.fails = ANSWERS_500
        for number in range(STRIKES - 1):
            self.refused(self.made.state(project_name(f"bad-{number}")), UpstreamDown)
        self.assertTrue(self.theirs(EGGS).reachable)
        self.refused(self.made.state(SPAM), UpstreamDown)
        self.assertFalse(self.theirs(EGGS).reachable)

    def test_slow_failure(self) -> None:
        """Those who wait for a question that fails all get what is known; the next ones do not
        wait.
        """
        self.theirs()
        self.pass_time(TTL)
        self.upstream.waits = Deferred()
        waiting = [start(self.made.state(SPAM)) for _ in range(5)]
        self.upstream.fails = UpstreamDown("it did not answer within 10 seconds.", timed_out=True)
        self.upstream.waits.callback(None)
        self.assertEqual({self.successResultOf(each).reachable for each in waiting}, {False})
        self.upstream.waits = Deferred()  # who asked now would wait
        self.assertFalse(self.theirs().reachable)
        self.assertEqual(self.times(), 2)

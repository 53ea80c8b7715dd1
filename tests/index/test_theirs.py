"""What upstream says of projects: asked once for many and remembered, believed while it cannot be asked."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.memory import MemoryCatalog
from pypid.core.choices import Mode
from pypid.core.errors import BadListing, Loop, PypidError, UpstreamDown
from pypid.core.model import File, Presence, Remembered, Span
from pypid.core.names import ProjectName, project_name
from pypid.core.policy import Policy, Theirs
from pypid.flow import BytesBody, Hashes, start
from pypid.index.envoy import FIRST_PAUSE, STRIKES, Envoy, Outage
from pypid.index.storing import KeptFiles
from pypid.index.theirs import PAUSE, Correspondent
from pypid.ports import Body
from pypid.testing.worlds import Awaiting, world
from tests.index.fetching import listed

SPAM, EGGS = project_name("spam"), project_name("eggs")
TTL = timedelta(minutes=10)
INDEX = "https://up.example/simple/"
REFUSES = UpstreamDown("it refuses connections.", unreachable=True)
ANSWERS_500 = UpstreamDown("it answers HTTP 500.")


class Upstream:
    """Says of every project that it has these files, or what else it is told to."""

    def __init__(self, clock: Clock) -> None:
        self.now = world(clock).now
        self.files: tuple[File, ...] | None = (listed(b"data"),)
        self.fails: PypidError | None = None
        self.waits: Deferred[None] | None = None
        self.asked: list[tuple[str, bool]] = []
        """The names, and whether something was known of them."""

    async def project(self, name: ProjectName, known: Remembered | None, via: Sequence[str]) -> Remembered:
        self.asked.append((name, known is not None))
        if self.waits is not None:
            await self.waits
        if self.fails is not None:
            raise self.fails
        return Remembered(name=name, files=self.files, asked=self.now(), index=INDEX, etag='"1"')

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        raise NotImplementedError

    async def fetch(self, url: str, span: Span | None, via: Sequence[str]) -> Body:
        raise NotImplementedError


class CorrespondentCase(Awaiting, SynchronousTestCase):
    """One with an upstream that is told what to say, and time that the test lets pass."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.upstream = Upstream(self.clock)
        self.blobs = MemoryBlobs(world().now)
        self.catalog = MemoryCatalog()
        self.made = self.another()
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._watch)
        self.addCleanup(globalLogPublisher.removeObserver, self._watch)

    def another(self) -> Correspondent:
        """A new process."""

        async def nothing(name: ProjectName) -> Presence:
            return Presence.ABSENT

        outside = world(self.clock)
        self.outage = Outage(outside.now)
        envoy = Envoy(self.upstream, Policy(mode=Mode.CACHE), "pypid-here", nothing, self.outage)
        self.kept = KeptFiles(self.blobs, self.catalog, outside.blocking)
        return Correspondent(envoy, self.kept, self.catalog, outside, TTL)

    def _watch(self, event: Any) -> None:
        if event["log_level"] is LogLevel.warn:
            self.warnings.append(event["log_format"].format(**event))

    def pass_time(self, time: timedelta) -> None:
        self.clock.advance(time.total_seconds())

    def theirs(self, name: ProjectName = SPAM) -> Theirs:
        """What is known now."""
        return self.have(self.made.theirs(name))

    def times(self, name: ProjectName = SPAM) -> int:
        """How often upstream was asked for it."""
        return sum(asked == name for asked, _ in self.upstream.asked)

    def keep(self, data: bytes = b"data") -> File:
        """Store a file, as a fetch does."""
        hashes = Hashes()
        hashes.update(data)

        async def body() -> Body:
            return BytesBody(data)

        return self.have(self.kept.keep(listed(data), hashes.digests(), body, None))


class AskingTests(CorrespondentCase):
    """While upstream is there."""

    def test_fresh(self) -> None:
        """What it said is believed for the ttl and not a second longer; then it is asked with what is known."""
        first = self.theirs()
        self.assertTrue(first.reachable)
        self.pass_time(TTL - timedelta(seconds=1))
        self.assertEqual(self.theirs(), first)
        self.assertEqual(self.upstream.asked, [(SPAM, False)])
        self.pass_time(timedelta(seconds=1))
        again = self.theirs()
        self.assertEqual(self.upstream.asked, [(SPAM, False), (SPAM, True)])
        self.assertEqual(again.serial, first.serial)  # nothing that can be seen has changed: the page is the same
        self.pass_time(TTL - timedelta(seconds=1))
        self.theirs()
        self.assertEqual(self.times(), 2)

    def test_changes(self) -> None:
        """What changed is seen by a serial that grows."""
        first = self.theirs()
        self.pass_time(TTL)
        self.upstream.files = ()
        self.assertGreater(self.theirs().serial, first.serial)

    def test_not_there(self) -> None:
        """That it does not have a project is remembered as well."""
        self.upstream.files = None
        for _ in range(2):
            said = self.theirs().said
            assert said is not None
            self.assertIsNone(said.files)
        self.assertEqual(self.times(), 1)

    def test_anew(self) -> None:
        """A refresh asks though it is fresh."""
        self.theirs()
        self.have(self.made.theirs(SPAM, anew=True))
        self.assertEqual(self.times(), 2)

    def test_one_flight(self) -> None:
        """Twenty who want a page at once cause one question, whose answer all of them get; even if the first goes away."""
        self.upstream.waits = Deferred()
        waiting = [start(self.made.theirs(SPAM)) for _ in range(20)]
        waiting[0].cancel()
        waiting[0].addErrback(lambda failure: None)
        self.upstream.waits.callback(None)
        self.assertEqual(len({id(self.successResultOf(each).said) for each in waiting[1:]}), 1)
        self.assertEqual(self.times(), 1)

    def test_loop(self) -> None:
        """A question that it is itself the cause of does not wait for itself."""
        self.upstream.waits = Deferred()
        first = start(self.made.theirs(SPAM))
        self.refused(self.made.theirs(SPAM, ("pypid-here",)), Loop)
        self.upstream.waits.callback(None)
        self.successResultOf(first)

    def test_known(self) -> None:
        """What is known already is told without asking, and counts as not to be reached."""
        self.theirs()
        self.pass_time(TTL)
        known = self.have(self.made.known(SPAM))
        self.assertEqual((known.reachable, known.failure, known.said is None), (False, None, False))
        self.assertIsNone(self.have(self.made.known(EGGS)).said)
        self.assertEqual(self.upstream.asked, [(SPAM, False)])


class AwayTests(CorrespondentCase):
    """While it cannot be asked."""

    def test_stale(self) -> None:
        """What it said last is told, with what it failed with, and one line of the log says from when that is."""
        first = self.theirs()
        self.pass_time(TTL)
        for failure in (REFUSES, ANSWERS_500, BadListing("it is no page.")):
            self.made = self.another()
            del self.warnings[:]
            self.upstream.fails = failure
            stale = self.theirs()
            self.assertEqual((stale.said, stale.reachable, stale.failure), (first.said, False, failure))
            [line] = [line for line in self.warnings if "what it said at 2026-01-01 00:00:00 UTC is served" in line]
            self.assertIn(str(failure), line)

    def test_nothing_known(self) -> None:
        """Where nothing is known of a project, that upstream failed is what is said; never that there is none."""
        for failure in (REFUSES, ANSWERS_500, BadListing("it is no page.")):
            self.made = self.another()
            self.upstream.fails = failure
            self.assertIs(self.refused(self.made.theirs(SPAM), type(failure)), failure)
        self.assertIsNone(self.have(self.catalog.theirs(SPAM)).said)

    def test_only_kept(self) -> None:
        """Where what it said was lost (a snapshot), what is kept is told, out of the storage."""
        kept = self.keep()
        self.catalog = MemoryCatalog()
        self.made = self.another()
        self.upstream.fails = REFUSES
        found = self.theirs()
        self.assertEqual(([file.filename for file in found.kept], found.said), ([kept.filename], None))
        self.assertFalse(found.reachable)

    def test_pause_for_a_project(self) -> None:
        """A page that failed is not asked for again for a moment, with the same answer; others are."""
        self.upstream.fails = ANSWERS_500
        for _ in range(3):
            self.assertIs(self.refused(self.made.theirs(SPAM), UpstreamDown), ANSWERS_500)
        self.assertEqual(self.times(), 1)
        self.refused(self.made.theirs(EGGS), UpstreamDown)
        self.assertEqual(self.times(EGGS), 1)
        self.pass_time(PAUSE)
        self.upstream.fails = None
        self.assertTrue(self.theirs().reachable)
        self.assertEqual(self.times(), 2)

    def test_outage(self) -> None:
        """Once no connection can be made nobody waits for one: every project is told as it is known, a fresh one too, and one
        question now and then finds out when it is over.
        """
        self.theirs()
        self.theirs(EGGS)
        del self.upstream.asked[:]
        self.upstream.fails = REFUSES
        self.refused(self.made.theirs(project_name("ham")), UpstreamDown)
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
            self.refused(self.made.theirs(project_name(f"bad-{number}")), UpstreamDown)
        self.assertTrue(self.theirs(EGGS).reachable)
        self.refused(self.made.theirs(SPAM), UpstreamDown)
        self.assertFalse(self.theirs(EGGS).reachable)

    def test_slow_failure(self) -> None:
        """Those who wait for a question that fails all get what is known; the next ones do not wait."""
        self.theirs()
        self.pass_time(TTL)
        self.upstream.waits = Deferred()
        waiting = [start(self.made.theirs(SPAM)) for _ in range(5)]
        self.upstream.fails = UpstreamDown("it did not answer within 10 seconds.", timed_out=True)
        self.upstream.waits.callback(None)
        self.assertEqual({self.successResultOf(each).reachable for each in waiting}, {False})
        self.upstream.waits = Deferred()  # who asked now would wait
        self.assertFalse(self.theirs().reachable)
        self.assertEqual(self.times(), 2)

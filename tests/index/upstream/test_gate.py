"""Who talks upstream: that only what may be told is told, and how it is known that upstream is
away.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.errors import BadListing, Loop, NotThere, PypidError, StorageDown, UpstreamDown
from pypid.core.model import Listing, Presence, Project, Span
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy, Silence, UnknownOwner
from pypid.flow import BytesBody
from pypid.http_client.circuit_breaker import FIRST_PAUSE, LONGEST_PAUSE, STRIKES, CircuitBreaker
from pypid.index.upstream.listings import FileHostBreakers, UpstreamGate
from pypid.ports import Body
from tests.support.worlds import BEGINNING, Awaiting, WallClock, world

SPAM = project_name("spam")
REFUSES = UpstreamDown("it refuses connections.", unreachable=True)
ANSWERS_500 = UpstreamDown("it answers HTTP 500.")


class OutageTests(SynchronousTestCase):
    """What the last answers tell of the next."""

    def setUp(self) -> None:
        """One that has failed at nothing yet."""
        self.clock = Clock()
        self.outage = CircuitBreaker(world(self.clock))

    def pass_time(self, time: timedelta) -> None:
        self.clock.advance(time.total_seconds())

    def test_pause_ends_although_the_wall_clock_was_set(self) -> None:
        """A pause lasts as long as it should, whatever happens to the time of day."""
        for step in (-86400, -3600, 86400):
            wall = WallClock(self.clock)
            outage = CircuitBreaker(world(self.clock, wall=wall))
            outage.failed(REFUSES)
            wall.step(step)
            self.assertFalse(outage.may_probe())
            self.pass_time(FIRST_PAUSE)
            self.assertTrue(outage.may_probe())

    @given(
        st.lists(
            st.sampled_from(["refuses", "500", "answers", "second", "minute", "probe"]), max_size=40
        )
    )
    @settings(max_examples=50, deadline=None, database=None)
    def test_any_history(self, history: list[str]) -> None:
        """However it went: after an answer it is up, after a failed connection down, never is
        anybody let through twice within the shortest pause, and after the longest one somebody
        always is.
        """
        clock = Clock()
        outage = CircuitBreaker(world(clock))
        last: float | None = None
        for event in history:
            match event:
                case "refuses":
                    outage.failed(REFUSES)
                    self.assertTrue(outage.is_down)
                case "500":
                    was = outage.is_down
                    outage.failed(ANSWERS_500)
                    self.assertLessEqual(was, outage.is_down)
                case "answers":
                    outage.answered()
                    self.assertFalse(outage.is_down)
                    last = None
                case "probe" if outage.is_down:
                    if outage.may_probe():
                        self.assertTrue(
                            last is None or clock.seconds() >= last + FIRST_PAUSE.total_seconds()
                        )
                        last = clock.seconds()
                case _:
                    clock.advance(60 if event == "minute" else 1)
        if outage.is_down:
            clock.advance(LONGEST_PAUSE.total_seconds())
            self.assertTrue(outage.may_probe())


class Upstream:
    """Answers everything with one thing."""

    def __init__(self, answer: PypidError | None = None) -> None:
        self.answer = answer
        self.asked = 0

    def _said(self) -> None:
        self.asked += 1
        if self.answer is not None:
            raise self.answer

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        self._said()
        return Listing(
            name=name, files=None, confirmed=BEGINNING, index="https://up.example/simple/"
        )

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        self._said()
        return ()

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        self._said()
        return BytesBody(b"bytes")


Ask = Callable[[UpstreamGate, Sequence[str]], Coroutine[Any, Any, object]]
ASKING: tuple[Ask, ...] = (
    lambda gate, via: gate.project(SPAM, None, via),
    lambda gate, via: gate.fetch(SPAM, "https://up.example/spam-1.0.tar.gz", None, via),
    lambda gate, via: gate.fetch(SPAM, "https://up.example/spam-1.0.tar.gz", Span(0, 1), via),
)
"""What can be asked about a project."""


class EnvoyTests(Awaiting, SynchronousTestCase):
    """What reaches upstream."""

    def setUp(self) -> None:
        super().setUp()
        self.ours: Project | Presence | StorageDown = Presence.ABSENT
        self.upstream = Upstream()

    async def _ours(self, name: ProjectName) -> Project | Presence:
        if isinstance(self.ours, StorageDown):
            raise self.ours
        return self.ours

    def gate(self, **policy: Any) -> UpstreamGate:
        return UpstreamGate(
            self.upstream,
            Policy(**{"mode": Mode.CACHE, **policy}),
            "pypid-here",
            self._ours,
            CircuitBreaker(world()),
            FileHostBreakers(world()),
        )

    def test_every_question_is_judged(self) -> None:
        """Each question looks anew whether the name may be told, and says why not."""
        gate = self.gate(reserved=("eggs",))
        for ask in ASKING:
            for ours, why in (
                (Presence.UNKNOWN, Silence.UNKNOWN),
                (Project(name=SPAM), Silence.OURS),
            ):
                self.ours = ours
                error = self.refused(ask(gate, ()), UnknownOwner)
                assert isinstance(error, UnknownOwner)
                self.assertIs(error.why, why)
            self.ours = Presence.ABSENT
            for policy in (
                {"mode": Mode.OFFLINE},
                {"reserved": ("sp*",)},
                {"deny": ("Spam",)},
                {"allow": ()},
            ):
                self.refused(ask(self.gate(**policy), ()), UnknownOwner)
            self.assertEqual(self.upstream.asked, 0)
            self.have(ask(gate, ()))
            self.assertEqual(self.upstream.asked, 1)
            self.upstream.asked = 0

    def test_storage_away(self) -> None:
        """Where nobody knows whose the name is, nobody is asked, and upstream is not to blame."""
        self.ours = StorageDown("it is away.")
        gate = self.gate()
        for ask in ASKING:
            self.refused(ask(gate, ()), StorageDown)
        self.assertEqual(self.upstream.asked, 0)
        self.assertFalse(gate.breaker.is_down)

    def test_loop(self) -> None:
        """A question that has been here before is not asked, not even of the storage."""
        self.ours = StorageDown("it is away.")
        gate = self.gate()
        for ask in (*ASKING, lambda gate, via: gate.names(via)):
            self.refused(ask(gate, ("proxy", "pypid-here")), Loop)
        self.assertEqual(self.upstream.asked, 0)

    def test_what_tells_of_an_outage(self) -> None:
        """A connection that cannot be made does; a page that is no good, or not there, tells that
        it is not away.
        """
        for ask in (ASKING[0], lambda gate, via: gate.names(via)):
            for answer in (NotThere("spam-1.0.tar.gz"), BadListing("it is no page."), None):
                gate = self.gate()
                self.upstream.answer = REFUSES
                self.refused(ask(gate, ()), UpstreamDown)
                self.assertIs(gate.breaker.error, REFUSES)
                self.upstream.answer = answer
                if answer is None:
                    self.have(ask(gate, ()))
                else:
                    self.refused(ask(gate, ()), type(answer))
                self.assertFalse(gate.breaker.is_down)

    def test_failures_of_files_do_not_open_the_breaker_of_the_index(self) -> None:
        """Whatever a file fails with, and however often, the index counts as available; a file that
        comes does not close its breaker either.
        """
        gate = self.gate()
        for failure in (REFUSES, ANSWERS_500):
            self.upstream.answer = failure
            for number in range(4 * STRIKES):
                url = f"https://files.example/spam-{number}.tar.gz"
                self.refused(gate.fetch(SPAM, url, None, ()), UpstreamDown)
            self.assertFalse(gate.breaker.is_down)
        self.refused(ASKING[0](gate, ()), UpstreamDown)
        gate.breaker.failed(REFUSES)
        self.upstream.answer = None
        self.have(gate.fetch(SPAM, "https://other.example/spam-1.0.tar.gz", None, ()))
        self.assertTrue(gate.breaker.is_down)

    def test_refused_pages_do_not_open_the_breaker(self) -> None:
        """403 for some packages (a firewall in front of the index) shows that the index works; 401
        is for all of them.
        """
        for status, is_down in (
            (400, False),
            (403, False),
            (451, False),
            (401, True),
            (429, True),
            (500, True),
        ):
            gate = self.gate()
            self.upstream.answer = UpstreamDown(f"it answers HTTP {status}.", status=status)
            for _ in range(STRIKES):
                self.refused(ASKING[0](gate, ()), UpstreamDown)
            self.assertEqual(gate.breaker.is_down, is_down, status)

    def test_untold_is_no_answer(self) -> None:
        """That a question was not asked tells nothing of upstream."""
        gate = self.gate()
        self.upstream.answer = REFUSES
        self.refused(ASKING[0](gate, ()), UpstreamDown)
        self.ours = Project(name=SPAM)
        self.refused(ASKING[0](gate, ()), UnknownOwner)
        self.assertTrue(gate.breaker.is_down)

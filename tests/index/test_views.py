"""Views are worked out once for each change: the one that is kept is the one that would be made
now.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime, timedelta

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.memory_budget import OVERHEAD, MemoryBudget
from pypid.core.model import File, Listing, Presence, Project, Status, as_stored
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy, UpstreamState, view
from pypid.flow import start
from pypid.index.views import FEW, View, Views
from tests.core.test_policy import KEPT, OUR_FILE, POLICIES, SAID, SPAM, their_file
from tests.support.worlds import Turns, world

START = datetime(2026, 1, 20, tzinfo=UTC)
PROJECTS = st.builds(
    Project,
    name=st.just(SPAM),
    files=st.sampled_from([(), (OUR_FILE,)]),
    status=st.sampled_from(Status),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["look", "ours", "absent", "unknown", "said", "kept", "down", "up", "known", "time"]
        ),
        PROJECTS,
        SAID,
        KEPT,
        st.sampled_from([timedelta(days=days) for days in (1e-5, 1, 7, 40, -1, -7)]),
    ),
    min_size=1,
    max_size=20,
)


class ViewsTests(SynchronousTestCase):
    """`Views`, and the rule that they keep the results of."""

    def of(
        self,
        views: Views,
        name: ProjectName,
        ours: Project | Presence,
        theirs: UpstreamState | None,
        now: datetime,
    ) -> View:
        """What they give."""
        found: View = self.successResultOf(start(views.of(name, ours, theirs, now)))
        return found

    @given(POLICIES, STEPS)
    @settings(max_examples=30, deadline=None, database=None)
    def test_as_if_made_now(
        self,
        policy: Policy,
        steps: list[tuple[str, Project, Listing | None, tuple[File, ...], timedelta]],
    ) -> None:
        """Whatever changes, ours, theirs, whether upstream is there, or the time: what is given is
        what the rule says now; and two different views never have the same edition.
        """
        views = Views(policy, world())
        ours: Project | Presence = Presence.ABSENT
        theirs: UpstreamState | None = None
        now = START
        seen: dict[Hashable, Project] = {}
        for serial, (what, project, said, kept, time) in enumerate(
            (*steps, *steps)
        ):  # a serial as the catalog counts
            heard = theirs or UpstreamState()
            match what:
                case "ours":
                    ours = evolve(project, serial=serial)
                case "absent":
                    ours = Presence.ABSENT
                case "unknown":
                    ours = Presence.UNKNOWN
                case "said":
                    theirs = evolve(heard, listing=said, serial=serial)
                case "kept":
                    theirs = evolve(heard, kept=kept, serial=serial)
                case "down" | "up" if theirs is not None:
                    theirs = evolve(theirs, reachable=what == "up")
                case "time":
                    now += time
            for asked in (
                theirs,
                None,
            ):  # in turns, as by requests that may ask upstream and by others
                found = self.of(views, SPAM, ours, asked, now)
                self.assertEqual(found.project, view(policy, ours, asked, now, SPAM), what)
                self.assertEqual(
                    seen.setdefault(found.edition, found.project),
                    found.project,
                    (what, found.edition),
                )

    def test_it_is_kept(self) -> None:
        """As long as nothing changes it is the very same object, for both states of upstream at
        once.
        """
        views = Views(Policy(), world())
        theirs = UpstreamState(serial=1)
        there, away = (
            self.of(views, SPAM, Presence.ABSENT, evolve(theirs, reachable=each), START)
            for each in (True, False)
        )
        for _ in range(2):
            self.assertIs(self.of(views, SPAM, Presence.ABSENT, theirs, START), there)
            self.assertIs(
                self.of(views, SPAM, Presence.ABSENT, evolve(theirs, reachable=False), START), away
            )
        self.assertIsNot(
            self.of(views, SPAM, Presence.ABSENT, evolve(theirs, serial=2), START), there
        )

    def test_kept_of_the_unheard(self) -> None:
        """A kept file that is too young is there when its time has come, also where nobody
        remembers what upstream said.
        """
        views = Views(Policy(mode=Mode.CACHE, cooldown=Cooldown(wait=timedelta(days=3))), world())
        kept = as_stored(
            their_file("1.0", uploaded=START - timedelta(days=1)), key=".kept/spam/spam-1.0.tar.gz"
        )
        theirs = UpstreamState(kept=(kept,), reachable=False, serial=1)
        for days, found in ((0, 0), (1, 0), (2, 1)):
            seen = self.of(views, SPAM, Presence.ABSENT, theirs, START + timedelta(days=days))
            self.assertEqual(len(seen.project.files), found, days)

    def test_few(self) -> None:
        """No more are kept than there is room for: the one that was not wanted for longest goes."""
        views = Views(Policy(), world(), MemoryBudget(10 * OVERHEAD))
        names = [project_name(f"spam-{number}") for number in range(10)]
        first = self.of(views, SPAM, Presence.ABSENT, UpstreamState(serial=1), START)
        found = {
            name: self.of(views, name, Presence.ABSENT, UpstreamState(serial=1), START)
            for name in names[:-1]
        }
        self.assertIs(self.of(views, SPAM, Presence.ABSENT, UpstreamState(serial=1), START), first)
        self.of(views, names[-1], Presence.ABSENT, UpstreamState(serial=1), START)
        self.assertIs(self.of(views, SPAM, Presence.ABSENT, UpstreamState(serial=1), START), first)
        self.assertIsNot(
            self.of(views, names[0], Presence.ABSENT, UpstreamState(serial=1), START),
            found[names[0]],
        )

    def test_many_files(self) -> None:
        """One of many files is worked out in a thread, once for all who want it meanwhile; what is
        another one, by itself.
        """
        turns = Turns()
        views = Views(Policy(mode=Mode.CACHE), evolve(world(), thinking=turns))
        said = Listing(
            name=SPAM,
            files=tuple(their_file(f"1.{number}") for number in range(FEW + 1)),
            confirmed=START,
            index="https://up/",
        )
        theirs = UpstreamState(listing=said, serial=1)
        waiting = [start(views.of(SPAM, Presence.ABSENT, theirs, START)) for _ in range(3)]
        private = start(views.of(SPAM, Presence.UNKNOWN, theirs, START))
        without = start(
            views.of(SPAM, Presence.ABSENT, evolve(theirs, listing=None, serial=2), START)
        )
        self.assertEqual(len(turns), 2)
        self.assertEqual(self.successResultOf(without).project.files, ())
        turns.all()
        self.assertEqual(
            [len(self.successResultOf(each).project.files) for each in waiting], 3 * [FEW + 1]
        )
        self.assertEqual(self.successResultOf(private).project.files, ())

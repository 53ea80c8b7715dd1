"""Views are worked out once for each change: the one that is kept is the one that would be made
now.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime, timedelta

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.model import File, Listing, Presence, Project, Status, as_stored
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy, UpstreamState, view
from pypid.flow import start
from pypid.index.views import View, Views
from tests.core.test_policy import KEPT, OUR_FILE, POLICIES, SAID, SPAM, their_file
from tests.support.worlds import world

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

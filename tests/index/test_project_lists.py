"""The lists of projects."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.model import Status, Summary
from pypid.core.packaging.names import ProjectName, matches
from pypid.core.policy import Policy
from pypid.flow import Blocking, at_once
from pypid.index.views import Names
from tests.support.worlds import Awaiting, world


class Held(MemoryCatalog):
    """A catalog whose tables have the projects that the test gave it."""

    def __init__(self, ours: Sequence[Summary], theirs: Sequence[Summary]) -> None:
        super().__init__()
        self.of_ours, self.of_theirs = ours, theirs

        async def local() -> Sequence[Summary]:
            return self.of_ours

        async def upstream() -> Sequence[Summary]:
            return self.of_theirs

        self.local.summaries = local  # type: ignore[method-assign]
        self.upstream.summaries = upstream  # type: ignore[method-assign]


class NamesTests(Awaiting, SynchronousTestCase):
    """What is listed, and what is stored."""

    def lists(self, held: Held, policy: Policy, thinking: Blocking = at_once) -> Names:
        return Names(held, policy, evolve(world(), thinking=thinking))

    def test_any(self) -> None:
        """Whatever is held, stored are: what is listed of ours, and of theirs what is ours in no
        way, kept and not hidden.
        """
        letters = st.sampled_from([ProjectName(letter) for letter in "abcdefgh"])
        summaries = st.lists(
            st.builds(
                Summary, letters, st.just(1), st.sampled_from(Status), st.just(True), st.booleans()
            ),
            unique_by=lambda summary: summary.name,
        ).map(lambda found: tuple(sorted(found, key=lambda summary: summary.name)))
        globs = st.lists(st.sampled_from(["a", "b*", "[cd]", "h"])).map(tuple)

        @settings(max_examples=30, deadline=None, database=None)
        @given(summaries, summaries, globs, globs, globs, st.booleans(), st.sampled_from(Mode))
        def check(
            ours: tuple[Summary, ...],
            theirs: tuple[Summary, ...],
            reserved: tuple[str, ...],
            deny: tuple[str, ...],
            allow_mixed: tuple[str, ...],
            complete: bool,
            mode: Mode,
        ) -> None:
            held = Held(ours, theirs)
            if complete:
                self.have(held.complete())
            names = self.lists(
                held, Policy(mode=mode, reserved=reserved, deny=deny, allow_mixed=allow_mixed)
            )
            stored = [summary.name for summary in self.have(names.stored())]
            listed = {s.name for s in ours if s.status is not Status.QUARANTINED and not s.gone}
            shown = {
                s.name
                for s in theirs
                if complete
                and s.name not in {own.name for own in ours}
                and s.status is not Status.QUARANTINED
                and not s.gone
                and not matches(s.name, (*reserved, *deny))
            }
            self.assertEqual(stored, sorted(listed | shown))
            self.assertEqual({summary.name for summary in self.have(names.listed())}, listed)

        check()

"""What lists show to whom, and that it is found out once for each state of the rules and never told
of another.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Summary
from pypid.core.packaging.names import project_name
from pypid.core.permissions import (
    ANONYMOUS,
    NOBODY,
    Action,
    Grants,
    Identity,
    Principals,
    Rules,
    Scope,
    may,
)
from pypid.core.visibility import EVERYTHING, Visibility, visibility_of
from pypid.flow import start
from pypid.testing.worlds import Turns, world
from pypid.web.app import visibility as sights_module
from pypid.web.app.visibility import VisibilityCache, seen
from tests.core.test_permissions import PROJECTS, anybody, rules

modest = settings(max_examples=30, deadline=None, database=None)
SUMMARIES = tuple(Summary(name, serial) for serial, name in enumerate(PROJECTS, 5))


def restricted(*users: str) -> Rules:
    """Rules by which the first project is for these users only."""
    return Rules(projects={PROJECTS[0]: Grants(read=Principals(users=frozenset(users)))})


class SeenTests(SynchronousTestCase):
    """`seen`."""

    @modest
    @given(rules, anybody)
    def test_seen(self, these: Rules, who: Identity) -> None:
        """A list has what may be read, in the same order."""
        by = visibility_of(these, who)
        expected = [summary for summary in SUMMARIES if may(these, who, Action.READ, summary.name)]
        self.assertEqual(list(seen(SUMMARIES, by)), expected)
        if by.sees_all:
            self.assertIs(seen(SUMMARIES, by), SUMMARIES)

    def test_nothing(self) -> None:
        """Who sees nothing, or a list on which there is nothing, gets an empty one."""
        self.assertEqual(
            (list(seen(SUMMARIES, Visibility(False, frozenset()))), list(seen((), EVERYTHING))),
            ([], []),
        )


class SightsTests(SynchronousTestCase):
    """`VisibilityCache`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sights = VisibilityCache(world(self.clock))

    def of(self, these: Rules, who: Identity) -> Visibility:
        found: Visibility = self.successResultOf(start(self.sights.of(these, who)))
        return found

    @modest
    @given(
        st.lists(st.tuples(st.integers(0, 2), anybody), max_size=8),
        st.lists(rules, min_size=3, max_size=3),
    )
    def test_any_order(self, asked: list[tuple[int, Identity]], several: list[Rules]) -> None:
        """Whoever asks, in whatever order, under rules that change back and forth: what they are
        told is what holds.
        """
        kept = VisibilityCache(world(Clock()))
        for number, who in asked:
            found = self.successResultOf(start(kept.of(several[number], who)))
            self.assertEqual(found, visibility_of(several[number], who))

    def test_once(self) -> None:
        """It is found out once for each person; who sees the same has the same object, and so have
        all tokens of one scope.
        """
        these = restricted("alice")
        counted: list[Identity] = []

        def counting(rules: Rules, who: Identity) -> Visibility:
            counted.append(who)
            return visibility_of(rules, who)

        self.patch(sights_module, "visibility_of", counting)
        scope = Scope(frozenset({Action.READ}), ("acme-*",))
        token = Identity("alice", scope=scope, token="a")
        for _ in range(3):
            self.assertIs(self.of(these, Identity("bob")), self.of(these, ANONYMOUS))
            self.assertIs(self.of(these, token), self.of(these, evolve(token, token="b")))
        self.assertEqual(len(counted), 3)

    def test_replaced(self) -> None:
        """Other rules hold at once, also where they are equal for somebody else."""
        alice, bob = Identity("alice"), Identity("bob")
        self.assertTrue(self.of(restricted("alice"), alice).sees_all)
        self.assertFalse(self.of(restricted("bob"), alice).sees_all)
        self.assertTrue(self.of(restricted("bob"), bob).sees_all)
        self.assertTrue(self.of(Rules(), alice).sees_all)
        self.assertFalse(self.of(Rules(read=NOBODY), alice).sees(PROJECTS[1]))

    def test_groups(self) -> None:
        """Somebody who was taken out of a group sees at once no more than the group's others."""
        these = Rules(projects={PROJECTS[0]: Grants(read=Principals(groups=frozenset({"team"})))})
        self.assertTrue(self.of(these, Identity("alice", frozenset({"team"}))).sees_all)
        self.assertFalse(self.of(these, Identity("alice")).sees_all)
        self.assertTrue(self.of(these, Identity("alice", admin=True)).sees_all)
        scope = Scope(frozenset({Action.READ}))
        self.assertFalse(self.of(these, Identity("alice", scope=scope)).sees_all)
        self.assertFalse(
            self.of(
                these, Identity("alice", frozenset({"team"}), scope=Scope(frozenset()))
            ).sees_all
        )

    def test_many(self) -> None:
        """Very many rules are gone through off the reactor thread; new rules meanwhile get no
        answer of the old ones.
        """
        turns: Any = Turns()
        self.patch(sights_module, "MANY", 0)
        self.sights = VisibilityCache(evolve(world(self.clock), thinking=turns))
        old, new = restricted("alice"), restricted("bob")
        asked = start(self.sights.of(old, Identity("alice")))
        self.assertNoResult(asked)
        later = start(self.sights.of(new, Identity("alice")))
        turns.all()
        self.assertTrue(self.successResultOf(asked).sees_all)
        self.assertFalse(self.successResultOf(later).sees_all)
        self.assertFalse(self.of(new, Identity("alice")).sees_all)

    def test_bounded(self) -> None:
        """However many people ask, so many are remembered, and no more names than so many."""
        self.patch(sights_module, "PEOPLE", 5)
        self.patch(sights_module, "NAMES", 12)
        self.sights = VisibilityCache(self.sights.world)
        names = {project_name(f"p{number}"): Grants() for number in range(10)}
        these = Rules(projects=names)
        for number in range(40):
            self.assertFalse(self.of(these, Identity(f"user{number}")).sees(project_name("p1")))
        self.assertLessEqual(len(self.sights._known.memory), 5)
        self.assertLessEqual(len(self.sights._same), 6)

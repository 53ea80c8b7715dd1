"""What lists show to whom, and that it is found out once for each state of the rules and never told
of another.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.core.permissions import Grants, Identity, Principals, Rules, Visibility
from pypid.flow import start
from pypid.web.app import visibility as sights_module
from pypid.web.app.visibility import VisibilityCache
from tests.core.test_permissions import PROJECTS
from tests.support.worlds import Turns, world


def restricted(*users: str) -> Rules:
    """Rules by which the first project is for these users only."""
    return Rules(projects={PROJECTS[0]: Grants(read=Principals(users=frozenset(users)))})


class SightsTests(SynchronousTestCase):
    """`VisibilityCache`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sights = VisibilityCache(world(self.clock))

    def of(self, these: Rules, who: Identity) -> Visibility:
        found: Visibility = self.successResultOf(start(self.sights.of(these, who)))
        return found

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

"""The reasons that `pypid right explain` prints."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Owners
from pypid.core.indexes import IndexSettings, rules_of
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Identity, Principals, ProjectOwners, Rules
from pypid.core.presentation.rights_explanation import explained

SPAM = project_name("spam")
BOB = Identity("bob", account="sql:bob")
ALICE = Principals(users=frozenset({"alice"}))


def reasons(rules: Rules, who: Identity = BOB) -> dict[Action, str]:
    """The reason of each action on spam."""
    return {each.action: each.because for each in explained(rules, who, SPAM)}


class ReasonTests(SynchronousTestCase):
    """`explained`."""

    def test_key_that_decides(self) -> None:
        """It is the key of the index if that sets it, else that of [access]."""
        settings = IndexSettings(name="team", delete=ALICE)
        found = reasons(rules_of(Rules(), settings))
        self.assertEqual(found[Action.DELETE], "delete of the index team = alice")
        self.assertEqual(found[Action.READ], "[access] read = everyone")
        self.assertEqual(found[Action.OVERWRITE], "[access] overwrite = nobody")
        found = reasons(rules_of(Rules(), evolve(settings, configured=True)))
        self.assertEqual(found[Action.DELETE], "[index:team] delete = alice")

    def test_without_owners(self) -> None:
        """The key that turns owners off is named."""
        team = IndexSettings(name="team", owners=Owners.NONE, configured=True)
        base = rules_of(Rules(ownership=Owners.UPLOADER), team)
        for rules, place in (
            (Rules(), "[access] owners"),
            (base, "[index:team] owners"),
        ):
            expected = f"only administrators may ({place} = none)"
            self.assertEqual(reasons(rules)[Action.MANAGE], expected)

    def test_owner(self) -> None:
        """The owner manages the rights, and other users do not."""
        owners = ProjectOwners({("", SPAM): BOB.account})
        rules = Rules(ownership=Owners.UPLOADER, owners=owners)
        self.assertEqual(reasons(rules)[Action.MANAGE], "the user owns the project")
        other = reasons(rules, Identity("eve", account="sql:eve"))[Action.MANAGE]
        self.assertEqual(other, "only its owner and administrators may")

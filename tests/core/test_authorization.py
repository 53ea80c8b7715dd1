"""What a refusal advises; `tests.cli.test_advice` runs its commands."""

from __future__ import annotations

from shlex import split

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.authorization import access_advice, authorize
from pypid.core.errors import Forbidden
from pypid.core.indexes import IndexSettings, rules_of
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Grants, Identity, Principals, Rules, Scope, may

SPAM = project_name("spam")
ALICE = Principals(users=frozenset({"alice"}))
BOB = Identity("bob")
GRANT = "pypid right grant spam bob"


def advised(rules: Rules, action: Action, who: Identity = BOB) -> str:
    """Return the advice for spam."""
    assert not may(rules, who, action, SPAM)
    return access_advice(rules, who, action, SPAM)


class AccessAdviceTests(SynchronousTestCase):
    """`access_advice`."""

    def test_configured_index(self) -> None:
        """Its settings are changed in the configuration; those of a created index by a command."""
        settings = IndexSettings(name="team", write=ALICE, configured=True)
        created = evolve(settings, configured=False)
        expected = "Ask an administrator to add 'bob' to "
        self.assertEqual(
            advised(rules_of(Rules(), settings), Action.WRITE), f"{expected}[index:team] write"
        )
        self.assertEqual(
            advised(rules_of(Rules(), created), Action.WRITE),
            f"{expected}the VALUE of `write` of this index (pypid index show team): "
            "pypid index set team write='VALUE bob'",
        )

    def test_key_that_the_index_does_not_set(self) -> None:
        """The value so far is that of [access]."""
        self.assertEqual(
            advised(rules_of(Rules(), IndexSettings(name="team")), Action.DELETE),
            "Ask an administrator to add 'bob' to the VALUE of `delete` of this index ([access] "
            "delete): pypid index set team delete='VALUE bob'",
        )

    def test_name_with_a_quote(self) -> None:
        """The command is safe for a shell."""
        rules = rules_of(Rules(), IndexSettings(name="team", write=ALICE))
        advice = advised(rules, Action.WRITE, Identity("o'hara"))
        words = split(advice.rpartition(": ")[2])
        self.assertEqual(words, ["pypid", "index", "set", "team", "write=VALUE o'hara"])

    def test_actions(self) -> None:
        """The key that the action needs is named before the right on the project."""
        plain = Rules(read=ALICE, write=ALICE, fetch=ALICE, collect=ALICE)
        for action, expected in (
            (Action.READ, f"access: {GRANT} r"),
            (Action.WRITE, f"access: {GRANT} rw"),
            (Action.OVERWRITE, "[access] overwrite"),
            (Action.DELETE, "[access] delete"),
            (Action.FETCH, "[access] cache_update"),
            (Action.COLLECT, "[access] collect"),
            (Action.MANAGE, "for access."),
            (Action.ADMIN, "for access."),
        ):
            advice = advised(plain, action)
            self.assertTrue(advice.startswith("Ask an administrator "), advice)
            self.assertTrue(advice.endswith(expected), advice)
        listed = Principals(users=frozenset({"alice", "bob"}))
        able = evolve(
            plain,
            overwrite=listed,
            delete=listed,
            fetch=listed,
            projects={SPAM: Grants(ALICE, ALICE)},
        )
        for action, right in (
            (Action.OVERWRITE, "rw"),
            (Action.DELETE, "rw"),
            (Action.FETCH, "r"),
        ):
            self.assertTrue(advised(able, action).endswith(f"{GRANT} {right}"))

    def test_volatile_index(self) -> None:
        """To overwrite and delete, the user needs the right to publish."""
        rules = evolve(Rules(write=ALICE), index="team", volatile=True)
        for action in (Action.OVERWRITE, Action.DELETE):
            self.assertTrue(advised(rules, action).endswith(f"{GRANT} rw"))

    def test_token(self) -> None:
        """A token of an owner cannot manage rights, whatever its scope."""
        who = Identity("bob", scope=Scope(frozenset({Action.READ, Action.WRITE, Action.DELETE})))
        with self.assertRaises(Forbidden) as caught:
            authorize(Rules(), who, Action.MANAGE, SPAM)
        self.assertIn("Send your user name and password", str(caught.exception))
        with self.assertRaises(Forbidden) as caught:
            authorize(Rules(delete=ALICE), who, Action.METRICS, None)
        self.assertIn("create one with a scope", str(caught.exception))

    def test_publisher(self) -> None:
        """No right helps a trusted publisher whose rule does not allow the action."""
        scope = Scope(frozenset({Action.WRITE}), ("ham",))
        for user in (None, "carol"):
            who = Identity("ci of acme", scope=scope, publisher=True, as_user=user)
            self.assertNotIn("pypid", advised(Rules(), Action.WRITE, who))

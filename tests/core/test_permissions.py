from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Forbidden, Unauthenticated
from pypid.core.names import project_name
from pypid.core.permissions import (
    ADMINS,
    ANONYMOUS,
    AUTHENTICATED,
    EVERYONE,
    NOBODY,
    Action,
    Credential,
    Identity,
    Principals,
    Rules,
    demand,
    may,
)

modest = settings(max_examples=100, deadline=None, database=None)

NAMES = st.sampled_from(["alice", "Alice", "bob", "team", "everyone", "admins", ""])
some = st.frozensets(NAMES)
principals = st.builds(
    Principals, everyone=st.booleans(), authenticated=st.booleans(), admins=st.booleans(), users=some, groups=some
)
rules = st.builds(Rules, read=principals, write=principals, overwrite=principals, delete=principals, fetch=principals)
known = st.builds(Identity, user=NAMES, groups=some, admin=st.booleans())
actions = st.sampled_from(Action)


class MayTests(SynchronousTestCase):
    @modest
    @given(rules, known, actions)
    def test_admin(self, these: Rules, who: Identity, action: Action) -> None:
        """An admin may do everything but overwrite, which only the rule for it grants."""
        admin = Identity(who.user, who.groups, admin=True)
        expected = these.overwrite.include(admin) if action is Action.OVERWRITE else True
        self.assertEqual(may(these, admin, action), expected)

    @modest
    @given(known, actions)
    def test_nobody(self, who: Identity, action: Action) -> None:
        """Nobody means nobody: without a rule only admins may do anything, and not even they may overwrite."""
        closed = Rules(read=NOBODY, write=NOBODY, overwrite=NOBODY, delete=NOBODY, fetch=NOBODY)
        self.assertEqual(may(closed, who, action), who.admin and action is not Action.OVERWRITE)
        self.assertFalse(may(closed, ANONYMOUS, action))

    @modest
    @given(rules, some, actions)
    def test_anonymous(self, these: Rules, groups: frozenset[str], action: Action) -> None:
        """Somebody unknown may do only what everyone may, and never administer."""
        rule = {
            Action.READ: these.read,
            Action.WRITE: these.write,
            Action.OVERWRITE: these.overwrite,
            Action.DELETE: these.delete,
            Action.FETCH: these.fetch,
        }
        self.assertEqual(may(these, Identity(None, groups), action), action in rule and rule[action].everyone)

    @modest
    @given(NAMES, some, some)
    def test_names_do_not_mix(self, name: str, users: frozenset[str], groups: frozenset[str]) -> None:
        """A user whose name is a group's gets nothing of the group's, and the other way round; names are compared exactly."""
        self.assertEqual(Principals(users=users, groups=groups).include(Identity(name)), name in users)
        self.assertEqual(
            Principals(users=users, groups=groups).include(Identity("somebody", frozenset({name}))),
            name in groups,
        )

    def test_words(self) -> None:
        """everyone, authenticated, admins and nobody include whom they say."""
        people = (ANONYMOUS, Identity("alice"), Identity("root", admin=True))
        for words, expected in (
            (EVERYONE, (True, True, True)),
            (AUTHENTICATED, (False, True, True)),
            (ADMINS, (False, False, True)),
            (NOBODY, (False, False, False)),
        ):
            self.assertEqual(tuple(words.include(who) for who in people), expected)

    def test_defaults(self) -> None:
        """By default everyone reads and makes us fetch, who is logged in publishes, admins delete, nobody overwrites."""
        people = (ANONYMOUS, Identity("alice"), Identity("root", admin=True))
        for action, expected in (
            (Action.READ, (True, True, True)),
            (Action.WRITE, (False, True, True)),
            (Action.DELETE, (False, False, True)),
            (Action.FETCH, (True, True, True)),
            (Action.OVERWRITE, (False, False, False)),
            (Action.ADMIN, (False, False, True)),
        ):
            self.assertEqual(tuple(may(Rules(), who, action) for who in people), expected, action)

    @modest
    @given(rules, st.one_of(st.just(ANONYMOUS), known), actions)
    def test_demand(self, these: Rules, who: Identity, action: Action) -> None:
        """demand asks somebody unknown to log in, tells somebody known no, and says nothing where it may be."""
        project = project_name("acme-tools")
        if may(these, who, action, project):
            demand(these, who, action, project)
        elif who.user is None:
            self.assertRaises(Unauthenticated, demand, these, who, action, project)
        else:
            error = self.assertRaises(Forbidden, demand, these, who, action, project)
            self.assertIn("acme-tools", str(error))

    def test_credential_repr(self) -> None:
        """A credential's repr does not show the password."""
        self.assertNotIn("hunter2", repr(Credential("alice", "hunter2")))

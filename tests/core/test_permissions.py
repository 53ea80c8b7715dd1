"""Who may do what, against an oracle that is written from the sentences of the plan and knows
nothing of the code.

The sentences: users, groups, everyone, authenticated, admins; defaults for projects without rules;
a project with any rule of its own takes no defaults; rights r and w; whoever may write may read;
overwrite and delete by group; admins may do all but overwrite; a token never more than its user and
never less than everyone; a publisher exactly its scope (and what everyone may).
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.rights import SESSION_USER, TOKEN_USER
from pypid.core.configuration.choices import Owners
from pypid.core.errors import Forbidden, Unauthenticated
from pypid.core.indexes import IndexSettings, rules_of
from pypid.core.packaging.names import (
    ProjectName,
    ProjectPattern,
    matches,
    project_glob,
    project_name,
)
from pypid.core.permissions import (
    ADMINS,
    ANONYMOUS,
    AUTHENTICATED,
    EVERYONE,
    NOBODY,
    WORDS,
    Action,
    Grants,
    Identity,
    Principals,
    ProjectOwners,
    ProjectRules,
    Rules,
    Scope,
    account_name,
    authorize,
    may,
    together,
    visibility_of,
    without,
)

modest = settings(max_examples=40, deadline=None, database=None)

NAMES = st.sampled_from(["alice", "Alice", "bob", "team", "ops"])
ODD_NAMES = NAMES | st.sampled_from(["everyone", "admins", ""])
PROJECTS = tuple(map(project_name, ("acme-tools", "acme-web", "spam", "eggs")))
"""The rules below are about the first three at most."""

some = st.frozensets(NAMES, max_size=3)
principals = st.builds(
    Principals,
    everyone=st.booleans(),
    authenticated=st.booleans(),
    admins=st.booleans(),
    users=some,
    groups=some,
) | st.sampled_from([EVERYONE, AUTHENTICATED, ADMINS, NOBODY])
grants = st.builds(Grants, read=principals, write=principals)
RULE_GLOBS = {
    "*e*": (*PROJECTS[:2], PROJECTS[3]),
    "?pa[lm]": PROJECTS[2:3],
    "*-web": PROJECTS[1:2],
    "acme-*": PROJECTS[:2],
    "acme-t*": PROJECTS[:1],
}
"""Globs of rules, each with the projects that it matches; the most specific one last."""
projects = st.dictionaries(
    st.sampled_from(PROJECTS[:3]) | st.sampled_from(sorted(map(project_glob, RULE_GLOBS))),
    grants,
    max_size=4,
)
ACCOUNTS = ("", "sql:alice:1", "sql:alice:2", "config:bob")
INDEXES = ("", "staging")
owners = st.builds(
    ProjectOwners,
    st.dictionaries(
        st.tuples(st.sampled_from(INDEXES), st.sampled_from(PROJECTS)),
        st.sampled_from(ACCOUNTS[1:]),
        max_size=3,
    ),
)
rules = st.builds(
    Rules,
    read=principals,
    write=principals,
    overwrite=principals,
    delete=principals,
    fetch=principals,
    collect=principals,
    metrics=principals,
    projects=projects,
    delete_needs=st.sampled_from([Action.READ, Action.WRITE]),
    ownership=st.sampled_from(Owners),
    owners=owners,
    index=st.sampled_from(INDEXES),
)
actions = st.sampled_from(Action)
GLOBS = {
    "*": PROJECTS,
    "acme-*": PROJECTS[:2],
    "Acme.Tools": PROJECTS[:1],
    "spam": PROJECTS[2:3],
    "*e*": (*PROJECTS[:2], "eggs"),
}
scopes = st.builds(
    Scope,
    actions=st.frozensets(actions, max_size=3),
    projects=st.lists(st.sampled_from(sorted(GLOBS)), max_size=2).map(tuple) | st.just(("*",)),
)
accounts = st.sampled_from(ACCOUNTS)
people = st.just(ANONYMOUS) | st.builds(
    Identity, user=NAMES, groups=some, admin=st.booleans(), account=accounts
)
publishers = st.builds(Identity, user=NAMES, groups=some, scope=scopes, publisher=st.just(True))
tokens = publishers | st.builds(
    Identity, user=NAMES, groups=some, admin=st.booleans(), scope=scopes, account=accounts
)
anybody = people | tokens


# --- the oracle -----------------------------------------------------------------------------------


def belongs(who: Identity, to: Principals) -> bool:
    """Whether the words of the configuration name this person."""
    if who.user is None:
        return "everyone" in to.text().split()
    says = {"everyone", "authenticated", who.user, *(f"group:{group}" for group in who.groups)}
    return not says.isdisjoint(to.text().split()) or (who.admin and "admins" in to.text().split())


def rule(these: Rules, project: ProjectName) -> Grants | None:
    """The rule of the project: the one under its name, else that of the most specific glob."""
    if project in these.projects.names:
        return these.projects.names[project]
    globs = these.projects.globs.values
    fitting = [glob for glob in RULE_GLOBS if glob in globs and project in RULE_GLOBS[glob]]
    return globs[project_glob(fitting[-1])] if fitting else None


def rights(these: Rules, who: Identity, project: ProjectName) -> set[Action]:
    """All that the person may do to the project, without a token."""
    own, owner = rule(these, project), None
    if these.ownership is Owners.UPLOADER:
        owner = these.owners.accounts.get((these.index, project))
    if own is None:
        reads, writes = belongs(who, these.read), belongs(who, these.write) and owner is None
    else:
        writes = belongs(who, own.write)
        reads = writes or belongs(who, own.read)
    owns = owner is not None and owner == who.account
    if who.admin or owns:
        reads = writes = True
    least = reads if these.delete_needs is Action.READ else writes
    is_plain = own is None and owner is None
    deletes = who.admin or (belongs(who, these.delete) and (least if is_plain else writes))
    fetches = who.admin or (reads and belongs(who, these.fetch))
    said = {
        Action.READ: reads,
        Action.WRITE: writes,
        Action.OVERWRITE: writes and belongs(who, these.overwrite),
        Action.DELETE: deletes,
        Action.FETCH: fetches,
        Action.COLLECT: who.admin or (fetches and belongs(who, these.collect)),
        Action.ADMIN: who.admin,
        Action.MANAGE: who.admin or owns,
        Action.METRICS: who.admin or belongs(who, these.metrics),
    }
    return {action for action, yes in said.items() if yes}


def everything(these: Rules, who: Identity, project: ProjectName) -> set[Action]:
    """All that whoever asks may do to the project."""
    if who.scope is None:
        return rights(these, who, project)
    inside = (
        who.scope.actions
        if any(project in GLOBS[glob] for glob in who.scope.projects)
        else frozenset[Action]()
    )
    if Action.READ in inside and not who.publisher:
        inside |= {Action.FETCH, Action.COLLECT}  # an installer's token
    if Action.ADMIN in inside and not who.publisher:
        inside |= {Action.MANAGE}
    of_its_own = inside if who.publisher else inside & rights(these, who, project)
    return rights(these, ANONYMOUS, project) | of_its_own


# --- the rules ------------------------------------------------------------------------------------


class MayTests(SynchronousTestCase):
    """`may`, `authorize`."""

    @settings(modest, max_examples=100)
    @given(rules, anybody)
    def test_oracle(self, these: Rules, who: Identity) -> None:
        """Everybody may do exactly what the sentences say, to every project."""
        for project in PROJECTS:
            allowed = {action for action in Action if may(these, who, action, project)}
            self.assertEqual(allowed, everything(these, who, project), project)

    @modest
    @given(rules, anybody)
    def test_some_project(self, these: Rules, who: Identity) -> None:
        """Without a project nobody is refused what they may do to one; and nobody without a token
        is let in for nothing.
        """
        for action in Action:
            somewhere = any(action in everything(these, who, project) for project in PROJECTS)
            if somewhere:
                self.assertTrue(may(these, who, action, None), action)
            elif (
                who.scope is None
                and action is not Action.DELETE
                and not len(these.projects.globs)  # they match other names, too
            ):  # who may delete only what they may not write: nothing
                self.assertFalse(may(these, who, action, None), action)

    @modest
    @given(rules, tokens)
    def test_tokens(self, these: Rules, who: Identity) -> None:
        """A token may never do more than its user, never less than everyone, and beyond its globs
        just that.
        """
        user = Identity(who.user, who.groups, who.admin, account=who.account)
        for project in PROJECTS:
            anonymous, theirs = rights(these, ANONYMOUS, project), rights(these, user, project)
            allowed = {action for action in Action if may(these, who, action, project)}
            self.assertLessEqual(anonymous, allowed)
            if not who.publisher:
                self.assertLessEqual(allowed, theirs)
            assert who.scope is not None
            if not who.scope.covers(Action.READ, project) and Action.READ in who.scope.actions:
                self.assertEqual(allowed, anonymous)

    @modest
    @given(rules, scopes, some, st.booleans())
    def test_publishers(
        self, these: Rules, scope: Scope, groups: frozenset[str], admin: bool
    ) -> None:
        """A publisher gets nothing from rules: not by its text, nor by groups or an admin flag that
        it seems to have.
        """
        for project in PROJECTS:
            allowed = [
                {action for action in Action if may(these, who, action, project)}
                for who in (
                    Identity("alice", groups, admin, scope=scope, publisher=True),
                    Identity("nobody", scope=scope, publisher=True),
                )
            ]
            self.assertEqual(*allowed)

    @modest
    @given(rules, people)
    def test_write_is_more(self, these: Rules, who: Identity) -> None:
        """Whoever may write a project by its own rules may read it; whoever may overwrite may
        write; whoever may delete or fetch may read; only admins administer.
        """
        for project in PROJECTS:
            allowed = {action for action in Action if may(these, who, action, project)}
            if project in these.projects.names and Action.WRITE in allowed:
                self.assertIn(Action.READ, allowed)
            if Action.OVERWRITE in allowed:
                self.assertIn(Action.WRITE, allowed)
            if allowed & {Action.FETCH, Action.COLLECT}:
                self.assertIn(Action.READ, allowed)
            if Action.DELETE in allowed:
                self.assertTrue(allowed & {Action.READ, these.delete_needs})
            self.assertEqual(Action.ADMIN in allowed, who.admin)

    @modest
    @given(rules, ODD_NAMES, some, actions)
    def test_admin(self, these: Rules, user: str, groups: frozenset[str], action: Action) -> None:
        """An admin may do everything but overwrite, which only the rule for it grants."""
        admin = Identity(user, groups, admin=True)
        expected = these.overwrite.include(admin) if action is Action.OVERWRITE else True
        for project in (None, *PROJECTS):
            self.assertEqual(may(these, admin, action, project), expected)

    @modest
    @given(people, actions)
    def test_nobody(self, who: Identity, action: Action) -> None:
        """Nobody means nobody: without a rule only admins may do anything, and not even they may
        overwrite.
        """
        closed = Rules(*[NOBODY] * 7)
        self.assertEqual(
            may(closed, who, action, None), who.admin and action is not Action.OVERWRITE
        )
        self.assertFalse(may(closed, ANONYMOUS, action, None))

    @modest
    @given(rules, some, actions)
    def test_anonymous(self, these: Rules, groups: frozenset[str], action: Action) -> None:
        """Somebody unknown may do only what everyone may, whatever groups they seem to be in; to
        overwrite takes the right to write, and to delete or to fetch takes the right to read.
        """
        bare = evolve(these, projects={}, delete_needs=Action.READ, ownership=Owners.NONE)
        takes = {
            Action.READ: [bare.read],
            Action.WRITE: [bare.write],
            Action.OVERWRITE: [bare.overwrite, bare.write],
            Action.DELETE: [bare.delete, bare.read],
            Action.FETCH: [bare.fetch, bare.read],
            Action.COLLECT: [bare.collect, bare.fetch, bare.read],
            Action.ADMIN: [NOBODY],
            Action.MANAGE: [NOBODY],
            Action.METRICS: [bare.metrics],
        }
        expected = all(each.everyone for each in takes[action])
        self.assertEqual(may(bare, Identity(None, groups), action, None), expected)
        self.assertEqual(may(bare, Identity(None, groups), action, PROJECTS[0]), expected)

    @modest
    @given(rules, anybody, actions)
    def test_demand(self, these: Rules, who: Identity, action: Action) -> None:
        """authorize asks somebody unknown to log in, tells somebody known no, and says nothing where
        it may be.
        """
        project = PROJECTS[0]
        if may(these, who, action, project):
            authorize(these, who, action, project)
        elif who.user is None:
            self.assertRaises(Unauthenticated, authorize, these, who, action, project)
        else:
            error = self.assertRaises(Forbidden, authorize, these, who, action, project)
            self.assertIn("acme-tools", str(error))

    @modest
    @given(rules, anybody)
    def test_hidden_is_as_unknown(self, these: Rules, who: Identity) -> None:
        """Where the default read right is lacking, a name without rules, a hidden one and one that
        does not exist are refused in the same words. A token's own scope may choose the words.
        """
        refusals: dict[bool, set[tuple[type[Exception], str]]] = {True: set(), False: set()}
        for project in (*PROJECTS, project_name("never-heard-of")):
            if Action.READ not in (
                everything(these, who, project)
                if project in PROJECTS
                else rights(these, who, project)
            ):
                try:
                    authorize(these, who, Action.READ, project)
                except (Forbidden, Unauthenticated) as error:
                    in_scope = who.scope is None or matches(project, who.scope.projects)
                    text = str(error).replace(project, "<name>")
                    refusals[in_scope].add((type(error), text))
        for texts in refusals.values():
            self.assertLessEqual(len(texts), 1)


class SpecificTests(SynchronousTestCase):
    """Exact names, globs and owners."""

    @modest
    @given(rules, projects, anybody, actions)
    def test_globs_leave_exact_rules(
        self, these: Rules, others: dict[ProjectPattern, Grants], who: Identity, action: Action
    ) -> None:
        """Whatever globs grant, a project with a rule under its exact name has that rule alone."""
        globs = ProjectRules.of(others).globs
        more = evolve(these, projects=ProjectRules(these.projects.names, globs))
        for project in these.projects.names:
            self.assertIs(may(more, who, action, project), may(these, who, action, project))

    @modest
    @given(rules, grants, anybody, actions)
    def test_less_specific_globs(
        self, these: Rules, own: Grants, who: Identity, action: Action
    ) -> None:
        """A less specific glob changes nothing for a project of a more specific one."""
        special, project = project_glob("acme-t*"), PROJECTS[0]
        names = {name: own for name, own in these.projects.names.items() if name != project}
        one = ProjectRules(names, ProjectRules.of({special: own}).globs)
        both = {**dict.fromkeys(map(project_glob, RULE_GLOBS), Grants()), special: own}
        two = ProjectRules(names, ProjectRules.of(both).globs)
        first, second = evolve(these, projects=one), evolve(these, projects=two)
        self.assertIs(may(first, who, action, project), may(second, who, action, project))

    @modest
    @given(rules, anybody, actions)
    def test_owners_add(self, these: Rules, who: Identity, action: Action) -> None:
        """An owner may do all that the client may without being the owner, and others keep the
        rights that a rule of the project gives them.
        """
        for project in PROJECTS:
            key, accounts = (these.index, project), dict(these.owners.accounts)
            accounts.pop(key, None)
            free = evolve(these, owners=ProjectOwners(accounts))
            if not may(free, who, action, project):
                continue
            if who.account and who.scope is None:
                owned = evolve(these, owners=ProjectOwners({**accounts, key: who.account}))
                self.assertTrue(may(owned, who, action, project))
            if free.projects.get(project) is not None:
                others = evolve(these, owners=ProjectOwners({**accounts, key: "sql:other:9"}))
                self.assertTrue(may(others, who, action, project))


class NamedIndexTests(SynchronousTestCase):
    """The rules of a named index."""

    @modest
    @given(rules, principals, principals | st.none(), anybody)
    def test_outside(
        self, these: Rules, read: Principals, write: Principals | None, who: Identity
    ) -> None:
        """Those in neither `read` nor `write` of an index may do nothing there."""
        if who.admin or belongs(who, read) or (write is not None and belongs(who, write)):
            return
        within = rules_of(these, IndexSettings(name="team", read=read, write=write))
        for project in PROJECTS:
            for action in set(Action) - {Action.ADMIN}:
                self.assertFalse(may(within, who, action, project), action)
            self.assertFalse(visibility_of(within, who).sees(project))

    @modest
    @given(rules, principals, principals, principals, anybody)
    def test_inside(
        self,
        these: Rules,
        read: Principals,
        write: Principals,
        delete: Principals,
        who: Identity,
    ) -> None:
        """For the others they are the defaults; the rules of projects stay."""
        if not belongs(ANONYMOUS, write):
            return
        within = rules_of(these, IndexSettings(name="team", read=read, write=write, delete=delete))
        defaults = evolve(
            these, index="team", read=together([read, write]), write=write, delete=delete
        )
        for project in PROJECTS:
            for action in Action:
                self.assertEqual(
                    may(within, who, action, project), may(defaults, who, action, project)
                )

    @modest
    @given(rules, principals, anybody)
    def test_publishing_wall(self, these: Rules, write: Principals, who: Identity) -> None:
        """Those who are not in the `write` of an index publish, yank and overwrite nothing there:
        neither by a rule of a project, nor as its owner, nor by trusted publishing. They may do
        nothing else less, unless it needs the right to publish.
        """
        if who.admin or belongs(who, write):
            return
        within = rules_of(these, IndexSettings(name="team", write=write))
        without = evolve(these, index="team", write=write)
        for project in (None, *PROJECTS):
            for action in (Action.WRITE, Action.OVERWRITE):
                self.assertFalse(may(within, who, action, project))
            self.assertFalse(may(evolve(within, volatile=True), who, Action.OVERWRITE, project))
            if not who.publisher:
                for action in set(Action) - {Action.WRITE, Action.OVERWRITE, Action.DELETE}:
                    self.assertIs(
                        may(within, who, action, project), may(without, who, action, project)
                    )

    def test_wall_and_publishers(self) -> None:
        """A trusted publisher is judged by its user: by the name, and by the user's groups."""
        scope = Scope(frozenset({Action.WRITE}))
        ci = Identity("ci", frozenset({"ops"}), scope=scope, publisher=True, as_user="alice")
        for text, expected in (
            ("group:ops", True),
            ("alice", True),
            ("authenticated", True),
            ("ci", False),
            ("bob", False),
        ):
            within = rules_of(Rules(), IndexSettings(name="team", write=Principals.parse(text)))
            self.assertIs(may(within, ci, Action.WRITE, PROJECTS[0]), expected, text)

    @modest
    @given(rules, principals, anybody)
    def test_lists_agree(self, these: Rules, read: Principals, who: Identity) -> None:
        """A list shows what the project pages show."""
        within = rules_of(these, IndexSettings(name="team", read=read))
        for project in PROJECTS:
            self.assertEqual(
                visibility_of(within, who).sees(project), may(within, who, Action.READ, project)
            )

    @modest
    @given(rules, principals | st.none(), anybody)
    def test_volatile(self, these: Rules, write: Principals | None, who: Identity) -> None:
        """Those who may publish in a volatile index may overwrite and delete there, by a token only
        if its scope has that, too; nothing else changes.
        """
        lasting = rules_of(these, IndexSettings(name="team", write=write))
        within = rules_of(these, IndexSettings(name="team", write=write, volatile=True))
        for project in PROJECTS:
            may_publish = may(within, who, Action.WRITE, project)
            for action in Action:
                is_change = action in (Action.OVERWRITE, Action.DELETE)
                is_covered = who.scope is None or who.scope.covers(action, project)
                expected = may(lasting, who, action, project) or (
                    is_change and is_covered and may_publish
                )
                self.assertEqual(may(within, who, action, project), expected)


class SightTests(SynchronousTestCase):
    """`visibility_of`."""

    @settings(modest, max_examples=60)
    @given(rules, anybody)
    def test_sees(self, these: Rules, who: Identity) -> None:
        """A list shows exactly the projects that may be read one by one."""
        seen = visibility_of(these, who)
        for project in PROJECTS:
            self.assertEqual(
                seen.sees(project), Action.READ in everything(these, who, project), project
            )
        if seen.sees_all:
            self.assertTrue(all(map(seen.sees, PROJECTS)))

    @modest
    @given(rules, anybody, st.frozensets(st.sampled_from(PROJECTS)))
    def test_without(self, these: Rules, who: Identity, hidden: frozenset[ProjectName]) -> None:
        """Without some projects, the others are seen as before."""
        seen = visibility_of(these, who)
        left = without(seen, hidden)
        for project in PROJECTS:
            self.assertEqual(left.sees(project), project not in hidden and seen.sees(project))
        if left.sees_all:
            self.assertTrue(all(map(left.sees, PROJECTS)))

    @modest
    @given(rules, people, people)
    def test_equal(self, these: Rules, one: Identity, other: Identity) -> None:
        """Those who see the same have equal sights, whoever they are; those who do
        not have others. (With globs, which match unknown names too, only the latter.)
        """
        same = all(
            visibility_of(these, one).sees(project) == visibility_of(these, other).sees(project)
            for project in PROJECTS
        )
        is_equal = visibility_of(these, one) == visibility_of(these, other)
        if len(these.projects.globs):
            self.assertTrue(same or not is_equal)
            return
        self.assertEqual(is_equal, same)
        self.assertEqual(hash(visibility_of(these, one)) == hash(visibility_of(these, other)), same)


class PrincipalsTests(SynchronousTestCase):
    """`Principals`."""

    @modest
    @given(principals, people)
    def test_include(self, these: Principals, who: Identity) -> None:
        """They are whom their words say."""
        self.assertEqual(these.include(who), belongs(who, these))

    @modest
    @given(st.lists(principals, max_size=4), people)
    def test_together(self, several: list[Principals], who: Identity) -> None:
        """All of them together are each of them, and nobody else."""
        self.assertEqual(together(several).include(who), any(each.include(who) for each in several))

        def once() -> Iterable[Principals]:
            yield from several

        self.assertEqual(together(once()), together(several))
        self.assertEqual(together([]), NOBODY)

    @modest
    @given(principals)
    def test_text(self, these: Principals) -> None:
        """What is spelled is read back."""
        self.assertEqual(Principals.parse(these.text()), these)

    @modest
    @given(ODD_NAMES, some, some)
    def test_names_do_not_mix(
        self, name: str, users: frozenset[str], groups: frozenset[str]
    ) -> None:
        """A user whose name is a group's gets nothing of the group's, and the other way round;
        names are compared exactly.
        """
        self.assertEqual(
            Principals(users=users, groups=groups).include(Identity(name)), name in users
        )
        self.assertEqual(
            Principals(users=users, groups=groups).include(Identity("somebody", frozenset({name}))),
            name in groups,
        )

    def test_a_user_called_like_many(self) -> None:
        """Somebody whom another source calls "everyone" or "admins" is one user, and gets what no
        word gives.
        """
        for word in WORDS:
            who = Identity(word, frozenset(WORDS))
            self.assertFalse(ADMINS.include(who))
            self.assertFalse(Principals.parse("alice group:team").include(who))
            self.assertFalse(may(Rules(), who, Action.DELETE, None))


class AccountNameTests(SynchronousTestCase):
    """`account_name`."""

    def test_bad(self) -> None:
        """Nothing that would cut credentials, the configuration or a terminal is a name."""
        for text in (
            "",
            "a b",
            "a:b",
            "a=b",
            "a;b",
            "a,b",
            "a\n",
            "\x1b[2J",
            "a\0",
            "a\u2028b",
            "\u202ealice",
            *WORDS,
        ):
            self.assertRaises(ValueError, account_name, text)

    def test_stand_ins(self) -> None:
        """What stands for a token or a session in a credential is nobody's name."""
        for text in (TOKEN_USER, SESSION_USER, "__anything"):
            error = self.assertRaises(ValueError, account_name, text)
            self.assertIn("__token__", str(error))
        self.assertEqual(account_name("_alice_"), "_alice_")

    def test_good(self) -> None:
        """Dots, signs and letters of any language are."""
        for text in (
            "alice",
            "Alice.Smith@example.org",
            "build-bot_1",
            "łukasz",
            "a/b",
            "user.x.everyone",
            "EVERYONE",
        ):
            self.assertEqual(account_name(text), text)

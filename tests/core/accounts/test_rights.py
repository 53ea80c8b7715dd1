"""Rights on single projects: how a line of ``[projects]`` is cut, and the rules that rights make
together.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.rights import NAMED, Right, Whom, claimed, grants_of, parse_right
from pypid.core.errors import BadName
from pypid.core.packaging.names import project_glob, project_name
from pypid.core.permissions import ANONYMOUS, NOBODY, WORDS, Action, Identity, Rules, may

modest = settings(max_examples=30, deadline=None, database=None)

PROJECTS = tuple(map(project_name, ("acme", "a-user-b", "spam")))
NAMES = ("alice", "team", "bob.user.x", "a.everyone")
RIGHTS = st.builds(
    lambda project, whom, name, write: Right(project, whom, name if whom in NAMED else "", write),
    st.sampled_from(PROJECTS),
    st.sampled_from(Whom),
    st.sampled_from(NAMES),
    st.booleans(),
)
GLOB_RIGHTS = st.builds(
    lambda right, glob: evolve(right, project=glob),
    RIGHTS,
    st.sampled_from(tuple(map(project_glob, ("a*", "a-*", "sp?m", "*m*")))),
)
PEOPLE = (
    ANONYMOUS,
    Identity("alice"),
    Identity("team"),
    Identity("bob.user.x", frozenset({"alice"})),
    Identity("carol", frozenset({"team", "a.everyone"})),
)
WORDS_OF_KEYS = (
    "acme",
    "A_b",
    "x-y",
    "user",
    "group",
    "everyone",
    "authenticated",
    "users",
    "everyones",
    "",
    "é",
    "a b",
)


def cut(key: str) -> tuple[str, str, str] | None:
    """The contract, word by word: cut at the first ``.user.`` or ``.group.``, else at the last
    ``.everyone`` or ``.authenticated``; left: the project's name, right: the name, dots and all.
    """
    for at in range(len(key)):
        for word in ("user", "group"):
            if key[at:].startswith(f".{word}."):
                return key[:at], word, key[at + len(word) + 2 :]
    for at in range(len(key), -1, -1):
        for word in ("everyone", "authenticated"):
            if key[at:].startswith(f".{word}"):
                return key[:at], word, key[at + len(word) + 1 :]
    return None


class ParseTests(SynchronousTestCase):
    """`parse_right`."""

    def test_table(self) -> None:
        """Users, groups, everyone and authenticated; dots on both sides; any spelling of the
        project.
        """
        for key, project, whom, name in (
            ("acme.user.alice", "acme", Whom.USER, "alice"),
            ("acme.group.team", "acme", Whom.GROUP, "team"),
            ("acme.everyone", "acme", Whom.EVERYONE, ""),
            ("acme.authenticated", "acme", Whom.AUTHENTICATED, ""),
            ("My.Proj__ect.user.x.everyone", "my-proj-ect", Whom.USER, "x.everyone"),
            ("a.group.b.user.c", "a", Whom.GROUP, "b.user.c"),
            ("a.user.b.group.c", "a", Whom.USER, "b.group.c"),
            ("a.user.group.b", "a", Whom.USER, "group.b"),
            ("a.group.user.b", "a", Whom.GROUP, "user.b"),
            ("user.user.user", "user", Whom.USER, "user"),
            ("user.group.group", "user", Whom.GROUP, "group"),
            ("everyone.everyone", "everyone", Whom.EVERYONE, ""),
            ("a.everyone.authenticated", "a-everyone", Whom.AUTHENTICATED, ""),
            ("a.authenticated.everyone", "a-authenticated", Whom.EVERYONE, ""),
            ("a.everyone.user.b", "a-everyone", Whom.USER, "b"),
            ("zope.user", None, None, ""),
            ("zope.users.everyone", "zope-users", Whom.EVERYONE, ""),
            ("a.user.alice@example.org", "a", Whom.USER, "alice@example.org"),
            ("a.user..b", "a", Whom.USER, ".b"),
        ):
            for value in ("r", "rw"):
                if project is None or whom is None:
                    self.assertRaises(ValueError, parse_right, key, value)
                    continue
                expected = Right(project_name(project), whom, name, value == "rw")
                self.assertEqual(parse_right(key, value), expected)
                self.assertEqual(parse_right(key, value).text, value)

    def test_bad(self) -> None:
        """What is no rule is refused with advice: words in other cases, empty names, words for
        many, other values.
        """
        for key, said in (
            ("acme", "(allowed: <project>.user.<name>"),
            ("acme.user", "(allowed: <project>.user.<name>"),
            ("acme.User.alice", "(allowed: <project>.user.<name>"),
            ("acme.everyone.x", "(allowed: <project>.user.<name>"),
            ("acme.nobody", "(allowed: <project>.user.<name>"),
            ("acme.admins", "(allowed: <project>.user.<name>"),
            ("acme.everyones", "(allowed: <project>.user.<name>"),
            ("everyone", "(allowed: <project>.user.<name>"),
            ("acme.user.", "empty"),
            ("acme.group.", "empty"),
            ("acme.user.everyone", "is a reserved word"),
            ("acme.group.authenticated", "is a reserved word"),
            ("acme.user.a b", "cannot contain :"),
            ("acme.user.a:b", "cannot contain :"),
            ("acme.user.alice,bob", "comma"),
        ):
            error = self.assertRaises(ValueError, parse_right, key, "r")
            self.assertIn(said, str(error), key)
        for key in (
            ".user.alice",
            "-x.everyone",
            "a/b.group.x",
            f"{'x' * 201}.everyone",
        ):
            error = self.assertRaises(ValueError, parse_right, key, "r")
            self.assertIn("not a valid project name", str(error))
        for key in (
            "*.everyone",
            "[ab].user.bob",
            "-*.group.x",
            "ac me*.everyone",
            "a[b*.everyone",
        ):
            error = self.assertRaises(ValueError, parse_right, key, "r")
            self.assertIn("glob", str(error))
        for value in ("", "w", "wr", "R", "r w", "rwx", "read", "no"):
            error = self.assertRaises(ValueError, parse_right, "acme.everyone", value)
            self.assertIn("allowed: r, rw", str(error))

    @settings(modest, max_examples=100)
    @given(
        st.lists(st.sampled_from(WORDS_OF_KEYS), min_size=1, max_size=6).map(".".join),
        st.sampled_from(["r", "rw"]),
    )
    def test_contract(self, key: str, value: str) -> None:
        """Every key is cut where the contract says, or refused."""
        found = cut(key)
        try:
            right = parse_right(key, value)
        except ValueError as error:
            if "not a valid project name" in str(error):
                assert found is not None
                self.assertRaises(BadName, project_name, found[0])
                return
            nameless = found is None or (Whom(found[1]) not in NAMED and found[2])
            unnameable = found is not None and (
                found[2] in WORDS or not found[2] or " " in found[2]
            )
            self.assertTrue(nameless or unnameable, found)
        else:
            assert found is not None
            self.assertEqual(
                (right.project, right.whom.value, right.name), (project_name(found[0]), *found[1:])
            )
            self.assertEqual(right.write, value == "rw")


class GrantsTests(SynchronousTestCase):
    """`grants_of`, `claimed`."""

    @modest
    @given(st.lists(RIGHTS, max_size=6))
    def test_together(self, rights: list[Right]) -> None:
        """Somebody may read what any right lets them read or write, and write what any lets them
        write; a project without rights has none of its own.
        """
        rules = Rules(read=NOBODY, write=NOBODY, projects=grants_of(rights))
        for who in PEOPLE:
            for project in PROJECTS:
                fitting = [
                    right for right in rights if right.project == project and fits(right, who)
                ]
                self.assertEqual(may(rules, who, Action.READ, project), bool(fitting))
                self.assertEqual(
                    may(rules, who, Action.WRITE, project), any(right.write for right in fitting)
                )
        self.assertEqual(set(rules.projects.names), {right.project for right in rights})

    @modest
    @given(st.lists(RIGHTS, max_size=6))
    def test_claimed(self, rights: list[Right]) -> None:
        """Claimed is what somebody may write by a rule of its own; a right to
        read claims nothing.
        """
        self.assertEqual(
            claimed(grants_of(rights)).names, {right.project for right in rights if right.write}
        )

    def test_globs(self) -> None:
        """A line may name a glob in any spelling; a right to publish makes the names local that
        match it.
        """
        lines = {"Acme_Data-*.group.data": "rw", "acme-*.everyone": "r", "b?.user.x": "r"}
        rights = [parse_right(key, value) for key, value in lines.items()]
        self.assertEqual([right.project for right in rights], ["acme-data-*", "acme-*", "b?"])
        rules = grants_of(rights)
        names = [project_name(name) for name in ("acme-data-x", "acme-x", "bc", "bcd")]
        found = [None if (own := rules.get(name)) is None else own.read.text() for name in names]
        self.assertEqual(found, ["group:data", "everyone", "x", None])
        self.assertEqual([name in claimed(rules) for name in names], [True, False, False, False])


def fits(right: Right, who: Identity) -> bool:
    """Whether the right is about this person."""
    match right.whom:
        case Whom.EVERYONE:
            return True
        case Whom.AUTHENTICATED:
            return who.user is not None
        case Whom.USER:
            return right.name == who.user
        case Whom.GROUP:
            return right.name in who.groups

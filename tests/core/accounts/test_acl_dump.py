"""pypicloud's dump of its people: what is taken of it, and that nobody gets more by it."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts import acl
from pypid.core.accounts.acl import KEPT_CLOSED, Dump, read_dump
from pypid.core.accounts.rights import Right, Whom, grants_of
from pypid.core.errors import BadRequest
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Identity

HASH = "$6$rounds=1000$sbwgbtKgQi5z6NhR$J9yrIczvVAwJZhQTQtgY"
SPAM = project_name("spam")

REAL: dict[str, Any] = {
    "allow_register": True,
    "version": "1.3.12",
    "groups": {"devs": ["bob", "ada"]},
    "users": [
        {"username": "ada", "admin": True, "password": HASH},
        {"username": "bob", "admin": False, "password": HASH},
    ],
    "packages": {
        "users": {"spam": {"bob": ["read"]}},
        "groups": {
            "spam": {"devs": ["read", "write"], "everyone": ["read"]},
            "eggs": {"authenticated": ["read"]},
        },
    },
    "pending_users": [{"username": "carol", "password": HASH}],
}
"""As pypicloud 1.3.12 writes it."""


def dumped(**changes: object) -> bytes:
    """The dump, with other values for some keys."""
    return json.dumps({**REAL, "complete": True, **changes}).encode()


def of_packages(**packages: object) -> bytes:
    """A dump with these rights, and the two users."""
    return dumped(packages={"users": {}, "groups": {}, **packages}, allow_register=False)


class ReadTests(SynchronousTestCase):
    """What is taken."""

    def test_real(self) -> None:
        """Everything that pypicloud writes is read: users, those who wait, groups with members,
        rights, words for many.
        """
        found = read_dump(gzip.compress(json.dumps(REAL).encode()))
        users = [(user.name, user.admin, user.pending, user.hash) for user in found.dump.users]
        self.assertEqual(
            users,
            [("ada", True, False, HASH), ("bob", False, False, HASH), ("carol", False, True, HASH)],
        )
        self.assertEqual(found.dump.groups, {"devs": frozenset({"ada", "bob"})})
        expected = {
            Right(project_name("eggs"), Whom.AUTHENTICATED),
            Right(SPAM, Whom.EVERYONE),
            Right(SPAM, Whom.GROUP, "devs", True),
            Right(SPAM, Whom.USER, "bob"),
        }
        self.assertEqual(set(found.dump.rights), expected)
        self.assertEqual([oddity.what for oddity in found.oddities], ["allow_register is on"])
        self.assertFalse(found.oddities[0].grave)

    def test_no_dump(self) -> None:
        """What is no dump is refused as a whole, with the place, and without a value of it."""
        for data in (
            b"",
            b"{",
            b"[]",
            b"{}",
            b"\xff",
            b"[" * 100_000,
            dumped(users=[{"username": 1, "password": "s3cret"}]),
            dumped(users=[{"username": "ada", "password": ["s3cret"]}]),
            dumped(users=[{"username": "ada", "password": "s3cret", "admin": "yes"}]),
            dumped(groups={"devs": "s3cret"}),
            dumped(packages={"users": {"spam": ["s3cret"]}}),
            gzip.compress(dumped())[:-9],
            gzip.compress(dumped()) + b"x",
            b"\x1f\x8bnonsense",
        ):
            error = self.assertRaises(BadRequest, read_dump, data)
            self.assertNotIn("s3cret", str(error))

    def test_bounds(self) -> None:
        """A dump that unpacks to too much, or that names too many, is refused before it fills the
        memory.
        """
        self.patch(acl, "MOST", 8)
        self.assertIn("more than 8", str(self.assertRaises(BadRequest, read_dump, dumped())))
        self.patch(acl, "LARGEST", 5000)
        for data in (gzip.compress(b" " * 5002), b" " * 5002):
            self.assertIn("larger", str(self.assertRaises(BadRequest, read_dump, data)))

    def test_no_secret(self) -> None:
        """The hashes are in no repr."""
        self.assertNotIn(HASH, repr(read_dump(dumped())))


class OddTests(SynchronousTestCase):
    """What cannot be taken as it stands: listed once, and less than it was, never more."""

    def odd(self, data: bytes, *words: str, grave: bool) -> Dump:
        """The dump; there is one oddity, which has these words."""
        found = read_dump(data)
        self.assertEqual([oddity.grave for oddity in found.oddities], [grave], found.oddities)
        for word in words:
            self.assertIn(word, found.oddities[0].text)
        return found.dump

    def test_names(self) -> None:
        """Users and groups whose names cannot be here are left out, once each, and that counts as a
        loss.
        """
        bad = ["a b", "a:b", "", "admins", "__token__", "a,b", "x" * 201, "\u202e", "operator"]
        users = [{"username": name, "password": HASH} for name in bad]
        rights = {"users": {"spam": {**{name: ["read"] for name in bad}, "bob": ["read"]}}}
        found = read_dump(
            dumped(
                users=users, packages=rights, groups={"devs": [*bad, "bob"]}, allow_register=False
            )
        )
        self.assertEqual([user.name for user in found.dump.users], ["carol"])
        self.assertEqual(found.dump.groups, {"devs": frozenset({"bob"})})
        self.assertEqual(found.dump.rights, (Right(SPAM, Whom.USER, "bob"),))
        self.assertEqual([oddity.grave for oddity in found.oddities], [True] * len(bad))

    def test_words_as_groups(self) -> None:
        """Groups that are called everyone or authenticated are no groups: their members are passed
        over.
        """
        dump = self.odd(
            dumped(groups={"everyone": ["bob"]}, allow_register=False), "everyone", grave=False
        )
        self.assertEqual(dump.groups, {})

    def test_write_alone(self) -> None:
        """Who may write a package and not read it gets neither: whoever may write here may read."""
        dump = self.odd(
            of_packages(users={"spam": {"bob": ["write"], "ada": ["read"]}}),
            "user bob",
            "spam",
            grave=True,
        )
        self.assertEqual(dump.rights, (Right(SPAM, Whom.USER, "ada"),))

    def test_write_where_all_read(self) -> None:
        """Where all may read who are logged in, a right to write alone is one to read and write:
        nobody reads more by it.
        """
        for word in ("everyone", "authenticated"):
            data = of_packages(
                users={"spam": {"bob": ["write"]}}, groups={"spam": {word: ["read"]}}
            )
            dump = self.odd(data, "user bob", "spam", grave=False)
            self.assertIn(Right(SPAM, Whom.USER, "bob", True), dump.rights)

    def test_everyone_writes(self) -> None:
        """That all who are logged in may read does not let everyone read, who may write."""
        data = of_packages(groups={"spam": {"authenticated": ["read"], "everyone": ["write"]}})
        self.assertEqual(
            self.odd(data, "everyone may write", grave=True).rights,
            (Right(SPAM, Whom.AUTHENTICATED),),
        )

    def test_kept_closed(self) -> None:
        """A package none of whose rules can be said does not take the defaults: it is given to a
        group without members.
        """
        for rules in ({"a b": ["read"]}, {"bob": ["write"]}, {"bob": []}, {"bob": ["fallback"]}):
            found = read_dump(of_packages(users={"spam": rules}))
            self.assertEqual(found.dump.rights, (Right(SPAM, Whom.GROUP, KEPT_CLOSED),), rules)
            self.assertEqual(found.dump.groups[KEPT_CLOSED], frozenset())
            self.assertIn("only administrators", " ".join(oddity.text for oddity in found.oddities))

    def test_closed_group_is_nobodys(self) -> None:
        """The group that keeps a package closed is none that the dump has members of, or gives
        rights to.
        """
        packages = {
            "users": {"spam": {"bob": []}},
            "groups": {"eggs": {f"{KEPT_CLOSED}-2": ["read"]}},
        }
        found = read_dump(dumped(groups={KEPT_CLOSED: ["bob"]}, packages=packages))
        self.assertIn(Right(SPAM, Whom.GROUP, f"{KEPT_CLOSED}-3"), found.dump.rights)

    def test_spellings(self) -> None:
        """Of a package in several spellings the normalised one's rules hold, which is what
        installers asked.
        """
        rules = {"spam": {"ada": ["read"]}, "Spam": {"bob": ["read", "write"]}}
        dump = self.odd(of_packages(users=rules), "'Spam', 'spam'", grave=True)
        self.assertEqual(dump.rights, (Right(SPAM, Whom.USER, "ada"),))

    def test_odd_spellings(self) -> None:
        """Without the normalised one, what all the spellings say holds; nothing in common keeps the
        project closed.
        """
        rules = {"Spam": {"bob": ["read", "write"], "ada": ["read"]}, "SPAM": {"bob": ["read"]}}
        self.assertEqual(
            self.odd(of_packages(users=rules), "SPAM", grave=True).rights,
            (Right(SPAM, Whom.USER, "bob"),),
        )
        rules["SPAM"] = {"carol": ["read"]}
        self.assertEqual(
            read_dump(of_packages(users=rules)).dump.rights, (Right(SPAM, Whom.GROUP, KEPT_CLOSED),)
        )

    def test_hashes(self) -> None:
        """A hash of an unknown kind is kept, for nobody can log in by it; one that cannot be kept
        is left out.
        """
        dump = self.odd(
            dumped(users=[{"username": "dan", "password": "$1$x$y"}], allow_register=False),
            "dan",
            "unknown",
            grave=False,
        )
        self.assertEqual(dump.users[1].hash, "$1$x$y")
        for bad in ("x" * 1001, "$6$\n"):
            dump = self.odd(
                dumped(users=[{"username": "dan", "password": bad}], allow_register=False),
                "dan",
                grave=True,
            )
            self.assertEqual(dump.users[1].hash, "")


WORDS = st.lists(st.sampled_from(["read", "write", "other"]), max_size=3)
PACKAGES = st.dictionaries(
    st.sampled_from(["spam", "Spam", "SPAM", "eggs"]),
    st.dictionaries(
        st.sampled_from(["ada", "bob", "everyone", "authenticated", "a b"]), WORDS, max_size=3
    ),
    max_size=3,
)


class PropertyTests(SynchronousTestCase):
    """What holds for every dump."""

    @settings(max_examples=150, deadline=None, database=None)
    @given(PACKAGES, PACKAGES)
    def test_nobody_gets_more(self, users: Any, groups: Any) -> None:
        """Nobody may do by the rights what no spelling of the package let him do; and what had
        rules has rules.
        """
        document = json.dumps(
            {"users": [], "packages": {"users": users, "groups": groups}}
        ).encode()
        grants = grants_of(read_dump(document).dump.rights)
        ruled = {
            project_name(spelling)
            for kind in (users, groups)
            for spelling, rules in kind.items()
            if rules
        }
        self.assertEqual(set(grants.names), ruled)
        for who in (
            Identity(),
            *(Identity(name) for name in ("ada", "bob", "everyone")),
            Identity("x", frozenset({"ada"})),
        ):
            for project, own in grants.names.items():
                had: set[str] = set()
                for spelling in {*users, *groups}:
                    if project_name(spelling) == project:
                        had |= _of_pypicloud(who, users.get(spelling, {}), groups.get(spelling, {}))
                has = ({"read"} if own.read.include(who) else set()) | (
                    {"write"} if own.write.include(who) else set()
                )
                self.assertLessEqual(has, had, (who, project))


def _of_pypicloud(
    who: Identity, users: dict[str, list[str]], groups: dict[str, list[str]]
) -> set[str]:
    """What somebody may do by the rules of one package, as pypicloud reads them."""
    found = set(users.get(who.user or "", ()))
    principals = {"everyone", *(("authenticated",) if who.user else ()), *who.groups}
    for group in principals:
        found.update(groups.get(group, ()))
    return found

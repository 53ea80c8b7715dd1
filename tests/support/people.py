"""The contract of every source of users (`ports.People`), as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.internet.defer import gatherResults

from pypid.core.accounts.rights import SESSION_USER, TOKEN_USER
from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import start
from pypid.ports import People

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object  # mixins: trial would run them by themselves

USERS = {"alice": "wonder land", "Bob": "pa:ss:wörd", "root": "toor of all"}
"""Name to password: the only users of the source that `make_people` makes."""
GROUPS = {"team": frozenset({"alice", "root"}), "crew": frozenset({"Bob", "mallory"})}
"""Members by group; mallory is a user of another source."""
ADMIN = "root"

NOBODY = (
    *(
        "mallory",
        "Alice",
        "bob",
        "ALICE",
        "",
        " ",
        " alice",
        "alice ",
        "alice\0",
        "\0",
        "alice\n",
        "a\u0300lice",
        "\uff41lice",
    ),
    *(
        "*",
        "a*",
        "alice)(uid=*",
        "*)(uid=*))(|(uid=*",
        "alice,dc=example",
        "\\61lice",
        "../alice",
        "alice?x",
        "alice#x",
        "al%69ce",
    ),
    *(
        "alice'--",
        "' or 1=1 --",
        "team",
        "crew",
        TOKEN_USER,
        SESSION_USER,
        "alice:wonder land",
        "x" * 10_000,
        "\ud800",
    ),
)
"""Unknown names: other spellings of the known ones, and what a filter, a path, a query or SQL might
misinterpret.
"""

WRONG_PASSWORDS = (
    *(
        "x",
        "",
        " ",
        "\0",
        "wonder lan",
        "wonder land ",
        " wonder land",
        "WONDER LAND",
        "wonder land\0",
        "wonder\0land",
    ),
    *("wonder land\n", "wonder land" + "x" * 5000, "x" * 10_000, "*", "\ud800", USERS["root"]),
)
"""None is alice's. An LDAP server takes an empty one for an anonymous bind, and accepts it (RFC
4513, 5.1.2).
"""


def without_account(found: Identity | None) -> Identity | None:
    """Return the identity without what identifies its account, which only some sources know."""
    return None if found is None else evolve(found, account="")


class PeopleContract(Case):
    """Mix it into a `twisted.trial.unittest.TestCase` and say how to `make_people`."""

    groups = True
    """Whether the source has groups."""
    strangers = False
    """Whether its groups may have members of another source (``mallory``)."""
    admins = True
    """Whether it decides who is an administrator (else only the list in ``[access] admins``
    does).
    """

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        """Return a source of these users (name to clear password) and groups, of whom `admin` is an
        administrator.
        """
        raise NotImplementedError

    async def people(self) -> People:
        """Return the source under test."""
        return await self.make_people(USERS, GROUPS, ADMIN)

    def known(self, user: str) -> Identity:
        """Return the user's identity, as the source should return it."""
        groups = frozenset(group for group, members in GROUPS.items() if user in members)
        return Identity(user, groups if self.groups else frozenset(), self.admins and user == ADMIN)

    async def not_in(self, people: People, user: str, password: str) -> Unauthenticated:
        """Assert that the source knows the user, and refuses the password."""
        try:
            found = await people.check(Credential(user, password))
        except Unauthenticated as error:
            return error
        raise self.failureException(
            f"{user!r} with {password[:50]!r} is {found}, and should be refused"
        )

    async def test_right(self) -> None:
        """The right password gives the identity, also with a colon and UTF-8 in it, and again when
        it is cached.
        """
        people = await self.people()
        for _ in range(2):
            for user, password in USERS.items():
                found = await people.check(Credential(user, password, "192.0.2.1"))
                self.assertEqual(without_account(found), self.known(user))

    async def test_wrong(self) -> None:
        """Wrong, empty, cut, longer, cased, NUL, endless, unencodable passwords are refused, before
        and after the right one.
        """
        people = await self.people()
        for wrong in WRONG_PASSWORDS:
            await self.not_in(people, "alice", wrong)
        await people.check(Credential("alice", USERS["alice"]))
        for wrong in WRONG_PASSWORDS:
            await self.not_in(people, "alice", wrong)
        await self.not_in(people, "root", USERS["alice"])

    async def test_unknown(self) -> None:
        """Names are compared exactly: an unknown user is left to the next source, whatever the
        password.
        """
        people = await self.people()
        await people.check(Credential("alice", USERS["alice"]))
        for user in NOBODY:
            for password in (USERS["alice"], ""):
                self.assertIsNone(await people.check(Credential(user, password)), user[:50])
            self.assertIsNone(await people.find(user), user[:50])
            if user != "mallory":
                self.assertEqual(await people.groups(user), frozenset(), user[:50])

    async def test_find(self) -> None:
        """A user's identity is found without a password, and is the same as with it."""
        people = await self.people()
        for _ in range(2):
            for user in USERS:
                self.assertEqual(without_account(await people.find(user)), self.known(user))

    async def test_groups_of_others(self) -> None:
        """The groups of users of other sources are returned where possible, and never a group that
        a user is not in.
        """
        people = await self.people()
        strange = self.groups and self.strangers
        self.assertEqual(await people.groups("mallory"), frozenset({"crew"} if strange else ()))
        for user in USERS:
            self.assertLessEqual(await people.groups(user), self.known(user).groups)

    async def test_says_nothing(self) -> None:
        """The error for a wrong password is the same for all users, and contains nothing of what
        was sent.
        """
        people = await self.people()
        errors = [await self.not_in(people, user, "Xyzzy-secret") for user in USERS]
        self.assertEqual(len({str(error) for error in errors}), 1)
        for error in errors:
            self.assertNotIn(
                "Xyzzy", repr(error) + str(error) + repr(error.__cause__) + repr(error.__context__)
            )

    async def test_at_once(self) -> None:
        """Many concurrent checks each get their own answer."""
        people = await self.people()
        tries = [
            (user, password)
            for user in (*USERS, "nobody-here")
            for password in (*USERS.values(), "x")
        ] * 2
        checks = [start(people.check(Credential(user, password))) for user, password in tries]
        found = await gatherResults(
            [each.addErrback(lambda failure: failure.trap(Unauthenticated)) for each in checks]
        )
        for (user, password), answer in zip(tries, found, strict=True):
            if user not in USERS:
                self.assertIsNone(answer)
            elif password == USERS[user]:
                self.assertEqual(without_account(answer), self.known(user))
            else:
                self.assertIs(answer, Unauthenticated)

    async def test_gone_client(self) -> None:
        """A client that disconnects in the middle does not affect the next one."""
        people = await self.people()
        for _ in range(3):
            check = start(people.check(Credential("alice", USERS["alice"])))
            check.addErrback(lambda failure: None)
            check.cancel()
            found = await people.check(Credential("alice", USERS["alice"]))
            self.assertEqual(without_account(found), self.known("alice"))

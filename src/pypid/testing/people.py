"""What every source of people (`ports.People`) keeps, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import gatherResults

from pypid.core.accounts.entries import SESSION_USER, TOKEN_USER
from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import start
from pypid.ports import People

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object  # the contracts are mixins: trial would run them by themselves

USERS = {"alice": "wonder land", "Bob": "pa:ss:wörd", "root": "toor of all"}
"""Name to password: the source that `make_people` makes knows these, and nobody else."""
GROUPS = {"team": frozenset({"alice", "root"}), "crew": frozenset({"Bob", "mallory"})}
"""Members by group; mallory is somebody whom another source knows."""
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
"""Names of nobody: other spellings of those that there are, and what a filter, a path, a query or
SQL might take for more.
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
"""None is alice's. An LDAP server takes an empty one for a bind as nobody, and says yes (RFC 4513,
5.1.2).
"""


class PeopleContract(Case):
    """Mix it into a `twisted.trial.unittest.TestCase` and say how to `make_people`."""

    groups = True
    """Whether the source knows of groups."""
    strangers = False
    """Whether its groups may have members whom another source knows (``mallory``)."""
    admins = True
    """Whether it says who is an administrator (else it is only the list in ``[access] admins`` that
    does).
    """

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        """A source that knows these users (name to clear password) and groups, of whom `admin` is
        an administrator.
        """
        raise NotImplementedError

    async def people(self) -> People:
        """The source under test."""
        return await self.make_people(USERS, GROUPS, ADMIN)

    def known(self, user: str) -> Identity:
        """Who the user is, as the source should say."""
        groups = frozenset(group for group, members in GROUPS.items() if user in members)
        return Identity(user, groups if self.groups else frozenset(), self.admins and user == ADMIN)

    async def not_in(self, people: People, user: str, password: str) -> Unauthenticated:
        """The source knows the user, and refuses the password."""
        try:
            found = await people.check(Credential(user, password))
        except Unauthenticated as error:
            return error
        raise self.failureException(
            f"{user!r} with {password[:50]!r} is {found}, and should be refused"
        )

    async def test_right(self) -> None:
        """The right password gives the identity, also with a colon and UTF-8 in it, and again when
        it is remembered.
        """
        people = await self.people()
        for _ in range(2):
            for user, password in USERS.items():
                self.assertEqual(
                    await people.check(Credential(user, password, "192.0.2.1")), self.known(user)
                )

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
        """Names are compared exactly: whom it does not know it leaves to the next source, whatever
        the password.
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
        """Who somebody is can be found without a password, and is the same as with it."""
        people = await self.people()
        for _ in range(2):
            for user in USERS:
                self.assertEqual(await people.find(user), self.known(user))

    async def test_groups_of_others(self) -> None:
        """It tells the groups of people of other sources where it can, and never one that somebody
        is not in.
        """
        people = await self.people()
        strange = self.groups and self.strangers
        self.assertEqual(await people.groups("mallory"), frozenset({"crew"} if strange else ()))
        for user in USERS:
            self.assertLessEqual(await people.groups(user), self.known(user).groups)

    async def test_says_nothing(self) -> None:
        """What it says of a wrong password is the same for everybody, and holds nothing of what was
        sent.
        """
        people = await self.people()
        errors = [await self.not_in(people, user, "Xyzzy-secret") for user in USERS]
        self.assertEqual(len({str(error) for error in errors}), 1)
        for error in errors:
            self.assertNotIn(
                "Xyzzy", repr(error) + str(error) + repr(error.__cause__) + repr(error.__context__)
            )

    async def test_at_once(self) -> None:
        """Many at once each get their own answer."""
        people = await self.people()
        tries = [
            (user, password)
            for user in (*USERS, "nobody-here")
            for password in (*USERS.values(), "x")
        ] * 2
        asked = [start(people.check(Credential(user, password))) for user, password in tries]
        found = await gatherResults(
            [each.addErrback(lambda failure: failure.trap(Unauthenticated)) for each in asked]
        )
        for (user, password), answer in zip(tries, found, strict=True):
            if user not in USERS:
                self.assertIsNone(answer)
            elif password == USERS[user]:
                self.assertEqual(answer, self.known(user))
            else:
                self.assertIs(answer, Unauthenticated)

    async def test_gone_client(self) -> None:
        """A client that goes away in the middle takes nothing from the next one."""
        people = await self.people()
        for _ in range(3):
            asked = start(people.check(Credential("alice", USERS["alice"])))
            asked.addErrback(lambda failure: None)
            asked.cancel()
            self.assertEqual(
                await people.check(Credential("alice", USERS["alice"])), self.known("alice")
            )

"""What every `Access` does. (Public by `pypid.testing`.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.ports import Access

USERS = {"alice": "wonder land", "Bob": "pa:ss:wörd", "root": "toor of all"}
"""Name to password: `make_access` makes an Access that knows these; root is an administrator."""
GROUPS = {"team": frozenset({"alice", "root"})}


class AccessContract:
    """Mix it into a `twisted.trial.unittest.TestCase` and say how to `make_access`."""

    groups = True
    """Whether the Access knows of groups."""

    async def make_access(self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str) -> Access:
        """An Access with these users (name to clear password) and groups, of whom `admin` is an administrator."""
        raise NotImplementedError

    async def _access(self) -> Access:
        return await self.make_access(USERS, GROUPS, "root")

    async def _refused(self: Any, access: Access, user: str, password: str) -> Unauthenticated:
        with self.assertRaises(Unauthenticated) as refused:
            await access.identify(Credential(user, password))
        error: Unauthenticated = refused.exception
        return error

    async def test_right(self: Any) -> None:
        """The right password gives the identity, also with a colon and UTF-8 in it, and again when it is remembered."""
        access = await self._access()
        team = frozenset({"team"}) if self.groups else frozenset()
        for _ in range(2):
            self.assertEqual(await access.identify(Credential("alice", USERS["alice"])), Identity("alice", team, False))
            self.assertEqual(await access.identify(Credential("Bob", USERS["Bob"])), Identity("Bob", frozenset(), False))
            self.assertEqual(await access.identify(Credential("root", USERS["root"])), Identity("root", team, True))

    async def test_wrong(self: Any) -> None:
        """Wrong, empty, cut, longer, cased, NUL, endless and unencodable passwords are refused, also after the right one."""
        access = await self._access()
        await access.identify(Credential("alice", USERS["alice"]))
        right = USERS["alice"]
        for wrong in (
            "x",
            "",
            right[:-1],
            right + " ",
            right.upper(),
            right + "\0",
            "x" * 10_000,
            right + "x" * 5000,
            "\ud800",
        ):
            await self._refused(access, "alice", wrong)

    async def test_others(self: Any) -> None:
        """Names are compared exactly, and nobody gets in with another's password."""
        access = await self._access()
        for user in ("Alice", "bob", "", " alice", "alice ", "alice\0", "__token__", "x" * 10_000, "team", "\ud800"):
            await self._refused(access, user, USERS["alice"])
        await self._refused(access, "alice", USERS["root"])

    async def test_says_nothing(self: Any) -> None:
        """An unknown user and a wrong password get the same answer, with nothing in it of what was sent."""
        access = await self._access()
        one = await self._refused(access, "alice", "Xyzzy-secret")
        two = await self._refused(access, "mallory", "Xyzzy-secret")
        self.assertEqual(str(one), str(two))
        self.assertNotIn("Xyzzy", repr(one) + str(one))

"""The groups of the accounts database, for an index whose accounts may not log in: they may have
members from other sources.
"""

from __future__ import annotations

from attrs import frozen

from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.state import NO_GROUPS
from pypid.core.permissions import Credential, Identity
from pypid.ports import People


@frozen
class GroupsOnly:
    """A source without users, which puts users of other sources into groups."""

    accounts: SqlAccounts

    async def check(self, credential: Credential) -> Identity | None:
        """Return None: this source has no users."""
        return None

    async def find(self, user: str) -> Identity | None:
        """Return None: this source has no users."""
        return None

    async def groups(self, user: str) -> frozenset[str]:
        """Return the groups that have the user as a member. Raises `PeopleUnknown`."""
        return self.accounts.current.roll().groups.get(user, NO_GROUPS)


_: type[People] = GroupsOnly

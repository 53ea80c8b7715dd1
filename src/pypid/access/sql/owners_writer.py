"""Changes of the table of owners, within a transaction. Everything here blocks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from pypid.access.sql.rows import Touch
from pypid.access.sql.tables import owners
from pypid.core.accounts.owners import CLAIM_LASTS, OwnerKey, ProjectOwner


class OwnersWriter:
    """Changes owners in a transaction of `AccountsWriter`, and adds their keys to `touched`."""

    def __init__(self, connection: Connection, now: datetime, touched: set[Touch]) -> None:
        self._connection = connection
        self._now = now
        self._touched = touched

    def claim(self, key: OwnerKey, account: str) -> str:
        """Make the account the owner of a project of which nothing is published; return the account
        that owns it then, which is another one if that was first. An empty `account` cannot own a
        project; it only removes an old claim.
        """
        row = self._connection.execute(select(owners).where(_owner(key))).one_or_none()
        if row is not None:
            is_own = row.account == account
            lasts = CLAIM_LASTS / 2 if is_own else CLAIM_LASTS
            if not row.claimed or self._now - row.since < lasts:
                owner: str = row.account
                return owner
        if account or row is not None:
            self._store(key, account or None, is_claimed=True)
        return account

    def set(self, key: OwnerKey, account: str | None) -> None:
        """Store the owner in place of another one; None: the project has no owner."""
        self._store(key, account, is_claimed=False)

    def _store(self, key: OwnerKey, account: str | None, *, is_claimed: bool) -> None:
        self._connection.execute(delete(owners).where(_owner(key)))
        self._touched.add(Touch("owner", key[1], "", key[0]))
        if account is not None:
            index, project = key
            row = {"index": index, "project": project, "account": account}
            since = {"since": self._now, "claimed": is_claimed}
            self._connection.execute(insert(owners).values(row | since))

    def give_back(self, lost: Mapping[OwnerKey, ProjectOwner]) -> None:
        """Store the owners of those projects that have none."""
        for key, owner in lost.items():
            if self._connection.execute(select(owners).where(_owner(key))).one_or_none() is None:
                self._store(key, owner.account, is_claimed=owner.is_claimed)

    def remove_all(self, index: str) -> None:
        """Remove the owners of all projects of an index."""
        self._touch(owners.c.index == index)
        self._connection.execute(delete(owners).where(owners.c.index == index))

    def hand_over(self, former: str, account: str) -> None:
        """Make the account the owner of all that the `former` one owns: they are the same user."""
        self._touch(owners.c.account == former)
        self._connection.execute(
            update(owners).where(owners.c.account == former).values(account=account)
        )

    def _touch(self, condition: ColumnElement[bool]) -> None:
        keys = select(owners.c.index, owners.c.project).where(condition)
        for index, project in self._connection.execute(keys):
            self._touched.add(Touch("owner", project, "", index))


def _owner(key: OwnerKey) -> ColumnElement[bool]:
    return (owners.c.index == key[0]) & (owners.c.project == key[1])

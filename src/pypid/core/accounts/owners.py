"""Owners of projects, as the accounts database stores them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import frozen

from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import ProjectOwners

OwnerKey = tuple[str, ProjectName]
"""The name of an index (empty: the default one) and a project."""
CLAIM_LASTS = timedelta(minutes=10)
"""How long a first upload reserves a name for its user while nothing is published. An owner that an
administrator has set stays until it is removed.
"""


@frozen
class ProjectOwner:
    """The account that owns a project (`Identity.account`), and since when. `is_claimed`: the first
    upload made it the owner; otherwise an administrator has set it.
    """

    account: str
    since: datetime
    is_claimed: bool = False

    @property
    def user(self) -> str:
        """The name of the user; the account may be gone."""
        return user_of_account(self.account)


def account_id(source: str, user: str, mark: str = "") -> str:
    """Return what identifies an account: its source, its name, and a mark that another account of
    the same name does not have, if the source has one.
    """
    return ":".join(part for part in (source, user, mark) if part)


def user_of_account(account: str) -> str:
    """Return the user name in the result of `account_id`; names have no colon."""
    return account.split(":")[1]


def owners_of(stored: Mapping[OwnerKey, ProjectOwner]) -> ProjectOwners:
    """Return the owners for the rules."""
    return ProjectOwners({key: owner.account for key, owner in stored.items()})

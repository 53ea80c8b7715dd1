"""The contents of the accounts database at one time, as one value, which all requests read. No I/O
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import TypeVar

from attrs import field, frozen

from pypid.core.accounts.rights import (
    Account,
    OwnerKey,
    ProjectOwner,
    Right,
    RightKey,
    Session,
    Token,
    sorted_rights,
)
from pypid.core.errors import BadRequest
from pypid.core.permissions import account_name, is_account_name

K = TypeVar("K")
V = TypeVar("V")

NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})
NO_GROUPS: frozenset[str] = frozenset()
KEPT = timedelta(days=30)
"""How long a token is still listed after its end."""


@frozen(kw_only=True)
class Patch:
    """The result of one or more changes: values by key, None for removed ones. `serial` is the last
    change's.
    """

    serial: int
    accounts: Mapping[str, Account | None] = field(factory=dict)
    members: Mapping[str, frozenset[str] | None] = field(factory=dict)
    rights: Mapping[RightKey, Right | None] = field(factory=dict)
    owners: Mapping[OwnerKey, ProjectOwner | None] = field(factory=dict)
    tokens: Mapping[str, Token | None] = field(factory=dict)
    """By id."""
    sessions: Mapping[str, Session | None] = field(factory=dict)
    """By digest."""


@frozen(kw_only=True, eq=False)
class AccountsState:
    """All users, groups, rights, tokens and sessions, after the change with this `serial`.

    What a change does not touch is the same object in the next state: ``new.rights is old.rights``
    if no right changed.
    """

    serial: int = 0
    id: int = 0
    """The random id of the database; 0 until a storage knows it."""
    accounts: Mapping[str, Account] = field(factory=dict)
    members: Mapping[str, frozenset[str]] = NOTHING
    """Members of each group."""
    groups: Mapping[str, frozenset[str]] = NOTHING
    """Groups of each user who is in any, with or without an account here."""
    by_right: Mapping[RightKey, Right] = field(factory=dict)
    owners: Mapping[OwnerKey, ProjectOwner] = field(factory=dict)
    by_id: Mapping[str, Token] = field(factory=dict)
    by_digest: Mapping[str, Token] = field(factory=dict)
    sessions: Mapping[str, Session] = field(factory=dict)
    users: Sequence[Account] = ()
    """By name."""
    rights: Sequence[Right] = ()
    """By project."""
    tokens: Sequence[Token] = ()
    """By the time they were made."""

    @property
    def hashes(self) -> list[str]:
        """Password hashes of all users, for `Verifier.resemble`."""
        return [account.hash for account in self.accounts.values() if account.hash]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that can close a project or let a user in."""
        held = self.accounts, self.members, self.by_right, self.owners, self.by_id
        return not any(held)

    def patched(self, patch: Patch) -> AccountsState:
        """Return the state with the patch applied. Takes some milliseconds with ten thousand of
        each: off the reactor thread.
        """
        by_id = _with(self.by_id, patch.tokens)
        accounts = _with(self.accounts, patch.accounts)
        members = _with(self.members, patch.members)
        by_right = _with(self.by_right, patch.rights)
        return AccountsState(
            serial=patch.serial,
            id=self.id,
            accounts=accounts,
            members=members,
            groups=self.groups if members is self.members else _by_user(members),
            by_right=by_right,
            owners=_with(self.owners, patch.owners),
            by_id=by_id,
            by_digest=self.by_digest
            if by_id is self.by_id
            else {token.digest: token for token in by_id.values()},
            sessions=_with(self.sessions, patch.sessions),
            users=self.users
            if accounts is self.accounts
            else tuple(sorted(accounts.values(), key=lambda account: account.name)),
            rights=self.rights if by_right is self.by_right else sorted_rights(by_right.values()),
            tokens=self.tokens
            if by_id is self.by_id
            else tuple(sorted(by_id.values(), key=lambda token: (token.created, token.id))),
        )


def _by_user(members: Mapping[str, frozenset[str]]) -> Mapping[str, frozenset[str]]:
    """Return the groups of each user who is in any."""
    groups: dict[str, set[str]] = {}
    for group, users in members.items():
        for user in users:
            groups.setdefault(user, set()).add(group)
    return {user: frozenset(names) for user, names in groups.items()}


def _with(held: Mapping[K, V], changed: Mapping[K, V | None]) -> Mapping[K, V]:
    if not changed:
        return held
    found = dict(held)
    for key, value in changed.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
    return found


# Texts that a database can store: PostgreSQL accepts no NUL, and no database accepts half a
# character.

LONGEST_NAME = 200
"""Characters of a user's or group's name."""
LONGEST = 1000
"""Characters of any other text; longer ones are cut."""


def storable(text: str, most: int = LONGEST) -> str:
    """Return the text, cut, and with U+FFFD in place of what cannot be stored."""
    return text[:most].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def is_name(name: str) -> bool:
    """Return whether a user or a group can have this name."""
    return is_account_name(name, LONGEST_NAME)


def new_name(name: str) -> str:
    """Return the name, if a new user or group can have it. Raises `BadRequest` with the reason."""
    if len(name) > LONGEST_NAME:
        raise BadRequest(f"a name of a user or group has at most {LONGEST_NAME} characters")
    try:
        return account_name(name)
    except ValueError as error:
        raise BadRequest(str(error)) from None

"""Where people are written down, and what they do: what the routes for people are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import DeferredLock

from pypid.core.accounts.entries import Token
from pypid.core.accounts.rights import Right
from pypid.core.permissions import Identity, Scope
from pypid.ports import Accounts, Downloads, Journal


class TokenFactory(Protocol):
    """Makes a token, and writes nothing down: its secret, to be shown once, and what is to be
    stored.
    """

    def __call__(
        self,
        *,
        name: str,
        user: str,
        scope: Scope,
        now: datetime,
        expires: datetime | None = None,
        publisher: bool = False,
    ) -> tuple[str, Token]: ...


@frozen(kw_only=True)
class Registry:
    """All that the routes for people need beside `Access`."""

    accounts: Accounts
    journal: Journal
    downloads: Downloads
    find: Callable[[str], Awaitable[Identity | None]]
    """Who a user is, whichever source knows them. Raises `PeopleUnknown`."""
    hash_password: Callable[[str], Awaitable[str]]
    """Off the reactor thread. Raises `BadRequest` for what cannot be a password, `Busy`."""
    new_token: TokenFactory
    configured: Callable[[], Configured]
    """What the configuration says of people now."""
    session_key: bytes = field(repr=False)
    """32 bytes, for digests of cookies, CSRF tokens and riddles."""
    turns: DeferredLock = field(factory=DeferredLock, eq=False, repr=False)
    """Held while somebody may cease to be an administrator: one at a time, so that one is left."""


@frozen(kw_only=True)
class Configured:
    """People whom the configuration names: they are changed there, and nobody else may take their
    names.
    """

    users: frozenset[str] = frozenset()
    """Of ``[users]``, and the first-run administrator."""
    groups: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    rights: tuple[Right, ...] = ()
    mentioned: frozenset[str] = frozenset()
    """All names of users that stand anywhere: in users, groups, admins, rules and rights."""
    members: Mapping[str, frozenset[str]] = field(factory=dict)
    """Of `groups`."""
    hashes: Mapping[str, str] = field(factory=dict, repr=False)
    """Of the passwords of `users`."""
    accounts_log_in: bool = True
    """Whether ``sql`` is listed in ``[access] backend``: else the users of the accounts database
    cannot log in.
    """

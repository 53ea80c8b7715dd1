"""The registry: accounts, audit log and download log, for the routes that manage users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import DeferredLock

from pypid.core.accounts.entries import Account, Token
from pypid.core.accounts.registration import AccountSettings
from pypid.core.accounts.rights import Right
from pypid.core.errors import PypidError
from pypid.core.permissions import Identity, Rules, Scope
from pypid.ports import Accounts, Downloads, Journal, Publishers


class TokenFactory(Protocol):
    """Makes a token without storing it: returns its secret, to be shown once, and the token to
    store.
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
    """Everything that the routes for users need in addition to `Access`."""

    accounts: Accounts
    journal: Journal
    downloads: Downloads
    find: Callable[[str], Awaitable[Identity | None]]
    """Returns the identity of a user from any source. Raises `PeopleUnknown`."""
    hash_password: Callable[[str], Awaitable[str]]
    """Hashes a password off the reactor thread. Raises `BadRequest` for an invalid password,
    `Busy`.
    """
    new_token: TokenFactory
    configured: Callable[[], Configured]
    """Returns what the configuration currently says of users."""
    session_key: bytes = field(repr=False)
    """32 bytes, for digests of cookies, CSRF tokens and captchas."""
    turns: DeferredLock = field(factory=DeferredLock, eq=False, repr=False)
    """Held while a user may lose administrator rights: one change at a time, so that one
    administrator remains.
    """


@frozen(kw_only=True)
class AccessState:
    """The users and rules of the accounts and the configuration. Replaced as a whole."""

    rules: Rules
    account_settings: AccountSettings
    closed: PypidError | None
    registry: Registry | None
    publishers: Publishers | None


@frozen(kw_only=True)
class Configured:
    """Users whom the configuration names: they are changed there, and their names are reserved."""

    users: frozenset[str] = frozenset()
    """Of ``[users]``, and the first-run administrator."""
    first_admin: Account | None = None
    """The first-run administrator, as the accounts database gets it at the first change."""
    groups: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    rights: tuple[Right, ...] = ()
    mentioned: frozenset[str] = frozenset()
    """All user names that occur anywhere: in users, groups, admins, rules and rights."""
    members: Mapping[str, frozenset[str]] = field(factory=dict)
    """The members of each of the `groups`."""
    hashes: Mapping[str, str] = field(factory=dict, repr=False)
    """The password hashes of `users`."""
    accounts_log_in: bool = True
    """Whether ``sql`` is listed in ``[access] backend``: else the users of the accounts database
    cannot log in.
    """

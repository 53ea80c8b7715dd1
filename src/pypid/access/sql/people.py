"""The users of the accounts database as a source of users, and its groups for users of others."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from pypid.access.passwords import WRONG, Verifier, hash_password, needs_upgrade
from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.state import NO_GROUPS, AccountsState
from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.errors import PypidError, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import World, start
from pypid.ports import People

_NOT_ACTIVE = {
    AccountStatus.PENDING: "This account waits for an administrator to approve it.",
    AccountStatus.DISABLED: "This account is disabled. Ask an administrator to enable it.",
}
"""Errors for users who gave the right password, and may not log in."""


class SqlPeople:
    """The `People` of the accounts database. `verifier` is shared with other sources.

    A hash of another kind than pypid makes is replaced after the login that proved the password, in
    the background.
    """

    _log = Logger()

    def __init__(
        self,
        accounts: SqlAccounts,
        verifier: Verifier,
        world: World,
    ) -> None:
        self._accounts = accounts
        self._verifier = verifier
        self._world = world
        self._upgrades: dict[str, Deferred[None]] = {}
        self._resembled: Mapping[str, Account] = {}
        accounts.current.on_change.append(self._resemble)

    def _resemble(self, state: AccountsState) -> None:
        """Let the verification of unknown users take as long as that of these."""
        if state.accounts is not self._resembled:
            self._resembled = state.accounts
            self._verifier.resemble(state.hashes, "sql")

    async def check(self, credential: Credential) -> Identity | None:
        user = credential.user
        account = self._accounts.current.state().accounts.get(user)
        if account is None:
            return None
        account = await self._proved(account, credential.password)
        if account.status is not AccountStatus.ACTIVE:
            raise Unauthenticated(_NOT_ACTIVE[account.status])
        self._upgrade(account, credential.password)
        return _identity(account, self._accounts.current.state().groups.get(user, NO_GROUPS))

    async def _proved(self, account: Account, password: str) -> Account:
        """Return the account as it is once its password is proved. Raises `Unauthenticated`, also
        if the account was removed meanwhile.
        """
        while True:
            if (
                not await self._verifier.check(account.name, password, account.hash or None)
                or not account.hash
            ):
                raise Unauthenticated(WRONG)
            now = self._accounts.current.state().accounts.get(account.name)
            if now is None:
                raise Unauthenticated(WRONG)
            if now.hash == account.hash:
                return now
            account = (
                now  # another password, or another hash of this one, came while it was verified
            )

    async def find(self, user: str) -> Identity | None:
        state = self._accounts.current.state()
        account = state.accounts.get(user)
        if account is None or account.status is not AccountStatus.ACTIVE:
            return None
        return _identity(account, state.groups.get(user, NO_GROUPS))

    async def groups(self, user: str) -> frozenset[str]:
        return self._accounts.current.state().groups.get(user, NO_GROUPS)

    def _upgrade(self, account: Account, password: str) -> None:
        if account.name in self._upgrades or not needs_upgrade(account.hash):
            return
        done = start(self._upgraded(account, password))
        if not done.called:
            self._upgrades[account.name] = done
            done.addCallback(lambda _: self._forget(account.name))

    async def _upgraded(self, account: Account, password: str) -> None:
        try:
            better = await self._world.blocking(hash_password, password)
            await self._accounts.rehash(account.name, account.hash, better)
        except PypidError as error:
            message = (
                "The password hash of {user!r} could not be replaced by a better one; the old one "
                "is still used: {error}"
            )
            self._log.warn(message, user=account.name, error=error)

    async def close(self) -> None:
        """Wait for the upgrades of hashes in the background."""
        await gatherResults(list(self._upgrades.values()))

    def _forget(self, user: str) -> None:
        del self._upgrades[user]


def _identity(account: Account, groups: frozenset[str]) -> Identity:
    return Identity(account.name, groups, account.admin, account=account.id)


@frozen
class GroupsOnly:
    """A source without users, which puts users of other sources into groups: for an index whose
    accounts may not log in.
    """

    accounts: SqlAccounts

    async def check(self, credential: Credential) -> Identity | None:
        """Return None: this source has no users."""
        return None

    async def find(self, user: str) -> Identity | None:
        """Return None: this source has no users."""
        return None

    async def groups(self, user: str) -> frozenset[str]:
        """Return the groups that have the user as a member. Raises `PeopleUnknown`."""
        return self.accounts.current.state().groups.get(user, NO_GROUPS)


_: tuple[type[People], ...] = (SqlPeople, GroupsOnly)

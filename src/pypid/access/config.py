"""Users from the configuration's ``[users]``, and the first-run admin."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from attrs import evolve, field, frozen
from twisted.logger import Logger

from pypid.access.first_admin import RECORD, AdminRecord, read_admin, replace_admin
from pypid.access.passwords import WRONG, Verifier, hash_password, needs_upgrade
from pypid.core.accounts.entries import Account
from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import World, shielded
from pypid.ports import People


@frozen(kw_only=True)
class UsersSettings:
    """``[users]`` and ``[groups]``. Names are compared exactly. (``[access] admins`` concern all
    sources: see `AccessChain`.)

    `users`: name to password hash; `groups`: name to members, of this source or any other; `state`:
    the folder that may hold the first-run admin.
    """

    users: Mapping[str, str] = field(repr=False)
    state: Path
    groups: Mapping[str, frozenset[str]] = field(factory=dict)


@frozen
class _ConfiguredUsers:
    """All users of the configuration who can log in, at one time."""

    settings: UsersSettings
    first: AdminRecord | None
    groups: Mapping[str, frozenset[str]] = field(init=False)
    """Group names by member."""

    @groups.default
    def _by_member(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for group, members in self.settings.groups.items():
            for member in members:
                found.setdefault(member, set()).add(group)
        return {member: frozenset(groups) for member, groups in found.items()}

    def stored(self, user: str) -> str | None:
        if self.is_first(user):
            return self.first.hash if self.first else None
        return self.settings.users.get(user)

    def is_first(self, user: str) -> bool:
        """Return whether this is the first-run admin. The configuration comes first: a user of that
        name in it is another person.
        """
        return (
            self.first is not None and user == self.first.user and user not in self.settings.users
        )

    def is_new(self, user: str) -> bool:
        """Return whether this is the first-run admin, who has not logged in before."""
        return self.first is not None and self.is_first(user) and not self.first.used

    def identity(self, user: str) -> Identity:
        return Identity(user, self.groups.get(user, frozenset()), self.is_first(user))

    def hashes(self) -> list[str]:
        first = [self.first.hash] if self.first and self.is_first(self.first.user) else []
        return [*self.settings.users.values(), *first]


class ConfigPeople:
    """The `People` of the configuration file, with the first-run admin.

    Hashes in the file are read-only: one that is not argon2id with the current parameters is
    verified, and the log advises, once for each user, to create a new one. The first-run admin's
    hash is upgraded in place at a login; the first login is noted there.
    """

    _log = Logger()

    def __init__(
        self,
        settings: UsersSettings,
        world: World,
        verifier: Verifier,
        first: AdminRecord | None = None,
    ) -> None:
        """`first` is the first-run admin, as read by `read_admin`."""
        self._world = world
        self._verifier = verifier
        self._advised: set[str] = set()
        self._upgrading = False
        self._use(_ConfiguredUsers(settings, first))

    async def check(self, credential: Credential) -> Identity | None:
        """Return the identity that the credential proves, or None for an unknown user. Raises
        `Unauthenticated` for a wrong password.
        """
        users = self._users
        stored = users.stored(credential.user)
        if stored is None:
            return None
        if not await self._verifier.check(credential.user, credential.password, stored):
            raise Unauthenticated(WRONG)
        if credential.user not in self._advised and (
            needs_upgrade(stored) or users.is_new(credential.user)
        ):
            await self._renew(users, credential)
        return users.identity(credential.user)

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity without any proof, or None for an unknown user."""
        return None if self._users.stored(user) is None else self._users.identity(user)

    async def groups(self, user: str) -> frozenset[str]:
        """Return the user's groups in ``[groups]``, which may list users of every source."""
        return self._users.groups.get(user, frozenset())

    @property
    def first(self) -> AdminRecord | None:
        """The first-run admin, if this source has it: not once the accounts database does."""
        first = self._users.first
        return first if first is not None and self._users.is_first(first.user) else None

    def leave_first(self, accounts: Mapping[str, Account]) -> AdminRecord | None:
        """Leave the first-run admin to the accounts database if it has the account; return it then,
        once.
        """
        first = self._users.first
        if first is None or not first.is_in(accounts):
            return None
        self._use(evolve(self._users, first=None))
        return first

    async def reload(self, settings: UsersSettings) -> None:
        """Replace the users by these, and read the first-run admin in `state` again.

        Raises `Unreadable` for a damaged record, and then nothing changes.
        """
        self._use(
            _ConfiguredUsers(settings, await self._world.blocking(read_admin, settings.state))
        )

    def _use(self, users: _ConfiguredUsers) -> None:
        if users.first is not None and users.first.moved:
            users = evolve(users, first=None)
        self._users = users
        self._verifier.resemble(users.hashes(), "config")
        if users.first and not users.is_first(users.first.user):
            self._log.warn(
                "[users] has a user {user!r}, so the administrator made at the first run "
                "({record}) is not used. List {user!r} in [access] admins if that user has to be "
                "an administrator, and delete the record.",
                user=users.first.user,
                record=str(users.settings.state / RECORD),
            )

    async def _renew(self, users: _ConfiguredUsers, credential: Credential) -> None:
        if not users.is_first(credential.user):
            self._advised.add(credential.user)
            self._log.info(
                "The password hash of the user {user!r} in [users] is not of the kind that pypid "
                "makes now. It works; better make a new one with `pypid gen-password` and put it "
                "into the configuration.",
                user=credential.user,
            )
        elif users.first and not self._upgrading:
            await shielded(self._upgrade(users.settings.state, users.first, credential.password))

    async def _upgrade(self, state: Path, first: AdminRecord, password: str) -> None:
        self._upgrading = True
        try:
            kept = await self._world.blocking(partial(_rehash, state, first, password))
        except Exception:
            self._advised.add(first.user)  # once is enough; the old hash is still good
            self._log.failure(
                "The login of the first-run administrator could not be noted; the record is "
                "still used as it was"
            )
            return
        finally:
            self._upgrading = False
        if kept is not None and self._users.first == first:
            self._use(evolve(self._users, first=kept))


def _rehash(state: Path, first: AdminRecord, password: str) -> AdminRecord | None:
    hash = hash_password(password) if needs_upgrade(first.hash) else first.hash
    return replace_admin(state, first, evolve(first, hash=hash, used=True))


def open(settings: UsersSettings, world: World, verifier: Verifier) -> ConfigPeople:
    """Return the source, with the first-run admin if there is one. Reads a file: call it before the
    reactor runs.

    Raises `Unreadable` for a damaged ``admin.json``.
    """
    return ConfigPeople(settings, world, verifier, read_admin(settings.state))


_: type[People] = ConfigPeople

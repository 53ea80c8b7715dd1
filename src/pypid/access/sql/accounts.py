"""`SqlAccounts`: users, groups, rights, tokens and sessions, written to the database and read from
memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from pypid.access.sql.current_accounts import NAME, CurrentAccounts
from pypid.access.sql.database import Database
from pypid.access.sql.state import KEPT, AccountsState
from pypid.access.sql.texts import LONGEST_NAME, is_name, new_name, storable
from pypid.core.accounts.entries import Account, Session, Token
from pypid.core.accounts.owners import OwnerKey, ProjectOwner
from pypid.core.accounts.rights import NAMED, Right, Whom
from pypid.core.errors import (
    BadRequest,
    NoSuchGroup,
    NoSuchToken,
    NoSuchUser,
    PeopleUnknown,
    PypidError,
)
from pypid.core.packaging.globs import ProjectPattern
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.flow import World, shielded
from pypid.ports import Accounts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pypid.access.sql.changes import AccountsWriter
    from pypid.core.accounts.acl_dump import Dump
    from pypid.core.accounts.acl_merge import Merged

T = TypeVar("T")


class SqlAccounts:
    """`Accounts` in a database. Besides the errors of that protocol it raises `BadRequest` for a
    bad name, and `StorageFull` for a full disk.
    """

    def __init__(self, database: Database, world: World) -> None:
        """`current` is the state in force: its `on_change` is called at every change, its `known`
        holds the rights.
        """
        self.current = CurrentAccounts(database, world)
        self._note: Callable[[Collection[ProjectPattern]], Awaitable[object]] = _nothing
        self._forget: Callable[[ProjectPattern], Awaitable[object]] = _nothing
        self._forget_owners: Callable[[Collection[OwnerKey]], Awaitable[object]] = _nothing
        self._note_owner: Callable[[OwnerKey], Awaitable[object]] = _nothing
        self._world = world
        self._uses: dict[str, tuple[datetime, str]] = {}

    def before_change(
        self,
        note: Callable[[Collection[ProjectPattern]], Awaitable[object]],
        forget: Callable[[ProjectPattern], Awaitable[object]],
        forget_owners: Callable[[Collection[OwnerKey]], Awaitable[object]],
        note_owner: Callable[[OwnerKey], Awaitable[object]],
    ) -> None:
        """Await `note` before each change of users, groups, rights, owners or tokens, with the
        projects that get rights; `forget` before a project is opened; `forget_owners` before owners
        are removed. They may refuse it by raising. Await `note_owner` after an owner is stored.
        """
        self._note, self._forget = note, forget
        self._forget_owners, self._note_owner = forget_owners, note_owner

    async def _change(
        self, work: Callable[[AccountsWriter], T], closing: Collection[ProjectPattern] = ()
    ) -> T:
        await self._note(closing)
        try:
            done = await self.current.change(work)
        except BadRequest:  # an import that is refused closes nothing
            for project in set(closing) - self._named():
                await self._forget(project)
            raise
        if closing:  # another node may have opened one in between
            await self._note(closing)
        return done

    def _named(self) -> set[ProjectPattern]:
        """Return the projects and globs that have rights."""
        return {right.project for right in self.current.known.rights}

    # --- users ---

    async def users(self) -> Sequence[Account]:
        return self.current.state().users

    async def user(self, name: str) -> Account:
        found = self.current.state().accounts.get(name)
        if found is None:
            raise NoSuchUser(name)
        return found

    async def add_user(self, account: Account) -> None:
        new_name(account.name)
        cleaned = evolve(account, hash=storable(account.hash))
        await self._change(lambda writing: writing.add_user(cleaned))

    async def take_over(self, account: Account) -> None:
        cleaned = evolve(account, hash=storable(account.hash))
        await self._change(lambda writing: writing.take_over(cleaned))

    async def edit_user(self, name: str, change: Callable[[Account], Account]) -> Account:
        if not is_name(name):
            raise NoSuchUser(name)
        return await self._change(lambda writing: writing.edit_user(name, change))

    async def remove_user(self, name: str) -> None:
        if not is_name(name):
            raise NoSuchUser(name)
        await self._change(lambda writing: writing.remove_user(name))

    async def rehash(self, name: str, old: str, new: str) -> None:
        """Replace the `old` hash by another one of the same password, if it is still stored; no
        session ends by it.
        """
        await self._change(lambda writing: writing.rehash(name, old, new))

    # --- groups and rights ---

    async def memberships(self) -> Mapping[str, frozenset[str]]:
        return self.current.state().members

    async def add_group(self, name: str) -> None:
        new_name(name)
        await self._change(lambda writing: writing.add_group(name))

    async def remove_group(self, name: str) -> None:
        if not is_name(name):
            raise NoSuchGroup(name)
        await self._change(lambda writing: writing.remove_group(name))

    async def join(self, group: str, user: str) -> None:
        if not is_name(group):
            raise NoSuchGroup(group)
        new_name(user)
        await self._change(lambda writing: writing.join(group, user))

    async def leave(self, group: str, user: str) -> None:
        if not is_name(group) or (not is_name(user) and group not in self.current.state().members):
            raise NoSuchGroup(group)
        if is_name(user):
            await self._change(lambda writing: writing.leave(group, user))

    async def rights(self) -> Sequence[Right]:
        return self.current.state().rights

    async def grant(self, right: Right) -> None:
        if right.whom in NAMED:
            new_name(right.name)
        elif right.name:
            raise BadRequest(f"a right of {right.whom.value} has no name")
        await self._change(lambda writing: writing.grant(right), (right.project,))

    async def withdraw(self, project: ProjectPattern, whom: Whom, name: str) -> None:
        if not (is_name(name) if whom in NAMED else not name):
            return
        if whom is Whom.ADMINS:
            await self._forget(project)
        try:
            await self._change(lambda writing: writing.withdraw(project, whom, name))
        finally:  # it has other rights, or still this one
            if whom is Whom.ADMINS and project in self._named():
                await self._note((project,))

    async def close_projects(self, projects: Collection[ProjectPattern]) -> list[ProjectPattern]:
        """Leave to administrators the projects that have no rights; return these."""
        return await self._change(lambda writing: writing.close_projects(projects))

    async def owners(self) -> Mapping[OwnerKey, ProjectOwner]:
        return self.current.state().owners

    async def claim(self, key: OwnerKey, account: str) -> str:
        if not account:
            await self._forget_owners((key,))
        owner = await self._change(lambda writing: writing.owners.claim(key, account))
        if owner:  # nothing is published before the storage names it
            await self._note_owner(key)
        return owner

    async def set_owner(self, key: OwnerKey, account: str | None) -> None:
        if account is None:
            await self._forget_owners((key,))
        if account is not None or key in self.current.state().owners:
            await self._change(lambda writing: writing.owners.set(key, account))
        if account is not None:
            await self._note_owner(key)

    async def give_back(self, lost: Mapping[OwnerKey, ProjectOwner]) -> None:
        """Store the owners of those projects that have none."""
        await self._change(lambda writing: writing.owners.give_back(lost))

    async def remove_owners(self, index: str) -> None:
        if owned := [key for key in self.current.state().owners if key[0] == index]:
            await self._forget_owners(owned)
            await self._change(lambda writing: writing.owners.remove_all(index))

    # --- users of other systems ---

    async def merge(self, dump: Dump) -> Merged:
        return await self._change(lambda writing: writing.merge(dump), _closed_by(dump))

    async def inherit(self, dump: Dump) -> Merged | None:
        """Merge the dump (see `merge`) if there are no users yet and nothing was ever inherited;
        else return None, and change nothing.
        """
        return await self._change(
            lambda writing: writing.inherit(dump, _INHERITED), _closed_by(dump)
        )

    async def may_inherit(self) -> bool:
        """Return whether `inherit` would merge. Raises `PeopleUnknown`."""
        if not self.current.is_there():
            return True
        try:
            return await self.current.database.read("accounts", _may_inherit)
        except (DatabaseAway, DatabaseUnusable):
            raise PeopleUnknown(NAME) from None

    async def has_inherited(self) -> bool:
        """Return whether `inherit` has merged a dump at some time. Raises `PeopleUnknown`."""
        if not self.current.is_there():
            return False
        try:
            return await self.current.database.read("accounts", _has_inherited)
        except (DatabaseAway, DatabaseUnusable):
            raise PeopleUnknown(NAME) from None

    # --- tokens ---

    async def tokens(self, user: str | None = None) -> Sequence[Token]:
        held = self.current.state().tokens
        return [self._with_use(token) for token in held if user is None or token.user == user]

    def _with_use(self, token: Token) -> Token:
        used = self._uses.get(token.id)
        return token if used is None else evolve(token, used=used[0], used_from=used[1])

    async def token(self, digest: str) -> Token | None:
        found = self.current.state().by_digest.get(digest)
        if (
            found is None
            or found.revoked is not None
            or (found.expires is not None and found.expires <= self._world.now())
        ):
            return None
        return found

    def token_used(self, id: str, address: str) -> None:
        if id in self.current.known.by_id:
            self._uses[id] = self._world.now(), storable(address, LONGEST_NAME)

    async def add_token(self, token: Token) -> None:
        cleaned = evolve(
            token,
            name=storable(token.name),
            user=storable(token.user),
            used_from=storable(token.used_from),
        )
        await self._change(lambda writing: writing.add_token(cleaned))

    async def revoke_token(self, id: str) -> Token:
        if not is_name(id):
            raise NoSuchToken(id)
        return self._with_use(await self._change(lambda writing: writing.revoke_token(id)))

    # --- sessions ---

    async def session(self, digest: str) -> Session | None:
        found = self.current.state().sessions.get(digest)
        return None if found is None or found.expires <= self._world.now() else found

    async def add_session(self, session: Session) -> None:
        cleaned = evolve(session, address=storable(session.address, LONGEST_NAME))
        await self.current.change(lambda writing: writing.add_session(cleaned))

    async def end_session(self, digest: str) -> None:
        if is_name(digest):
            await self.current.change(lambda writing: writing.end_session(digest))

    async def once(self, kind: str, value: str, until: datetime) -> bool:
        return await self.current.use_once(_digest(kind, value), until)

    # --- from time to time ---

    async def open(self) -> None:
        """Read the database, if there is one: call it at every start. Raises `CannotStart` (see
        `Current.open`).
        """
        await self.current.open()

    async def refresh(self) -> None:
        await self.current.refresh()

    async def poll(self) -> None:
        """Look for changes by other nodes: call it every `current.POLL` seconds. Never fails."""
        await self.current.poll()

    async def tend(self) -> None:
        """Store which tokens were used, and remove what has ended long enough ago. Call it each
        minute.

        What fails is done the next time.
        """
        await shielded(self._tend())

    async def _tend(self) -> None:
        state, now = self.current.known, self._world.now()
        if not self.current.is_open:
            return
        uses, self._uses = self._uses, {}
        if uses or _has_ended(state, now):

            def work(writing: AccountsWriter) -> None:
                writing.tokens_used(uses)
                writing.sweep()

            try:
                await self.current.change(work)
            except PypidError:  # it is logged already
                self._uses = {**uses, **self._uses}
                return
        await self.current.forget()

    async def close(self) -> None:
        """Store what is only in memory. (The database is closed by the code that opened it.)"""
        if self._uses:
            await self.tend()


async def _nothing(_: object) -> None:
    """Do nothing: there is no storage that has notes on the accounts."""


def _digest(kind: str, value: str) -> str:
    return blake2b(f"{kind}\0{value}".encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _closed_by(dump: Dump) -> set[ProjectPattern]:
    return {right.project for right in dump.rights}


_INHERITED = _digest("inherited", "pypicloud")
"""The mark in the database, which stays with the database when it is moved."""


def _may_inherit(connection: Connection) -> bool:
    from pypid.access.sql.import_people import is_empty, is_marked

    return is_empty(connection) and not is_marked(connection, _INHERITED)


def _has_inherited(connection: Connection) -> bool:
    from pypid.access.sql.import_people import is_marked

    return is_marked(connection, _INHERITED)


def _has_ended(state: AccountsState, now: datetime) -> bool:
    """Return whether a sweep would probably find something."""
    if any(session.expires <= now for session in state.sessions.values()):
        return True
    ends = (
        end for token in state.tokens for end in (token.expires, token.revoked) if end is not None
    )
    return any(end <= now - KEPT for end in ends)


_: type[Accounts] = SqlAccounts

"""Accounts in a database: users, groups, rights, tokens and sessions, written to the database and
read from memory; and the source of users made of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, gatherResults
from twisted.logger import Logger

from pypid.access.passwords import WRONG, Verifier, hash_password, needs_upgrade
from pypid.core.accounts.rights import (
    NAMED,
    Account,
    AccountStatus,
    OwnerKey,
    ProjectOwner,
    Right,
    Session,
    Token,
    Whom,
)
from pypid.core.errors import (
    BadRequest,
    Busy,
    CannotStart,
    NoSuchGroup,
    NoSuchToken,
    NoSuchUser,
    PeopleUnknown,
    PypidError,
    Unauthenticated,
)
from pypid.core.packaging.names import ProjectPattern
from pypid.core.permissions import Credential, Identity
from pypid.database.account_state import (
    KEPT,
    LONGEST_NAME,
    NO_GROUPS,
    AccountsState,
    is_name,
    new_name,
    storable,
)
from pypid.database.database import Database
from pypid.database.places import DatabaseAway, DatabaseUnusable, Server
from pypid.flow import World, shielded, start
from pypid.flow.derived import Flights

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pypid.core.accounts.acl import Dump, Merged
    from pypid.database.account_changes import AccountsWriter


# The current state of the accounts: replaced with each change by this or another node; unknown
# while the database is unavailable.
#
# The order is always the same: first the database, durably, and then memory. Changes follow one
# another.

T = TypeVar("T")

NAME = "the accounts database"
PART = "accounts"
POLL = 1.0
"""Seconds between two checks whether another node has changed something, and whether the database
is still available.
"""
CONTACT = 5.0
"""Seconds without an answer of a server after which its last answer is no longer valid."""
PATIENCE = 2.0
"""Seconds that a login waits for a server that does not answer."""
PAUSE = 1.0
"""Seconds after a failure in which no further change waits for the same failure."""
MOST_WAITING = 200
_FORGET = timedelta(minutes=10)
_NOBODY = AccountsState()
FOR_EVER = float("inf")


@frozen
class _Since:
    """An outage: since when (seconds of the clock), and why."""

    when: float
    reason: str = field(repr=False)


class CurrentAccounts:
    """The current contents of the accounts database.

    Each of `on_change` is called with each new state, on the reactor thread, and awaited before the
    change is reported as done. An exception of one is logged, and the others are called.
    """

    _log = Logger()

    def __init__(self, database: Database, world: World) -> None:
        self.database = database
        self.on_change: list[Callable[[AccountsState], Awaitable[object] | None]] = []
        self.on_contact: list[Callable[[], object]] = []
        """Called whenever `until` may have changed."""
        self.on_write: list[Callable[[], object]] = []
        """Called when this process has changed something itself: other nodes look sooner if they
        are notified.
        """
        self._world = world
        self._state: AccountsState | None = None
        self._is_empty = False
        self.last_contact = 0.0
        """When the last completed look at it began, on the clock."""
        self._failed: _Since | None = None
        self._required: tuple[int, str] | None = None
        self._last_sweep: float | None = None
        self._turn = DeferredLock()
        self._reads: Flights[None, bool] = Flights()

    @property
    def known(self) -> AccountsState:
        """The last known state, also while the database is unavailable: for rules, which must not
        become laxer then.
        """
        return self._state or _NOBODY

    @property
    def is_open(self) -> bool:
        """Whether anything was ever read from it."""
        return self._state is not None

    def is_there(self) -> bool:
        """Return whether there is a database; for a server always True."""
        return self.database.is_there()

    def state(self) -> AccountsState:
        """Return the current state. Raises `PeopleUnknown` if it is not certain."""
        if self._is_unknown():
            raise PeopleUnknown(NAME)
        return self.known

    @property
    def until(self) -> float:
        """Until when, on the clock, the last known state is certain without another answer."""
        if isinstance(self.database.place, Server):
            return self.last_contact + CONTACT
        return 0.0 if self._failed is not None else FOR_EVER

    def _is_unknown(self) -> bool:
        if isinstance(self.database.place, Server):  # it may have been changed by another node
            return self._state is None or self._world.clock.seconds() - self.last_contact > CONTACT
        if self._state is None:
            return not self._is_empty
        return self._failed is not None

    # --- reading ---

    async def open(self) -> None:
        """Read the database, if there is one; call this at every start, before or after the reactor
        runs.

        Raises `CannotStart`, with advice, if it is damaged, of a newer version, another one than
        `require` says, or a file that cannot be read. A server that does not answer is asked again
        by `poll`; until then all its users are unknown.
        """
        with suppress(DatabaseAway):
            await self._read_in_turn(starts=True)

    def require(self, id: int, advice: str) -> None:
        """Accept only the accounts with this id from now on: those of a storage. `advice`: what to
        do where there are others, or none.
        """
        self._required = id, advice

    @property
    def is_required(self) -> bool:
        """Whether `require` was called."""
        return self._required is not None

    async def identify(self, id: int) -> int:
        """Return the id of the accounts, which is `id` from now on if they had none. Raises as
        `change`.
        """

        def work(connection: Connection) -> int:
            from pypid.database.account_changes import identify

            return identify(connection, id)

        return await shielded(self._in_turn(partial(_followed, work)))

    async def refresh(self) -> None:
        """Read the current state now. Raises `PeopleUnknown` if that fails, for a server within
        `PATIENCE`.
        """
        reading = start(self._refresh(self._world.clock.seconds()))
        if isinstance(
            self.database.place, Server
        ):  # it may accept connections and not answer; the look itself goes on
            reading.addTimeout(PATIENCE, self._world.clock)
        try:
            is_read = await reading
        except TimeoutError:
            is_read = False
        if not is_read:
            raise PeopleUnknown(NAME)

    async def _refresh(self, since: float) -> bool:
        is_read = await shielded(self._reads.single(None, self._try_read))
        if (
            is_read and self.last_contact < since
        ):  # an earlier caller's look, which may have missed the latest change
            return await shielded(self._reads.single(None, self._try_read))
        return is_read

    async def _try_read(self) -> bool:
        try:
            await self._read_in_turn()
        except (DatabaseAway, DatabaseUnusable):
            return False
        return True

    def distrust(self) -> None:
        """Distrust the last known state, however fresh: a change may have been missed, and a look
        at the database has failed.
        """
        if isinstance(self.database.place, Server):
            self.last_contact = float("-inf")
            self._notify_contact()

    async def poll(self) -> None:
        """Look for changes by other nodes, and whether the database is available again. Call it
        every `POLL` seconds.

        Each new failure is logged once.
        """
        await shielded(self._try_read())

    async def _read_in_turn(self, *, starts: bool = False) -> None:
        await self._turn.acquire()
        try:
            await self._read_now(starts=starts)
        finally:
            self._turn.release()

    async def _read_now(self, *, starts: bool = False) -> None:
        began = self._world.clock.seconds()
        try:
            if self._state is None and not self.database.is_there():
                self._check(_NOBODY)
                self._is_empty, self.last_contact = True, began
                self._notify_contact()
                return
            state = await self.database.read(PART, partial(_read, self._trusted))
            self._check(state)
        except (DatabaseAway, DatabaseUnusable) as error:
            away = isinstance(error, DatabaseAway) and isinstance(self.database.place, Server)
            if starts and not away:
                raise CannotStart(f"The accounts database cannot be used: {error}") from None
            self._fail(error)
            raise
        await self._accept(state, began)

    def _check(self, state: AccountsState) -> None:
        """Raise `DatabaseUnusable` if these are not the accounts that `require` names."""
        if self._required is not None and state.id != self._required[0]:
            raise DatabaseUnusable(self._required[1])

    @property
    def _trusted(self) -> AccountsState | None:
        """The state, if later changes can be added to it: not if the database may have been
        replaced meanwhile.
        """
        return None if self._failed else self._state

    async def _accept(self, state: AccountsState, began: float) -> None:
        self.last_contact = began
        if self._failed is not None:
            self._log.info("The accounts database can be used again.")
        self._failed = None
        if state is not self._state:
            await self._replace(state)
        self._notify_contact()

    async def _replace(self, state: AccountsState) -> None:
        self._state = state
        for callback in list(self.on_change):
            try:
                following = callback(state)
                if following is not None:
                    await following
            except Exception:
                self._log.failure("handling a change of the accounts failed")

    def _fail(self, error: DatabaseAway | DatabaseUnusable) -> None:
        if self._failed is None or self._failed.reason != str(error):
            self._log.error(
                "The accounts database cannot be used, which is tried again each second: {error}",
                error=str(error),
            )
        self._failed = _Since(self._world.clock.seconds(), str(error))
        self._notify_contact()

    def _notify_contact(self) -> None:
        for callback in self.on_contact:
            callback()

    # --- changing ---

    async def change(self, work: Callable[[AccountsWriter], T]) -> T:
        """Apply `work` in the database, and then in memory; return its result.

        Goes on if the caller is cancelled. Raises what `work` raises, `PeopleUnknown`,
        `StorageFull`, `Busy`.
        """
        now = self._world.now()

        def job(trusted: AccountsState | None, connection: Connection) -> tuple[T, AccountsState]:
            from pypid.database.account_changes import change

            return change(connection, trusted, now, work)

        done = await shielded(self._in_turn(job))
        for callback in self.on_write:
            callback()
        return done

    async def use_once(self, digest: str, until: datetime) -> bool:
        """Return whether the digest was not used before, and store it. Raises as `change`."""
        now = self._world.now()

        def work(connection: Connection) -> bool:
            from pypid.database.account_changes import use_once

            return use_once(connection, digest, until, now)

        return await shielded(self._in_turn(partial(_followed, work)))

    async def forget(self) -> None:
        """Remove obsolete entries, at most every ten minutes. A failure is logged."""
        now, seconds = self._world.now(), self._world.clock.seconds()
        if self._state is None or (
            self._last_sweep is not None and seconds < self._last_sweep + _FORGET.total_seconds()
        ):
            return

        def work(connection: Connection) -> None:
            from pypid.database.account_changes import forget

            forget(connection, now)

        self._last_sweep = seconds
        with suppress(PypidError):
            await shielded(self._in_turn(partial(_followed, work)))

    async def _in_turn(
        self, job: Callable[[AccountsState | None, Connection], tuple[T, AccountsState]]
    ) -> T:
        """Return the result of `job`, which also returns the state after it."""
        if len(self._turn.waiting) >= MOST_WAITING:
            raise Busy("Too many changes of the accounts wait for each other.")
        await self._turn.acquire()
        try:
            began = self._world.clock.seconds()
            if self._failed is not None and began - self._failed.when < PAUSE:
                raise PeopleUnknown(NAME)
            done, state = await self.database.write(PART, partial(job, self._trusted))
            self._check(state)
            await self._accept(state, began)
            return done
        except (DatabaseAway, DatabaseUnusable) as error:
            await self._failed_to_change(error)
            raise PeopleUnknown(NAME) from None
        finally:
            self._turn.release()

    async def _failed_to_change(self, error: DatabaseAway | DatabaseUnusable) -> None:
        """Note the failure; it is unknown whether the change is stored, so a file is read again at
        once.
        """
        self._fail(error)
        if not isinstance(self.database.place, Server):  # perhaps another process only locked it
            try:
                await self._read_now()
            except (DatabaseAway, DatabaseUnusable):
                return


def _read(before: AccountsState | None, connection: Connection) -> AccountsState:
    from pypid.database.account_rows import follow

    return follow(connection, before)


def _followed(
    work: Callable[[Connection], T], before: AccountsState | None, connection: Connection
) -> tuple[T, AccountsState]:
    return work(connection), _read(before, connection)


class SqlAccounts:
    """Users, groups, rights, tokens and sessions in a database. An awaited change is durable.

    Everything that reads or writes raises `PeopleUnknown` where the database is unavailable, and
    then nothing has changed. Changes raise `BadRequest` for a bad name, and `StorageFull` for a
    full disk.
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
        """Return all users, by name."""
        return self.current.state().users

    async def user(self, name: str) -> Account:
        """Return one user. Raises `NoSuchUser`."""
        found = self.current.state().accounts.get(name)
        if found is None:
            raise NoSuchUser(name)
        return found

    async def add_user(self, account: Account) -> None:
        """Add a user. Tokens and sessions that the name still has end: they are another person's.
        Raises `NameTaken`.
        """
        new_name(account.name)
        cleaned = evolve(account, hash=storable(account.hash))
        await self._change(lambda writing: writing.add_user(cleaned))

    async def take_over(self, account: Account) -> None:
        """Store the account of a user whom the configuration had: its tokens and sessions go on,
        and it stays the owner of its projects. It replaces another account of the name.
        """
        cleaned = evolve(account, hash=storable(account.hash))
        await self._change(lambda writing: writing.take_over(cleaned))

    async def edit_user(self, name: str, change: Callable[[Account], Account]) -> Account:
        """Replace the account by the result of `change`, as one step; return the new account.
        Raises `NoSuchUser`.

        With another hash, or a status other than active, the user's sessions end; the tokens end
        with a status other than active.
        """
        if not is_name(name):
            raise NoSuchUser(name)
        return await self._change(lambda writing: writing.edit_user(name, change))

    async def remove_user(self, name: str) -> None:
        """Remove the user, with its tokens, sessions, rights, memberships and ownerships. Raises
        `NoSuchUser`.
        """
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
        """Return the members of each group, by the group's name."""
        return self.current.state().members

    async def add_group(self, name: str) -> None:
        """Add an empty group. Raises `NameTaken`."""
        new_name(name)
        await self._change(lambda writing: writing.add_group(name))

    async def remove_group(self, name: str) -> None:
        """Remove the group, with its rights. Raises `NoSuchGroup`."""
        if not is_name(name):
            raise NoSuchGroup(name)
        await self._change(lambda writing: writing.remove_group(name))

    async def join(self, group: str, user: str) -> None:
        """Add the user to the group; do nothing for a member. The user may be known elsewhere only.
        Raises `NoSuchGroup`.
        """
        if not is_name(group):
            raise NoSuchGroup(group)
        new_name(user)
        await self._change(lambda writing: writing.join(group, user))

    async def leave(self, group: str, user: str) -> None:
        """Remove the user from the group. Raises `NoSuchGroup`."""
        if not is_name(group) or (not is_name(user) and group not in self.current.state().members):
            raise NoSuchGroup(group)
        if is_name(user):
            await self._change(lambda writing: writing.leave(group, user))

    async def rights(self) -> Sequence[Right]:
        """Return all rights, by project."""
        return self.current.state().rights

    async def grant(self, right: Right) -> None:
        """Grant the right, in place of another one of the same project, kind and name."""
        if right.whom in NAMED:
            new_name(right.name)
        elif right.name:
            raise BadRequest(f"a right of {right.whom.value} has no name")
        await self._change(lambda writing: writing.grant(right), (right.project,))

    async def withdraw(self, project: ProjectPattern, whom: Whom, name: str) -> None:
        """Remove the right; do nothing if it does not exist."""
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
        """Return the owners of projects."""
        return self.current.state().owners

    async def claim(self, key: OwnerKey, account: str) -> str:
        """Make the account the owner of a project of which nothing is published; return the account
        that owns it then. An earlier claim of another account is valid for `CLAIM_LASTS`, an owner
        set by `set_owner` always. An empty account cannot own a project; it only ends an earlier
        claim that is no longer valid.
        """
        if not account:
            await self._forget_owners((key,))
        owner = await self._change(lambda writing: writing.claim_owner(key, account))
        if owner:  # nothing is published before the storage names it
            await self._note_owner(key)
        return owner

    async def set_owner(self, key: OwnerKey, account: str | None) -> None:
        """Store the owner of a project in place of another one; None: it has no owner."""
        if account is None:
            await self._forget_owners((key,))
        if account is not None or key in self.current.state().owners:
            await self._change(lambda writing: writing.set_owner(key, account))
        if account is not None:
            await self._note_owner(key)

    async def give_back(self, lost: Mapping[OwnerKey, ProjectOwner]) -> None:
        """Store the owners of those projects that have none."""
        await self._change(lambda writing: writing.give_back_owners(lost))

    async def remove_owners(self, index: str) -> None:
        """Remove the owners of all projects of an index."""
        if owned := [key for key in self.current.state().owners if key[0] == index]:
            await self._forget_owners(owned)
            await self._change(lambda writing: writing.remove_owners(index))

    # --- users of other systems ---

    async def merge(self, dump: Dump) -> Merged:
        """Add the users of the dump who have no account yet, its groups, members and rights, as one
        step.

        Existing users stay as they are, and no right becomes smaller. Raises `BadRequest`.
        """
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
        return not (await self.has_inherited() or await self._look(_has_any))

    async def has_inherited(self) -> bool:
        """Return whether `inherit` has merged a dump at some time. Raises `PeopleUnknown`."""
        return await self._look(_has_inherited)

    async def _look(self, work: Callable[[Connection], bool]) -> bool:
        """Return what `work` finds in the database, which may be of another time than the state;
        False without one. Raises `PeopleUnknown`.
        """
        try:
            return self.current.is_there() and await self.current.database.read(PART, work)
        except (DatabaseAway, DatabaseUnusable):
            raise PeopleUnknown(NAME) from None

    # --- tokens ---

    async def tokens(self, user: str | None = None) -> Sequence[Token]:
        """Return the tokens of a user, or all; revoked and expired ones too, for a month. In the
        order of creation.
        """
        held = self.current.state().tokens
        return [self._with_use(token) for token in held if user is None or token.user == user]

    def _with_use(self, token: Token) -> Token:
        used = self._uses.get(token.id)
        return token if used is None else evolve(token, used=used[0], used_from=used[1])

    async def token(self, digest: str) -> Token | None:
        """Return the token of this digest, if it is usable now. Fast: from memory."""
        found = self.current.state().by_digest.get(digest)
        if (
            found is None
            or found.revoked is not None
            or (found.expires is not None and found.expires <= self._world.now())
        ):
            return None
        return found

    def token_used(self, id: str, address: str) -> None:
        """Record that the token was used just now; written to the database within a minute."""
        if id in self.current.known.by_id:
            self._uses[id] = self._world.now(), storable(address, LONGEST_NAME)

    async def add_token(self, token: Token) -> None:
        """Add a token."""
        cleaned = evolve(
            token,
            name=storable(token.name),
            user=storable(token.user),
            used_from=storable(token.used_from),
        )
        await self._change(lambda writing: writing.add_token(cleaned))

    async def revoke_token(self, id: str) -> Token:
        """Revoke the token, effective at once. Raises `NoSuchToken`."""
        if not is_name(id):
            raise NoSuchToken(id)
        return self._with_use(await self._change(lambda writing: writing.revoke_token(id)))

    # --- sessions ---

    async def session(self, digest: str) -> Session | None:
        """Return the session of this digest, if it has not ended. Fast: from memory."""
        found = self.current.state().sessions.get(digest)
        return None if found is None or found.expires <= self._world.now() else found

    async def add_session(self, session: Session) -> None:
        """Add a session. Where its user has `MOST_SESSIONS` already, the oldest of them ends."""
        cleaned = evolve(session, address=storable(session.address, LONGEST_NAME))
        await self.current.change(lambda writing: writing.add_session(cleaned))

    async def end_session(self, digest: str) -> None:
        """End the session; do nothing if it has ended already."""
        if is_name(digest):
            await self.current.change(lambda writing: writing.end_session(digest))

    async def once(self, kind: str, value: str, until: datetime) -> bool:
        """Return whether this `value` is new: True for exactly one caller, before the time `until`
        (a JWT's ``jti``).
        """
        return await self.current.use_once(_digest(kind, value), until)

    # --- from time to time ---

    async def refresh(self) -> None:
        """Put in force what other processes have changed before this call."""
        await self.current.refresh()

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


def _has_any(connection: Connection) -> bool:
    from pypid.database.account_changes import is_empty

    return not is_empty(connection)


def _has_inherited(connection: Connection) -> bool:
    from pypid.database.account_changes import is_marked

    return is_marked(connection, _INHERITED)


def _has_ended(state: AccountsState, now: datetime) -> bool:
    """Return whether a sweep would probably find something."""
    if any(session.expires <= now for session in state.sessions.values()):
        return True
    ends = (
        end for token in state.tokens for end in (token.expires, token.revoked) if end is not None
    )
    return any(end <= now - KEPT for end in ends)


# The users of the accounts database as a source of users, and its groups for users of others.

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
            self._log.warn(
                "The password hash of {user!r} could not be replaced by a better one; the old one "
                "is still used: {error}",
                user=account.name,
                error=error,
            )

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

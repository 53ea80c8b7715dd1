"""The current state of the accounts: replaced with each change by this or another node; unknown
while the database is unavailable.

The order is always the same: first the database, durably, and then memory. Changes follow one
another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import field, frozen
from twisted.internet.defer import DeferredLock, TimeoutError
from twisted.logger import Logger

from pypid.access.sql.database import Database
from pypid.access.sql.state import AccountsState
from pypid.core.errors import Busy, CannotStart, PeopleUnknown, PypidError
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.databases.places import Server
from pypid.flow import World, shielded, start
from pypid.flow.single_flight import Flights

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pypid.access.sql.changes import AccountsWriter

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
        self._last_contact = 0.0
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

    @property
    def last_contact(self) -> float:
        """When the last completed look at it began, on the clock."""
        return self._last_contact

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
            return self._last_contact + CONTACT
        return 0.0 if self._failed is not None else FOR_EVER

    def _is_unknown(self) -> bool:
        if isinstance(self.database.place, Server):  # it may have been changed by another node
            return self._state is None or self._world.clock.seconds() - self._last_contact > CONTACT
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

        def job(trusted: AccountsState | None, connection: Connection) -> tuple[int, AccountsState]:
            from pypid.access.sql.changes import identify
            from pypid.access.sql.rows import load

            return identify(connection, id), load(connection)

        return await shielded(self._in_turn(job))

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
            is_read and self._last_contact < since
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
            self._last_contact = float("-inf")
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
        before = self._trusted
        try:
            if self._state is None and not self.database.is_there():
                self._check(_NOBODY)
                self._is_empty, self._last_contact = True, began
                self._notify_contact()
                return
            state = await self.database.read(PART, partial(_read, before))
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
        self._last_contact = began
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
            message = (
                "The accounts database cannot be used, which is tried again each second: {error}"
            )
            self._log.error(message, error=str(error))
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
            from pypid.access.sql.changes import change

            return change(connection, trusted, now, work)

        done = await shielded(self._in_turn(job))
        for callback in self.on_write:
            callback()
        return done

    async def use_once(self, digest: str, until: datetime) -> bool:
        """Return whether the digest was not used before, and store it. Raises as `change`."""
        now = self._world.now()

        def job(
            trusted: AccountsState | None, connection: Connection
        ) -> tuple[bool, AccountsState]:
            from pypid.access.sql.changes import use_once
            from pypid.access.sql.rows import load

            return use_once(connection, digest, until, now), trusted or load(connection)

        return await shielded(self._in_turn(job, accepts=False))

    async def forget(self) -> None:
        """Remove obsolete entries, at most every ten minutes. A failure is logged."""
        now, seconds = self._world.now(), self._world.clock.seconds()
        if self._state is None or (
            self._last_sweep is not None and seconds < self._last_sweep + _FORGET.total_seconds()
        ):
            return

        def job(
            trusted: AccountsState | None, connection: Connection
        ) -> tuple[None, AccountsState]:
            from pypid.access.sql.changes import forget
            from pypid.access.sql.rows import load

            forget(connection, now)
            return None, trusted or load(connection)

        self._last_sweep = seconds
        with suppress(PypidError):
            await shielded(self._in_turn(job, accepts=False))

    async def _in_turn(
        self,
        job: Callable[[AccountsState | None, Connection], tuple[T, AccountsState]],
        *,
        accepts: bool = True,
    ) -> T:
        if len(self._turn.waiting) >= MOST_WAITING:
            raise Busy("Too many changes of the accounts wait for each other.")
        await self._turn.acquire()
        try:
            began = self._world.clock.seconds()
            if self._failed is not None and began - self._failed.when < PAUSE:
                raise PeopleUnknown(NAME)
            trusted = self._trusted
            done, state = await self.database.write(PART, partial(job, trusted))
            if accepts or trusted is None:
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


def _read(before: AccountsState | None, connection: Connection) -> Any:
    from pypid.access.sql.rows import follow, load

    return load(connection) if before is None else follow(connection, before)

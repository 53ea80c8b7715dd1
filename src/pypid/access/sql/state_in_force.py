"""The roll that is in force: replaced with each change of ours, and of other nodes; unknown once
nobody can say what it is.

The order is always the same: first the database, durably, and then memory. One change follows the
other.
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
from pypid.flow import Flights, World, shielded, start

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pypid.access.sql.changes import Writing

T = TypeVar("T")

NAME = "the accounts database"
PART = "accounts"
POLL = 1.0
"""Seconds between two looks at whether another node has changed something, and whether the database
is still there.
"""
CONTACT = 5.0
"""Seconds without an answer of a server after which what it said last counts no more."""
PATIENCE = 2.0
"""Seconds that somebody who logs in waits for a server that does not answer."""
PAUSE = 1.0
"""Seconds after a failure in which nobody else waits for the same one."""
MOST_WAITING = 200
_FORGET = timedelta(minutes=10)
_NOBODY = AccountsState()
FOR_EVER = float("inf")


@frozen
class _Since:
    """That it cannot be asked: since when (seconds of the clock), and why."""

    when: float
    reason: str = field(repr=False)


class Current:
    """What the accounts database says now.

    `on_change` are called with each new roll, on the reactor thread, and awaited if they take
    longer: only then is whoever made the change answered. One that raises is logged, and the others
    are called.
    """

    _log = Logger()

    def __init__(self, database: Database, world: World) -> None:
        self.database = database
        self.on_change: list[Callable[[AccountsState], Awaitable[object] | None]] = []
        self.on_contact: list[Callable[[], object]] = []
        """Called whenever `until` may be another one."""
        self.on_write: list[Callable[[], object]] = []
        """Called when this process has changed something itself: other nodes look sooner if
        somebody tells them.
        """
        self._world = world
        self._roll: AccountsState | None = None
        self._is_empty = False
        self._heard = 0.0
        self._failed: _Since | None = None
        self._forgot: float | None = None
        self._turn = DeferredLock()
        self._looks: Flights[None, bool] = Flights()

    @property
    def known(self) -> AccountsState:
        """What it said last, also while it cannot be asked: for rules, which must not become laxer
        then.
        """
        return self._roll or _NOBODY

    @property
    def is_open(self) -> bool:
        """Whether anything was ever read of it."""
        return self._roll is not None

    @property
    def looked(self) -> float:
        """When the last look at it began that came to its end, on the clock."""
        return self._heard

    def is_there(self) -> bool:
        """Whether there is a database; a server always is one."""
        return self.database.is_there()

    def roll(self) -> AccountsState:
        """What it says. Raises `PeopleUnknown` where that is not certain."""
        if self._is_unknown():
            raise PeopleUnknown(NAME)
        return self.known

    @property
    def until(self) -> float:
        """Until when, on the clock, what it said last is certain, if nobody hears from it again."""
        if isinstance(self.database.place, Server):
            return self._heard + CONTACT
        return 0.0 if self._failed is not None else FOR_EVER

    def _is_unknown(self) -> bool:
        if isinstance(self.database.place, Server):  # it may have been changed by another node
            return self._roll is None or self._world.clock.seconds() - self._heard > CONTACT
        if self._roll is None:
            return not self._is_empty
        return self._failed is not None

    # --- reading ---

    async def open(self) -> None:
        """Read it, if it is there; call this at every start, before or after the reactor runs.

        Raises `CannotStart`, with advice, where it is damaged or of a newer version, or a file that
        may not be read. A server that does not answer is asked again by `poll`; until then
        everybody in it is unknown.
        """
        try:
            await self._look()
        except (DatabaseAway, DatabaseUnusable) as error:
            away = isinstance(error, DatabaseAway)
            if away and isinstance(self.database.place, Server):
                return
            raise CannotStart(f"The accounts database cannot be used: {error}") from None

    async def refresh(self) -> None:
        """See now what it says. Raises `PeopleUnknown` where that cannot be seen, of a server
        within `PATIENCE`.
        """
        looking = start(self._refresh(self._world.clock.seconds()))
        if isinstance(
            self.database.place, Server
        ):  # it may keep connections and not answer; it is asked on
            looking.addTimeout(PATIENCE, self._world.clock)
        try:
            is_seen = await looking
        except TimeoutError:
            is_seen = False
        if not is_seen:
            raise PeopleUnknown(NAME)

    async def _refresh(self, asked: float) -> bool:
        is_seen = await shielded(self._looks.single(None, self._see))
        if (
            is_seen and self._heard < asked
        ):  # that was somebody else's look, and may have missed what we want to see
            return await shielded(self._looks.single(None, self._see))
        return is_seen

    async def _see(self) -> bool:
        try:
            await self._look()
        except (DatabaseAway, DatabaseUnusable):
            return False
        return True

    def doubt(self) -> None:
        """What it said last counts no more, however fresh: a change may have gone unheard, and a
        look at it has failed.
        """
        if isinstance(self.database.place, Server):
            self._heard = float("-inf")
            self._tell_of_contact()

    async def poll(self) -> None:
        """See whether somebody else has changed something, or whether it is there again. Call it
        every `POLL` seconds.

        What fails is logged, once.
        """
        await shielded(self._see())

    async def _look(self) -> None:
        await self._turn.acquire()
        try:
            await self._look_now()
        finally:
            self._turn.release()

    async def _look_now(self) -> None:
        began = self._world.clock.seconds()
        if self._roll is None and not self.database.is_there():
            self.database.refuse_loss()
            self._is_empty, self._heard = True, began
            self._tell_of_contact()
            return
        before = self._trusted
        try:
            roll = await self.database.read(PART, partial(_read, before))
        except (DatabaseAway, DatabaseUnusable) as error:
            self._fail(error)
            raise
        await self._hear(roll, began)

    @property
    def _trusted(self) -> AccountsState | None:
        """The roll, if what came after it can be added to it: not if the database may have been
        another one meanwhile.
        """
        return None if self._failed else self._roll

    async def _hear(self, roll: AccountsState, began: float) -> None:
        self._heard = began
        if self._failed is not None:
            self._log.info("The accounts database can be used again.")
        self._failed = None
        if roll is not self._roll:
            await self._replace(roll)
        self._tell_of_contact()

    async def _replace(self, roll: AccountsState) -> None:
        self._roll = roll
        for callback in list(self.on_change):
            try:
                following = callback(roll)
                if following is not None:
                    await following
            except Exception:
                self._log.failure("what follows from a change of the accounts failed")

    def _fail(self, error: DatabaseAway | DatabaseUnusable) -> None:
        if self._failed is None or self._failed.reason != str(error):
            said = "The accounts database cannot be used, which is tried again each second: {error}"
            self._log.error(said, error=str(error))
        self._failed = _Since(self._world.clock.seconds(), str(error))
        self._tell_of_contact()

    def _tell_of_contact(self) -> None:
        for callback in self.on_contact:
            callback()

    # --- changing ---

    async def change(self, work: Callable[[Writing], T]) -> T:
        """Do `work` in the database, and then in memory; what it returns.

        Goes on if whoever waits goes away. Raises what `work` raises, `PeopleUnknown`,
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

    async def say_once(self, digest: str, until: datetime) -> bool:
        """Whether nobody said it before. Raises as `change`."""
        now = self._world.now()

        def job(
            trusted: AccountsState | None, connection: Connection
        ) -> tuple[bool, AccountsState]:
            from pypid.access.sql.changes import say_once
            from pypid.access.sql.rows import load

            return say_once(connection, digest, until, now), trusted or load(connection)

        return await shielded(self._in_turn(job, hears=False))

    async def forget(self) -> None:
        """Remove what nobody asks for any more, now and then. What fails is logged."""
        now, seconds = self._world.now(), self._world.clock.seconds()
        if self._roll is None or (
            self._forgot is not None and seconds < self._forgot + _FORGET.total_seconds()
        ):
            return

        def job(
            trusted: AccountsState | None, connection: Connection
        ) -> tuple[None, AccountsState]:
            from pypid.access.sql.changes import forget
            from pypid.access.sql.rows import load

            forget(connection, now)
            return None, trusted or load(connection)

        self._forgot = seconds
        with suppress(PypidError):
            await shielded(self._in_turn(job, hears=False))

    async def _in_turn(
        self,
        job: Callable[[AccountsState | None, Connection], tuple[T, AccountsState]],
        *,
        hears: bool = True,
    ) -> T:
        if len(self._turn.waiting) >= MOST_WAITING:
            raise Busy("Too many changes of the accounts wait for each other.")
        await self._turn.acquire()
        try:
            began = self._world.clock.seconds()
            if self._failed is not None and began - self._failed.when < PAUSE:
                raise PeopleUnknown(NAME)
            trusted = self._trusted
            done, roll = await self.database.write(PART, partial(job, trusted))
            if hears or trusted is None:
                await self._hear(roll, began)
            return done
        except (DatabaseAway, DatabaseUnusable) as error:
            await self._failed_to_change(error)
            raise PeopleUnknown(NAME) from None
        finally:
            self._turn.release()

    async def _failed_to_change(self, error: DatabaseAway | DatabaseUnusable) -> None:
        """Whether it was changed nobody knows, so all of it is read again."""
        self._fail(error)
        if not isinstance(self.database.place, Server):  # perhaps it was only held by somebody else
            try:
                await self._look_now()
            except (DatabaseAway, DatabaseUnusable):
                return


def _read(before: AccountsState | None, connection: Connection) -> Any:
    from pypid.access.sql.rows import follow, load

    return load(connection) if before is None else follow(connection, before)

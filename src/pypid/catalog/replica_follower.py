"""Keeping a node's copy in step with the engine, and knowing of which moment it is.

What counts is `known`: all that was acknowledged to anybody before that moment of our clock is
held. A beat of the feed moves it on, and so does each question that the engine answers. When it
lies `FRESH` seconds back whoever reads asks the engine first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.catalog.engine import (
    Anew,
    Beat,
    CatalogRow,
    DatabaseAway,
    DatabaseUnusable,
    Engine,
    EngineState,
    slices,
)
from pypid.catalog.forgettable import MOST, Forgettable
from pypid.catalog.replica import Replica
from pypid.core.errors import CannotStart, CatalogDown
from pypid.flow import Flights, World, start

_log = Logger()

FRESH = 1.0
"""Seconds that the copy may lag behind what was acknowledged elsewhere."""
PATIENCE = 1.0
"""Seconds without any answer of the engine after which nobody waits for it any longer: then it is
away.
"""
PAUSE = 0.3
"""Seconds after a failure in which it is not asked again for a read: clients do not each wait for
the same refusal.

Where it is back within them, what is shown may be as old as when it was away; a beat ends that
sooner.
"""
MOST_EPOCHS = 5
"""How often the catalog may be begun anew while we read it."""


@define(eq=False)
class ReplicaFollower:
    """The copy, and how it goes on. `begin` before anything else, `stop` at the end."""

    engine: Engine
    identity: str
    world: World
    stale_for: timedelta
    first_serial: int = 0
    rights_changed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when people or rights were changed by anybody, perhaps by ourselves."""
    begun_anew: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when the copy is one of another epoch: what was compared before counts for nothing."""
    confirmed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when it turns out once more that the copy may be believed: some times each second
    while the engine is there.
    """
    forgettable: int = MOST
    replica: Replica = field(init=False)
    first_epoch: str = field(default="", init=False)
    """Of the first copy; "" as long as there is none."""
    away: DatabaseAway | DatabaseUnusable | None = field(default=None, init=False)
    """Why the engine could not be asked the last time; None if it could."""
    _known: float = field(default=float("-inf"), init=False)
    _answered: float = field(default=0.0, init=False)
    """When the engine answered last, or a question to it began."""
    _failed: float = field(default=float("-inf"), init=False)
    _asking: bool = field(default=False, init=False)
    _rights: int | None = field(default=None, init=False)
    _beat: Beat | None = field(default=None, init=False)
    _pursuing: bool = field(default=False, init=False)
    _flights: Flights[None, None] = field(factory=Flights, init=False, repr=False)
    _stop: Callable[[], Deferred[None]] | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.replica = Replica("", self.world.thinking, Forgettable(self.forgettable))

    # --- what is so now ---

    @property
    def is_current(self) -> bool:
        """Whether the copy may be believed without asking: nothing is missing that was acknowledged
        `FRESH` seconds ago.
        """
        now = self.world.clock.seconds()
        # a moment that is still to come: the system's clock was set back, and nobody may count from
        # there
        return now - FRESH < self._known <= now

    @property
    def age(self) -> float:
        """Seconds since the last moment of which it is known that nothing is missing; 0 where
        nothing was read yet.
        """
        return max(0.0, self.world.clock.seconds() - self._known) if self.first_epoch else 0.0

    @property
    def lag(self) -> int:
        """How many versions the feed has told of that are not held yet."""
        beat, replica = self._beat, self.replica
        return (
            0
            if beat is None or beat.state.epoch != replica.epoch
            else max(0, beat.state.version - replica.version)
        )

    @property
    def until(self) -> float:
        """Until when, on the clock, the copy may be believed if nobody hears from
        the engine again.
        """
        return self._known + FRESH if self._known <= self.world.clock.seconds() else 0.0

    @property
    def may_be_shown(self) -> bool:
        """Whether what is held is not too old to be shown, though the engine cannot be asked."""
        return self.world.clock.seconds() - self._known <= self.stale_for.total_seconds()

    async def current(self) -> bool:
        """See to it that the copy may be believed; False where the engine cannot be asked, and what
        is held may be shown still.

        Raises `CatalogDown` where that is longer ago than `stale_for`.
        """
        now = self.world.clock.seconds()
        while not now - FRESH < self._known <= self.world.clock.seconds():
            if not await self._ask():
                if not self.may_be_shown:
                    raise CatalogDown from self.away
                return False
        return True

    async def _ask(self) -> bool:
        """Catch up; whether the engine answered. No longer than it takes to see that
        it does not.
        """
        now = self.world.clock.seconds()
        if now - self._failed < PAUSE:
            return False
        if not self._asking:
            self._answered = now
        while True:
            answered = self._answered
            left = answered + PATIENCE - self.world.clock.seconds()
            if left <= 0:
                return False
            try:
                await start(self.catch_up()).addTimeout(left, self.world.clock)
                return True
            except TimeoutError:
                if self._answered == answered:
                    self._is_away(DatabaseAway("it does not answer"))
                    return False
            except (DatabaseAway, DatabaseUnusable):
                return False

    # --- going on ---

    async def begin(self) -> None:
        """Read everything, and follow from then on. Where the engine is away that is done as soon
        as it is back.

        Raises `CannotStart` where it is not ours, or will not do.
        """
        try:
            await self._read_anew()
            self._is_back()
        except DatabaseUnusable as error:
            raise CannotStart(f"The shared catalog cannot be used: {error}") from None
        except DatabaseAway as error:
            self._is_away(error)
        feed = self.engine.follow(self.heard)
        self._stop = lambda: start(feed.stop())

    async def stop(self) -> None:
        """Follow no more."""
        if self._stop is not None:
            await self._stop()

    def heard(self, beat: Beat) -> None:
        """The feed tells of a state."""
        # one that is behind us is late, or the engine has lost something: whoever asks it finds out
        if not self._is_behind(beat.state, self.replica.version) and self._confirm(
            beat.state, beat.asked
        ):
            if self.is_current:  # and not one that comes late
                self._is_back()
            return
        self._beat = beat
        if not self._pursuing:
            self._pursuing = True
            start(self._pursue()).addErrback(_say_failed)

    async def _pursue(self) -> None:
        try:
            while self._beat is not None:
                beat, self._beat = self._beat, None
                if self._is_behind(beat.state, self.replica.version) or not self._confirm(
                    beat.state, beat.asked
                ):
                    await self.catch_up()
        except (DatabaseAway, DatabaseUnusable):
            self._beat = None  # there will be another
        finally:
            self._pursuing = False

    async def catch_up(self) -> None:
        """Have the copy hold all that was acknowledged before somebody began to ask. Raises
        `DatabaseAway`, `DatabaseUnusable`.
        """
        await self._flights.single(None, self._catch_up)

    async def _catch_up(self) -> None:
        self._asking, self._answered = True, self.world.clock.seconds()
        try:
            await self._go_on()
        except CannotStart as error:  # the database was replaced by another index's
            unusable = DatabaseUnusable(str(error))
            self._is_away(unusable)
            raise unusable from None
        except (DatabaseAway, DatabaseUnusable) as error:
            self._is_away(error)
            raise
        else:
            self._is_back()
        finally:
            self._asking = False

    async def _go_on(self) -> None:
        asked = self.world.clock.seconds()
        replica, held = self.replica, self.replica.version
        try:
            state = await self.engine.state()
            self._answered = self.world.clock.seconds()
            if self._is_behind(state, held):
                await self._begin_anew()
            if state.epoch != replica.epoch:
                raise Anew
            if state.version > replica.version:
                serial = 0
                async with aclosing(slices(self.engine, replica.position)) as found:
                    async for each in found:
                        self._answered = self.world.clock.seconds()
                        for row in each.rows:
                            replica.take(row)
                            serial = max(serial, row.serial)
                        replica.reach(each.position.version)
                replica.reach(state.version, serial)
        except Anew:
            await self._read_anew()
        else:
            self._confirm(state, asked)

    def _is_behind(self, state: EngineState, held: int) -> bool:
        """Whether the engine lacks changes that are `held`."""
        return state.epoch == self.replica.epoch and state.version < held

    async def _begin_anew(self) -> None:
        """The engine has lost what it had acknowledged: a backup was restored, or a replica took
        over that had not got all.

        Versions are then given a second time, to other rows, so that nobody may go on from them.
        Raises `Anew`.
        """
        _log.error(
            "The shared catalog lacks changes that it had before: was a backup restored, or did a "
            "replica take over? "
            "It is begun anew, and filled from the storage."
        )
        await self.engine.clear()
        raise Anew

    async def _read_anew(self) -> None:
        """Read another epoch from its beginning, beside what is held: that is shown until the new
        copy is whole.
        """
        for _ in range(MOST_EPOCHS):
            asked = self.world.clock.seconds()
            state = await self.engine.open(
                self.identity, max(self.first_serial, self.replica.serial)
            )
            self._answered = self.world.clock.seconds()
            try:
                replica = await self._whole(state)
            except Anew:
                continue
            was, self.replica = self.replica, replica
            self.first_epoch = self.first_epoch or replica.epoch
            self._confirm(state, asked)
            if was.epoch and was.epoch != replica.epoch:
                _log.info("The shared catalog was begun anew, and has been read.")
                self.begun_anew()
            return
        raise DatabaseAway("it is begun anew again and again")

    async def _whole(self, state: EngineState) -> Replica:
        replica = Replica(state.epoch, self.world.thinking, Forgettable(self.forgettable))
        rows: list[CatalogRow] = []
        version = state.version
        async with aclosing(slices(self.engine, state.beginning)) as found:
            async for each in found:
                self._answered = self.world.clock.seconds()
                rows.extend(each.rows)
                version = max(version, each.position.version)
        await replica.fill(rows, version, max((row.serial for row in rows), default=0))
        # beyond what any copy of before said: whoever kept something asks again
        replica.changes += self.replica.changes + 1
        return replica

    def _confirm(self, state: EngineState, asked: float) -> bool:
        """The engine was in this state, at that moment or later; whether all of that is held."""
        replica = self.replica
        if state.epoch != replica.epoch or state.version > replica.version:
            return False
        self._known = (
            max(self._known, asked) if self._known <= self.world.clock.seconds() else asked
        )
        replica.reach(state.version, state.serial)
        if state.complete:  # only now: what was compared is held
            replica.now_complete()
        if state.rights != self._rights:
            was, self._rights = self._rights, state.rights
            if was is not None:
                self.rights_changed()
        self.confirmed()
        return True

    def _is_away(self, error: DatabaseAway | DatabaseUnusable) -> None:
        self._failed = self.world.clock.seconds()
        if self.away is None:
            _log.warn(
                (
                    "The shared catalog cannot be asked: {reason}. What is known is shown for "
                    "{stale_for} s, nothing is published."
                ),
                reason=error.reason.rstrip("."),
                stale_for=round(self.stale_for.total_seconds()),
            )
        self.away = error

    def _is_back(self) -> None:
        self._failed = float("-inf")
        if self.away is not None:
            self.away = None
            _log.info("The shared catalog can be asked again.")


def _say_failed(failure: Failure) -> None:
    _log.failure("what the shared catalog told of was not taken in", failure=failure)

"""Synchronization of a node's copy with the engine, and the time up to which the copy is known to
be complete.

That time is `known`: all that was acknowledged to any client before it, on this node's clock, is
held. Each beat of the feed advances it, and so does each answer of the engine. When it is `FRESH`
seconds ago, readers ask the engine first.
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
    Beat,
    CatalogReset,
    CatalogRow,
    DatabaseAway,
    DatabaseUnusable,
    Engine,
    EngineState,
    count_whole,
    slices,
)
from pypid.catalog.forgettable import MOST_SHARED, Forgettable
from pypid.catalog.packed_lines import ListingMemory
from pypid.catalog.replica import Replica
from pypid.core.errors import CannotStart, CatalogDown
from pypid.flow import World, start
from pypid.flow.single_flight import Flights

_log = Logger()

FRESH = 1.0
"""Seconds that the copy may lag behind what was acknowledged elsewhere."""
PATIENCE = 1.0
"""Seconds without any answer of the engine after which callers stop waiting: then it counts as
unavailable.
"""
PAUSE = 0.3
"""Seconds after a failure in which reads do not ask it again: clients do not each wait for the same
refusal.

If it comes back within them, reads may be as old as during the outage; a beat ends that sooner.
"""
MOST_GENERATIONS = 5
"""How often the catalog may be reset while this node reads it."""


@define(eq=False)
class ReplicaFollower:
    """The copy, and the tasks that keep it current. Call `begin` before anything else, `stop` at
    the end.
    """

    engine: Engine
    identity: str
    world: World
    stale_for: timedelta
    first_serial: int = 0
    rights_changed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when users or rights were changed by any node, perhaps by this one."""
    was_reset: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when the copy is one of another generation: earlier reconciliation is void."""
    confirmed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called whenever the copy is confirmed to be current: several times each second while the
    engine is available.
    """
    forgettable: int = MOST_SHARED
    memory: ListingMemory = field(factory=ListingMemory, repr=False)
    replica: Replica = field(init=False)
    first_generation: str = field(default="", init=False)
    """The generation of the first copy; "" as long as there is none."""
    away: DatabaseAway | DatabaseUnusable | None = field(default=None, init=False)
    """Why the engine was unavailable the last time; None if it answered."""
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
        self.replica = self._copy("")

    def _copy(self, generation: str) -> Replica:
        """Return an empty copy."""
        forgettable = Forgettable(self.forgettable)
        return Replica(generation, self.world.thinking, forgettable, self.memory)

    # --- what is so now ---

    @property
    def is_current(self) -> bool:
        """Whether the copy is current without asking: it lacks nothing that was acknowledged
        `FRESH` seconds ago.
        """
        now = self.world.clock.seconds()
        # a time in the future: the system's clock was set back, and the copy is not current
        return now - FRESH < self._known <= now

    @property
    def age(self) -> float:
        """Seconds since the last time at which the copy is known to have been complete; 0 if
        nothing was read yet.
        """
        return max(0.0, self.world.clock.seconds() - self._known) if self.first_generation else 0.0

    @property
    def lag(self) -> int:
        """How many versions that the feed has reported are not held yet."""
        beat, replica = self._beat, self.replica
        return (
            0
            if beat is None or beat.state.generation != replica.generation
            else max(0, beat.state.version - replica.version)
        )

    @property
    def until(self) -> float:
        """Until when, on the clock, the copy is current without another answer of the engine."""
        return self._known + FRESH if self._known <= self.world.clock.seconds() else 0.0

    @property
    def may_be_shown(self) -> bool:
        """Whether the copy is recent enough to be shown, though the engine is unavailable."""
        return self.world.clock.seconds() - self._known <= self.stale_for.total_seconds()

    async def current(self) -> bool:
        """Make sure that the copy is current; return False if the engine is unavailable, and the
        copy may still be shown.

        Raises `CatalogDown` if it has been unavailable for longer than `stale_for`.
        """
        now = self.world.clock.seconds()
        while not now - FRESH < self._known <= self.world.clock.seconds():
            if not await self._ask():
                if not self.may_be_shown:
                    raise CatalogDown from self.away
                return False
        return True

    async def _ask(self) -> bool:
        """Catch up; return whether the engine answered. Waits no longer than it takes to see that
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
        """Read everything, and follow from then on. If the engine is unavailable, that happens as
        soon as it is back.

        Raises `CannotStart` if its rows are of another storage, or it is unusable.
        """
        try:
            await self._read_all()
            self._is_back()
        except DatabaseUnusable as error:
            raise CannotStart(f"The shared catalog cannot be used: {error}") from None
        except DatabaseAway as error:
            self._is_away(error)
        feed = self.engine.follow(self.take_beat)
        self._stop = lambda: start(feed.stop())

    async def stop(self) -> None:
        """Stop following."""
        if self._stop is not None:
            await self._stop()

    def take_beat(self, beat: Beat) -> None:
        """Handle a state that the feed reports."""
        # one older than the copy is late, or the engine has lost something: asking it shows which
        if not self._is_behind(beat.state, self.replica.version) and self._confirm(
            beat.state, beat.requested_at
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
                    beat.state, beat.requested_at
                ):
                    await self.catch_up()
        except (DatabaseAway, DatabaseUnusable):
            self._beat = None  # there will be another
        finally:
            self._pursuing = False

    async def catch_up(self) -> None:
        """Bring the copy up to all that was acknowledged before the call. Raises `DatabaseAway`,
        `DatabaseUnusable`.
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
        requested_at = self.world.clock.seconds()
        replica, held = self.replica, self.replica.version
        try:
            state = await self.engine.state()
            self._answered = self.world.clock.seconds()
            if self._is_behind(state, held):
                await self._reset()
            if state.generation != replica.generation:
                raise CatalogReset
            if state.version > replica.version:
                replica.reach(state.version, await self._read_changes(replica))
        except CatalogReset:
            await self._read_all()
        else:
            self._confirm(state, requested_at)

    async def _read_changes(self, replica: Replica) -> int:
        """Bring the copy up to the last change; return the highest serial. The rows of one
        transaction show together, also where a slice ends among them.
        """
        serial = 0
        pending: list[CatalogRow] = []
        async with aclosing(slices(self.engine, replica.position)) as found:
            async for each in found:
                self._answered = self.world.clock.seconds()
                pending += each.rows
                whole = count_whole(pending) if each.more else len(pending)
                for row in pending[:whole]:
                    replica.take(row)
                    serial = max(serial, row.serial)
                del pending[:whole]
                replica.reach(pending[0].version - 1 if pending else each.position.version)
        return serial

    def _is_behind(self, state: EngineState, held: int) -> bool:
        """Return whether the engine lacks changes that are `held`."""
        return state.generation == self.replica.generation and state.version < held

    async def _reset(self) -> None:
        """Reset the engine, which has lost acknowledged changes: a backup was restored, or a
        replica took over that lacked some.

        Its versions would be given a second time, to other rows, so no node may go on from them.
        Raises `CatalogReset`.
        """
        _log.error(
            "The shared catalog lacks changes that it had before: was a backup restored, or "
            "did a replica take over? It is cleared and filled from the storage."
        )
        await self.engine.clear()
        raise CatalogReset

    async def _read_all(self) -> None:
        """Read another generation from its beginning; the old copy is shown until the new one is
        complete.
        """
        for _ in range(MOST_GENERATIONS):
            requested_at = self.world.clock.seconds()
            state = await self.engine.open(
                self.identity, max(self.first_serial, self.replica.serial)
            )
            self._answered = self.world.clock.seconds()
            try:
                replica = await self._whole(state)
            except CatalogReset:
                continue
            was, self.replica = self.replica, replica
            self.first_generation = self.first_generation or replica.generation
            self._confirm(state, requested_at)
            if was.generation and was.generation != replica.generation:
                _log.info("The shared catalog was cleared, and has been read again.")
                self.was_reset()
            return
        raise DatabaseAway("it is reset again and again")

    async def _whole(self, state: EngineState) -> Replica:
        replica = self._copy(state.generation)
        rows: list[CatalogRow] = []
        version = state.version
        async with aclosing(slices(self.engine, state.beginning)) as found:
            async for each in found:
                self._answered = self.world.clock.seconds()
                rows.extend(each.rows)
                version = max(version, each.position.version)
        await replica.fill(rows, version, max((row.serial for row in rows), default=0))
        replica.supersede(self.replica)
        return replica

    def _confirm(self, state: EngineState, requested_at: float) -> bool:
        """Note that the engine was in this state at time `requested_at` or later; return whether
        all of that is held.
        """
        replica = self.replica
        if state.generation != replica.generation or state.version > replica.version:
            return False
        self._known = (
            max(self._known, requested_at)
            if self._known <= self.world.clock.seconds()
            else requested_at
        )
        replica.reach(state.version, state.serial)
        if state.complete:  # only now that the reconciled rows are held
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
                    "The shared catalog is unavailable: {reason}. Known projects are served "
                    "for {stale_for} s; nothing can be published."
                ),
                reason=error.reason.rstrip("."),
                stale_for=round(self.stale_for.total_seconds()),
            )
        self.away = error

    def _is_back(self) -> None:
        self._failed = float("-inf")
        if self.away is not None:
            self.away = None
            _log.info("The shared catalog is available again.")


def _say_failed(failure: Failure) -> None:
    _log.failure("a change in the shared catalog could not be applied", failure=failure)

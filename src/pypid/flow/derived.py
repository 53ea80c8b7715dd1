"""Values derived from changing data, the signals that change them, and work that callers share.

A cache of values that are derived from changing data: pages, lists, views, visibility.

A value is made for a key and an *edition*. An edition identifies the state of all data that the
value is made from; another edition means another value. There is one rule of freshness: **read the
edition first, then ask for the value**. The function that makes the value must read nothing older
than that edition. What it reads may be newer: then the next caller has another edition, and the
value is made again.

The key contains everything else that the value depends on: the viewer's visibility, the format, the
URLs in it. Otherwise a client would get a value that was made for another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock

from pypid.core.caches import BudgetedCache, Recent
from pypid.core.errors import CannotStart
from pypid.flow.coroutines import start
from pypid.flow.world import World
from pypid.metrics.counts import DERIVED

# Jobs and locks by key: callers share a job that is under way, or wait for their turn.

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Flights(Generic[K, T]):
    """Shared jobs by key: while a job is under way, other callers wait for the same result.

    The job runs to its end even if all callers go away.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[T]]] = {}

    def __contains__(self, key: K) -> bool:
        """Return whether a job for this key is under way."""
        return key in self._waiting

    async def single(self, key: K, job: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `job`, or of the job for `key` that is under way."""
        mine: Deferred[T] = Deferred(canceller=lambda _: None)
        if key in self._waiting:
            self._waiting[key].append(mine)
            return await mine
        self._waiting[key] = [mine]

        def land(settle: Callable[[Deferred[T]], None]) -> None:
            for waiter in self._waiting.pop(key):
                if not waiter.called:
                    settle(waiter)

        start(job()).addCallbacks(
            lambda value: land(lambda waiter: waiter.callback(value)),
            lambda failure: land(lambda waiter: waiter.errback(failure)),
        )
        return await mine


class Locks(Generic[K]):
    """A lock for each key, which exists only while it is held or wanted."""

    def __init__(self) -> None:
        self._locks: dict[K, tuple[DeferredLock, int]] = {}

    def held(self, key: K) -> bool:
        """Return whether the lock is held or wanted."""
        return key in self._locks

    async def until_released(self) -> None:
        """Wait until all locks that are held or requested now are released."""
        for key in [*self._locks]:
            async with self.hold(key):
                pass

    @asynccontextmanager
    async def hold(self, key: K) -> AsyncIterator[None]:
        """Hold the key's lock; callers get it in the order of their calls."""
        lock, wanted = self._locks.get(key, (DeferredLock(), 0))
        self._locks[key] = (lock, wanted + 1)
        try:
            await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, wanted = self._locks[key]
            if wanted == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, wanted - 1)


V = TypeVar("V")

_At = tuple[object, Hashable]
Memory = Recent[_At, Any] | BudgetedCache[_At, Any]
"""Where values are kept: bounded by their number and their total weight; the least recently used
are dropped first, the newest value always stays. Several `Derived` may share one memory, and with
it one bound; their weights then have one unit, bytes.
"""


class SameObjects(tuple[object, ...]):
    """An edition: these very objects, where comparing their content takes long."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameObjects) and [*map(id, self)] == [*map(id, other)]

    def __hash__(self) -> int:
        return hash(tuple(map(id, self)))


@frozen
class _Made(Generic[V]):
    value: V
    edition: Hashable
    begun: int
    """The number of the computation; later computations have higher numbers."""
    at: datetime | None
    """The time that it was made for."""
    until: datetime | None
    """The time at which it changes by itself."""

    def holds(self, edition: Hashable, at: datetime | None) -> bool:
        """Return whether it is the value of this edition, at this time."""
        return self.edition == edition and self.holds_at(at)

    def holds_at(self, at: datetime | None) -> bool:
        """Return whether time has not changed it. It is not valid for a time before it was made,
        to which the clock may have been set back.
        """
        if at is None or self.at is None:
            return self.until is None
        return self.at <= at and (self.until is None or at < self.until)


@define(eq=False)
class Derived(Generic[K, V]):
    """A cache of derived values, each made once for each edition of its key.

    `name` is the label in the metric `DERIVED`. `weigh` returns the weight of a value in the unit
    of the `memory`; `until` returns when a value changes by itself, without another edition (None:
    never): callers then state the time `at` which they need it.
    """

    name: str
    world: World
    memory: Memory = field(repr=False)
    weigh: Callable[[V], int] = field(default=lambda _: 1, repr=False)
    until: Callable[[V], datetime | None] = field(default=lambda _: None, repr=False)
    _flights: Flights[tuple[K, Hashable], _Made[V]] = field(factory=Flights, init=False, repr=False)
    _begun: int = field(default=0, init=False)

    async def get(
        self,
        key: K,
        edition: Hashable,
        make: Callable[[], Coroutine[Any, Any, V]],
        *,
        at: datetime | None = None,
    ) -> V:
        """Return the value of this edition: the kept one, the one that is being made for another
        caller, or what `make` returns.

        A value of None is not kept. With the edition None, `make` is always called. Raises what it
        raises, to all callers that wait for it; nothing is kept then. `make` runs to its end even
        if a caller is cancelled.
        """
        kept = self._kept(key, edition, at)
        if kept is not None:
            return kept.value
        flight = (key, object() if edition is None else edition)
        is_shared = flight in self._flights
        self._count("shared" if is_shared else "made")
        made = await self._flights.single(flight, lambda: self._make(key, edition, make, at))
        if is_shared and not made.holds_at(at):  # it changed by itself meanwhile
            return await self.get(key, edition, make, at=at)
        return made.value

    async def compute(
        self,
        key: K,
        edition: Hashable,
        make: Callable[[], V],
        *,
        costly: bool,
        at: datetime | None = None,
    ) -> V:
        """Return the value of this edition as `get` does, where `make` computes without waiting:
        here and now, or in a thread if it is `costly` (takes more than some milliseconds).
        """
        if costly:

            async def think() -> V:
                return await self.world.thinking(make)

            return await self.get(key, edition, think, at=at)
        kept = self._kept(key, edition, at)
        if kept is not None:
            return kept.value
        self._count("made")
        begun = self._begin()
        return self._keep(key, edition, begun, make(), at).value

    def kept(self, key: K, edition: Hashable, *, at: datetime | None = None) -> V | None:
        """Return the value of this edition if it is kept, else None; for callers that first need
        something of their own to make it.
        """
        kept = self._kept(key, edition, at)
        return None if kept is None else kept.value

    def latest(self, key: K) -> V | None:
        """Return the value kept last, of whichever edition, to reuse parts of it; None without
        one.
        """
        kept = self._last(key)
        return None if kept is None else kept.value

    def _last(self, key: K) -> _Made[V] | None:
        return self.memory.get((self, key))

    def _kept(self, key: K, edition: Hashable, at: datetime | None) -> _Made[V] | None:
        kept = self._last(key)
        if kept is None or not kept.holds(edition, at):
            return None
        self._count("kept")
        return kept

    def _begin(self) -> int:
        self._begun += 1
        return self._begun

    async def _make(
        self,
        key: K,
        edition: Hashable,
        make: Callable[[], Coroutine[Any, Any, V]],
        at: datetime | None,
    ) -> _Made[V]:
        begun = self._begin()
        return self._keep(key, edition, begun, await make(), at)

    def _keep(
        self, key: K, edition: Hashable, begun: int, value: V, at: datetime | None
    ) -> _Made[V]:
        if value is None:
            return _Made(value, edition, begun, at, None)
        made = _Made(value, edition, begun, at, self.until(value))
        last = self._last(key)
        is_newest = last is None or last.begun < begun
        if edition is not None and is_newest:
            self.memory.put((self, key), made, self.weigh(value))
        return made

    def _count(self, source: str) -> None:
        self.world.counts.add(DERIVED, (self.name, source))


# Values that connect objects which would otherwise refer to each other.
#
# The start makes them first, and passes them to both sides.

P = ParamSpec("P")


@frozen(eq=False)
class Signal(Generic[P]):
    """A list of callbacks. `emit` calls them in the order in which they were connected."""

    _callbacks: list[Callable[P, object]] = field(factory=list, init=False, repr=False)

    def connect(self, callback: Callable[P, object]) -> None:
        """Call `callback` at each `emit` from now on."""
        self._callbacks.append(callback)

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all callbacks. Raises what a callback raises."""
        for callback in self._callbacks:
            callback(*args, **kwargs)


@define(eq=False)
class Provider(Generic[T]):
    """A factory that is called once, at the first use; later calls return the same object.

    If the factory raises, the next use calls it again.
    """

    _make: Callable[[], T]
    made: T | None = field(default=None, init=False)
    """The object; None until the first use."""

    def __call__(self) -> T:
        """Return the object."""
        if self.made is None:
            self.made = self._make()
        return self.made


@frozen
class ReloadOutcome:
    """The outcome of a reload: what could not be read again, and which sections of the
    configuration wait for a restart.
    """

    problems: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@frozen
class Signals:
    """The events of one daemon that objects of different packages exchange."""

    rights_changed: Signal[[]] = field(factory=Signal)
    """The rules in force, or other settings of users, have changed in this process."""
    rights_reported: Signal[[]] = field(factory=Signal)
    """A node has reported to the shared catalog that users or rights have changed."""
    catalog_confirmed: Signal[[]] = field(factory=Signal)
    """The copy of the shared catalog was confirmed to be current."""
    catalog_reset: Signal[[]] = field(factory=Signal)
    """The shared catalog was reset, and has to be filled again."""
    file_cached: Signal[[int]] = field(factory=Signal)
    """An upstream file was stored; the argument is its size in bytes."""
    reload_requested: Signal[[Deferred[ReloadOutcome]]] = field(factory=Signal)
    """A client of the control socket has requested a reload; the argument takes its outcome."""
    cannot_continue: Signal[[CannotStart]] = field(factory=Signal)
    """The configured setup turned out not to work after the start."""

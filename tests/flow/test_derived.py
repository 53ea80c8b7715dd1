"""Derived values: never older than their edition, made once, within their bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from attrs import define, evolve, field, frozen
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.caches import Recent
from pypid.flow import start
from pypid.flow.derived import Derived, Memory
from pypid.metrics.counts import DERIVED
from tests.support.worlds import Timed, Turns, WallClock, world

KEYS, WEIGHTS = st.sampled_from("ab"), st.integers(1, 9)
LIFETIMES = st.sampled_from([None, timedelta(seconds=5), timedelta(seconds=60)])
MOST, HEAVIEST = 2, 12


@frozen
class Change:
    """What happens before a caller asks: the data change, time passes, the clock is set back."""

    edits: bool
    seconds: int


CHANGES = st.builds(
    Change, st.booleans(), st.sampled_from([0, 0, 0, 0, 0, 0, 1, 6, 61, -1, -6, -61])
)


class Broken(Exception):
    """A computation that failed."""


@frozen
class Value:
    """A value that says what it was made from, and for which time."""

    key: str
    version: int
    made: datetime
    until: datetime | None
    weight: int
    begun: int
    """The number of its computation."""


@define(eq=False)
class Making:
    """A computation that waits; it reads its data at its beginning, or `late`: at its end."""

    key: str
    edition: int
    begun: int
    done: Deferred[None] = field(factory=Deferred)


@define(eq=False)
class Asking:
    """A caller, what was current when it asked, and what it got."""

    key: str
    version: int
    at: datetime
    result: Deferred[object]
    got: list[Value | Failure] = field(factory=list)
    cancelled: bool = False


class Machine(RuleBasedStateMachine):
    """Edits, reads, slow computations, failures, cancelled callers, evictions, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.wall = WallClock(self.clock)
        self.memory: Recent[object, object] = Recent(MOST, HEAVIEST)
        self.cache = Derived[str, Value](
            "x",
            world(self.clock, wall=self.wall),
            self.memory,
            weigh=lambda value: value.weight,
            until=lambda value: value.until,
        )
        self.versions: Counter[str] = Counter()
        self.making: list[Making] = []
        self.asking: list[Asking] = []
        self.begun = count()

    def ask(
        self,
        key: str,
        change: Change,
        get: Callable[[int, datetime], Coroutine[Any, Any, Value]],
    ) -> Asking:
        """Ask for the current value, after a change if there was one."""
        self.versions[key] += change.edits
        self.wall.step(change.seconds)
        version, at = self.versions[key], self.wall()
        asked = Asking(key, version, at, start(get(version, at)))
        asked.result.addBoth(asked.got.append)
        self.asking.append(asked)
        return asked

    @rule(key=KEYS, change=CHANGES, weight=WEIGHTS, lifetime=LIFETIMES)
    def read_at_once(
        self, key: str, change: Change, weight: int, lifetime: timedelta | None
    ) -> None:
        """Ask for a value that is made here and now."""

        def get(edition: int, at: datetime) -> Coroutine[Any, Any, Value]:
            def make() -> Value:
                until = None if lifetime is None else at + lifetime
                return Value(key, self.versions[key], at, until, weight, next(self.begun))

            return self.cache.compute(key, edition, make, costly=False, at=at)

        asked = self.ask(key, change, get)
        assert asked.got, "it is made at once"
        assert self.cache.kept(key, asked.version, at=asked.at) in asked.got

    @rule(key=KEYS, change=CHANGES, weight=WEIGHTS, lifetime=LIFETIMES, late=st.booleans())
    def read(
        self, key: str, change: Change, weight: int, lifetime: timedelta | None, *, late: bool
    ) -> None:
        """Ask for a value that takes a while to make, from data read before or after that."""

        def get(edition: int, at: datetime) -> Coroutine[Any, Any, Value]:
            async def make() -> Value:
                assert not any(
                    (other.key, other.edition) == (key, edition) for other in self.making
                ), "it is being made already"
                making = Making(key, edition, next(self.begun))
                self.making.append(making)
                version, until = self.versions[key], None if lifetime is None else at + lifetime
                await making.done
                version = self.versions[key] if late else version
                return Value(key, version, at, until, weight, making.begun)

            return self.cache.get(key, edition, make, at=at)

        self.ask(key, change, get)

    @precondition(lambda self: self.making)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, *, fails: bool) -> None:
        """A computation ends, or fails. A newer value is not replaced by it."""
        making = data.draw(st.sampled_from(self.making))
        self.making.remove(making)
        before = self.cache.latest(making.key)
        settle = making.done.errback if fails else making.done.callback
        settle(Broken() if fails else None)
        latest = self.cache.latest(making.key)
        if fails or (before is not None and before.begun > making.begun):
            assert latest is before
        else:
            assert latest is not None and latest.begun == making.begun

    @precondition(lambda self: any(not asked.got for asked in self.asking))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A caller goes away; this ends neither the computation nor the other callers."""
        asked = data.draw(st.sampled_from([asked for asked in self.asking if not asked.got]))
        asked.cancelled = True
        asked.result.cancel()

    @invariant()
    def callers_get_current_values(self) -> None:
        """No value is older than the edition that was asked for, or out of its time."""
        for asked in self.asking:
            for got in asked.got:
                if isinstance(got, Failure):
                    assert got.check(CancelledError if asked.cancelled else Broken), got
                    continue
                assert got.key == asked.key
                assert got.version >= asked.version, (got, asked)
                assert got.made <= asked.at, (got, asked)
                assert got.until is None or asked.at < got.until, (got, asked)
        self.asking = [asked for asked in self.asking if not asked.got]

    @invariant()
    def callers_wait_for_computations_only(self) -> None:
        """Without a computation under way no caller waits."""
        assert self.making or not self.asking

    @invariant()
    def memory_is_bounded(self) -> None:
        """No more is kept than the bound allows, except a single value."""
        assert len(self.memory) <= MOST
        assert self.memory.weight <= HEAVIEST or len(self.memory) == 1


async def awaited(result: Deferred[str]) -> str:
    """Return the result, once it is there."""
    return await result


class DerivedTests(Timed, SynchronousTestCase):
    """`Derived`."""

    def setUp(self) -> None:
        super().setUp()
        self.made: list[str] = []
        self.derived: Derived[str, str] = Derived("x", self.world, Recent(10, 100), weigh=len)

    def compute(self, key: str, edition: object, value: str) -> str:
        """Ask for a value that is made here and now."""

        def make() -> str:
            self.made.append(value)
            return value

        return self.have(self.derived.compute(key, edition, make, costly=False))

    def counted(self, source: str) -> float:
        """Return how many values came so."""
        return self.world.counts.value(DERIVED, ("x", source))

    def test_never_older_than_its_edition(self) -> None:
        """Whatever happens in whatever order: no caller gets a value older than the edition that
        it asked for, each is made once at a time, and the memory is bounded.
        """
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=250,
                stateful_step_count=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def test_costly_values_are_made_in_a_thread(self) -> None:
        """A costly value is computed off the reactor thread, once for all callers at that time."""
        turns = Turns()
        derived: Derived[str, str] = Derived(
            "x", evolve(self.world, blocking=turns, thinking=turns), Recent(10, 100)
        )
        asked = [start(derived.compute("a", 1, lambda: "value", costly=True)) for _ in range(3)]
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.assertEqual(len(turns), 1)
        self.assertNoResult(asked[1])
        turns.turn()
        self.assertEqual([self.successResultOf(each) for each in asked[1:]], ["value"] * 2)
        self.assertEqual(self.counted("shared"), 2)
        self.assertEqual(derived.kept("a", 1), "value")

    def test_failures_and_none_are_not_kept(self) -> None:
        """A failure is raised to the caller; the next one starts again, as after None."""

        def fail() -> str:
            raise Broken()

        self.refused(self.derived.compute("a", 1, fail, costly=False), Broken)
        self.refused(self.derived.compute("a", 1, fail, costly=True), Broken)
        self.assertIsNone(self.derived.kept("a", 1))
        self.assertEqual(self.compute("a", 1, "value"), "value")
        nothing: Derived[str, str | None] = Derived("y", self.world, Recent(10, 100))
        self.assertIsNone(self.have(nothing.compute("a", 1, lambda: None, costly=True)))
        self.assertIsNone(self.have(nothing.compute("a", 1, lambda: None, costly=False)))
        self.assertEqual(self.world.counts.value(DERIVED, ("y", "made")), 2)

    def test_without_an_edition_nothing_is_shared(self) -> None:
        """Two callers at the same time may mean different data, so each gets its own value."""
        first, second = Deferred[str](), Deferred[str]()
        asked = [
            start(self.derived.get("a", None, lambda result=each: awaited(result)))
            for each in (first, second)
        ]
        second.callback("second")
        self.assertNoResult(asked[0])
        first.callback("first")
        self.assertEqual([self.successResultOf(each) for each in asked], ["first", "second"])
        self.assertEqual((self.counted("made"), self.counted("shared")), (2, 0))

    def test_shared_memory_is_one_bound(self) -> None:
        """Caches that share a memory share its bound; equal keys do not collide."""
        memory: Memory = Recent(10, 10)
        one: Derived[str, str] = Derived("one", self.world, memory, weigh=len)
        two: Derived[str, str] = Derived("two", self.world, memory, weigh=len)
        self.have(one.compute("a", 1, lambda: "1" * 6, costly=False))
        self.have(two.compute("a", 1, lambda: "2" * 4, costly=False))
        self.assertEqual((one.latest("a"), two.latest("a")), ("111111", "2222"))
        self.have(two.compute("b", 1, lambda: "2" * 4, costly=False))
        self.assertEqual((one.latest("a"), memory.weight), (None, 8))

"""A world without a network, threads, randomness or a running clock; and bodies that tests feed by
hand.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from hashlib import shake_128
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.task import Clock

from pypid.flow import Blocking, World, at_once, start
from pypid.ports import Blobs

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Case
else:
    Case = object  # mixins: trial would run them by themselves

T = TypeVar("T")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""The time in a `world` whose clock was never advanced."""


class WallClock:
    """The time of day in a world. It follows the world's monotonic clock, until it is set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """Return the time of day."""
        return BEGINNING + timedelta(seconds=self._clock.seconds()) + self._ahead

    def step(self, seconds: float) -> None:
        """Set the clock forward by so many seconds, or back."""
        self._ahead += timedelta(seconds=seconds)


def world(
    clock: Clock | None = None, blocking: Blocking = at_once, wall: WallClock | None = None
) -> World:
    """Return a `World` whose time is that of `clock`, whose blocking calls run here and now, and
    whose random bytes are reproducible.

    `wall` is its time of day, for tests that set it; timers and ages never depend on it.
    """
    monotonic = clock or Clock()
    throws = count()
    return World(
        clock=monotonic,
        now=wall or WallClock(monotonic),
        blocking=blocking,
        random=lambda size: shake_128(b"%d" % next(throws)).digest(size),
    )


class Turns:
    """A `Blocking` whose calls wait until the test runs them, in the order they came."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        done: Deferred[T] = Deferred()

        def turn() -> None:
            at_once(call, *args).addBoth(
                done.callback
            )  # as a thread does, also after a cancellation

        self._waiting.append(turn)
        return done

    def __len__(self) -> int:
        return len(self._waiting)

    def turn(self) -> None:
        """Run the oldest call."""
        self._waiting.popleft()()

    def all(self) -> None:
        """Run calls until none waits."""
        while self._waiting:
            self.turn()


class Fed:
    """A body whose pieces the test hands over, one by one; an exception is raised, None is the
    end.
    """

    def __init__(self, *pieces: bytes | Exception | None, size: int | None = None) -> None:
        self._pieces: DeferredQueue[bytes | Exception | None] = DeferredQueue()
        self._size = size
        self.closed = False
        for piece in pieces:
            self.feed(piece)

    @property
    def size(self) -> int | None:
        return self._size

    def feed(self, piece: bytes | Exception | None) -> None:
        """Hand over the next piece."""
        self._pieces.put(piece)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True


async def contents(blobs: Blobs, prefix: str = "") -> list[str]:
    """Return the keys of a listing, in its order."""
    async with aclosing(blobs.list(prefix)) as listing:
        return [blob.key async for blob in listing]


class Awaiting(Case):
    """How the contracts wait: Deferreds that fire at once. A backend that needs a reactor overrides
    `have` and `refused`.
    """

    def have(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of the coroutine."""
        return self.successResultOf(start(coroutine))

    def refused(
        self, coroutine: Coroutine[Any, Any, object], kind: type[BaseException]
    ) -> BaseException:
        """Return the exception of this kind that the coroutine ends with."""
        error: BaseException = self.failureResultOf(start(coroutine), kind).value
        return error


class Timed(Awaiting):
    """A test case with a clock that it moves, and a world of it."""

    clock: Clock
    world: World

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.world = world(self.clock)

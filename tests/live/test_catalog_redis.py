"""The shared catalog in a real Redis: the contract, several processes, and a server that loses, forgets, refuses or hangs."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.engine import Engine
from pypid.testing.engine import EngineContract
from pypid.testing.worlds import Awaiting
from tests.live.redis import engine_at, reactor, shared
from tests.live.stores.waiting import wait

T = TypeVar("T")


class OverSockets(Awaiting):
    """While something is waited for the reactor runs, and only then."""

    def successResultOf(self, deferred: Any) -> Any:
        wait(deferred)
        return super().successResultOf(deferred)

    def failureResultOf(self, deferred: Any, *kinds: type[BaseException]) -> Any:
        wait(deferred)
        return super().failureResultOf(deferred, *kinds)

    def until(self, condition: Callable[[], bool], within: float = 2.0) -> bool:
        """Let the reactor run until that is so, for so many seconds; whether it is."""
        deadline = reactor.seconds() + within
        while not condition() and reactor.seconds() < deadline:
            wait(deferLater(reactor, 0.01))
        return condition()

    def pass_time(self, seconds: float) -> None:
        """The server has its own."""
        time.sleep(seconds)


class RedisContractTests(OverSockets, EngineContract, SynchronousTestCase):
    """Redis keeps the contract."""

    url: str

    async def make(self) -> Engine:
        self.url = shared().catalog()
        return await self.again()

    async def again(self) -> Engine:
        return engine_at(self.url)

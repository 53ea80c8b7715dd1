"""`pypid.blobs.s3` towards a store, under a reactor that runs while a test waits, and only then.

So a test that was written for a store that answers at once is a test of one that is asked over
sockets.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import secrets
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import evolve
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pypid.blobs.s3.store import S3Blobs, S3Settings, open
from pypid.flow import World, start
from tests.live.stores import Store, store
from tests.support.worlds import Awaiting

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Case
else:
    Case = object  # a mixin: trial would run it by itself

T = TypeVar("T")
reactor: Any = installed

WITHIN: Final = 60.0
"""Seconds for one thing that a test waits for; none should need five."""
QUIET: Final = 0.3
"""Seconds in which what must wait for something has not happened."""


def wait(deferred: Deferred[Any], within: float = WITHIN) -> None:
    """Run the reactor until it has fired, or so many seconds have passed."""
    running = over = False

    def end(result: Any = None) -> Any:
        nonlocal over
        if running and not over:
            reactor.crash()
        over = True
        return result

    deferred.addBoth(end)
    if over:
        return
    late = reactor.callLater(within, end)
    running = True
    reactor.run(installSignalHandlers=False)
    if late.active():
        late.cancel()


class OverSockets(Awaiting, Case):
    """Mixed into a test case for a store; each test has a bucket of its own."""

    settings = S3Settings(bucket="")
    """What does not come from the store."""

    def setUp(self) -> None:
        with store() as self.s3:
            pass
        pool = ThreadPool(0, 4)
        pool.start()
        self.addCleanup(pool.stop)
        self.world = World(
            clock=reactor,
            now=lambda: datetime.now(UTC),
            blocking=lambda call, *args: deferToThreadPool(reactor, pool, call, *args),
            random=secrets.token_bytes,
        )
        super().setUp()

    def told(self, s3: Store, bucket: str) -> S3Settings:
        """What pypid is told."""
        return evolve(
            self.settings,
            bucket=bucket,
            region=s3.region,
            endpoint_url=s3.endpoint,
            access_key=s3.access_key,
            secret_key=s3.secret_key,
        )

    async def opened(self, settings: S3Settings) -> S3Blobs:
        """Closed when the test ends."""
        blobs = await open(settings, self.world, reactor)
        self.addCleanup(lambda: self.have(blobs.close()))
        return blobs

    # --- waiting: each of these lets the reactor run ---

    def have(self, coroutine: Coroutine[Any, Any, T]) -> T:
        deferred = start(coroutine)
        wait(deferred)
        result: T = super().successResultOf(deferred)
        return result

    def successResultOf(self, deferred: Any) -> Any:
        wait(deferred)
        return super().successResultOf(deferred)

    def failureResultOf(self, deferred: Any, *kinds: type[BaseException]) -> Any:
        wait(deferred)
        return super().failureResultOf(deferred, *kinds)

    def assertNoResult(self, deferred: Any) -> None:
        wait(deferred, QUIET)
        super().assertNoResult(deferred)

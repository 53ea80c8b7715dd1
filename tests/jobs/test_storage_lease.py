"""The lease of a bucket: of several pypids without a common catalog one writes, and the others say
which.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.store import Store
from pypid.core.errors import StorageInUse
from pypid.core.policy import Policy
from pypid.core.records.layout import KEPT, LEASES
from pypid.flow import BytesBody, start
from pypid.index import Index
from pypid.index.local.publish import PublishOutcome
from pypid.jobs.storage_lease import (
    EXPIRY,
    PATIENCE,
    POLL,
    StorageLease,
)
from pypid.upstream.nothing import Nothing
from tests.index.uploads import an_index, publishing, sent
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting, contents, world


class LeaseCase(Awaiting, SynchronousTestCase):
    """Pypids over one bucket; the time of all passes alike, but their clocks
    and processes differ.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.worlds = 0
        self.store = MemoryBlobs(world(self.clock).now)

    def lease(
        self, holder: str = "here", *, is_shared: bool = False, is_exact: bool = True
    ) -> StorageLease:
        """One that has begun."""
        self.worlds += 1
        its_world = world(self.clock)
        its_world.random(self.worlds)
        for _ in range(self.worlds):
            its_world.random(1)
        lease = StorageLease(
            self.store,
            its_world,
            lambda: holder,
            f"host {holder}",
            is_shared=is_shared,
            is_exact=lambda: is_exact,
        )
        looking = start(lease.look())
        if is_exact:
            self.successResultOf(looking)
        return lease

    def index(self, lease: StorageLease) -> Index:
        """A pypid with a catalog of its own."""
        blobs = Store(self.store, permit=lease.permit_write)
        return an_index(
            blobs, a_catalog(), Nothing(), Policy(), lease.world, lease=lambda: lease.is_sole
        )

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.pump([0.5] * round(seconds * 2))

    def leases(self) -> list[str]:
        return self.have(contents(self.store, LEASES))


class LeaseTests(LeaseCase):
    def test_second_pypid_publishes_nothing_and_names_the_first(self) -> None:
        """While one pypid renews its lease another one waits, then answers 503 and says which one
        it is; nothing is stored.
        """
        first, second = self.lease("here"), self.lease("there")
        self.assertEqual((first.is_held, second.is_held), (True, False))
        self.go(3 * EXPIRY)
        before = self.have(contents(self.store))
        waiting = start(publishing(self.index(second), sent()))
        self.assertNoResult(waiting)
        self.go(PATIENCE + POLL)
        error = self.failureResultOf(waiting, StorageInUse).value
        self.assertIn("host here", error.text())
        self.assertEqual(self.have(contents(self.store)), before)
        self.assertEqual(self.have(publishing(self.index(first), sent())), PublishOutcome.PUBLISHED)

    def test_lease_given_back_at_a_stop_is_taken_at_once(self) -> None:
        """An upload that came to the new instance of a rolling update waits until the old one has
        stopped, and goes through.
        """
        first, second = self.lease("here"), self.lease("there")
        waiting = start(publishing(self.index(second), sent()))
        self.go(5)
        self.assertNoResult(waiting)
        self.have(first.end())
        self.assertEqual(self.leases(), [])
        self.go(POLL)
        self.assertEqual(self.successResultOf(waiting), PublishOutcome.PUBLISHED)
        self.assertTrue(second.is_sole)

    def test_lease_of_a_killed_pypid_expires_in_a_minute(self) -> None:
        """Another machine takes over when it has seen the lease unchanged for 60 seconds, whatever
        its clock says.
        """
        first = self.lease("here")
        first._next.cancel()  # type: ignore[union-attr]
        second = self.lease("there")
        self.go(EXPIRY - POLL)
        self.assertFalse(second.is_held)
        self.assertFalse(first.is_held)  # it stopped counting on it earlier
        self.go(2 * POLL)
        self.assertTrue(second.is_held)
        self.assertEqual(len(self.leases()), 1)

    def test_restart_after_a_crash_continues_the_lease(self) -> None:
        """A pypid that was killed and is started on the same state folder does not
        wait for itself.
        """
        first = self.lease("here")
        first._next.cancel()  # type: ignore[union-attr]
        self.assertTrue(self.lease("here").is_held)

    def test_holder_that_was_asleep_writes_nothing(self) -> None:
        """A pypid whose lease another one has taken meanwhile refuses to write, and does not take
        it back.
        """
        first = self.lease("here")
        assert first._next is not None
        first._next.cancel()
        second = self.lease("there")
        self.go(EXPIRY + POLL)
        first._next = None
        waiting = start(publishing(self.index(first), sent()))
        self.go(PATIENCE + POLL)
        self.failureResultOf(waiting, StorageInUse)
        self.assertTrue(second.is_held)

    def test_one_of_two_that_wait_takes_an_expired_lease(self) -> None:
        """Of two pypids that wait for a lease one gets it, on a store without exact conditional
        writes as well.
        """
        for is_exact in (True, False):
            self.store = MemoryBlobs(world(self.clock).now)
            first = self.lease("here")
            first._next.cancel()  # type: ignore[union-attr]
            waiters = [self.lease(f"there-{number}", is_exact=is_exact) for number in range(2)]
            self.go(EXPIRY + 10)
            self.assertEqual(sorted(waiter.is_held for waiter in waiters), [False, True])
            for waiter in waiters:
                start(waiter.end())

    def test_nodes_that_share_a_catalog_hold_the_lease_together(self) -> None:
        """They all write; one that knows the bucket by a catalog of its own does not, until the
        last of them has gone.
        """
        nodes = [self.lease("catalog 1", is_shared=True) for _ in range(2)]
        self.go(2 * EXPIRY)
        alone = self.lease("here")
        self.assertEqual([node.is_held for node in (*nodes, alone)], [True, True, False])
        self.have(nodes[0].end())
        self.go(2 * EXPIRY)
        self.assertEqual((nodes[1].is_held, alone.is_held), (True, False))
        self.have(nodes[1].end())
        self.go(EXPIRY + POLL)
        self.assertTrue(alone.is_held)

    def test_cached_upstream_files_need_no_lease(self) -> None:
        """A pypid that waits for the lease goes on caching: those files can be had again."""
        self.lease("here")
        blobs: Any = Store(self.store, permit=self.lease("there").permit_write)
        self.have(blobs.write(f"{KEPT}spam/spam-1.0.tar.gz", BytesBody(b"spam")))

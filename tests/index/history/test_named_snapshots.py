"""Named snapshots: `pypid.index.history.named_snapshots`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import BadRequest
from pypid.core.model import Blob
from pypid.core.records.documents import SnapshotDocument
from pypid.flow import start
from pypid.index.history import named_snapshots
from pypid.index.history.named_snapshots import NamedSnapshots
from pypid.ports import Body
from pypid.testing import world
from pypid.testing.worlds import Awaiting


class Gated(MemoryBlobs):
    """A store whose writes wait at a gate."""

    def __init__(self) -> None:
        super().__init__(world().now)
        self.gate: Deferred[None] = Deferred()

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        await self.gate
        return await super().write(key, body, replace=replace)


class LimitTests(Awaiting, SynchronousTestCase):
    """The maximum number of snapshots."""

    def test_two_snapshots_made_at_once_do_not_exceed_the_limit(self) -> None:
        """The second one is refused, though it was requested before the first was stored."""
        self.patch(named_snapshots, "MOST", 1)
        blobs, outside = Gated(), world()
        snapshots = NamedSnapshots(blobs, outside)
        made = [
            start(snapshots.make(SnapshotDocument(name, outside.now(), outside.now())))
            for name in ("one", "two")
        ]
        blobs.gate.callback(None)
        self.successResultOf(made[0])
        self.failureResultOf(made[1], BadRequest)
        self.assertEqual(list(self.have(snapshots.all())), ["one"])

"""A node that died in the middle of a publish keeps nobody from publishing; one that lives does."""

from __future__ import annotations

from attrs import evolve

from pypid.core.errors import Busy
from pypid.core.records.layout import key
from pypid.flow import BytesBody, start
from pypid.index import Index
from pypid.index.local.publish import UNDER_WAY, PublishOutcome
from pypid.jobs.leases import RENEWED, Shared
from tests.index.nodes import NodesCase
from tests.index.uploads import SPAM, WHEEL, publishing, sent


class DiedTests(NodesCase):
    def node(self, *args: object, **named: object) -> Index:  # type: ignore[override]
        made = super().node(*args, **named)  # type: ignore[arg-type]
        made.context = evolve(made.context, announced=self.leases().announced)
        made.maintenance = evolve(made.maintenance, context=made.context)
        return made

    def leases(self) -> Shared:
        """Of another process."""
        return Shared(self.engine(), self.world.random(4).hex(), self.world)

    def left_behind(self, data: bytes) -> None:
        """Bytes without a record, as of somebody's publish."""
        self.have(self.store.write(key(SPAM, WHEEL), BytesBody(data)))

    def test_other_bytes(self) -> None:
        """What a dead node left is set aside, and the name is published at once."""
        self.left_behind(b"half of something")
        self.assertIs(self.publish(self.here, sent()), PublishOutcome.PUBLISHED)
        self.assertEqual(set(self.seen(self.there)), {WHEEL})

    def test_lives(self) -> None:
        """As long as another node says that it is at it, however long that takes, its bytes are
        left alone.
        """
        lives = self.leases().announced(f"{SPAM}/{WHEEL}")
        self.have(lives.__aenter__())
        self.left_behind(b"the beginning of a large file")
        self.go(RENEWED * 6)
        refused = start(publishing(self.here, sent()))
        self.go(6)
        self.failureResultOf(refused, Busy)
        self.have(lives.__aexit__(None, None, None))
        self.assertIs(self.publish(self.here, sent()), PublishOutcome.PUBLISHED)

    def test_without_a_word(self) -> None:
        """Where nobody can say who is at it, young bytes are somebody's."""
        self.here.context = evolve(self.here.context, announced=None)
        self.left_behind(b"half")
        refused = start(publishing(self.here, sent()))
        self.go(6)
        self.failureResultOf(refused, Busy)
        self.clock.advance(UNDER_WAY.total_seconds())
        self.go(0.5)
        self.assertIs(self.publish(self.here, sent()), PublishOutcome.PUBLISHED)

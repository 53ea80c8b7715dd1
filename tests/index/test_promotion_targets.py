"""Promotions into an index that takes no files, that would hide them, or that is deleted
meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from attrs import define
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import NoSuchIndex
from pypid.core.model import Blob
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import (
    OPEN_PROMOTIONS,
    PromotionDocument,
    dump,
    open_promotion_key,
)
from pypid.flow import BytesBody, start
from pypid.index.promotions import PromotionRecovery, Promotions, Wanted
from pypid.ports import Body
from pypid.wiring.recipe import promotions_between
from tests.index.named import NamedCase
from tests.index.uploads import Sent, publishing, sent

SPAM = project_name("spam")
WHEEL, SDIST = "spam-1.0-py3-none-any.whl", "spam-1.0.tar.gz"
EVIL, EGGS = "spam-1.0.zip", "eggs-2.0-py3-none-any.whl"
WANTED = {SPAM: frozenset({WHEEL})}


@define
class SlowUpload(Sent):
    """An upload whose bytes arrive when `arrived` fires."""

    arrived: Deferred[None]

    async def body(self) -> Body:
        """The bytes, later."""
        await self.arrived
        return BytesBody(self.data)


@define(eq=False)
class WaitingDuplicates:
    """Duplicates after the test let it."""

    behind: MemoryBlobs
    allowed: Deferred[None]

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        """As `Duplicating.duplicate`."""
        if not self.allowed.called:
            await self.allowed
        return await self.behind.duplicate(source, target, replace=replace, tell=tell)


class TargetCase(NamedCase, SynchronousTestCase):
    """Each test with a release in the index staging, and the index team."""

    def setUp(self) -> None:
        super().setUp()
        self.behind = self.store = MemoryBlobs(self.world.now)
        self.indexes = self.started()
        self.allowed: Deferred[None] = Deferred()
        self.promotions: Promotions = promotions_between(
            self.indexes,
            self.store,
            WaitingDuplicates(self.behind, self.allowed),
            PromotionRecovery(),
        )
        self.publish(self.create("staging"), WHEEL)
        self.create("team")

    def promoting(self, target: str, wanted: Wanted = WANTED) -> Deferred[PromotionDocument | None]:
        """Begin to promote the release."""
        source, part = map(self.promotions.log.part_of, ("staging", target))
        assert source is not None
        assert part is not None
        return start(self.promotions.promote(source, part, wanted, "alice"))


class TargetTests(TargetCase):
    """Targets that expire, or are deleted."""

    def test_a_target_that_is_deleted_meanwhile(self) -> None:
        """The promotion is refused, and nothing of it is left."""
        promotion = self.promoting("team")
        self.assertNoResult(promotion)
        deletion = start(self.indexes.delete("team", force=True))
        self.allowed.callback(None)
        self.failureResultOf(promotion, NoSuchIndex)
        self.successResultOf(deletion)
        for prefix in (".pypid/index/team/", ".pypid/index-names/spam/team", OPEN_PROMOTIONS):
            self.assertEqual(self.keys(prefix), [])
        self.create("team")

    def test_an_index_that_is_created_again_keeps_its_own_file(self) -> None:
        """A promotion into the former index was committed, and its process died then."""
        self.allowed.callback(None)
        done = self.successResultOf(self.promoting("team"))
        assert done is not None
        self.have(self.indexes.delete("team", force=True))
        team = self.create("team")
        self.publish(team, WHEEL, b"other bytes")
        self.have(self.store.write(open_promotion_key(done.id), BytesBody(dump(done))))
        self.have(self.promotions.log.recover())
        self.assertEqual(self.keys(OPEN_PROMOTIONS), [])
        [file] = self.have(team.project(SPAM)).files
        self.assertEqual(file.sha256, sha256(b"other bytes").hexdigest())
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_an_upload_into_an_index_that_is_deleted_meanwhile(self) -> None:
        """The upload is refused, and nothing of it is left when the deletion has ended."""
        slow = SlowUpload(sent(b"sdist", SDIST).upload, b"sdist", Deferred())
        uploading = start(publishing(self.index("team"), slow))
        deletion = start(self.indexes.delete("team", force=True))
        slow.arrived.callback(None)
        self.failureResultOf(uploading, NoSuchIndex)
        self.successResultOf(deletion)
        self.assertEqual(self.keys(".pypid/index/team/"), [])
        self.assertEqual(self.keys(".pypid/index-names/spam/team"), [])

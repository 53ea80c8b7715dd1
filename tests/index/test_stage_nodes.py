"""A stage of several nodes: an upload on one while another one publishes the stage."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.shared import SharedSettings, open
from pypid.core.errors import Busy, PypidError, StageClosed
from pypid.core.model import Blob, SignedUrl, Span
from pypid.core.packaging.names import project_name
from pypid.core.stages import StageState, new_stage, state_of
from pypid.flow import start
from pypid.index.named_indexes import NamedIndexes
from pypid.index.promotions import PromotionRecovery
from pypid.index.stages import Stages
from pypid.ports import Body
from pypid.wiring.indexes import promotions_between
from tests.catalog.engines import Place, PlacedEngine
from tests.index.named import NamedCase
from tests.index.test_stages import anything, no_owners
from tests.index.uploads import publishing, sent

NAME, SPAM = "stage-x", project_name("spam")
WHEEL, SDIST = "spam-1.0-py3-none-any.whl", "spam-1.0.tar.gz"


@define(eq=False)
class Pausing:
    """A store that waits once, before the step of this number, until it is resumed."""

    behind: MemoryBlobs
    steps: int = -1
    resumed: Deferred[None] = field(factory=Deferred, init=False)

    async def step(self) -> None:
        """Count a step."""
        self.steps -= 1
        if self.steps == -1:
            await self.resumed

    def pause_after(self, steps: int) -> None:
        """Wait after so many steps from now."""
        self.steps, self.resumed = steps, Deferred()

    async def read(self, key: str, span: Span | None = None) -> Body:
        await self.step()
        return await self.behind.read(key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        async with aclosing(body):
            await self.step()
            return await self.behind.write(key, body, replace=replace)

    async def delete(self, key: str) -> None:
        await self.step()
        await self.behind.delete(key)

    async def stat(self, key: str) -> Blob:
        await self.step()
        return await self.behind.stat(key)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        await self.step()
        async with aclosing(self.behind.list(prefix)) as listing:
            async for blob in listing:
                yield blob

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await self.behind.link(key, lifetime, filename)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        """As `Duplicating.duplicate`."""
        await self.step()
        return await self.behind.duplicate(source, target, replace=replace, tell=tell)


class StageNodesTests(NamedCase, SynchronousTestCase):
    """Each test with a stage that has one file, and the nodes `here` and `there`, which do not hear
    of each other's changes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.behind = MemoryBlobs(self.world.now)
        self.place = Place()
        self.here_store, self.here = self.node()
        self.there_store, self.there = self.node()
        self.stages = self.stages_of(self.here, self.here_store)
        self.have(self.here.create(new_stage(NAME, "default", "alice", self.world.now())))
        self.have(publishing(self.index(NAME, self.here), sent(b"wheel", WHEEL)))
        self.have(publishing(self.create("team", self.here), sent(b"sdist", SDIST)))
        self.read(self.there)
        for _ in range(15):  # the catalog of `there` follows
            self.clock.advance(0.1)

    def node(self) -> tuple[Pausing, NamedIndexes]:
        """Return a node that starts now, and its way to the storage."""
        store = self.store = Pausing(self.behind)
        engine = PlacedEngine(self.clock, self.place)
        settings = SharedSettings("storage", timedelta(seconds=60))
        catalog = self.have(open(settings, engine, self.world))
        self.addCleanup(lambda: self.have(catalog.close()))
        return store, self.started(catalog=catalog)

    def stages_of(self, node: NamedIndexes, store: Pausing) -> Stages:
        """Return the stages of a node; it waits for no other node."""
        promotions = promotions_between(node, store, store, PromotionRecovery())
        return Stages(node, promotions, lambda: 0.0)

    def read(self, node: NamedIndexes) -> None:
        """Have the node read the changes of others."""
        assert node.decisions is not None
        self.have(node.decisions.refresh())

    def uploading(self, data: bytes = b"sdist", filename: str = SDIST) -> Deferred[Any]:
        """Begin to upload a file to the stage."""
        return start(publishing(self.index(NAME, self.there), sent(data, filename)))

    def publication(self) -> Deferred[Any]:
        """Begin to publish the stage."""
        return start(self.stages.publish(NAME, "alice", anything, no_owners))

    def is_acknowledged(self, doing: Deferred[Any]) -> bool:
        """Return whether it has succeeded; else it was refused."""
        outcomes: list[object] = []
        doing.addBoth(outcomes.append)
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            outcome.trap(PypidError)
        return not isinstance(outcome, Failure)

    def state(self) -> StageState:
        """Return the state of the stage, by its document."""
        self.read(self.here)
        return state_of(self.stages.stage(NAME), self.world.now())

    def published(self) -> dict[str, bytes]:
        """Return the files in the base."""
        default, name = self.here.default, project_name("spam")
        files = self.have(default.context.resync(name))
        listed = getattr(files, "files", ())
        return {} if not listed else self.files(default, "spam")

    def check(self, *, acknowledged: bool, data: bytes = b"sdist", filename: str = SDIST) -> None:
        """An acknowledged file is in the base, or in the open stage, which publishes it."""
        if acknowledged and self.published().get(filename) != data:
            self.assertIs(self.state(), StageState.OPEN)
            self.have(self.index(NAME, self.here).reconcile())
            self.assertTrue(self.is_acknowledged(self.publication()))
            self.assertEqual(self.published()[filename], data)

    def interleaved(
        self,
        pausing: Callable[[], Pausing],
        slow: Callable[[], Deferred[Any]],
        fast: Callable[[], Deferred[Any]],
    ) -> list[tuple[bool, bool]]:
        """Do all of the fast thing at each step of the slow one; return whether each of them was
        acknowledged.
        """
        found = []
        for steps in range(200):
            self.setUp()
            store = pausing()
            store.pause_after(steps)
            waiting = slow()
            has_paused = not waiting.called
            meanwhile = self.is_acknowledged(fast())
            store.resumed.callback(None)
            found.append((self.is_acknowledged(waiting), meanwhile))
            upload = found[-1][1 if slow == self.publication else 0]
            self.check(acknowledged=upload)
            if not has_paused:
                return found
        raise AssertionError("more than 200 steps")

    def test_publication_at_each_step_of_an_upload(self) -> None:
        """The upload is refused, or its file is in the base or in the open stage."""
        found = self.interleaved(lambda: self.there_store, self.uploading, self.publication)
        self.assertIn((True, True), found)
        self.assertIn((False, True), found)

    def test_upload_at_each_step_of_a_publication(self) -> None:
        """The same, the other way round."""
        found = self.interleaved(lambda: self.here_store, self.publication, self.uploading)
        self.assertIn((True, True), found)
        self.assertIn((True, False), found)

    def test_repeated_upload_of_a_file_that_is_withdrawn(self) -> None:
        """A node records a file in the published stage, and withdraws it; meanwhile its client
        sends the file to another node, which must not take the record for that of a file.
        """
        for steps in range(200):
            self.setUp()
            _, third = self.node()
            self.assertTrue(self.is_acknowledged(self.publication()))
            self.there_store.pause_after(steps)
            first = self.uploading()
            has_paused = not first.called
            second = start(publishing(self.index(NAME, third), sent(b"sdist", SDIST)))
            self.there_store.resumed.callback(None)
            self.failureResultOf(first, StageClosed)
            for _ in range(100):  # it may have waited for the first
                self.clock.advance(0 if second.called else 0.5)
            self.failureResultOf(second, StageClosed, Busy)
            if not has_paused:
                self.assertGreater(steps, 5)
                return
        raise AssertionError("more than 200 steps")

    def test_promotion_into_the_stage_at_each_step_of_a_publication(self) -> None:
        """A promotion into the stage is as an upload."""
        found = self.interleaved(lambda: self.here_store, self.publication, self.promoting)
        self.assertIn((True, True), found)
        self.assertIn((True, False), found)

    def test_publication_at_each_step_of_a_promotion_into_the_stage(self) -> None:
        """The publication is refused while the promotion is under way."""
        found = self.interleaved(lambda: self.there_store, self.promoting, self.publication)
        self.assertIn((True, True), found)
        self.assertIn((True, False), found)

    def promoting(self) -> Deferred[Any]:
        """Begin to promote a file from the index team to the stage."""
        promotions = self.stages_of(self.there, self.there_store).promotions
        source, target = map(promotions.log.part_of, ("team", NAME))
        assert source is not None
        assert target is not None
        return start(promotions.promote(source, target, {SPAM: frozenset({SDIST})}, "alice"))

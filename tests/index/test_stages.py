"""Stages over one storage: crashes at each step, uploads during a publication, and their end."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, cast

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import IndexExpired, StageClosed, StorageDown
from pypid.core.indexes import Publication
from pypid.core.model import Blob
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.promotion_rules import PromotionRefused
from pypid.core.stages import GRACE, INTERRUPTED, KEPT, StageState, new_stage, state_of
from pypid.flow import BytesBody, start
from pypid.index import Index
from pypid.index.context import IndexContext
from pypid.index.local.manage import Manager
from pypid.index.promotions import PromotionRecovery
from pypid.index.stages import PublishedStage, Stages
from pypid.ports import Body, Duplicating
from pypid.wiring.indexes import promotions_between
from tests.index.named import NamedCase, set_index
from tests.index.test_named_crashes import Dying
from tests.index.uploads import Sent, publishing, sent

NAME = "stage-x"
WHEEL, SDIST, EGGS = "spam-1.0-py3-none-any.whl", "spam-1.0.tar.gz", "eggs-2.0-py3-none-any.whl"
SPAM = project_name("spam")
STAGED = {WHEEL: b"wheel", EGGS: b"eggs"}


@define(eq=False)
class DyingDuplicating(Dying):
    """A `Dying` store that duplicates."""

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        self.step()
        behind = cast(Duplicating, self.behind)
        return await behind.duplicate(source, target, replace=replace, tell=tell)


async def anything(projects: Collection[ProjectName]) -> None:
    """Let the client publish all projects."""


async def no_owners(target: IndexContext, projects: Collection[ProjectName]) -> None:
    """Make no one the owner."""


@define
class SlowUpload(Sent):
    """An upload whose bytes arrive when `arrived` fires."""

    arrived: Deferred[None]

    async def body(self) -> Body:
        """The bytes, later."""
        await self.arrived
        return BytesBody(self.data)


class StageCase(NamedCase):
    """A process with a stage of alice's that has files of two projects."""

    def setUp(self) -> None:
        super().setUp()
        self.behind = MemoryBlobs(self.world.now)
        self.store = self.behind
        self.stages = self.process()
        self.have_stage()

    def process(self, steps: int | None = None) -> Stages:
        """Return the stages of a process that starts now; it dies after so many changes of the
        storage.
        """
        self.store = self.behind if steps is None else DyingDuplicating(self.behind, steps)
        self.indexes = self.started()
        promotions = promotions_between(
            self.indexes, self.store, cast(Duplicating, self.store), PromotionRecovery()
        )
        self.have(promotions.log.recover())
        return Stages(self.indexes, promotions, lambda: 0.0)

    def have_stage(self) -> None:
        """Create the stage with its files."""
        self.have(self.stages.create(new_stage(NAME, "default", "alice", self.world.now())))
        for filename, data in STAGED.items():
            self.have(publishing(self.staged(), sent(data, filename)))

    def staged(self, stages: Stages | None = None) -> Index:
        """Return the index of the stage."""
        index = (stages or self.stages).indexes.get(NAME)
        assert index is not None
        return index

    def publish(self, stages: Stages | None = None) -> PublishedStage:
        """Publish the stage."""
        return self.have((stages or self.stages).publish(NAME, "alice", anything, no_owners))

    def died(self, doing: Deferred[Any]) -> bool:
        """Return whether the process has died meanwhile."""
        outcomes: list[object] = []
        doing.addBoth(outcomes.append)
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            outcome.trap(StorageDown)
            return True
        return False

    def state(self, stages: Stages | None = None) -> StageState:
        """Return the state of the stage."""
        return state_of((stages or self.stages).stage(NAME), self.world.now())

    def published(self, stages: Stages | None = None) -> dict[str, bytes]:
        """Return the files of the base, as clients get them."""
        index = (stages or self.stages).indexes.default
        found: dict[str, bytes] = {}
        for summary in self.have(index.catalog.local.summaries()):
            found |= self.files(index, summary.name)
        return found


class CrashTests(StageCase, SynchronousTestCase):
    def test_killed_at_each_step_of_a_publication(self) -> None:
        """All files are there after the next start, or none; publishing again goes well."""
        outcomes = set()
        for steps in range(100):
            self.setUp()
            dying = self.process(steps)
            is_done = not self.died(start(dying.publish(NAME, "alice", anything, no_owners)))
            self.stages = self.process()
            outcomes.add(len(self.published()))
            self.assertIn(self.published(), ({}, STAGED), steps)
            self.assertEqual(self.publish().left, ())
            self.assertEqual(self.published(), STAGED, steps)
            self.assertIs(self.state(), StageState.PUBLISHED)
            if is_done:
                self.assertEqual(outcomes, {0, 2})
                return
        self.fail("a publication of more than 100 changes")

    def test_killed_at_each_step_of_a_removal(self) -> None:
        """The next process goes on, and nothing is left."""
        for steps in range(100):
            self.setUp()
            dying = self.process(steps)
            has_died = self.died(start(dying.delete(NAME)))
            if has_died:
                self.stages = self.process()
                if NAME in self.indexes.settings:
                    self.clock.advance(GRACE.total_seconds() + 8 * 24 * 3600)
                    self.have(self.stages.tidy())
            self.assertEqual([key for key in self.keys() if NAME in key], [], steps)
            if not has_died:
                return
        self.fail("a removal of more than 100 changes")


class PublishingTests(StageCase, SynchronousTestCase):
    def test_one_serial(self) -> None:
        """All projects show with one change of the catalog."""
        catalog = self.indexes.default.catalog
        before = self.have(catalog.serial())
        self.publish()
        self.assertEqual(self.have(catalog.serial()), before + 1)
        self.assertEqual(self.published(), STAGED)

    def test_upload_under_way_is_refused(self) -> None:
        """An upload that had begun before the publication is not recorded after it has begun."""
        slow = SlowUpload(sent(b"sdist", SDIST).upload, b"sdist", Deferred())
        uploading = start(publishing(self.staged(), slow))
        publication = start(self.stages.publish(NAME, "alice", anything, no_owners))
        self.assertNoResult(publication)
        self.assertIs(self.state(), StageState.PUBLISHING)
        slow.arrived.callback(None)
        self.failureResultOf(uploading, StageClosed)
        self.assertEqual(self.successResultOf(publication).left, ())
        self.assertEqual(self.published(), STAGED)
        self.assertEqual(sorted(self.files(self.staged(), "spam")), [WHEEL])

    def test_upload_that_comes_meanwhile_is_refused(self) -> None:
        """From the beginning of the publication on, nothing is recorded in the stage."""
        calls = []

        async def check(projects: Collection[ProjectName]) -> None:
            calls.append(self.state())
            if self.state() is StageState.PUBLISHING:
                uploading = start(publishing(self.staged(), sent(b"sdist", SDIST)))
                self.failureResultOf(uploading, StageClosed)

        self.have(self.stages.publish(NAME, "alice", check, no_owners))
        self.assertEqual(calls, [StageState.OPEN, StageState.PUBLISHING])

    def test_file_of_a_slow_node_is_kept(self) -> None:
        """A node that did not hear of the publication records a file: it stays in the stage, which
        is open again, and another publication lists it.
        """
        other = self.started()
        slow = other.get(NAME)
        assert slow is not None

        async def own(target: IndexContext, projects: Collection[ProjectName]) -> None:
            await publishing(slow, sent(b"sdist", SDIST))

        done = self.have(self.stages.publish(NAME, "alice", anything, own))
        self.assertEqual(done.left, (SDIST,))
        self.assertEqual(self.published(), STAGED)
        self.assertIs(self.state(), StageState.OPEN)
        self.have(self.staged().reconcile())
        self.assertEqual(self.publish().left, ())
        self.assertEqual(self.published(), {**STAGED, SDIST: b"sdist"})

    def test_other_nodes_hear_of_it_first(self) -> None:
        """With several nodes, the files are listed after all nodes have read that the stage takes
        no more.
        """
        other = self.started()
        stages = Stages(self.indexes, self.stages.promotions, lambda: 1.6)
        publication = start(stages.publish(NAME, "alice", anything, no_owners))
        assert other.decisions is not None
        self.have(other.decisions.refresh())
        late = other.get(NAME)
        assert late is not None
        self.refused(publishing(late, sent(b"sdist", SDIST)), StageClosed)
        self.assertNoResult(publication)
        self.assertEqual(self.published(), {})
        self.clock.advance(1.6)
        self.assertEqual(self.successResultOf(publication).left, ())
        self.assertEqual(self.published(), STAGED)

    def test_refused_publication_changes_nothing(self) -> None:
        """The stage takes files again."""
        self.have(publishing(self.indexes.default, sent(b"other", WHEEL)))
        refused = start(self.stages.publish(NAME, "alice", anything, no_owners))
        self.failureResultOf(refused, PromotionRefused)
        self.assertEqual(self.published(), {WHEEL: b"other"})
        self.assertIs(self.state(), StageState.OPEN)

    def test_two_at_once(self) -> None:
        """The second one waits, and has the same outcome, as a repetition."""
        slow = SlowUpload(sent(b"sdist", SDIST).upload, b"sdist", Deferred())
        uploading = start(publishing(self.staged(), slow))
        both = [start(self.stages.publish(NAME, "alice", anything, no_owners)) for _ in range(2)]
        slow.arrived.callback(None)
        self.failureResultOf(uploading, StageClosed)
        first, second = map(self.successResultOf, both)
        self.assertEqual(evolve(first, is_repeated=True), second)

    def test_not_deleted_meanwhile(self) -> None:
        """A stage that is being published is not deleted."""
        slow = SlowUpload(sent(b"sdist", SDIST).upload, b"sdist", Deferred())
        uploading = start(publishing(self.staged(), slow))
        publication = start(self.stages.publish(NAME, "alice", anything, no_owners))
        self.refused(self.stages.delete(NAME), StageClosed)
        slow.arrived.callback(None)
        self.failureResultOf(uploading, StageClosed)
        self.successResultOf(publication)

    def test_quick_end(self) -> None:
        """An upload that ends after the stage has expired is refused."""
        slow = SlowUpload(sent(b"sdist", SDIST).upload, b"sdist", Deferred())
        uploading = start(publishing(self.staged(), slow))
        self.clock.advance(timedelta(days=7).total_seconds())
        slow.arrived.callback(None)
        self.failureResultOf(uploading, IndexExpired)


class TidyTests(StageCase, SynchronousTestCase):
    def tidy_after(self, delay: timedelta) -> None:
        """Run the job at this time from now."""
        self.clock.advance(delay.total_seconds())
        self.have(self.stages.tidy())

    def is_there(self) -> bool:
        """Return whether the stage is there; if not, nothing of it is."""
        there = NAME in self.indexes.settings
        self.assertEqual(any(NAME in key for key in self.keys()), there)
        return there

    def test_expired_stage_is_removed(self) -> None:
        """It goes an hour after it has expired, with its files and the markers of its names."""
        self.tidy_after(timedelta(days=7))
        self.assertTrue(self.is_there())
        self.tidy_after(GRACE)
        self.assertFalse(self.is_there())

    def test_published_stage_is_removed(self) -> None:
        """It goes a day after its publication; what was published stays."""
        self.publish()
        self.tidy_after(KEPT / 2)
        self.assertTrue(self.is_there())
        self.tidy_after(KEPT / 2)
        self.assertFalse(self.is_there())
        self.assertEqual(self.published(), STAGED)
        self.assertEqual(self.published(self.process()), STAGED)

    def test_file_that_was_left_opens_the_stage_again(self) -> None:
        """A process died after it had recorded that the publication is done. The stage is published
        again, with the file.
        """
        self.publish()
        stage = self.stages.stage(NAME)
        self.have(set_index(self.indexes, evolve(stage, publication=None)))
        self.have(publishing(self.staged(), sent(b"sdist", SDIST)))
        self.have(set_index(self.indexes, stage))
        self.tidy_after(KEPT)
        self.assertIs(self.state(), StageState.OPEN)
        self.tidy_after(KEPT)
        self.assertEqual(self.publish().left, ())
        self.assertEqual(self.published(), {**STAGED, SDIST: b"sdist"})
        self.tidy_after(KEPT)
        self.assertFalse(self.is_there())

    def test_file_that_was_deleted_in_the_base(self) -> None:
        """It was published, so that the stage is removed, and the file stays deleted."""
        self.publish()
        self.clock.advance(60)
        self.have(Manager(self.indexes.default.context).delete(SPAM, [WHEEL], "alice"))
        self.tidy_after(KEPT)
        self.assertFalse(self.is_there())
        self.assertEqual(self.published(), {EGGS: b"eggs"})

    def test_overwritten_in_the_base(self) -> None:
        """A published stage does not open again because its files were replaced or deleted."""
        self.publish()
        self.have(publishing(self.indexes.default, sent(b"other", WHEEL), overwrite=True))
        self.tidy_after(KEPT)
        self.assertFalse(self.is_there())

    def test_not_removed_while_it_is_published(self) -> None:
        """A publication that began before the stage has expired ends, however long it takes."""
        waiting: Deferred[None] = Deferred()

        async def own(target: IndexContext, projects: Collection[ProjectName]) -> None:
            await waiting

        publication = start(self.stages.publish(NAME, "alice", anything, own))
        self.tidy_after(timedelta(days=10))
        self.assertTrue(self.is_there())
        waiting.callback(None)
        self.successResultOf(publication)
        self.assertEqual(self.published(), STAGED)

    def test_interrupted_publication_is_ended(self) -> None:
        """Of a publication that broke off, the stage is open again, or published."""
        for steps, state in ((2, StageState.OPEN), (1000, StageState.PUBLISHED)):
            self.setUp()
            stage = self.stages.stage(NAME)
            if state is StageState.PUBLISHED:
                self.publish()  # and the last step is taken back:
                stage = self.stages.stage(NAME)
                assert stage.publication is not None
                begun = Publication(stage.publication.begun)
                self.have(set_index(self.indexes, evolve(stage, publication=begun)))
            else:
                dying = self.process(steps)
                self.died(start(dying.publish(NAME, "alice", anything, no_owners)))
                self.stages = self.process()
            self.assertIs(self.state(), StageState.PUBLISHING)
            self.tidy_after(INTERRUPTED)
            self.assertIs(self.state(), state)

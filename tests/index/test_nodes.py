"""Several nodes with one storage and one shared catalog: publishing, changing and comparing, also
while that is away.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from itertools import product
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pypid.core.errors import AlreadyExists, Busy, CatalogDown
from pypid.core.model import Presence, Project, Status
from pypid.core.packaging.names import project_name
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.existing_files import LOOKS, PAUSE
from pypid.index.local.publish import UNDER_WAY, PublishOutcome
from tests.index.faulty_blobs import Died, Gated, Storm
from tests.index.nodes import NodesCase, SqliteNodesCase
from tests.index.uploads import SPAM, WHEEL, Sent, publishing, sent

SDIST = "spam-1.0.tar.gz"
ONE, OTHER = sent(b"one"), sent(b"other")


class SeeingTests(SqliteNodesCase):
    """What one node did, seen by another."""

    def test_yank_of_what_is_gone(self) -> None:
        """A yank at a node that has not heard yet of a delete does not bring the file back."""
        self.publish(self.here, ONE)
        self.publish(self.here, sent(b"sdist", SDIST))
        self.go(1)
        held = self.have(self.there.context.held(SPAM))
        self.have(self.here.delete(SPAM, [WHEEL], "carol"))
        self.assertEqual(self.have(self.there.context.held(SPAM)), held)
        self.have(self.there.yank(SPAM, [WHEEL, SDIST], "why"))
        self.assertEqual(list(self.seen(self.there)), [SDIST])
        self.assertEqual(self.file(self.there, SDIST).yanked, "why")


class LookingTests(NodesCase):
    """A project is read while another node changes it."""

    def test_older_than_the_catalog(self) -> None:
        """What was read of a project before another node published to it does not take that away
        again.
        """
        gate = Gated(self.store)
        slow = self.node(gate)
        for step in self.steps(gate, lambda: slow.context.resync(SPAM)):
            self.assertIsInstance(step, Project)

    def steps(
        self, gate: Gated, job: Callable[[], Coroutine[Any, Any, object]]
    ) -> Iterator[object]:
        """The job, stopped at each of its steps until somebody has published: that is listed in any
        case.
        """
        self.publish(self.here, ONE)
        self.publish(self.here, sent(b"eggs", "eggs-1.0.tar.gz"))
        for step in range(99):
            done = start(job())
            for _ in range(step):
                if gate.waiting:
                    gate.go()
            is_over = not gate.waiting
            what = sent(b"%d" % step)
            self.publish(self.here, what, overwrite=True)
            gate.all()
            yield self.successResultOf(done)
            for node in (self.here, self.node()):
                self.assertEqual(self.seen(node)[WHEEL], what.upload.digests.sha256, f"step {step}")
            if is_over:
                return
        self.fail("it never ends")

    def test_kept_files(self) -> None:
        """The same of files of theirs: what another node has just kept stays listed."""
        gate = Gated(self.store)
        slow = self.node(gate)
        name = project_name("eggs")
        file = self.file(self.here, "eggs-1.0.tar.gz", name)
        for step in range(20):
            looked = start(slow.file_cache.kept.records.resync(name))
            for _ in range(step):
                if gate.waiting:
                    gate.go()
            is_over = not gate.waiting
            self.have(self.here.file_cache.forget(name, file.filename))
            self.data(self.here, file)
            gate.all()
            self.successResultOf(looked)
            self.assertIsNotNone(
                self.have(self.node().catalog.upstream.get(name)).kept_file(file.filename),
                f"step {step}",
            )
            if is_over:
                return
        self.fail("it never ends")


class DeletingTests(NodesCase):
    """One node deletes a file while another publishes the very same again."""

    def test_published_again(self) -> None:
        """Whatever step the delete has come to: what is acknowledged after it can be downloaded;
        else nothing is listed.
        """
        outcomes: set[object] = set()
        for step in range(99):
            self.setUp()
            self.publish(self.here, ONE)
            self.clock.advance(UNDER_WAY.total_seconds() + 1)
            self.go(1)
            gate = Gated(self.store)
            node = self.node(gate)
            deleted = start(node.delete(SPAM, [WHEEL], "carol"))
            for _ in range(step):
                if gate.waiting:
                    gate.go()
            is_over = not gate.waiting
            self.go(1)
            published = start(publishing(self.here, ONE)).addErrback(
                lambda failure: failure.trap(Busy)
            )
            self.clock.pump([PAUSE] * LOOKS)
            outcome = self.successResultOf(published)
            outcomes.add(outcome)
            gate.all()
            self.successResultOf(deleted)
            self.go(1)
            files = self.seen(self.there)
            if outcome is PublishOutcome.PUBLISHED:
                self.assertEqual(list(files), [WHEEL], f"step {step}")
            for filename in files:
                self.assertEqual(
                    self.data(self.there, self.file(self.there, filename)), b"one", f"step {step}"
                )
            if is_over:
                break
        self.assertEqual(outcomes, {PublishOutcome.UNCHANGED, Busy, PublishOutcome.PUBLISHED})


class PublishingTests(NodesCase):
    """Two nodes publish one name at once."""

    def both(
        self, other: Sent, switch: int | None, off: tuple[bool, bool], order: tuple[int, ...]
    ) -> list[object]:
        """What comes of both; at step `switch` the catalog goes away from those that are `off`."""
        self.setUp()
        gates = [Gated(self.store), Gated(self.store)]
        nodes = [self.node(gate) for gate in gates]
        started = [
            start(publishing(node, what)) for node, what in zip(nodes, (ONE, other), strict=True)
        ]
        for step in range(999):
            if step == switch:
                self.cut_off(*(node for node, is_off in zip(nodes, off, strict=True) if is_off))
            turn = gates[order[step % len(order)]]
            waiting = turn if turn.waiting else next((gate for gate in gates if gate.waiting), None)
            if waiting is not None:
                waiting.go()
            elif all(each.called for each in started):
                break
            else:
                self.clock.advance(PAUSE)
        self.took = step
        outcomes = self.judged(started)
        self.cut_off(*nodes, off=False)
        for node, gate in zip(nodes, gates, strict=True):
            settled = start(node.maintenance.flush_pending_updates())
            gate.all()
            self.assertEqual(self.successResultOf(settled), 0)
        self.go(1)
        return outcomes

    def judged(self, started: list[Deferred[PublishOutcome]]) -> list[object]:
        outcomes: list[object] = []
        for each in started:
            each.addErrback(lambda failure: failure.value).addCallback(outcomes.append)
        self.assertEqual(len(outcomes), 2, "somebody waits for ever")
        return outcomes

    def listed_after(self, outcomes: list[object], other: Sent) -> None:
        """What is listed is one of both, whole, at every node; and all who were told so were told
        the truth.
        """
        has_row = isinstance(self.row(), Project)
        self.assertEqual(has_row, self.has_record())
        if not has_row:
            self.assertEqual({type(outcome) for outcome in outcomes}, {CatalogDown})
            return
        for node in (self.here, self.there):
            files = self.seen(node)
            [winner] = [
                what for what in (ONE, other) if what.upload.digests.sha256 == files[WHEEL]
            ][:1]
            self.assertEqual(self.data(node, self.file(node)), winner.data)
            for outcome, what in zip(outcomes, (ONE, other), strict=True):
                is_winner = what.data == winner.data
                match outcome:
                    case PublishOutcome.PUBLISHED | PublishOutcome.UNCHANGED:
                        self.assertTrue(is_winner, outcomes)
                    case AlreadyExists():
                        self.assertFalse(is_winner, outcomes)
                    case _:
                        self.assertIsInstance(outcome, CatalogDown)

    def orders(self) -> Iterator[tuple[int, ...]]:
        yield from ((0,), (1,), (0, 1), (0, 0, 1), (1, 1, 0))

    def test_up(self) -> None:
        """Exactly one wins; the other is told that the file exists, or that the very same does,
        whatever the order.
        """
        for other, order in product((OTHER, ONE), self.orders()):
            outcomes = self.both(other, None, (False, False), order)
            self.assertEqual(outcomes.count(PublishOutcome.PUBLISHED), 1, outcomes)
            [loser] = [outcome for outcome in outcomes if outcome is not PublishOutcome.PUBLISHED]
            if other is ONE:
                self.assertIs(loser, PublishOutcome.UNCHANGED)
            else:
                self.assertIsInstance(loser, AlreadyExists)
            self.listed_after(outcomes, other)

    def test_down(self) -> None:
        """The same while the catalog goes away, from one or from both, at any step; the loser of
        the record never hears that it won, and what became of it is listed once the catalog is
        back.
        """
        both, first, second = (True, True), (True, False), (False, True)
        for other, order, off in (
            (OTHER, (0, 1), both),
            (OTHER, (1, 1, 0), first),
            (ONE, (0, 1), second),
            (ONE, (1, 1, 0), both),
        ):
            switch = 0
            while True:
                outcomes = self.both(other, switch, off, order)
                self.assertLessEqual(outcomes.count(PublishOutcome.PUBLISHED), 1, outcomes)
                self.listed_after(outcomes, other)
                switch += 1
                if switch > self.took:
                    break


class AwayTests(NodesCase):
    """The catalog goes away in the middle of a change, or was away before."""

    def test_publish_before(self) -> None:
        """Nothing of a new file is stored, and the client is told to try again; who sends what
        exists is answered by it.
        """
        self.publish(self.here, ONE)
        self.go(1)
        self.cut_off(self.here)
        before = self.keys()
        error = self.refused(publishing(self.here, sent(b"new", SDIST)), CatalogDown)
        assert isinstance(error, CatalogDown)
        self.assertGreater(error.retry_after, 0)
        self.assertEqual(self.keys(), before)
        self.refused(publishing(self.here, OTHER), AlreadyExists)
        self.assertEqual(self.publish(self.here, ONE), PublishOutcome.UNCHANGED)
        self.refused(publishing(self.here, OTHER, overwrite=True), CatalogDown)
        self.assertEqual(self.keys(), before)

    def test_published_elsewhere(self) -> None:
        """What another node published meanwhile decides here, too; but none is told that it is
        published where it is not listed.
        """
        self.cut_off(self.here)
        self.publish(self.there, ONE)
        self.refused(publishing(self.here, OTHER), AlreadyExists)
        self.refused(publishing(self.here, ONE), CatalogDown)
        self.assertEqual(self.seen(self.here), {WHEEL: ONE.upload.digests.sha256})
        self.cut_off(self.here, off=False)
        self.have(self.here.maintenance.flush_pending_updates())
        self.assertEqual(self.publish(self.here, ONE), PublishOutcome.UNCHANGED)

    def test_every_step(self) -> None:
        """Whatever step a change has come to when the catalog goes away: what it said is true, and
        both ends agree later.
        """
        changes = {
            "publish": lambda node: publishing(node, sent(b"new", SDIST)),
            "overwrite": lambda node: publishing(node, OTHER, overwrite=True),
            "yank": lambda node: node.yank(SPAM, [WHEEL], "why"),
            "unyank": lambda node: node.unyank(SPAM, [WHEEL]),
            "status": lambda node: node.set_status(SPAM, Status.QUARANTINED, ""),
            "delete": lambda node: node.delete(SPAM, [WHEEL], "carol"),
            "release": lambda node: node.release_name(SPAM),
        }
        acknowledged: list[str] = []
        for what, change in changes.items():
            for step in range(99):
                self.setUp()
                if what != "release":
                    self.publish(self.here, ONE)
                else:
                    self.publish(self.here, ONE)
                    self.have(self.here.delete_project(SPAM, "carol"))
                gate = Gated(self.store)
                node = self.node(gate)
                done = start(change(node))
                for _ in range(step):
                    if gate.waiting:
                        gate.go()
                is_over = not gate.waiting
                self.cut_off(node)
                gate.all()
                outcomes: list[object] = []
                done.addBoth(outcomes.append)
                if is_over:
                    self.settled(node, gate)
                    break
                [outcome] = outcomes
                if isinstance(outcome, Failure):
                    self.assertIsInstance(outcome.value, CatalogDown, f"{what} {step}")
                else:
                    acknowledged.append(what)
                read = start(
                    node.context.local_project(SPAM)
                )  # what this node shows is what the storage holds
                gate.all()
                shown = self.successResultOf(read)
                self.cut_off(node, off=False)
                self.settled(node, gate)
                self.assertEqual(_bare(shown), _bare(self.row()), (what, step))
            else:
                self.fail(f"{what} never ends")
        self.assertEqual(
            set(acknowledged), {"overwrite", "delete"}
        )  # whose last steps come after the catalog

    def settled(self, node: Index, gate: Gated) -> None:
        """Its catalog is that of a node that has just compared everything; a node that compared
        nothing has the same.
        """
        settling = start(node.maintenance.flush_pending_updates())
        gate.all()
        self.assertEqual(self.successResultOf(settling), 0)
        held = self.row()
        self.have(self.here.reconcile())
        self.assertEqual(_bare(held), _bare(self.row()))

    def died(self) -> None:
        """A node has died between the record and the catalog, which was complete."""
        self.have(self.here.reconcile())
        self.go(1)
        for step in range(1, 20):
            dying = start(
                publishing(self.node(Storm(self.store, step, Died, late=True, for_good=True)), ONE)
            )
            self.failureResultOf(dying, Died)
            if self.has_record():
                break
            for key in self.keys():
                self.have(self.store.delete(key))
        self.assertTrue(self.have(self.here.catalog.is_complete()))
        self.assertIs(self.have(self.here.catalog.local.get(SPAM)), Presence.ABSENT)

    def test_dies(self) -> None:
        """A node that dies between a record and the catalog: the name is told to nobody, and the
        file appears when it is asked for.
        """
        self.died()
        for node in (self.here, self.there):
            self.assertEqual(self.seen(node), {WHEEL: ONE.upload.digests.sha256})
            self.assertEqual(self.data(node, self.file(node)), b"one")
        self.assertEqual(self.upstream.names_told, [])

    def test_dies_and_is_compared(self) -> None:
        """Where nobody asks for it a comparison lists it, and who sends it once more hears that it
        is there.
        """
        self.died()
        self.have(self.there.reconcile())
        self.go(1)
        self.assertIsInstance(self.have(self.here.catalog.local.get(SPAM)), Project)
        self.assertEqual(self.publish(self.here, ONE), PublishOutcome.UNCHANGED)
        self.refused(publishing(self.here, OTHER), AlreadyExists)
        self.assertEqual(self.upstream.names_told, [])


class AnewTests(NodesCase):
    """The shared catalog is begun anew."""

    def test_same_serials(self) -> None:
        """A page of the old catalog is never shown for one of the new, though its serial may come
        again.
        """
        self.publish(self.here, ONE)
        before = self.have(self.here.view(SPAM))
        self.have(self.here.publish(OTHER.upload, OTHER.body, "bob", overwrite=True))
        serial = self.have(self.here.catalog.serial())
        self.place.lose()
        other = self.node()
        self.have(other.reconcile())
        self.go(3)
        after = self.have(self.here.view(SPAM))
        self.assertNotEqual(after.edition, before.edition)
        self.assertEqual(after.project.files[0].sha256, OTHER.upload.digests.sha256)
        self.assertGreater(serial, 0)


def _bare(project: Project | Presence) -> object:
    """What of it does not depend on when it was read; a name that is not known is not there."""
    if not isinstance(project, Project):
        return None
    return project.name, project.files, project.status, project.status_reason

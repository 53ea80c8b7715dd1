"""Two things at once: hypothesis chooses who goes on at each step of the storage."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pypid.core.errors import (
    AlreadyExists,
    Busy,
    NameUsedUp,
    NoSuchFile,
    NoSuchProject,
    StorageDown,
    UploadForbidden,
)
from pypid.core.model import File, Status
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.publish import PAUSE, PublishOutcome
from tests.index.faulty_blobs import Gated
from tests.index.uploads import SPAM, WHEEL, IndexCase, an_index, fetched, publishing, sent, signed

SDIST = "spam-1.0.tar.gz"
BOTH = (WHEEL, SDIST)
_choices = st.lists(st.integers(0, 5), max_size=60)


async def installed(index: Index) -> bytes | None:
    """What a client that saw the page gets a moment later; None where it is told that the file is
    gone.
    """
    try:
        file = await index.file(SPAM, WHEEL)
        data = await fetched(index, file)
    except (NoSuchFile, NoSuchProject, Busy):
        return None
    assert len(data) == file.size, "a page that lied"
    return data


_jobs: dict[str, Callable[[Index], Coroutine[Any, Any, object]]] = {
    "publish": lambda index: publishing(index, signed()),
    "publish the same": lambda index: publishing(index, signed(), by="bob"),
    "publish other": lambda index: publishing(index, sent(b"other")),
    "publish sdist": lambda index: publishing(index, sent(b"sdist", SDIST)),
    "overwrite": lambda index: publishing(index, signed(b"over"), overwrite=True),
    "overwrite again": lambda index: publishing(index, sent(b"over again"), overwrite=True),
    "delete": lambda index: index.manager.delete(SPAM, [WHEEL], "carol"),
    "delete all": lambda index: index.manager.delete_project(SPAM, "carol"),
    "yank": lambda index: index.manager.yank(SPAM, [WHEEL], "why"),
    "unyank": lambda index: index.manager.unyank(SPAM, [WHEEL]),
    "status": lambda index: index.manager.set_status(SPAM, Status.DEPRECATED, "old"),
    "reconcile": lambda index: index.maintenance.reconcile(),
    "rebuild": lambda index: index.maintenance.rebuild("dave"),
    "look": lambda index: index.context.resync(SPAM),
    "install": lambda index: installed(index),
    "sweep": lambda index: index.maintenance.check(sweep=True),
}
_refusals = (AlreadyExists, Busy, NameUsedUp, NoSuchFile, NoSuchProject, UploadForbidden)


class RaceTests(IndexCase):
    """Whatever happens at once, in whatever order the storage answers."""

    def run_at_once(
        self, names: list[str], choices: list[int], nodes: list[Index], gates: list[Gated]
    ) -> list[object]:
        """Start all, then let one after the other take a step; what came of each."""
        started: list[Deferred[object]] = [
            start(_jobs[name](nodes[number % len(nodes)])) for number, name in enumerate(names)
        ]
        turns = iter(choices)
        for steps in range(20_000):
            waiting = [(gate, which) for gate in gates for which in range(len(gate.waiting))]
            if not waiting and self.clock.getDelayedCalls():  # somebody waits for another node
                self.clock.advance(PAUSE)
                continue
            if not waiting:
                break
            gate, which = waiting[next(turns, steps) % len(waiting)]
            gate.go(which)
        return self.judge(started)

    def judge(self, started: Sequence[Deferred[object]]) -> list[object]:
        """What came of each; fails for one that hangs, or that broke instead of being refused."""
        outcomes: list[object] = []
        for deferred in started:
            deferred.addErrback(lambda failure: failure.value).addCallback(outcomes.append)
        self.assertEqual(len(outcomes), len(started), "somebody waits for ever")
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                self.assertIsInstance(outcome, _refusals)
        return outcomes

    @settings(
        max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.sampled_from(("nothing", "published", "yanked", "deleted", "dropped")),
        st.lists(st.sampled_from(sorted(_jobs)), min_size=2, max_size=4),
        _choices,
    )
    def test_one_process(self, before: str, names: list[str], choices: list[int]) -> None:
        """In one process no page lies, nothing hangs, and the catalog is what the storage holds."""
        IndexCase.setUp(self)
        self.prepare(before)
        gate = Gated(self.store)
        index = self.restarted(gate)
        compared = start(index.maintenance.reconcile())
        gate.all()
        self.successResultOf(compared)
        self.run_at_once(names, choices, [index], [gate])
        self.at_rest(index)
        index = self.opened(index)
        self.files(index)
        found = self.files(self.restarted_and_compared())
        self.assertEqual(self.files(index), found)
        self.compared(index)

    @settings(
        max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.sampled_from(("nothing", "published", "yanked", "deleted")),
        st.lists(
            st.sampled_from([name for name in sorted(_jobs) if name not in ("rebuild", "sweep")]),
            min_size=2,
            max_size=4,
        ),
        _choices,
    )
    def test_two_nodes(self, before: str, names: list[str], choices: list[int]) -> None:
        """Of two processes over one storage each may lag behind; what the storage holds afterwards
        is whole.
        """
        IndexCase.setUp(self)
        self.prepare(before)
        gates = [Gated(self.store), Gated(self.store)]
        nodes = [self.restarted(gate, shared=True) for gate in gates]
        for node, gate in zip(nodes, gates, strict=True):
            compared = start(node.maintenance.reconcile())
            gate.all()
            self.successResultOf(compared)
        self.run_at_once(names, choices, nodes, gates)
        for node in nodes:
            self.at_rest(node)
            self.compared(self.opened(node))
            self.files(self.opened(node))

    def prepare(self, before: str) -> None:
        """The storage as it was."""
        if before == "dropped":
            self.put(f"spam/{WHEEL}", b"dropped")
        if before in ("published", "yanked", "deleted"):
            self.publish(signed())
        if before == "yanked":
            self.have(self.index.manager.yank(SPAM, [WHEEL], "before"))
        if before == "deleted":
            self.have(self.index.manager.delete(SPAM, [WHEEL], "before"))

    def opened(self, index: Index) -> Index:
        """The same index, over a store that keeps nobody waiting."""
        return an_index(
            self.store,
            index.catalog,
            index.source.upstream,
            index.context.policy,
            index.context.world,
            shared=index.context.shared,
        )

    def restarted_and_compared(self) -> Index:
        index = self.restarted()
        self.have(index.maintenance.reconcile())
        return index

    # --- the races that have names ---

    def test_two_publish_one_name(self) -> None:
        """Of two publishes of one name at two nodes exactly one wins; the other is told so,
        whatever the order.
        """
        for other, losing in (
            ("publish the same", (PublishOutcome.UNCHANGED,)),
            ("publish other", (AlreadyExists,)),
        ):
            for pattern in (
                [0],
                [1],
                [0, 1],
                [0, 0, 1],
                [0, 1, 1],
                [0] * 9 + [1] * 9,
                [0, 1, 0, 0, 0, 1, 1, 1],
            ):
                IndexCase.setUp(self)
                gates = [Gated(self.store), Gated(self.store)]
                nodes = [self.restarted(gate, shared=True) for gate in gates]
                outcomes = self.run_at_once(["publish", other], pattern * 20, nodes, gates)
                self.assertEqual(outcomes.count(PublishOutcome.PUBLISHED), 1, outcomes)
                loser = next(
                    outcome for outcome in outcomes if outcome is not PublishOutcome.PUBLISHED
                )
                self.assertTrue(loser in losing or type(loser) in losing, loser)
                self.assertEqual(len(self.files(self.restarted_and_compared())), 1)

    def test_page_that_is_older_than_the_bytes(self) -> None:
        """Who comes with a page of a moment ago hears the truth: replaced, deleted, or lost."""
        self.publish(sent())
        seen = self.file()
        self.publish(sent(b"new"), overwrite=True)
        self.refused(self.index.open(seen), Busy)
        seen = self.file()
        self.have(self.index.manager.delete(SPAM, [WHEEL], "carol"))
        self.refused(self.index.open(seen), NoSuchFile)
        self.publish(sent(b"new"))
        seen = self.file()
        self.have(self.store.delete(f"spam/{WHEEL}"))
        self.refused(self.index.open(seen), StorageDown)
        self.assertEqual(self.files(), {})

    def file(self) -> File:
        return self.have(self.index.file(SPAM, WHEEL))

"""Nodes with one shared catalog do things at once; hypothesis chooses who goes on, and when the
catalog goes away from whom.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pypid.core.errors import (
    AlreadyExists,
    Busy,
    CatalogDown,
    NameUsedUp,
    NoSuchFile,
    NoSuchProject,
    NotYetKnown,
    UploadForbidden,
)
from pypid.core.model import Project, Status
from pypid.core.records.documents import load_project
from pypid.database.engine import RowKind
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.publish import PAUSE, UNDER_WAY, PublishOutcome
from tests.index.faulty_blobs import Gated
from tests.index.nodes import NodesCase
from tests.index.uploads import SPAM, WHEEL, publishing, sent, signed

SDIST = "spam-1.0.tar.gz"
_jobs: dict[str, Callable[[Index], Coroutine[Any, Any, object]]] = {
    "publish": lambda index: publishing(index, signed()),
    "publish the same": lambda index: publishing(index, signed(), by="bob"),
    "publish other": lambda index: publishing(index, sent(b"other")),
    "publish sdist": lambda index: publishing(index, sent(b"sdist", SDIST)),
    "overwrite": lambda index: publishing(index, signed(b"over"), overwrite=True),
    "delete": lambda index: index.manager.delete(SPAM, [WHEEL], "carol"),
    "yank": lambda index: index.manager.yank(SPAM, [WHEEL], "why"),
    "unyank": lambda index: index.manager.unyank(SPAM, [WHEEL]),
    "status": lambda index: index.manager.set_status(SPAM, Status.DEPRECATED, "old"),
    "reconcile": lambda index: index.maintenance.reconcile(),
    "look": lambda index: index.context.resync(SPAM),
    "page": lambda index: index.view(SPAM),
}
_refusals = (
    AlreadyExists,
    Busy,
    CatalogDown,
    NameUsedUp,
    NoSuchFile,
    NoSuchProject,
    NotYetKnown,
    UploadForbidden,
)


class RaceTests(NodesCase):
    """Whatever happens at once."""

    def run_at_once(
        self, names: list[str], choices: list[int], away: dict[int, int]
    ) -> list[object]:
        """What comes of these, at three nodes in turn; `away`: at which step the catalog goes away
        from which node.
        """
        gates = [Gated(self.store) for _ in range(3)]
        nodes = [self.node(gate) for gate in gates]
        started: list[Deferred[object]] = [
            start(_jobs[name](nodes[number % 3])) for number, name in enumerate(names)
        ]
        turns = iter(choices)
        for step in range(5000):
            if step in away:
                self.cut_off(nodes[away[step]])
            waiting = [(gate, which) for gate in gates for which in range(len(gate.waiting))]
            if waiting:
                gate, which = waiting[next(turns, step) % len(waiting)]
                gate.go(which)
            elif all(each.called for each in started):
                break
            else:
                self.clock.advance(PAUSE)
        outcomes: list[object] = []
        for each in started:
            each.addErrback(lambda failure: failure.value).addCallback(outcomes.append)
        self.assertEqual(len(outcomes), len(started), "somebody waits for ever")
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                self.assertIsInstance(outcome, _refusals)
        self.cut_off(*nodes, off=False)
        for node, gate in zip(nodes, gates, strict=True):
            settling = start(node.maintenance.flush_pending_updates())
            gate.all()
            self.assertEqual(self.successResultOf(settling), 0)
        return outcomes

    def held(self) -> object:
        """The engine's row, but for its serial."""
        row = self.place.rows.get((RowKind.LOCAL, SPAM))
        if row is None or row.head is None:
            return None
        project = load_project(self.place.contents[RowKind.LOCAL, SPAM].line)
        return project.files, project.status, project.status_reason

    @settings(
        max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.sampled_from(("nothing", "published", "yanked", "deleted")),
        st.lists(st.sampled_from(sorted(_jobs)), min_size=2, max_size=4),
        st.lists(st.integers(0, 5), max_size=60),
        st.dictionaries(st.integers(0, 40), st.integers(0, 2), max_size=2),
    )
    def test_any(
        self, before: str, names: list[str], choices: list[int], away: dict[int, int]
    ) -> None:
        """Without any comparison the catalog lists what the storage holds, once it is back; each
        file of a page can be installed, and what was acknowledged is there.
        """
        self.setUp()
        if before != "nothing":
            self.publish(self.here, signed())
            self.clock.advance(UNDER_WAY.total_seconds() + 1)
            self.go(1)
        if before == "yanked":
            self.have(self.here.manager.yank(SPAM, [WHEEL], "before"))
        if before == "deleted":
            self.have(self.here.manager.delete(SPAM, [WHEEL], "carol"))
        self.go(1)
        outcomes = self.run_at_once(names, choices, away)
        held = self.held()
        self.have(self.node().maintenance.reconcile())
        self.assertEqual(held, self.held(), (names, outcomes))
        self.go(1)
        ours = self.have(self.here.context.local_project(SPAM))
        if isinstance(ours, Project):
            for file in ours.files:
                self.assertEqual(len(self.data(self.here, file)), file.size)
        if PublishOutcome.PUBLISHED in outcomes and "delete" not in names:
            self.assertIsInstance(ours, Project)

"""A node that was paused (or whose lease was lost with the engine) goes on with its publish: it
spoils nobody else's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pypid.core.errors import AlreadyExists, Busy
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.publish import PAUSE, PublishOutcome
from pypid.ports import Blobs
from tests.index.faulty_blobs import Gated
from tests.index.nodes import NodesCase
from tests.index.uploads import Sent, publishing, signed


class Forgotten:
    """The leases of an engine that has lost them, or of nodes that slept longer than a lease lasts:
    whoever asks is alone.
    """

    @asynccontextmanager
    async def announced(self, place: str) -> AsyncIterator[bool]:
        yield True


class PausedTests(NodesCase):
    def node(self, blobs: Blobs | None = None, *args: object, **named: object) -> Index:  # type: ignore[override]
        made = super().node(blobs, *args, **named)  # type: ignore[arg-type]
        made.context = evolve(made.context, announced=Forgotten().announced)
        made.maintenance = evolve(made.maintenance, context=made.context)
        return made

    def run_at_once(self, choices: list[int], what: list[Sent]) -> list[object]:
        gates = [Gated(self.store) for _ in what]
        nodes = [self.node(gate) for gate in gates]
        started: list[Deferred[object]] = [
            start(publishing(node, each, by=f"user-{number}"))
            for number, (node, each) in enumerate(zip(nodes, what, strict=True))
        ]
        turns = iter(choices)
        for step in range(5000):
            waiting = [(gate, which) for gate in gates for which in range(len(gate.waiting))]
            if waiting:
                gate, which = waiting[next(turns, step) % len(waiting)]
                gate.go(which)
            elif all(each.called for each in started):
                break
            else:
                self.clock.advance(PAUSE)
        return [
            self.failureResultOf(each).value if _failed(each) else self.successResultOf(each)
            for each in started
        ]

    @settings(
        max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(st.integers(0, 1), max_size=60), st.booleans())
    def test_two(self, choices: list[int], is_same: bool) -> None:
        """Whoever goes on when: one wins, and its bytes, its metadata and all that lies beside them
        are its own.
        """
        self.setUp()
        what = [signed(b"one"), signed(b"one" if is_same else b"another")]
        outcomes = self.run_at_once(choices, what)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                self.assertIsInstance(outcome, (AlreadyExists, Busy))
        fresh = self.node()
        self.have(fresh.maintenance.reconcile())
        files = self.have(fresh.project(what[0].upload.distribution.project)).files
        self.assertEqual(len(files), 1, outcomes)
        (file,) = files
        self.assertEqual(sha256(self.data(fresh, file)).hexdigest(), file.sha256, outcomes)
        self.assertEqual(
            sha256(self.have(fresh.metadata(file))).hexdigest(), file.metadata_sha256, outcomes
        )
        winner = what[[each.upload.digests.sha256 for each in what].index(file.sha256 or "")]
        self.assertEqual(self.have(fresh.provenance(file)), winner.upload.provenance, outcomes)
        for outcome, each in zip(outcomes, what, strict=True):
            if isinstance(outcome, PublishOutcome):
                self.assertEqual(each.upload.digests.sha256, file.sha256, outcomes)


def _failed(each: Deferred[object]) -> bool:
    from twisted.python.failure import Failure

    return isinstance(each.result, Failure)

"""Documents of decisions: durable, in force when acknowledged, and read by other processes."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid import prefork
from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import NameTaken, StorageDown
from pypid.core.restrictions import RestrictionsInForce
from pypid.flow import BytesBody, start
from pypid.index.decisions import FIRST_READ, LARGEST, LIST, LOOK, DecisionFolder, Decisions
from pypid.ports import Blobs
from pypid.prefork.messages import Message, Siblings
from tests.index.faulty_blobs import Gated, Storm
from tests.support import world


class Note(msgspec.Struct, frozen=True):
    """A decision."""

    text: str
    format: int = 1


class Node:
    """A process with the decisions of a storage."""

    def __init__(self, blobs: Blobs, clock: Clock, **more: Any) -> None:
        self.restrictions = RestrictionsInForce()
        self.restrictions.set_known(False)
        self.decisions = Decisions(blobs, world(clock), self.restrictions, **more)
        self.notes: DecisionFolder[Note] = self.decisions.folder("notes", Note)
        self.seen: list[dict[str, str]] = []
        self.notes.changed.connect(lambda: self.seen.append(self.texts))

    @property
    def texts(self) -> dict[str, str]:
        """What it has in memory."""
        return {id: note.text for id, note in self.notes.all.items()}


class DecisionsCase(SynchronousTestCase):
    """A storage, and processes that use it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryBlobs(world(self.clock).now)
        self.started: list[Node] = []
        self.addCleanup(lambda: [self.stop(node) for node in self.started])

    def node(self, blobs: Blobs | None = None, **more: Any) -> Node:
        """A process that has just started."""
        node = Node(blobs or self.store, self.clock, **more)
        self.have(node.decisions.begin())
        node.decisions.startService()
        self.started.append(node)
        return node

    def stop(self, node: Node) -> None:
        """End its jobs."""
        if node.decisions.running:
            node.decisions.stopService()

    def have(self, what: Coroutine[Any, Any, Any]) -> Any:
        """The result, which is there at once."""
        return self.successResultOf(start(what))

    def refused(self, what: Coroutine[Any, Any, Any], error: type[Exception]) -> None:
        """Assert that it is refused."""
        self.failureResultOf(start(what), error)


class FolderTests(DecisionsCase):
    """One process."""

    def test_put_and_delete(self) -> None:
        """A decision is in memory, and in the storage, when it is acknowledged."""
        node = self.node()
        self.have(node.notes.put("one", Note("a")))
        self.assertEqual(node.seen, [{"one": "a"}])
        self.assertEqual(self.node().texts, {"one": "a"})
        self.have(node.notes.put("one", Note("b")))
        self.refused(node.notes.put("one", Note("c"), replace=False), NameTaken)
        self.assertEqual(self.node().texts, {"one": "b"})
        self.have(node.notes.delete("one"))
        self.have(node.notes.delete("one"))
        self.assertEqual(self.node().texts, {})
        self.assertEqual(node.seen, [{"one": "a"}, {"one": "b"}, {}])

    def test_unreadable(self) -> None:
        """A document that is damaged, foreign or too large is reported; what was read before stays
        in force.
        """
        node = self.node()
        self.have(node.notes.put("one", Note("a")))
        texts = {
            "one": b"{",
            "two": b'{"text": 1}',
            "three": b'{"text": "a", "format": 99}',
            "four": b'{"text": "' + b"x" * LARGEST + b'"}',
        }
        for id, text in texts.items():
            self.have(self.store.write(f".pypid/notes/{id}.json", BytesBody(text), replace=True))
        self.have(self.store.write(".pypid/notes/Other.txt", BytesBody(b"?")))
        self.have(node.decisions.refresh())
        self.assertEqual(node.texts, {"one": "a"})
        self.assertEqual(set(node.notes.unreadable), set(texts))
        fresh = self.node()
        self.assertEqual((fresh.texts, set(fresh.notes.unreadable)), ({}, set(texts)))
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.have(node.notes.put("one", Note("b")))
        self.assertEqual(node.texts, {"one": "b"})


class StartTests(DecisionsCase):
    """A start with a storage that is away, or slow."""

    def test_unknown_until_read(self) -> None:
        """Nothing is known until the storage was read once; it is tried again each second."""
        self.have(self.node().notes.put("one", Note("a")))
        for others_write in (False, True):
            away = Storm(self.store, 1, lambda: StorageDown("away."), for_good=True)
            node = self.node(away, others_write=others_write)
            waiting = start(node.decisions.ready())
            self.clock.pump([1.0] * int(FIRST_READ - 1))
            self.assertNoResult(waiting)
            self.clock.advance(1.0)
            self.successResultOf(waiting)
            self.assertFalse(node.restrictions.current.is_known)
            node.decisions.blobs = self.store
            self.clock.advance(LOOK)
            self.assertTrue(node.restrictions.current.is_known)
            self.assertEqual(node.texts, {"one": "a"})

    def test_requests_wait_for_the_first_reading(self) -> None:
        """A request that comes during the first reading waits for it."""
        gated = Gated(self.store)
        node = Node(gated, self.clock)
        self.started.append(node)
        node.decisions.startService()
        waiting = start(node.decisions.ready())
        self.assertNoResult(waiting)
        gated.all()
        self.successResultOf(waiting)
        self.assertTrue(node.restrictions.current.is_known)


class NodesTests(DecisionsCase):
    """Several nodes on one storage."""

    def test_two_nodes_in_each_order_of_steps(self) -> None:
        """Whatever the order of their steps, both know of both after a look."""
        for order in range(64):
            store = MemoryBlobs(world(self.clock).now)
            gates = [Gated(store), Gated(store)]
            nodes = [Node(gate, self.clock, others_write=True) for gate in gates]
            for gate, node in zip(gates, nodes, strict=True):
                beginning = start(node.decisions.begin())
                gate.all()
                self.successResultOf(beginning)
            putting = [start(node.notes.put(f"of-{id(node)}", Note("a"))) for node in nodes]
            for step in range(6):
                if gates[order >> step & 1].waiting:
                    gates[order >> step & 1].go()
            for gate in gates:
                gate.all()
            for each in putting:
                self.successResultOf(each)
            looking = [start(node.decisions.look()) for node in nodes]
            for gate in gates:
                gate.all()
            for each in looking:
                self.successResultOf(each)
            self.assertEqual(nodes[0].texts, nodes[1].texts)
            self.assertEqual(len(nodes[0].texts), 2)

    def test_storage_fails_at_each_step(self) -> None:
        """An error at any step of a change raises it; a later attempt succeeds, and all agree."""
        for step in range(1, 8):
            for late in (False, True):
                store = MemoryBlobs(world(self.clock).now)
                self.store = store
                node, other = self.node(), self.node(others_write=True)
                storm = Storm(store, step, lambda: StorageDown("away."), late=late)
                node.decisions.blobs = storm
                attempt = start(node.notes.put("one", Note("a")))
                if not isinstance(getattr(attempt, "result", None), type(None)):
                    self.failureResultOf(attempt, StorageDown)
                    self.have(node.notes.put("one", Note("a")))
                self.clock.pump([1.0] * int(LIST + 1))
                self.assertEqual(node.texts, {"one": "a"})
                self.assertEqual(other.texts, {"one": "a"})


class WorkersTests(DecisionsCase):
    """The workers of one machine."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(prefork.set_number, 1)
        self.siblings = [Siblings() for _ in range(3)]
        for number, each in enumerate(self.siblings):
            each.connect(partial(self.send, number))
        self.dead: set[int] = set()

    def send(self, sender: int, message: Message) -> None:
        """Send to all others, each of which is a process with a number."""
        for number, each in enumerate(self.siblings):
            if number != sender and number not in self.dead:
                prefork.set_number(number + 1)
                each.hear(message)
                prefork.set_number(sender + 1)

    def test_acknowledged_means_in_force_in_all_workers(self) -> None:
        """The change is acknowledged once each worker has read it."""
        gates = [Gated(self.store) for _ in range(3)]
        workers = []
        for gate, siblings in zip(gates, self.siblings, strict=True):
            node = Node(gate, self.clock, others_write=True, siblings=siblings, worker_count=3)
            beginning = start(node.decisions.begin())
            gate.all()
            self.successResultOf(beginning)
            workers.append(node)
        putting: Deferred[None] = start(workers[0].notes.put("one", Note("a")))
        gates[0].all()
        self.assertNoResult(putting)
        for number in (1, 2):
            self.assertNoResult(putting)
            prefork.set_number(number + 1)
            gates[number].all()
            prefork.set_number(1)
            self.assertEqual(workers[number].texts, {"one": "a"})
        self.successResultOf(putting)

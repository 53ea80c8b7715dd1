"""Blocks, given by the command: in force in all workers and nodes, after a crash and a restart."""

import http.client
import json
import time
from typing import Any

from tests.distributions import wheel as wheel_bytes
from tests.distributions import wheel_filename
from tests.live import postgresql
from tests.live.asking import ask, basic, command
from tests.live.nodes import Node, nodes
from tests.live.processes import BIN, running
from tests.live.projects import listed, publish, wheel
from tests.live.stores import store
from tests.live.test_nodes import ADMIN, NodesCase
from tests.live.test_workers import WorkersCase
from tests.live.workers import answer, is_there, until

FILE, OTHER = wheel_filename("spam", "1.0"), wheel_filename("spam", "2.0")
RELEASES = [wheel("spam", version, tag="py3-none-any") for version in ("1.0", "2.0")]
PATHS = (f"/packages/spam/{FILE}", f"/packages/spam/{FILE}.metadata", f"/local/spam/{FILE}")


class WorkersTests(WorkersCase):
    """Several workers of one machine."""

    def test_in_force_in_all_workers_when_acknowledged(self) -> None:
        """When the command returns, no worker gives a byte of the file; after the block is deleted
        all give it again. A restart knows the blocks.
        """
        publish(self.index, *RELEASES)
        made = self.connected()
        until(lambda: self.statuses(made) == {200}, self.index)
        for _ in range(3):  # so that the fast path of each has it
            self.assertEqual(self.statuses(made), {200})
        for _ in range(3):
            block = self.block("spam==1.0", "--reason", "steals tokens")
            self.assertEqual(self.statuses(made), {403})
            self.assertEqual({answer(each, f"/packages/spam/{OTHER}") for each in made}, {200})
            self.assertEqual(listed(self.index, "spam"), [OTHER])
            self.assertIn("steals tokens", command(self.index.config, "block", "list"))
            command(self.index.config, "block", "delete", block)
            self.assertEqual(self.statuses(made), {200})
        self.block("spam==1.0", "--reason", "steals tokens")
        for each in made:
            each.close()

    def statuses(self, made: list[http.client.HTTPConnection]) -> set[int]:
        """What the workers of these connections answer for the file."""
        return {answer(each, path) for each in made for path in PATHS}

    def block(self, *words: str) -> str:
        """Block with the command; return the id."""
        made: dict[str, Any] = json.loads(
            command(self.index.config, "block", "create", *words, "--json")
        )
        return str(made["id"])


class RestartTests(WorkersCase):
    """What a start knows."""

    def test_first_answer_after_a_crash(self) -> None:
        """The first answers after a crash and a start obey the blocks that were acknowledged."""
        publish(self.index, *RELEASES)
        command(self.index.config, "block", "create", "spam==1.0", "--reason", "steals tokens")
        processes = self.processes()
        self.index.running.process.kill()
        self.index.running.process.wait()
        until(lambda: not any(map(is_there, processes)), self.index, 5.0)
        with running(
            [BIN / "pypid", "serve", "-c", self.index.config],
            self.folder / "again",
            cwd=self.folder,
        ) as again:
            again.until_answers(self.index.url())
            self.assertEqual(listed(self.index, "spam"), [OTHER])
            self.assertEqual({ask(self.index.port, path).status for path in PATHS}, {403})
            self.assertEqual(again.stop(), 0)
        self.index.running.process.returncode = 0  # the shared end of these tests looks at it
        with self.index.running.log.open("a") as file:
            file.write("Server Shut Down")


class NodesTests(NodesCase):
    """Several nodes on one bucket."""

    def test_other_nodes_within_a_second(self) -> None:
        """The node that acknowledges a block gives nothing from then on, the others a second later;
        two nodes that block at once both succeed, and all know both.
        """
        database = postgresql.shared().database()
        s3 = self.stack.enter_context(store())
        both = self.stack.enter_context(nodes(2, s3, f"backend = sql\nurl = {database}", database))
        here, there = both
        for version in ("1.0", "2.0"):
            filename = wheel_filename("spam", version)
            self.assertEqual(here.publish(filename, wheel_bytes("spam", version)).status, 200)
        for node in both:
            self.soon(node, lambda node=node: len(node.page("spam") or {}) == 2)  # type: ignore[misc]
        made = self.blocked(here, "spam==1.0")
        self.assertEqual(self.statuses(here), {403})
        time.sleep(1.0)
        self.assertEqual(self.statuses(there), {403})
        self.assertEqual(set(there.page("spam") or {}), {OTHER})
        two = self.blocked(there, "spam==2.0")
        self.assertEqual(there.page("spam"), {})
        time.sleep(1.0)
        self.assertEqual(here.page("spam"), {})
        for id in (made, two):
            self.assertEqual(here.ask(f"/api/blocks/{id}", ADMIN, method="DELETE").status, 200)
        time.sleep(1.0)
        self.assertEqual(set(there.page("spam") or {}), {FILE, OTHER})
        there.kill()
        self.blocked(here, "spam")
        there.start()
        # unavailable until the bucket has said which accounts belong to it
        self.assertLessEqual(self.statuses(there), {403, 503})
        self.soon(there, lambda: self.statuses(there) == {403})
        for node in both:
            node.stop()

    def blocked(self, node: Node, spec: str) -> str:
        """Block it through this node; return the id."""
        document = {"spec": spec, "reason": "bad"}
        answered = node.ask("/api/blocks", basic("admin"), method="POST", document=document)
        self.assertEqual(answered.status, 200, answered.text)
        return str(answered.json["id"])

    def statuses(self, node: Node) -> set[int]:
        """What the node answers for the blocked file."""
        return {node.ask(path).status for path in PATHS}

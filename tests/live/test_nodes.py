"""Several pypids on one bucket and one catalog: what one acknowledges, all show, whatever dies
meanwhile.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.distributions import wheel, wheel_filename
from tests.live import postgresql
from tests.live.asking import basic, bearer
from tests.live.nodes import JSON, Node, Storm, nodes, restarted, until
from tests.live.postgresql import Postgresql
from tests.live.stores import Store, store
from tests.live.stores.radosgw import radosgw

ADMIN = basic("admin")
SOON = 1.0
"""Seconds after which every node shows what any has acknowledged."""


class NodesCase(SynchronousTestCase):
    """`own` servers are those that a test stops."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def soon(self, node: Node, so: Callable[[], object]) -> None:
        """It is so within a second, as that node sees it."""
        took = until(node, so, 10)
        self.assertLess(took, SOON)

    @contextmanager
    def storm(self, among: list[Node]) -> Iterator[Storm]:
        """One that has begun; it ends with the block at the latest."""
        storm = Storm(among)
        storm.begin()
        try:
            storm.go_on(8)
            yield storm
        finally:
            storm.end()

    def over(self, storm: Storm) -> None:
        """It ends: nobody was told anything wrong, and each node has it all."""
        storm.end()
        self.assertEqual(storm.refused, [])
        for node in storm.nodes:
            until(node, lambda node=node: storm.check(node) is None, 60)  # type: ignore[misc]
        for node in storm.nodes:
            node.stop()


class PostgresqlTests(NodesCase):
    def test_three_nodes(self) -> None:
        """What was published, yanked, deleted or revoked through one node is so on all others
        within a second.
        """
        database = postgresql.shared().database()
        s3: Store = self.stack.enter_context(store())
        three = self.stack.enter_context(nodes(3, s3, database))
        for turn in range(3):
            self.turn(three, turn)
        self.people(three)
        self.indexes(three)
        for node in three:
            node.stop()

    def turn(self, all_nodes: list[Node], turn: int) -> None:
        """A project's life, of which each part begins at another node."""
        first, second, third = (all_nodes[(turn + part) % 3] for part in range(3))
        project = f"spam-{turn}"
        filename, data = wheel_filename(project), wheel(project)

        def seen(node: Node) -> Any:
            return (node.page(project) or {}).get(filename, {}).get("yanked")

        for node in all_nodes:
            self.assertIsNone(node.page(project))
        self.assertEqual(first.publish(filename, data).status, 200)
        for node in all_nodes:
            self.soon(node, lambda node=node: seen(node) is False)  # type: ignore[misc]
            self.assertEqual(node.download(project, filename), data)
        links = {
            node.ask(f"/packages/{project}/{filename}").headers["Location"] for node in all_nodes
        }
        self.assertEqual(len(links), 1, "all nodes give the same signed URL")
        place = f"/api/projects/{project}/files/{filename}"
        self.assertEqual(
            second.ask(f"{place}/yank", ADMIN, method="PUT", document={"reason": "bad"}).status, 200
        )
        for node in all_nodes:
            self.soon(node, lambda node=node: seen(node) == "bad")  # type: ignore[misc]
        block = {"spec": f"{project}==1.0", "reason": "steals tokens"}
        made = third.ask("/api/blocks", ADMIN, method="POST", document=block).json
        for node in all_nodes:
            self.soon(node, lambda node=node: not node.page(project))  # type: ignore[misc]
            self.assertEqual(node.ask(f"/packages/{project}/{filename}").status, 403)
        deleted = first.ask(f"/api/blocks/{made['id']}", ADMIN, method="DELETE")
        self.assertEqual(deleted.status, 200)
        for node in all_nodes:
            self.soon(node, lambda node=node: seen(node) == "bad")  # type: ignore[misc]
        self.assertEqual(third.ask(place, ADMIN, method="DELETE").status, 200)
        for node in all_nodes:
            self.soon(node, lambda node=node: seen(node) is None)  # type: ignore[misc]

    def people(self, all_nodes: list[Node]) -> None:
        """Who loses a right, or a token, has lost it on all nodes within a second."""
        here, there, _ = all_nodes
        wanted = {"name": "ci", "actions": ["read"], "expires": "1d"}
        made = here.ask("/api/tokens", basic("alice"), method="POST", document=wanted).json
        token = bearer(made["secret"])
        for node in all_nodes:
            self.soon(node, lambda node=node: node.ask("/api/tokens", token).status == 200)  # type: ignore[misc]
        self.assertEqual(
            there.ask(f"/api/tokens/{made['id']}", basic("alice"), method="DELETE").status, 200
        )
        for node in all_nodes:
            self.soon(node, lambda node=node: node.ask("/simple/", token).status == 401)  # type: ignore[misc]

    def indexes(self, all_nodes: list[Node]) -> None:
        """A named index that one node creates is there on all within a second, with what another
        publishes; and gone when it is deleted.
        """
        here, there, _ = all_nodes
        filename = wheel_filename("ham")
        document = {"name": "team", "values": {"write": "alice"}}

        def becomes(path: str, status: int) -> None:
            for node in all_nodes:
                self.soon(node, lambda node=node: node.ask(path, JSON).status == status)  # type: ignore[misc]

        made = here.ask("/api/indexes", ADMIN, method="POST", document=document)
        self.assertEqual(made.status, 201, made.text)
        becomes("/team/simple/", 200)
        self.assertEqual(there.publish(filename, wheel("ham"), index="/team").status, 200)
        becomes("/team/simple/ham/", 200)
        deleted = there.ask("/api/indexes/team?force", ADMIN, method="DELETE")
        self.assertEqual(deleted.status, 200, deleted.text)
        becomes("/team/simple/ham/", 404)

    def test_storm(self) -> None:
        """Nodes, the database and the bucket's server die amidst many publishes: all that was
        acknowledged is there.
        """
        server: Postgresql = self.stack.enter_context(postgresql.postgresql())
        s3: Store = self.stack.enter_context(radosgw())
        database = server.database()
        three = self.stack.enter_context(nodes(3, s3, database))
        with self.storm(three) as storm:
            for node in three[:2]:
                node.kill()
                storm.go_on(3)
                node.start()
                storm.go_on(3)
            server.stop()
            time.sleep(1.5)
            server.start()
            storm.go_on(5)
            with restarted(s3.running) as start:
                time.sleep(1.5)
                start()
                until(three[0], lambda: s3.ask("GET", "/").status == 200)
                storm.go_on(5)
                self.over(storm)

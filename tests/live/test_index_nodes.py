"""Named indexes over two nodes with one bucket and one catalog: what one node creates, changes and
deletes is in force on the other, and a node that is killed leaves no half of an index.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from tests.distributions import wheel, wheel_filename
from tests.live import postgresql
from tests.live.asking import Answered, basic
from tests.live.nodes import JSON, TROUBLE, Node, nodes, until
from tests.live.stores import store

ADMIN = basic("admin")
IN_FORCE = 2.0
"""Seconds after which a change is in force on other nodes (`docs/concepts/indexes.rst`)."""
BUSY = 3.0
"""More seconds that it may take while other tests use the machine."""
WHEEL, DATA = wheel_filename("spam"), wheel("spam")


class IndexNodesTests(SynchronousTestCase):
    """Two nodes, `here` and `there`."""

    here: Node
    there: Node

    def setUp(self) -> None:
        self.failed = threading.Event()
        stack = ExitStack()
        self.addCleanup(stack.close)
        database = postgresql.shared().database()
        bucket = stack.enter_context(store())
        catalog = f"backend = sql\nurl = {database}"
        self.here, self.there = stack.enter_context(nodes(2, bucket, catalog, database))

    def create(self, node: Node, name: str, **values: str) -> Answered:
        """Create an index."""
        document = {"name": name, "values": {"write": "alice carol", **values}}
        return node.ask("/api/indexes", ADMIN, method="POST", document=document)

    def delete(self, node: Node, name: str) -> Answered:
        """Delete an index with all its files."""
        return node.ask(f"/api/indexes/{name}?force", ADMIN, method="DELETE")

    def status(self, node: Node, path: str) -> int:
        """Return the status of the answer."""
        return node.ask(path, JSON).status

    def in_force(self, node: Node, path: str, status: int) -> None:
        """Wait until the node answers so, no longer than documented."""
        took = until(node, lambda: self.status(node, path) == status, 10)
        self.assertLess(took, IN_FORCE + BUSY, path)

    def test_what_one_node_does_is_in_force_on_the_other(self) -> None:
        """In the order of a project's life; the second part shows what a killed node leaves."""
        self.life()
        self.owners()
        self.promotion()
        self.uploads_during_a_deletion()
        self.killed()

    def life(self) -> None:
        """An index is created here, gets a file there, is changed and deleted here."""
        self.assertEqual(self.create(self.here, "team").status, 201)
        self.in_force(self.there, "/team/simple/", 200)
        self.assertEqual(self.there.publish(WHEEL, DATA, index="/team").status, 200)
        page, file = "/team/simple/spam/", f"/team/packages/spam/{WHEEL}"
        for node in (self.here, self.there):
            self.in_force(node, page, 200)
            for _ in range(3):  # then the answers come from memory
                self.assertIn(self.status(node, file), (200, 302))
        for readers, status in (("carol", 401), ("everyone", 200)):
            change = {"values": {"read": readers}}
            changed = self.here.ask("/api/indexes/team", ADMIN, method="PATCH", document=change)
            self.assertEqual(changed.status, 200, changed.text)
            self.in_force(self.there, page, status)
        self.assertEqual(self.delete(self.here, "team").status, 200)
        for path in (page, file, "/team/simple/"):
            self.in_force(self.there, path, 404)
            self.assertEqual(self.status(self.here, path), 404)
        refused = self.there.publish(WHEEL, DATA, index="/team")
        self.assertEqual(refused.status, 404, refused.text)

    def owners(self) -> None:
        """Of two users who publish a new name through two nodes at once, one owns the project."""
        self.assertEqual(self.create(self.here, "owned", owners="uploader").status, 201)
        self.in_force(self.there, "/owned/simple/", 200)
        for number in range(4):
            self.race(f"race-{number}")

    def race(self, name: str) -> None:
        """alice and carol publish different releases of a new project."""
        statuses: dict[str, int] = {}
        both = threading.Barrier(2)

        def publish(node: Node, user: str, version: str) -> None:
            filename, data = wheel_filename(name, version), wheel(name, version)
            both.wait(30)
            statuses[user] = node.publish(filename, data, user, "/owned").status

        self.together(
            lambda: publish(self.here, "alice", "1.0"), lambda: publish(self.there, "carol", "2.0")
        )
        self.assertEqual(sorted(statuses.values()), [200, 403], statuses)
        [owner] = [user for user, status in statuses.items() if status == 200]
        for node in (self.here, self.there):
            self.assertEqual(self.owner(node, name), owner)

    def owner(self, node: Node, name: str) -> str:
        """Return the user who owns the project."""
        document = node.ask(f"/owned/api/projects/{name}/owner", ADMIN).json
        return str(document["owner"]["user"])

    def together(self, *jobs: Callable[[], object]) -> None:
        """Run the jobs in threads, and raise what one of them raises. A job that waits for another
        one looks at `failed`.
        """
        self.failed.clear()

        def run(job: Callable[[], object]) -> None:
            try:
                job()
            except BaseException:
                self.failed.set()
                raise

        with ThreadPoolExecutor(len(jobs)) as pool:
            for running in [pool.submit(run, job) for job in jobs]:
                running.result(60)

    def promotion(self) -> None:
        """While one node promotes releases, the other one lists all of them or none, also after it
        has compared its catalog with the storage.
        """
        names = {f"promoted-{number}" for number in range(8)}
        self.assertEqual(self.create(self.here, "staging", bases="none").status, 201)
        for name in names:
            published = self.here.publish(wheel_filename(name), wheel(name), index="/staging")
            self.assertEqual(published.status, 200, published.text)
        document = {"source": "staging", "releases": [f"{name}==1.0" for name in sorted(names)]}
        done = threading.Event()
        seen: list[int] = []

        def promote() -> None:
            path = "/api/indexes/default/promotions"
            answer = self.here.ask(path, ADMIN, method="POST", document=document)
            self.assertEqual(answer.status, 200, answer.text)
            done.set()

        def look() -> None:
            while not ((done.is_set() and seen and seen[-1]) or self.failed.is_set()):
                listed = {
                    each["name"] for each in self.there.ask("/simple/", JSON).json["projects"]
                }
                seen.append(len(listed & names))

        def compare() -> None:
            while not (done.is_set() or self.failed.is_set()):
                answer = self.there.ask("/api/rebuild", ADMIN, method="POST")
                self.assertEqual(answer.status, 200, answer.text)

        self.together(promote, look, compare)
        self.assertEqual({*seen} - {0}, {len(names)})

    def uploads_during_a_deletion(self) -> None:
        """Uploads there that are acknowledged are removed, all others are refused."""
        self.assertEqual(self.create(self.here, "brief").status, 201)
        self.in_force(self.there, "/brief/simple/", 200)
        statuses: list[int] = []

        def upload(number: int) -> None:
            for version in range(1000):
                name = f"brief-{number}"
                filename = wheel_filename(name, f"1.{version}")
                data = wheel(name, f"1.{version}")
                statuses.append(self.there.publish(filename, data, index="/brief").status)
                if statuses[-1] == 404:
                    return

        def delete() -> None:
            time.sleep(0.4)
            self.assertEqual(self.delete(self.here, "brief").status, 200)

        self.together(lambda: upload(1), lambda: upload(2), delete)
        self.assertLessEqual({*statuses}, {200, 404, 503})
        # an index with files of a former one of its name cannot be created
        created = self.create(self.there, "brief")
        self.assertEqual(created.status, 201, created.text)
        listed = self.there.ask("/brief/simple/", JSON).json
        self.assertEqual(
            [each["name"] for each in listed["projects"] if "brief" in each["name"]], []
        )

    def killed(self) -> None:
        """A node is killed while it creates or deletes an index: the other one can end it, and both
        serve the same afterwards.
        """
        chance = random.Random(7)
        for name in ("cut-a", "cut-b"):
            self.assertEqual(self.create(self.there, name).status, 201)
            self.assertEqual(self.there.publish(WHEEL, DATA, index=f"/{name}").status, 200)
            until(self.here, lambda name=name: self.status(self.here, f"/{name}/simple/") == 200)  # type: ignore[misc]

        def change() -> None:
            with contextlib.suppress(*TROUBLE):
                self.delete(self.here, "cut-a")
                self.create(self.here, "cut-c")
                self.delete(self.here, "cut-b")
                self.create(self.here, "cut-d")

        changing = threading.Thread(target=change)
        changing.start()
        time.sleep(chance.uniform(0.02, 0.15))
        self.here.kill()
        changing.join(60)
        self.here.start()
        until(self.here, self.here.is_whole)
        for name in ("cut-a", "cut-b", "cut-c", "cut-d"):
            gone = self.delete(self.there, name)
            self.assertIn(gone.status, (200, 404), gone.text)
            self.in_force(self.here, f"/{name}/simple/", 404)
            created = self.create(self.there, name)
            self.assertEqual(created.status, 201, created.text)
            self.in_force(self.here, f"/{name}/simple/", 200)
            self.assertEqual(self.status(self.here, f"/{name}/simple/spam/"), 404)
            self.assertEqual(self.here.publish(WHEEL, DATA, index=f"/{name}").status, 200)

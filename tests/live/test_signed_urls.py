"""Signed URLs in a real Redis, and pypids that die right after they gave one."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import os
import time
from contextlib import ExitStack
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import DeferredList
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.signed_urls import PATIENCE, RedisLinks
from pypid.core.errors import CatalogDown
from pypid.core.model import SignedUrl
from pypid.flow import World, at_once, start
from pypid.ports import SharedLinks
from tests.distributions import wheel, wheel_filename
from tests.live.nodes import Node, nodes, until
from tests.live.redis import PASSWORD, redis
from tests.live.stores import store
from tests.live.stores.waiting import wait
from tests.support.examples import HOUR
from tests.support.nodes import LinksContract
from tests.support.worlds import BEGINNING, Awaiting

reactor: Any = installed
URL = SignedUrl("https://bucket.example/spam?sig=hunter2", BEGINNING + HOUR)


class RedisCase(Awaiting, SynchronousTestCase):
    """While something is waited for the reactor runs, and only then."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.redis = self.stack.enter_context(redis())
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._hear)
        self.addCleanup(globalLogPublisher.removeObserver, self._hear)

    def _hear(self, event: LogEvent) -> None:
        if event["log_namespace"].startswith("pypid"):
            self.lines.append(formatEvent(event))

    def successResultOf(self, deferred: Any) -> Any:
        wait(deferred)
        return super().successResultOf(deferred)

    def failureResultOf(self, deferred: Any, *kinds: type[BaseException]) -> Any:
        wait(deferred)
        return super().failureResultOf(deferred, *kinds)

    def node(self, url: str | None = None) -> RedisLinks:
        """A node's way to it."""
        world = World(clock=reactor, now=lambda: BEGINNING, blocking=at_once, random=os.urandom)
        made = RedisLinks(self.redis.url() if url is None else url, world, reactor)
        self.addCleanup(self._close, made)
        return made

    def _close(self, node: RedisLinks) -> None:
        if node._connection is not None and node._connection.connected:
            gone = node._connection.whenDisconnected()
            node._connection.transport.abortConnection()
            wait(gone)


class RedisContractTests(LinksContract, RedisCase):
    """A Redis keeps the contract."""

    def nodes(self) -> tuple[SharedLinks, SharedLinks]:
        return self.node(), self.node()

    def test_first_of_many(self) -> None:
        """Of many nodes that sign at once one gives its URL to all."""
        asked = []
        for number in range(20):
            mine = SignedUrl(f"{URL.url}&node={number}", URL.expires)
            asked.append(start(self.node().keep_link("a", mine, BEGINNING)))
        found = self.successResultOf(DeferredList(asked))
        self.assertEqual(len({link.url for _, link in found}), 1)

    def test_databases(self) -> None:
        """The number at the end of the URL is the database."""
        self.have(self.node().keep_link("a", URL, BEGINNING))
        self.assertIsNone(self.have(self.node(self.redis.url(number=1)).link("a", BEGINNING)))


class AwayTests(RedisCase):
    """A Redis that is no help costs at most `PATIENCE`, once, and one line without secrets."""

    def refuses(self, node: RedisLinks, within: float) -> None:
        begun = time.monotonic()
        self.refused(node.keep_link("a", URL, BEGINNING), CatalogDown)
        self.assertLess(time.monotonic() - begun, within)

    def silent(self, *expected: str) -> None:
        """These are the lines, and they tell no secret."""
        self.assertEqual(len(self.lines), len(expected), self.lines)
        for line, words in zip(self.lines, expected, strict=True):
            self.assertIn(words, line)
            for secret in (PASSWORD, "hunter2", "wrong-one"):
                self.assertNotIn(secret, line)

    def test_frozen(self) -> None:
        """One that hangs, before and after the connection was made; it is used again afterwards."""
        node = self.node()
        for _ in range(2):
            with self.redis.frozen():
                self.refuses(node, PATIENCE + 0.8)
                self.refuses(node, 0.1)
            while "" in node._connecting:
                wait(deferLater(reactor, 0.01))
            node._again = 0.0
            self.assertEqual(self.have(node.keep_link("a", URL, BEGINNING)), URL)
        self.silent("(TimeoutError)", "again", "(TimeoutError)", "again")

    def test_gone(self) -> None:
        node = self.node()
        self.have(node.link("a", BEGINNING))
        self.redis.kill()
        for _ in range(3):
            node._again = 0.0
            self.refuses(node, PATIENCE)
        self.silent("cannot be used (")

    def test_wrong_password(self) -> None:
        self.refuses(self.node(self.redis.url("wrong-one")), PATIENCE)
        self.silent("(WRONGPASS)")

    def test_not_ours(self) -> None:
        """What others wrote under a key of ours is no URL."""
        node = self.node()
        self.have(node.link("a", BEGINNING))
        wait(node._connection.execute_command("SET", "pypid:url:a", "hunter2"))
        self.refuses(node, PATIENCE)
        self.silent("cannot be used (")


class KilledTests(SynchronousTestCase):
    """A pypid that is killed within seconds after it gave a URL gives the same one afterwards."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def node(self, more: str) -> Node:
        s3 = self.stack.enter_context(store())
        [node] = self.stack.enter_context(nodes(1, s3, "", more=f"[signed_urls]\n{more}\n"))
        self.assertEqual(node.publish(wheel_filename("spam"), wheel("spam")).status, 200)
        return node

    def url(self, node: Node) -> str:
        found: str = node.ask(f"/packages/spam/{wheel_filename('spam')}").headers["Location"]
        return found

    def again(self, node: Node) -> tuple[str, str]:
        """The URL before and after a kill."""
        before = self.url(node)
        node.kill()
        time.sleep(1)  # signed within another second, it is another one
        node.start()
        until(node, lambda: node.page("spam"))
        return before, self.url(node)

    def test_memory(self) -> None:
        """The snapshot is a minute old."""
        before, after = self.again(self.node("cache = memory"))
        self.assertNotEqual(before, after)

    def test_database(self) -> None:
        before, after = self.again(self.node("cache = database"))
        self.assertEqual(before, after)

    def test_redis(self) -> None:
        """Also, its end costs no download, and one line."""
        server = self.stack.enter_context(redis())
        node = self.node(f"cache = redis\nurl = {server.url()}")
        before, after = self.again(node)
        self.assertEqual(before, after)
        server.kill()
        for number in range(3):
            filename = wheel_filename("spam", f"2.{number}")
            self.assertEqual(node.publish(filename, wheel("spam", f"2.{number}")).status, 200)
            self.assertEqual(node.download("spam", filename), wheel("spam", f"2.{number}"))
        self.assertEqual(node.log.count("The Redis of"), 1, node.log)
        self.assertNotIn(PASSWORD, node.log)

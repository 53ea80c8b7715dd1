"""Nodes of one index that do not agree are noticed."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.parse import Config
from pypid.jobs.leases import CLOCK, LASTING, SETTINGS, Agreement, digest_of
from tests.support.configuration import parse
from tests.support.engines import Place, PlacedEngine
from tests.support.worlds import Awaiting, WallClock, world


def config(text: str = "", secret: str = "s" * 40) -> Config:
    """A configuration."""
    return parse(f"[server]\nsecret = {secret}\n{text}", filename="pypid.ini")


class AgreementTests(Awaiting, SynchronousTestCase):
    """Two nodes, which look each half minute."""

    def setUp(self) -> None:
        self.clock, self.place = Clock(), Place()
        self.walls = WallClock(self.clock), WallClock(self.clock)
        self.warned: list[str] = []
        globalLogPublisher.addObserver(self._watch)
        self.addCleanup(globalLogPublisher.removeObserver, self._watch)

    def _watch(self, event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            self.warned.append(event["text"])

    def nodes(self, *configs: Config) -> list[Agreement]:
        """Nodes with these configurations."""
        return [
            Agreement(
                PlacedEngine(self.clock, self.place),
                world(self.clock, wall=wall),
                lambda each=each: each,
                "storage",
            )
            for each, wall in zip(configs, self.walls, strict=True)
        ]

    def look(self, nodes: list[Agreement], minutes: float = 10) -> list[set[str]]:
        """What each has found to differ in that time."""
        found: list[set[str]] = [set() for _ in nodes]
        for _ in range(round(minutes * 2)):
            self.clock.advance(30)
            for node, seen in zip(nodes, found, strict=True):
                self.have(node.look())
                seen |= node.differs
        return found

    def test_same_settings(self) -> None:
        """Nodes with the same configuration agree, whatever else in it differs, and a clock may be
        some seconds off.
        """
        self.walls[1].step(20)
        one = config("listen = tcp:1\n[access]\nread = alice bob\n")
        other = config("listen = tcp:2\n[access]\nread = alice bob\n")
        self.assertEqual(self.look(self.nodes(one, other)), [set(), set()])
        self.assertEqual(self.warned, [])

    def test_other_settings(self) -> None:
        """Another right, another user or another secret is noticed, and said once; so is that they
        agree again.
        """
        for other in (
            config("[access]\nread = authenticated\n"),
            config(secret="t" * 40),
            config("[upstream]\nmode = offline\n"),
            config("[access]\nowners = none\n"),
            config("[access]\ncollect = alice\n"),
        ):
            self.place, self.warned = Place(), []
            nodes = self.nodes(config(), other)
            self.assertIn({SETTINGS}, self.look(nodes))
            self.assertIn("same configuration", self.warned[0])
            self.assertLessEqual(len(self.warned), 2)
            nodes[1].config = config
            self.look(nodes, minutes=LASTING.total_seconds() / 60)
            self.assertEqual([node.differs for node in nodes], [frozenset(), frozenset()])

    def test_clock_that_is_off(self) -> None:
        """Where the time of day differs by five minutes the node that is behind says so, whichever
        that is.
        """
        for step, behind in ((300, 0), (-300, 1)):
            self.place = Place()
            self.walls = WallClock(self.clock), WallClock(self.clock)
            self.walls[1].step(step)
            found = self.look(self.nodes(config(), config()))
            self.assertEqual(found[behind], {CLOCK})
            self.assertEqual(found[1 - behind], set())

    def test_cooldown(self) -> None:
        """Nodes agree on the cooldown of some versions, and of fixes, too."""
        texts = ("cooldown = 3d", "cooldown = 3d numpy==1=0", "cooldown = 3d\ncooldown_fixes = 1h")
        digests = {digest_of(config(f"[upstream]\n{text}\n"), "a") for text in texts}
        self.assertEqual(len(digests), 3)

    def test_digest_is_the_same_in_each_process(self) -> None:
        """Sets have no order of their own; and the secret cannot be tried out quickly: the digest
        takes its time.
        """
        text = "[access]\nread = alice bob carol\nadmins = zoe adam\n"
        self.assertEqual(digest_of(config(text), "a"), digest_of(config(text), "a"))
        self.assertNotEqual(digest_of(config(text), "a"), digest_of(config(text), "b"))

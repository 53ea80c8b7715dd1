"""What the upstreams of `[upstream:NAME]` answer, and what an index makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.values import COOLDOWN
from pypid.core.errors import NotYetKnown, UpstreamDown
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from tests.index.named import NamedCase, Only
from tests.index.uploads import WHEEL
from tests.web.memory_upstream import Elsewhere

TORCH = project_name("torch")
ONE, TWO = "torch-1.0.tar.gz", "torch-2.0.tar.gz"


class NamedUpstreamCase(NamedCase, SynchronousTestCase):
    """Two upstreams for the same names, and the public index, which has higher versions."""

    only: ClassVar[Only] = {"one": ("torch*",), "two": ("torch*", "nvidia-*")}
    policy: ClassVar[Policy] = Policy(mode=Mode.CACHE)

    def setUp(self) -> None:
        super().setUp()
        now = self.world.now
        self.public = Elsewhere(now=now)
        self.one, self.two = Elsewhere(now=now), Elsewhere(now=now)
        self.upstream: Any = self.public
        self.upstreams: Any = {"one": self.one, "two": self.two}
        self.public.has("torch", "torch-99.0.tar.gz", b"trap")
        self.public.has("spam", "spam-1.0.tar.gz", b"spam")
        self.indexes = self.started(policy=self.policy)
        self.default = self.index("")

    def heard(self) -> tuple[list[str], list[str], list[str]]:
        """The names of pages and files that each upstream was asked for."""
        return self.one.heard, self.two.heard, self.public.heard


class FailureTests(NamedUpstreamCase):
    """An upstream that does not answer."""

    def test_names_of_the_upstream_fail(self) -> None:
        """They are taken from nowhere else: not from the next upstream, and not from the public
        index; names of others go on.
        """
        self.two.has("torch", TWO, b"two")
        self.two.has("nvidia-cublas", "nvidia_cublas-1.0.tar.gz", b"cublas")
        self.one.away = UpstreamDown("no answer")
        for name in ("torch", "torchvision", "torchaudio", "torch"):
            self.refused(self.default.project(project_name(name)), UpstreamDown)
        self.assertEqual((self.two.heard, self.public.heard), ([], []))
        self.assertEqual(len(self.files(self.default, "nvidia-cublas")), 1)
        self.assertEqual(len(self.files(self.default, "spam")), 1)
        self.assertTrue(self.index("one").gate.breaker.is_down)
        self.assertFalse(self.index("two").gate.breaker.is_down)
        self.assertFalse(self.default.gate.breaker.is_down)


class RuleTests(NamedUpstreamCase):
    """Rules that look at files."""

    policy = Policy(mode=Mode.CACHE, cooldown=COOLDOWN.parse("3d"))

    def test_cooldown_without_upload_times(self) -> None:
        """Files without an upload time wait from when they were first seen."""
        self.one.has("torch", ONE, b"one", uploaded=None)
        self.assertEqual(self.files(self.default, "torch"), {})
        self.clock.advance(timedelta(days=3, hours=1).total_seconds())
        self.assertEqual(self.files(self.default, "torch"), {ONE: b"one"})


class UnusedCacheTests(NamedUpstreamCase):
    """The cache of an upstream that was removed from the configuration."""

    def test_found_and_swept(self) -> None:
        """A check names it, and a sweep deletes it; the caches of other upstreams stay."""
        self.one.has("torch", ONE, b"one")
        self.two.has("nvidia-cublas", "nvidia_cublas-1.0.tar.gz", b"cublas")
        self.files(self.default, "torch")
        self.files(self.default, "nvidia-cublas")
        self.assertEqual(self.have(self.default.maintenance.check()).findings, ())
        self.patch(type(self), "only", {"two": self.only["two"]})
        del self.upstreams["one"]
        default = self.started(policy=self.policy).default
        [found] = self.have(default.maintenance.check()).findings
        self.assertEqual((found.key, found.swept), (".pypid/upstream/one/", False))
        self.assertIn("[upstream:one]", found.advice)
        self.assertTrue(self.keys(".pypid/upstream/one/"))
        [found] = self.have(default.maintenance.check(sweep=True)).findings
        self.assertTrue(found.swept)
        self.assertEqual(self.keys(".pypid/upstream/one/"), [])
        self.assertTrue(self.keys(".pypid/upstream/two/"))
        self.assertEqual(self.have(default.maintenance.check()).findings, ())

    def test_index_that_still_chooses_it(self) -> None:
        """Its other projects are not known: no name of the removed upstream goes elsewhere."""
        team = self.create("team", upstreams="one public")
        self.publish(team, WHEEL)
        self.patch(type(self), "only", {"two": self.only["two"]})
        del self.upstreams["one"]
        with capturedLogs() as events:
            team = self.index("team", self.started(policy=self.policy))
        self.assertIn(
            "there is no upstream 'one'", " ".join(filter(None, map(formatEvent, events)))
        )
        self.refused(team.project(TORCH), NotYetKnown)
        self.assertEqual(list(self.files(team, "spam")), [WHEEL])
        self.assertEqual(self.heard(), ([], [], []))

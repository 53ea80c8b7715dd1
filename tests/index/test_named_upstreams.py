"""What the upstreams of `[upstream:NAME]` answer, and what an index makes of it."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from attrs import evolve
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.value_kinds import COOLDOWN
from pypid.core.errors import NoSuchProject, NotYetKnown, UpstreamDown
from pypid.core.model import StoredFile
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.index.views import DIRECT
from tests.index.named import NamedCase, Only
from tests.index.uploads import WHEEL, fetched
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


class ChoiceTests(NamedUpstreamCase):
    """Which upstream answers."""

    def test_first_with_the_project(self) -> None:
        """The first of several upstreams for a name that has the project provides it; the next ones
        and the public index do not hear the name.
        """
        self.one.has("torch", ONE, b"one")
        self.two.has("torch", TWO, b"two")
        self.assertEqual(self.files(self.default, "torch"), {ONE: b"one"})
        self.assertEqual(self.heard(), (["torch", "torch"], [], []))

    def test_next_one(self) -> None:
        """A project that the first one does not have comes from the next, never from the public
        index.
        """
        self.two.has("torch", TWO, b"two")
        self.assertEqual(self.files(self.default, "torch"), {TWO: b"two"})
        self.refused(self.default.project(project_name("torchvision")), NoSuchProject)
        self.assertEqual(self.public.heard, [])

    def test_choice_of_an_index(self) -> None:
        """A named index asks the upstreams that it chooses, in its order; the default index stays
        as it is.
        """
        self.one.has("torch", ONE, b"one")
        self.two.has("torch", TWO, b"two")
        other = self.create("other", upstreams="two one public")
        alone = self.create("alone", upstreams="two")
        public = self.create("cpu", upstreams="public")
        self.assertEqual(list(self.files(other, "torch")), [TWO])
        self.assertEqual(list(self.files(alone, "torch")), [TWO])
        self.refused(alone.project(project_name("spam")), NoSuchProject)
        self.assertEqual(self.public.heard, [])
        self.assertEqual(list(self.files(self.default, "torch")), [ONE])
        self.assertEqual(list(self.files(public, "torch")), ["torch-99.0.tar.gz"])


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

    def test_known_projects_stay(self) -> None:
        """The known listing is served whole, and cached files install."""
        self.one.has("torch", ONE, b"one")
        self.one.has("torch", TWO, b"two")
        shown = self.have(self.default.file(TORCH, ONE))
        self.assertEqual(self.have(fetched(self.default, shown)), b"one")
        self.one.away = UpstreamDown("no answer")
        self.clock.advance(3600)
        names = [file.filename for file in self.have(self.default.project(TORCH)).files]
        self.assertEqual(names, [ONE, TWO])
        shown = self.have(self.default.file(TORCH, ONE))
        self.assertEqual(self.have(fetched(self.default, shown)), b"one")


class RuleTests(NamedUpstreamCase):
    """Rules that look at files."""

    policy = Policy(mode=Mode.CACHE, cooldown=COOLDOWN.parse("3d"))

    def test_cooldown_without_upload_times(self) -> None:
        """Files without an upload time wait from when they were first seen."""
        self.one.has("torch", ONE, b"one", uploaded=None)
        self.assertEqual(self.files(self.default, "torch"), {})
        self.clock.advance(timedelta(days=3, hours=1).total_seconds())
        self.assertEqual(self.files(self.default, "torch"), {ONE: b"one"})

    def test_as_of(self) -> None:
        """An as-of view shows the files of the upstream, and they are read from its cache."""
        self.one.has("torch", ONE, b"one")
        self.clock.advance(timedelta(days=4).total_seconds())
        self.assertEqual(self.files(self.default, "torch"), {ONE: b"one"})
        self.clock.advance(3600)
        then = evolve(DIRECT, before=self.world.now())
        self.one.has("torch", TWO, b"two", uploaded=self.world.now())
        found = self.have(self.default.history.project(TORCH, then)).state.project
        self.assertEqual([file.filename for file in found.files], [ONE])
        [file] = found.files
        assert isinstance(file, StoredFile)
        self.assertEqual(file.key, f".pypid/upstream/one/.kept/torch/{ONE}")
        self.assertEqual(self.have(fetched(self.default, file)), b"one")
        self.assertEqual(self.public.heard, [])


class UnusedCacheTests(NamedUpstreamCase):
    """The cache of an upstream that was removed from the configuration."""

    def test_found_and_swept(self) -> None:
        """A check names it, and a sweep deletes it; the caches of other upstreams stay."""
        self.one.has("torch", ONE, b"one")
        self.two.has("nvidia-cublas", "nvidia_cublas-1.0.tar.gz", b"cublas")
        self.files(self.default, "torch")
        self.files(self.default, "nvidia-cublas")
        self.assertEqual(self.have(self.default.check()).findings, ())
        self.patch(type(self), "only", {"two": self.only["two"]})
        del self.upstreams["one"]
        default = self.started(policy=self.policy).default
        [found] = self.have(default.check()).findings
        self.assertEqual((found.key, found.swept), (".pypid/upstream/one/", False))
        self.assertIn("[upstream:one]", found.advice)
        self.assertTrue(self.keys(".pypid/upstream/one/"))
        [found] = self.have(default.check(sweep=True)).findings
        self.assertTrue(found.swept)
        self.assertEqual(self.keys(".pypid/upstream/one/"), [])
        self.assertTrue(self.keys(".pypid/upstream/two/"))
        self.assertEqual(self.have(default.check()).findings, ())

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

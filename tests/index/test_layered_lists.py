"""The project lists of named indexes: what their pages serve, and no more."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
from typing import ClassVar

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode
from pypid.core.errors import ListIncomplete, NoSuchProject
from pypid.core.indexes import settings_of_values
from pypid.core.model import Status, StoredFile
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.core.summaries import Summaries
from pypid.index import Index
from pypid.index.views import STORED
from tests.distributions import wheel_filename
from tests.index.named import NamedCase, Only, set_index
from tests.index.uploads import fetched
from tests.support.worlds import Awaiting

KNOWN = [*map(ProjectName, ("acme-one", "acme-two", "mix-one", "mix-two", "never", "numpy"))]
STEPS = st.sampled_from(("publish", "remove", "cache", "quarantine"))


class ListsCase(NamedCase, Awaiting, SynchronousTestCase):
    """Each test with named indexes, with the lists of each."""

    def names(self, index: Index) -> list[str]:
        """The names in the list of local projects."""
        return [each.name for each in self.have(index.names())]

    def stored(self, index: Index) -> list[str]:
        """The names in the list of projects with stored files."""
        return [each.name for each in self.have(index.stored_names())]

    def put(self, index: Index, *names: str) -> None:
        """Publish a project of each of these names there."""
        for name in names:
            self.publish(index, wheel_filename(name))

    def cache(self, index: Index, *names: str) -> None:
        """Have a file of each of these projects cached."""
        for name in names:
            for file in self.have(index.project(project_name(name))).files[:1]:
                self.have(fetched(index, file))


class InheritedTests(ListsCase):
    """What an index inherits is in its lists."""

    def test_denied_projects_are_not_listed(self) -> None:
        """`allow` and `deny` filter what is inherited, in each index on the way, and own projects
        never.
        """
        team = self.create("team", deny="acme-secret-*")
        lab = self.create("lab", bases="team", allow="acme-*")
        self.put(self.index(""), "acme-secret-one", "acme-plain", "other")
        self.put(team, "acme-secret-two")
        self.assertEqual(self.names(team), ["acme-plain", "acme-secret-two", "other"])
        self.assertEqual(self.names(lab), ["acme-plain", "acme-secret-two"])

    def test_a_quarantined_project_hides_those_of_its_bases(self) -> None:
        """A project that is in no list hides the same project of a base, as on the page."""
        default, team = self.index(""), self.create("team")
        self.put(default, "spam")
        self.put(team, "spam")
        self.have(team.set_status(project_name("spam"), Status.QUARANTINED, "look"))
        self.assertEqual((self.names(team), self.names(default)), ([], ["spam"]))
        self.have(team.delete_project(project_name("spam"), "alice"))
        self.have(team.release_name(project_name("spam")))
        self.assertEqual(self.names(team), ["spam"])

    def test_a_cached_project_leaves_the_lists_when_its_name_becomes_private(self) -> None:
        """A cached upstream project whose name is local in a named index has no page in the default
        index any more, and is in no list of it; it returns when the name is released.
        """
        default, team = self.index(""), self.create("team")
        mirror = self.create("mirror", bases="public")
        self.cache(default, "numpy", "spam")
        self.put(team, "spam")
        self.refused(default.project(project_name("spam")), NoSuchProject)
        self.assertEqual(self.stored(default), ["numpy"])
        self.assertEqual(self.stored(mirror), ["numpy"])
        self.assertEqual(self.stored(team), ["numpy", "spam"])
        self.have(team.delete_project(project_name("spam"), "alice"))
        self.have(team.release_name(project_name("spam")))
        self.assertEqual(self.stored(default), ["numpy", "spam"])

    def test_unchanged_lists_are_shared(self) -> None:
        """An index without projects and rules of its own has the very lists of its base; with an
        own project, the runs of the base that it is not in.
        """
        default = self.index("")
        self.put(default, *(f"project-{number}" for number in range(50)))
        team, lab = self.create("team"), self.create("lab", bases="team")
        for index in (team, lab):
            self.assertIs(self.have(index.names()), self.have(index.names()))
            ours, runs = self.have(default.names()).runs, self.have(index.names()).runs
            self.assertTrue(all(map(lambda one, other: one is other, ours, runs)))
        self.put(team, "zzz")
        runs = self.have(team.names()).runs
        self.assertTrue(all(any(run is each for each in runs) for run in ours[:-1]))

    def test_a_list_is_incomplete_until_all_parts_are_known(self) -> None:
        """An index refuses its lists until each base was compared with the storage."""
        self.put(self.create("team"), "spam")
        indexes = self.started(compared=False)
        team = self.index("team", indexes)
        self.refused(team.names(), ListIncomplete)
        self.have(indexes.default.reconcile())
        self.assertEqual(self.names(team), ["spam"])

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(KNOWN), STEPS), max_size=20))
    def test_lists_are_what_pages_serve(self, steps: list[tuple[int, ProjectName, str]]) -> None:
        """A name is in the list of an index if and only if the index has a page of it, whatever
        was published, cached and released where.
        """
        self.store = MemoryBlobs(self.world.now)
        policy = Policy(mode=Mode.CACHE, allow_mixed=("mix-*",), reserved=("never",))
        self.indexes = self.started(policy=policy)
        default = self.index("")
        one = self.create("one", deny="acme-*", allow_mixed="mix-two")
        two = self.create("two", bases="one public", allow="acme-* mix-* numpy")
        three = self.create("three", bases="two one default")
        indexes = (default, one, two, three)
        for number, name, step in steps:
            index = indexes[number]
            is_held = self.have(index.own_lists.held_local()).has(name)
            if step == "remove" and is_held:
                self.have(index.delete_project(name, "alice"))
                self.have(index.release_name(name))
            elif step == "publish" and not is_held:
                self.put(index, name)
            elif step == "quarantine" and is_held:
                self.have(index.set_status(name, Status.QUARANTINED, "look"))
            elif step == "cache":
                self.have(self.cached_if_public(default, name))
            for each in indexes:
                self.assertEqual(self.stored(each), [n for n in KNOWN if self.serves(each, n)])
                self.assertLessEqual(set(self.names(each)), set(self.stored(each)))

    async def cached_if_public(self, index: Index, name: ProjectName) -> None:
        """Have a file of the project cached, if the index may ask for it."""
        with contextlib.suppress(NoSuchProject):
            for file in (await index.project(name)).files[:1]:
                await fetched(index, file)

    def serves(self, index: Index, name: ProjectName) -> bool:
        """Whether the index has a page with stored files of the project."""

        async def is_served() -> bool:
            try:
                project = await index.project(name, STORED)
            except NoSuchProject:
                return False
            return any(isinstance(file, StoredFile) for file in project.files)

        return self.have(is_served())


class ChosenTests(ListsCase):
    """Lists with several upstreams."""

    only: ClassVar[Only] = {"cu128": ("torch",)}

    def test_cached_projects_of_chosen_upstreams_are_listed(self) -> None:
        """Each index lists the cached projects of the upstreams that it asks, and a private name
        of none.
        """
        default = self.index("")
        plain, gpu = self.create("plain", upstreams="public"), self.create("gpu")
        bare = self.create("bare", upstreams="cu128", bases="public")
        self.cache(default, "numpy", "torch")
        for index, names in (
            (default, ["numpy", "torch"]),
            (gpu, ["numpy", "torch"]),
            (plain, ["numpy"]),
            (bare, ["torch"]),
        ):
            self.assertEqual((self.stored(index), self.names(index)), (names, []))
        self.put(gpu, "torch")
        self.assertEqual(self.stored(default), ["numpy"])
        self.assertEqual(self.stored(bare), [])
        self.assertEqual((self.stored(gpu), self.names(gpu)), (["numpy", "torch"], ["torch"]))


class SettingsTests(ListsCase):
    """Lists follow the settings."""

    def test_lists_follow_the_settings(self) -> None:
        """A list changes with the bases and rules of its index."""
        self.put(self.index(""), "acme-one", "two")
        team = self.create("team")
        self.assertEqual(self.names(team), ["acme-one", "two"])
        denied = settings_of_values("team", {"deny": "acme-*"})
        self.have(set_index(self.indexes, denied))
        self.assertEqual(self.names(self.index("team")), ["two"])
        self.have(set_index(self.indexes, evolve(denied, bases=())))
        found = self.have(self.index("team").names())
        self.assertEqual((list(found), type(found)), ([], Summaries))

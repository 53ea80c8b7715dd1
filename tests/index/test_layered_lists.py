"""The project lists of named indexes: what their pages serve, and no more."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode
from pypid.core.errors import ListIncomplete, NoSuchProject
from pypid.core.model import Status, StoredFile
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.index import Index
from pypid.index.views import STORED
from tests.distributions import wheel_filename
from tests.index.named import NamedCase
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

    def test_a_list_is_incomplete_until_all_parts_are_known(self) -> None:
        """An index refuses its lists until each base was compared with the storage."""
        self.put(self.create("team"), "spam")
        indexes = self.started(compared=False)
        team = self.index("team", indexes)
        self.refused(team.names(), ListIncomplete)
        self.have(indexes.default.maintenance.reconcile())
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
                self.have(index.manager.delete_project(name, "alice"))
                self.have(index.manager.release_name(name))
            elif step == "publish" and not is_held:
                self.put(index, name)
            elif step == "quarantine" and is_held:
                self.have(index.manager.set_status(name, Status.QUARANTINED, "look"))
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

"""What indexes show of each other, compared with a model: any indexes, any bases without a circle, any
projects.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import ListIncomplete, NoSuchProject
from pypid.core.indexes import settings_of_values
from pypid.core.packaging.names import project_name
from tests.index.named import NamedCase
from tests.index.nodes import Told

INDEXES = ("one", "two", "three", "four")
PROJECTS = ("spam", "eggs", "ham")
UPSTREAM = "upstream"


@st.composite
def inheritances(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    """Return the values of indexes; each has bases among the built-in ones and earlier indexes."""
    found: dict[str, dict[str, str]] = {}
    for name in INDEXES[: draw(st.integers(1, len(INDEXES)))]:
        bases = draw(
            st.lists(st.sampled_from(("default", "public", *found)), unique=True, max_size=3)
        )
        values = {"bases": " ".join(bases) or "none"}
        for key in ("deny", "allow_mixed", "merge"):
            globs = draw(st.lists(st.sampled_from(PROJECTS), unique=True, max_size=1))
            values |= {key: " ".join(globs)} if globs else {}
        found[name] = values
    return found


class Model:
    """The projects of each index, and what the rules say that each index shows."""

    def __init__(self, indexes: dict[str, dict[str, str]], local: set[tuple[str, str]]) -> None:
        self.settings = {name: settings_of_values(name, each) for name, each in indexes.items()}
        self.local = local

    def is_private(self, name: str) -> bool:
        """Return whether the name is local in any index that does not mix it with upstream."""
        return any(
            project == name and name not in self.mixed(index) for index, project in self.local
        )

    def mixed(self, index: str) -> tuple[str, ...]:
        """Return the projects that the index mixes with those of its bases."""
        return self.settings[index].allow_mixed if index else ()

    def merges(self, index: str, name: str) -> bool:
        """Return whether the index merges the local files of its bases."""
        return bool(index) and name in self.settings[index].merge

    def shown(
        self, index: str, name: str, *, local: bool = True, upstream: bool = True
    ) -> set[str]:
        """Return the indexes whose files the index shows."""
        own = {index or "default"} if local and (index, name) in self.local else set[str]()
        is_merged = self.merges(index, name)
        if local and is_merged and name not in self.settings[index].deny:
            for base in self.bases(index):
                own |= self.shown(base, name, upstream=False)
        if own and name not in self.mixed(index):
            return own
        return own | self.inherited(index, name, local=local and not is_merged, upstream=upstream)

    def bases(self, index: str) -> list[str]:
        """Return the bases that are indexes; the default one is empty."""
        bases = self.settings[index].bases
        return ["" if base == "default" else base for base in bases if base != "public"]

    def inherited(self, index: str, name: str, *, local: bool, upstream: bool) -> set[str]:
        """Return the indexes whose files the index inherits."""
        found = {UPSTREAM} if upstream and not self.is_private(name) else set()
        if not index:
            return found
        if name in self.settings[index].deny:
            return set()
        for base in self.settings[index].bases:
            shown = (
                found
                if base == "public"
                else self.shown(base.replace("default", ""), name, local=local, upstream=upstream)
            )
            if shown:
                return shown
        return set()


class CompositionTests(NamedCase, SynchronousTestCase):
    @settings(
        max_examples=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
    )
    @given(inheritances(), st.data())
    def test_each_index_shows_what_the_model_says(
        self, indexes: dict[str, dict[str, str]], data: st.DataObject
    ) -> None:
        """Each project comes from the first layer that has it, or from all that are merged; nothing
        that is denied is inherited, and no upstream hears a private name, before and after a
        restart.
        """
        places = [(index, name) for index in ("", *indexes) for name in PROJECTS]
        local = data.draw(st.sets(st.sampled_from(places), max_size=5))
        model = Model(indexes, local)
        self.store, self.upstream = MemoryBlobs(self.world.now), Told(self.clock)
        self.indexes = self.started()
        for name, values in indexes.items():
            self.create(name, **values)
        for index, name in sorted(local):
            filename = f"{name}-{('', *INDEXES).index(index) + 2}.0.tar.gz"
            self.publish(self.index(index), filename, (index or "default").encode())
        self.compare(model)
        self.indexes = self.started(compared=data.draw(st.booleans()))
        self.compare(model)

    def compare(self, model: Model) -> None:
        """Compare what each index shows with the model."""
        for index in ("", *model.settings):
            for name in PROJECTS:
                expected = model.shown(index, name)
                if not expected:
                    self.refused(self.index(index).project(project_name(name)), NoSuchProject)
                    continue
                files = self.files(self.index(index), name)
                origins = {
                    UPSTREAM if body == b"bytes of theirs" else body.decode()
                    for body in files.values()
                }
                self.assertEqual(origins, expected, (index, name))
        self.compare_lists(model)
        told = set(self.upstream.names_told)
        self.assertEqual({name for name in told if model.is_private(name)}, set())

    def compare_lists(self, model: Model) -> None:
        """Compare the lists of each index with the model, once all that it shows is stored."""
        for index in ("", *model.settings):
            shown = {name: model.shown(index, name) for name in PROJECTS}
            made = self.index(index)
            if not made.lists_are_complete:
                self.refused(made.names(), ListIncomplete)
                continue
            local = [name for name in sorted(shown) if shown[name] - {UPSTREAM}]
            self.assertEqual([each.name for each in self.have(made.names())], local)
            stored = [name for name in sorted(shown) if shown[name]]
            self.assertEqual([each.name for each in self.have(made.stored_names())], stored)

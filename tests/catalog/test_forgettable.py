"""What was heard of projects of which nothing is kept is bounded: `pypid.catalog.memory`."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.memory import MOST_GONE, OVERHEAD, Forgettable, MemoryCatalog
from pypid.core.model import Listing, UpstreamEntry, as_stored
from pypid.core.packaging.names import ProjectName, project_name
from tests.index.file_cache_cases import listed
from tests.support import BEGINNING
from tests.support.worlds import Awaiting

NAMES = st.sampled_from([ProjectName(letter) for letter in "abcdef"])


class ForgettableTests(SynchronousTestCase):
    """The order, and the bound."""

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.lists(st.tuples(NAMES, st.integers(0, 5000) | st.none()), max_size=30))
    def test_bounded(self, changes: list[tuple[ProjectName, int | None]]) -> None:
        """Whatever comes and goes: no more than allowed stays (or one), and those that go are the
        ones noted first.
        """
        forgettable = Forgettable(8000)
        held: dict[ProjectName, int] = {}
        for name, size in changes:
            held.pop(name, None)
            if size is None:
                forgettable.drop(name)
            else:
                held[name] = size + OVERHEAD
                forgettable.note(name, size)
            gone = list(forgettable.pop_excess())
            self.assertEqual(gone, list(held)[: len(gone)])
            for each in gone:
                del held[each]
            self.assertTrue(sum(held.values()) <= 8000 or len(held) == 1)


class CatalogTests(Awaiting, SynchronousTestCase):
    """The catalog in memory forgets what it may."""

    def setUp(self) -> None:
        super().setUp()
        self.catalog = MemoryCatalog(forgettable=20 * OVERHEAD)

    def hear(self, name: str, *, kept: bool = False) -> None:
        """Nobody has the project; or a file of it is kept."""
        file = as_stored(listed(b"x", f"{name}-1.0.tar.gz"), key=f".kept/{name}/{name}-1.0.tar.gz")
        said = Listing(name=project_name(name), files=None, confirmed=BEGINNING, index="https://x/")
        self.have(
            self.catalog.upstream.edit(
                project_name(name),
                lambda heard: evolve(heard, listing=said, kept=(file,) if kept else ()),
            )
        )

    def known(self, name: str) -> bool:
        return self.have(self.catalog.upstream.get(project_name(name))) != UpstreamEntry(
            name=project_name(name)
        )

    def test_made_up_names_displace_no_listing(self) -> None:
        """However many names are requested that upstream does not have, some thousand are
        remembered, and projects that it has are not forgotten for them.
        """
        self.catalog = MemoryCatalog()
        file = listed(b"x", "there-1.0.tar.gz")
        found = Listing(
            name=project_name("there"), files=[file], confirmed=BEGINNING, index="https://x/"
        )
        self.have(
            self.catalog.upstream.edit(
                project_name("there"), lambda heard: evolve(heard, listing=found)
            )
        )
        most = MOST_GONE // OVERHEAD
        for number in range(most + 1000):
            self.hear(f"x{number}")
        self.assertTrue(self.known("there"))
        self.assertTrue(self.known(f"x{most + 999}"))
        known = sum(len(lines) for lines in self.catalog.upstream.state(None).lines.values())
        self.assertTrue(most // 2 < known < most, known)

"""The catalog forgets upstream projects that nobody needs."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.replica import ForgettableProjects, Replica
from pypid.core.model import Listing, as_stored
from pypid.core.packaging.names import project_name
from tests.index.file_cache_cases import listed
from tests.support.engines import Place, a_catalog
from tests.support.worlds import BEGINNING, Awaiting


class ForgetTests(Awaiting, SynchronousTestCase):
    """With room for five listings, and for three names that upstream does not have."""

    def setUp(self) -> None:
        super().setUp()
        self.place = Place()
        self.catalog = a_catalog(place=self.place)
        replica: Replica = self.catalog.following.replica
        replica.forgettable = ForgettableProjects(most_projects=5)
        replica.gone = ForgettableProjects(most_projects=3)

    def hear(self, name: str, *, there: bool = True, kept: bool = False) -> None:
        """Upstream has the project, or not; a file of it is cached."""
        file = listed(b"x", f"{name}-1.0.tar.gz")
        said = Listing(
            name=project_name(name),
            files=[file] if there else None,
            confirmed=BEGINNING,
            index="https://x/",
        )
        cached = (as_stored(file, key=f".kept/{name}/{name}-1.0.tar.gz"),) if kept else ()
        self.have(
            self.catalog.upstream.edit(
                project_name(name), lambda heard: evolve(heard, listing=said, kept=cached)
            )
        )

    def known(self, *names: str) -> list[str]:
        """Return which of the projects are known."""
        found = {name: self.have(self.catalog.upstream.get(project_name(name))) for name in names}
        return [name for name, entry in found.items() if entry.listing or entry.kept]

    def test_least_recently_changed_first(self) -> None:
        """Projects with cached files stay; of others those that changed last."""
        self.hear("kept", kept=True)
        names = [f"p{number}" for number in range(7)]
        for name in names:
            self.hear(name)
        self.assertEqual(self.known("kept", *names), ["kept", *names[2:]])
        self.hear("p2", kept=True)
        self.hear("p7")
        self.hear("p8")
        self.assertEqual(self.known(*names), [*names[2:3], *names[4:]])

    def test_made_up_names_displace_no_listing(self) -> None:
        """Names that upstream does not have are forgotten among themselves; no row of them stays."""
        self.hear("there")
        names = [f"x{number}" for number in range(20)]
        for name in names:
            self.hear(name, there=False)
        self.assertEqual(self.known("there", *names), ["there", *names[-3:]])
        self.assertEqual(len(self.place.rows), 4)

    def test_bytes(self) -> None:
        """However few there are, they do not take more bytes than they may."""
        projects = ForgettableProjects(most_bytes=100)
        for number in range(4):
            projects.note(project_name(f"p{number}"), 40)
        self.assertEqual(list(projects.pop_excess()), ["p0", "p1"])

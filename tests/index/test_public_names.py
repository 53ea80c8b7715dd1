"""The names of all projects of the upstreams: kept as hashes, and asked of no upstream one by one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import NameUsedUpstream
from pypid.core.packaging.names import ProjectName, project_name
from pypid.index.upstream.public_names import DAY, HOUR, PublicNames
from tests.index.named import NamedCase, Only

MANY = [project_name(f"package-{number}") for number in range(3000)]
POPULAR, NEW = project_name("requests"), project_name("package-new")


class PublicNamesTests(NamedCase, SynchronousTestCase):
    only: ClassVar[Only] = {"cu128": ("torch",)}

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.public = PublicNames(self.index(""), self.folder, self.world)

    def holds(self, *names: ProjectName) -> list[bool]:
        return [self.have(self.public.holds(name)) for name in names]

    def fetch(self, *names: ProjectName) -> None:
        self.upstream.all_names = names
        self.have(self.public.refresh())

    def test_a_list_is_looked_up(self) -> None:
        """Every name of it is there, and no other, also of the list of a named upstream; and not
        one is named upstream.
        """
        self.upstreams["cu128"].all_names = [project_name("torch")]
        self.fetch(*MANY)
        self.assertEqual(set(self.holds(*MANY, project_name("torch"))), {True})
        self.assertEqual(
            self.holds(NEW, POPULAR, project_name("a"), project_name("zz")), [False] * 4
        )
        self.assertEqual(self.told(), [])

    def test_half_a_list_replaces_no_list(self) -> None:
        """An upstream that answers with few names has lost the others."""
        self.fetch(*MANY)
        self.clock.advance(DAY + HOUR)
        self.fetch(*MANY[:1000])
        self.assertEqual(self.holds(MANY[-1], MANY[0]), [True, True])

    def test_new_projects_of_these_names_are_refused(self) -> None:
        """In the default index and in a named one; not if the name is local in any index."""
        self.fetch(*MANY)
        team, default = self.create("team"), self.index("")
        name, other = MANY[0], MANY[1]
        for index in (team, default):
            for each in (name, other):
                self.refused(
                    index.refuse_used_upstream(each, "", self.public.holds), NameUsedUpstream
                )
            self.have(index.refuse_used_upstream(NEW, "", self.public.holds))
        self.publish(team, f"{name}-1.0.tar.gz")
        for index in (team, default):
            self.have(index.refuse_used_upstream(name, "", self.public.holds))
        self.assertEqual(self.told(), [])

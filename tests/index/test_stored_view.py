"""The uncached view of a project, which search, exports and lists of all files are made of."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from attrs import evolve

from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import NoSuchProject, NotYetKnown
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.index import Index
from pypid.index.stored_view import own_stored_view
from pypid.index.views import STORED
from pypid.ports import Catalog
from tests.index.uploads import SPAM, IndexCase, fetched, sent
from tests.support import world
from tests.web.memory_upstream import Elsewhere

EGGS, HAM = project_name("eggs"), project_name("ham")


class StoredViewTests(IndexCase):
    """It is the view of `Index.view` for a request that causes nothing upstream."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        for name in (SPAM, EGGS, HAM):
            self.upstream.has(name, f"{name}-2.0.tar.gz", b"two")
            self.upstream.has(name, f"{name}-1.0.tar.gz", b"one")
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.index = self.under(Policy(mode=Mode.CACHE), MemoryCatalog())
        self.publish(sent())
        self.have(self.index.reconcile())
        file = self.have(self.index.file(EGGS, "eggs-1.0.tar.gz"))
        self.have(fetched(self.index, file))
        self.have(self.index.project(HAM))

    def under(self, policy: Policy, catalog: Catalog) -> Index:
        """The index over this catalog, under another policy."""
        return Index(
            self.store, catalog, self.upstream, policy, world(self.clock), spool=self.spool
        )

    def test_as_index_view(self) -> None:
        """Local, cached, known and unknown projects look alike both ways, under each policy."""
        policy = self.index.policy
        for changed in (
            policy,
            evolve(policy, mode=Mode.OFFLINE),
            evolve(policy, allow_mixed=(SPAM,)),
            evolve(policy, deny=(EGGS,)),
            evolve(policy, cooldown=Cooldown(timedelta(days=36500))),
        ):
            index = self.under(changed, self.index.catalog)
            for name in (SPAM, EGGS, HAM, project_name("none")):
                for verified in (True, False):
                    found = self.have(own_stored_view(index, name, verified=verified))
                    shown = self.have(_shown(index, name))
                    self.assertEqual(found.project.files if found else (), shown, name)

    def test_online(self) -> None:
        """Files that are not stored are there only if upstream may be asked for them."""
        stored = self.have(own_stored_view(self.index, EGGS))
        online = self.have(own_stored_view(self.index, EGGS, online=True))
        assert stored is not None and online is not None
        self.assertEqual([file.version for file in stored.project.files], ["1.0"])
        self.assertEqual(len(online.project.files), 2)
        local = self.have(own_stored_view(self.index, SPAM, online=True))
        assert local is not None
        self.assertEqual((local.is_local, len(local.project.files)), (True, 1))

    def test_unknown(self) -> None:
        """A project that is being adopted is not called absent."""
        self.index.context.being_adopted.add(HAM)
        self.refused(own_stored_view(self.index, HAM), NotYetKnown)


async def _shown(index: Index, name: ProjectName) -> Sequence[File]:
    """The files on the page; none without a page."""
    try:
        return (await index.project(name, STORED)).files
    except NoSuchProject:
        return ()

"""The catalog in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.memory import DECODED, MemoryCatalog, MemorySettings, open
from pypid.core.names import project_name
from pypid.testing import CatalogContract, world
from pypid.testing.catalog import a_project


class MemoryContractTests(CatalogContract, SynchronousTestCase):
    """Memory keeps the contract."""

    async def make(self) -> MemoryCatalog:
        return await open(MemorySettings(), world())


class MemoryTests(CatalogContract, SynchronousTestCase):
    """What is special: serials may go on from where an earlier catalog was."""

    async def make(self) -> MemoryCatalog:
        return await open(MemorySettings(serial=1000), world())

    def test_forgets_nothing_but_objects(self) -> None:
        """More projects than stay decoded are all held."""
        projects = [self.put(a_project(project_name(f"p{number}"), "1")) for number in range(DECODED + 50)]
        self.assertEqual([self.have(self.catalog.ours(project.name)) for project in projects], projects)

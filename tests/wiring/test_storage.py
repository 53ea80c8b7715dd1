"""Which storage is opened, and how it is laid out."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import os
from errno import EACCES
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.dump import CatalogDump
from pypid.catalog.memory import MemoryCatalog
from pypid.catalog.part_catalog import PartCatalog
from pypid.core.configuration.parse import parse
from pypid.core.errors import CannotStart
from pypid.core.records.layout import Plan
from pypid.daemon.state import where
from pypid.testing import world
from pypid.testing.catalog import SPAM, a_project, becomes
from pypid.testing.worlds import Awaiting
from pypid.wiring.storage import OpenedStorage, may_create_folder, open_storage, plan_of


class LayoutTests(Awaiting, SynchronousTestCase):
    """``[storage] layout`` and ``prepend_hash``."""

    def opened(self, folder: Path, layout: str) -> OpenedStorage:
        config = parse(
            f"[storage]\npath = {folder}\nlayout = {layout}\n",
            filename=str(folder.parent / "pypid.ini"),
        )
        return self.have(open_storage(config, where(config, {}), world(), None))

    def test_plans(self) -> None:
        """A hash is for buckets only; a layout is for both."""
        bucket = "backend = s3\nbucket = bucket\n"
        for text, plan in (
            ("", Plan(folders=True)),
            ("prepend_hash = yes", Plan(folders=True)),
            ("layout = pypicloud", Plan(pypicloud=True, folders=True)),
            (f"{bucket}layout = pypicloud", Plan(pypicloud=True)),
            (f"{bucket}layout = pypicloud\nprepend_hash = yes", Plan(pypicloud=True, hashed=True)),
            (f"{bucket}prepend_hash = yes", Plan(hashed=True)),
        ):
            self.assertEqual(plan_of(parse(f"[storage]\n{text}\n", filename="x").storage), plan)

    def test_folder_with_named_indexes_only(self) -> None:
        """A missing folder is not created where the dump lists files of named indexes: its disk is
        not mounted.
        """
        folder = Path(self.mktemp()).absolute()
        config = parse(f"[storage]\npath = {folder}\n", filename=str(folder.parent / "pypid.ini"))
        paths = where(config, {})
        catalog = MemoryCatalog()
        for optional in (False, True):
            table = catalog.named_local if optional else catalog.local
            at = paths.named_snapshot if optional else paths.snapshot
            dump = CatalogDump(table, str(at), "here", world(), optional=optional)
            if optional:
                local = PartCatalog(catalog, index="team").local
                self.have(local.edit(SPAM, becomes(a_project(SPAM, "1"))))
            self.have(dump.write())
            self.assertEqual(may_create_folder(paths, folder, False), not optional)

    def test_other_layout(self) -> None:
        """A folder of ours that is laid out otherwise is refused, with what to do: its records
        would not be seen.
        """
        for first, second, word in (
            ("pypid", "pypicloud", "layout = pypid"),
            ("pypicloud", "pypid", ".meta"),
        ):
            folder = Path(self.mktemp()).absolute()
            identity = self.opened(folder, first).identity
            with self.assertRaises(AssertionError) as caught:
                self.opened(folder, second)
            self.assertIn("CannotStart", str(caught.exception))
            self.assertIn(word, str(caught.exception))
            self.assertEqual(self.opened(folder, first).identity, identity)

    def test_folder_that_may_not_be_entered(self) -> None:
        """It stops the start with advice."""
        folder = Path(self.mktemp()).absolute()

        def refused(path: Path) -> bool:
            raise PermissionError(EACCES, os.strerror(EACCES), str(path))

        self.patch(Path, "exists", refused)
        config = parse(
            f"[storage]\npath = {folder}\n[server]\nstate = {folder}\n",
            filename=str(folder.parent / "pypid.ini"),
        )
        places = evolve(where(config, {}), snapshot=folder / "nowhere")
        error = self.refused(open_storage(config, places, world(), None), CannotStart)
        self.assertIn("Permission denied", str(error))
        self.assertIn("enter", str(error))

    def test_foreign_folder(self) -> None:
        """A folder that was never ours is opened with either; with pypicloud's, nothing is made
        there that it would list.
        """
        for layout in ("pypid", "pypicloud"):
            folder = Path(self.mktemp()).absolute()
            (folder / "spam/1.0").mkdir(parents=True)
            (folder / "spam/1.0/spam-1.0.tar.gz").write_bytes(b"x")
            self.opened(folder, layout)
            found = [
                path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".meta"
            ]
            self.assertEqual(found == ["spam-1.0.tar.gz"], layout == "pypicloud")

"""Which storage is opened."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import os
from collections.abc import Coroutine
from errno import EACCES
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.core.packaging.names import ProjectName
from pypid.daemon.shared_catalog import catalog_file
from pypid.daemon.state import where
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.places import SqliteFile
from pypid.flow import at_once
from pypid.wiring.storage import OpenedStorage, may_create_folder, open_storage
from tests.support import world
from tests.support.configuration import parse
from tests.support.models import to_be
from tests.support.worlds import Awaiting


class FolderTests(Awaiting, SynchronousTestCase):
    """A storage folder."""

    def opening(self, folder: Path) -> Coroutine[Any, Any, OpenedStorage]:
        config = parse(
            f"[storage]\npath = {folder}\n[server]\nstate = {folder.parent / 'state'}\n",
            filename=str(folder.parent / "pypid.ini"),
        )
        return open_storage(config, where(config, {}), world(), None)

    def opened(self, folder: Path) -> OpenedStorage:
        return self.have(self.opening(folder))

    def test_folder_with_named_indexes_only(self) -> None:
        """A missing folder is not created where the catalog lists files of named indexes: its disk
        is not mounted.
        """
        folder = Path(self.mktemp()).absolute()
        config = parse(f"[storage]\npath = {folder}\n", filename=str(folder.parent / "pypid.ini"))
        paths = where(config, {})
        self.assertTrue(may_create_folder(paths))
        outside = world()
        place = SqliteFile(catalog_file(paths))
        engine = SqlEngine(SqlSettings(place, at_once), outside)
        self.addCleanup(lambda: self.have(engine.close()))
        generation = self.have(engine.open("here")).generation
        self.assertTrue(may_create_folder(paths))
        named = to_be(b"line", name=ProjectName("team/spam"))
        self.have(engine.swap(generation, named))
        self.assertFalse(may_create_folder(paths))

    def test_documents_of_a_shared_folder_get_their_names(self) -> None:
        """Documents that an older version kept from a pypicloud by ``.meta`` are found again; what
        pypicloud wrote stays, and a rename that broke off is continued.
        """
        folder = Path(self.mktemp()).absolute()
        identity = self.opened(folder).identity
        documents = (
            ".pypid/accounts-known",
            ".kept/ham/ham-1.tar.gz",
            ".kept/ham/ham-1.tar.gz.record.json",
            "spam/project.json",
            "spam/spam-1.tar.gz.at-0123456789abcdef.metadata",
            "spam/spam-1.tar.gz.record.json",
        )
        foreign = ("spam/1/spam-1.tar.gz", "spam/1/spam-1.tar.gz.meta", "notes.meta")
        for key in (*(f"{key}.meta" for key in documents[1:]), *foreign, documents[0]):
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_text(key)
        named = folder / ".pypid/storage.json"
        named.rename(folder / ".pypid/storage.json.meta")
        self.assertEqual(self.opened(folder).identity, identity)
        for key in documents:
            self.assertEqual((folder / key).read_text().removesuffix(".meta"), key)
        for key in foreign:
            self.assertEqual((folder / key).read_text(), key)
        self.assertTrue(named.exists())

    def test_documents_that_cannot_be_renamed(self) -> None:
        """They stop the start with advice, and the next one continues."""
        folder = Path(self.mktemp()).absolute()
        identity = self.opened(folder).identity
        (folder / ".pypid/storage.json").rename(folder / ".pypid/storage.json.meta")

        def refused(path: Path, target: Path) -> Path:
            raise PermissionError(EACCES, os.strerror(EACCES), str(path))

        with patch.object(Path, "rename", refused):
            error = self.refused(self.opening(folder), CannotStart)
        self.assertIn("cannot be renamed: Permission denied", str(error))
        self.assertEqual(self.opened(folder).identity, identity)

    def test_folder_that_may_not_be_entered(self) -> None:
        """It stops the start with advice."""
        folder = Path(self.mktemp()).absolute()

        def refused(*_: object, **__: object) -> None:
            raise PermissionError(EACCES, os.strerror(EACCES))

        self.patch(os, "makedirs", refused)
        error = self.refused(self.opening(folder), CannotStart)
        self.assertIn("Permission denied", str(error))
        self.assertIn("read and write", str(error))

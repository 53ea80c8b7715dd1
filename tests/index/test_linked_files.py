"""Bytes that several indexes have in common are counted once."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs import files
from pypid.blobs.files import FilesSettings
from pypid.index.linked_files import LinkedFiles
from pypid.index.local.manage import Manager
from pypid.index.usage import Usage, Used, together
from tests.index.test_promotions import EGGS, EGGS_WHEEL, STAGING, Node
from tests.index.uploads import SPAM, WHEEL, publishing, sent, signed
from tests.support import world
from tests.support.worlds import Awaiting


class LinkedFilesTests(Awaiting, SynchronousTestCase):
    """A folder with the default index and staging."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.mktemp()).absolute()
        settings = FilesSettings(str(self.root), create=True, exclusive=True)
        store = self.have(files.open(settings, evolve(world(), random=os.urandom)))
        self.node = Node(store, store, Clock())
        for what in (signed(b"wheel"), sent(b"eggs", EGGS_WHEEL)):
            self.have(publishing(self.node.staging, what))
        self.linked = LinkedFiles(self.root, world())

    def used(self) -> Used:
        catalogs = {"": self.node.default.catalog, "staging": self.node.staging.catalog}
        parts = []
        for catalog in catalogs.values():
            part = self.have(Usage(catalog, world()).current())
            assert part is not None
            parts.append(part)
        total = together(parts[0], parts[1:])
        return self.have(self.linked.counted_once(total, parts, catalogs))

    def test_promoted_file(self) -> None:
        """It is listed twice, and its bytes are counted once, also after more changes."""
        self.assertEqual((self.used().files, self.used().size), (2, 9))
        self.have(self.node.promote({SPAM: frozenset({WHEEL})}))
        used = self.used()
        self.assertEqual((used.files, used.size), (3, 9))
        self.assertEqual({use.name: use.size for use in used.by_size}, {SPAM: 5, EGGS: 4})
        self.have(publishing(self.node.default, sent(b"more", "spam-2.0.tar.gz")))
        self.assertEqual(self.used().size, 13)
        self.have(Manager(self.node.staging.context).delete(SPAM, [WHEEL], "alice"))
        self.assertEqual((self.used().files, self.used().size), (3, 13))

    def test_copies_are_counted_each(self) -> None:
        """The same bytes that were uploaded twice, or copied by hand, are there twice."""
        self.have(publishing(self.node.default, signed(b"wheel")))
        self.assertEqual(self.used().size, 14)
        self.have(self.node.promote({EGGS: frozenset({EGGS_WHEEL})}))
        self.assertEqual(self.used().size, 14)
        copied = self.root / STAGING / "eggs" / EGGS_WHEEL
        data = copied.read_bytes()
        copied.unlink()
        copied.write_bytes(data)
        self.have(publishing(self.node.staging, sent(b"x", "eggs-3.0.tar.gz")))
        self.assertEqual(self.used().size, 19)

    def test_missing_folder(self) -> None:
        """What cannot be looked at is counted as it is listed."""
        self.have(self.node.promote({SPAM: frozenset({WHEEL})}))
        self.linked = LinkedFiles(self.root / "missing", world())
        self.assertEqual(self.used().size, 14)

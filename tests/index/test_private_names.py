"""The blobs of a named index keep the contract of blobs, and mark names before documents."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.store import Store
from pypid.core.errors import StorageDown
from pypid.core.model import Blob
from pypid.core.packaging.names import project_name
from pypid.flow import BytesBody
from pypid.index.named_indexes import PrivateNames
from pypid.index.named_indexes import marked as marked_part
from pypid.ports import Blobs, Body
from tests.support import BlobsContract, contents, world
from tests.support.engines import a_catalog
from tests.support.worlds import Timed

RECORD = "spam/spam-1.0.tar.gz.record.json"
MARKER = ".pypid/index-names/spam/team"


def marked(whole: Blobs) -> Store:
    """Return the blobs of the index ``team`` in the store."""
    names = PrivateNames(whole, a_catalog(), dict)
    return marked_part(Store(whole, ".pypid/index/team/"), names, "team")


class Full(MemoryBlobs):
    """A store that takes no markers."""

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        if key == MARKER:
            raise StorageDown("it is away.")
        return await super().write(key, body, replace=replace)


class MarkedContract(BlobsContract, SynchronousTestCase):
    async def make(self) -> Blobs:
        return marked(MemoryBlobs(world().now))


class MarkingTests(Timed, SynchronousTestCase):
    def test_the_marker_is_there_before_the_document(self) -> None:
        """Bytes alone need none; and without the marker the document is not written."""
        whole = Full(self.world.now)
        part = marked(whole)
        self.have(part.write("spam/spam-1.0.tar.gz", BytesBody(b"bytes")))
        self.assertNotIn(MARKER, self.have(contents(whole)))
        for key in (RECORD, "spam/project.json", "spam/spam-1.0.tar.gz.metadata"):
            self.refused(part.write(key, BytesBody(b"{}")), StorageDown)
            self.assertNotIn(f".pypid/index/team/{key}", self.have(contents(whole)))
        whole = MemoryBlobs(self.world.now)
        self.have(marked(whole).write(RECORD, BytesBody(b"{}")))
        self.assertIn(MARKER, self.have(contents(whole)))

    def test_documents_of_the_storage_are_no_projects(self) -> None:
        """They mark nothing."""
        whole = MemoryBlobs(self.world.now)
        self.have(marked(whole).write(".pypid/recording.json", BytesBody(b"{}")))
        self.assertEqual(
            list(self.have(contents(whole))), [".pypid/index/team/.pypid/recording.json"]
        )

    def test_names_of_an_index_are_read_from_the_markers(self) -> None:
        """Also by another process."""
        whole = MemoryBlobs(self.world.now)
        self.have(marked(whole).write(RECORD, BytesBody(b"{}")))
        names = PrivateNames(whole, a_catalog(), dict)
        self.assertEqual(self.have(names.names()), {"spam"})
        self.assertEqual(self.have(names.names_of("team")), {"spam"})
        self.have(names.release(project_name("spam"), "team"))
        self.assertEqual(self.have(names.names()), frozenset())
        self.assertIs(self.have(names.names()), self.have(names.names()))

"""The requests that publishing a file sends to a bucket."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from pypid.catalog.memory import MemoryCatalog
from pypid.core.policy import Policy
from pypid.core.records.layout import is_document
from pypid.flow import BytesBody
from pypid.index import Index
from pypid.upstream.nothing import Nothing
from tests.blobs.bucket import Said
from tests.blobs.fake_s3 import lies, says
from tests.blobs.s3_cases import S3Case
from tests.index.uploads import WHEEL, sent

ARTIFACT, RECORD = WHEEL, f"{WHEEL}.record.json"


class PublishRequestTests(S3Case):
    """An index over a bucket of which this process has the lease."""

    async def setUp(self) -> None:
        """Compare the index with its empty bucket."""
        await super().setUp()
        self.blobs = await self.open(is_document=is_document)
        self.index = Index(
            self.blobs, MemoryCatalog(), Nothing(), Policy(), self.world, is_sole=lambda: True
        )
        await self.index.reconcile()
        self.fake.asked.clear()

    def requests(self) -> list[tuple[str, str]]:
        """What was asked, in order: the operation, and the name of the object."""
        return [(asked.operation, asked.key.rpartition("/")[2]) for asked in self.fake.asked]

    async def test_requests_of_a_new_file(self) -> None:
        """The store is asked for what decides, the bytes are looked at once they are written, and
        nothing is asked about documents.
        """
        what = sent()
        await self.index.publish(what.upload, what.body, "alice")
        self.assertEqual(
            self.requests(),
            [
                ("GetObject", RECORD),
                ("GetObject", f"{WHEEL}.deleted.json"),
                ("PutObject", ARTIFACT),
                ("HeadObject", ARTIFACT),
                ("PutObject", f"{WHEEL}.metadata"),
                ("HeadObject", ARTIFACT),
                ("GetObject", f"{WHEEL}.yanked.json"),
                ("PutObject", RECORD),
            ],
        )

    async def test_document_without_an_etag_is_looked_at(self) -> None:
        """An answer that may be some proxy's is no proof that a document was written."""
        self.fake.script("PutObject", says(Said(200, b"", {"ETag": '"x"'})), lies(ETag=""))
        await self.blobs.write("spam/x.metadata", BytesBody(b"x"))
        await self.blobs.write("spam/y.metadata", BytesBody(b"x"))
        self.assertEqual(self.fake.operations(), ["PutObject", "PutObject", "HeadObject"])

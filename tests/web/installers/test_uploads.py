"""Uploads whose bytes are written to the storage while they are still being received."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from pypid.core.packaging.names import Distribution, project_name
from pypid.core.permissions import Grants, Principals, Rules
from pypid.flow.spool import Spool
from pypid.index import Index
from pypid.index.local import early_write
from pypid.index.local.early_write import EarlyWrite
from tests.distributions import metadata, wheel
from tests.web import test_conformance_upload
from tests.web.full_app import Pypid
from tests.web.uploaders import Dist, twine_7


class EarlyUploadTests(test_conformance_upload.UnderWayTests):
    """What holds for uploads that overlap, break off, or meet a full disk holds for these, too."""

    def setUp(self) -> None:
        """Write early whatever comes."""
        self.patch(early_write, "EARLIEST", 1)
        self.patch(Index, "early_write", lambda index, most: EarlyWrite(index.context, most))
        self.begun: list[str] = []
        begin = EarlyWrite.begin

        async def noted(early: EarlyWrite, distribution: Distribution, spool: Spool) -> None:
            self.begun.append(distribution.filename)
            await begin(early, distribution, spool)

        self.patch(EarlyWrite, "begin", noted)
        super().setUp()

    def test_is_published(self) -> None:
        """An upload that was written early is served as any other one."""
        self.published(self.post(twine_7(self.wheel)))
        self.assertEqual(self.begun, [self.wheel.filename])
        served = self.pypid.get(f"/packages/spam/{self.wheel.filename}").body
        self.assertEqual(served, self.wheel.data)

    def test_refused_archive(self) -> None:
        """Bytes that turn out to be no distribution, or another one, are not stored."""
        for data in (b"x" * 100_000, wheel(metadata_bytes=metadata(name="other"))):
            self.assertEqual(self.post(twine_7(Dist(self.wheel.filename, data))).status, 400)
            self.nothing_stored()
        self.assertEqual(len(self.begun), 2)

    def test_client_without_the_right(self) -> None:
        """Nothing is written for a client that may publish other projects only."""
        bob = Principals(users=frozenset({"bob"}))
        grants = {project_name("other"): Grants(write=bob)}
        self.pypid = Pypid(self.spool, rules=Rules(write=Principals(), projects=grants))
        self.assertEqual(self.post(twine_7(self.wheel), user="bob").status, 403)
        self.assertEqual(self.begun, [])
        self.nothing_stored()

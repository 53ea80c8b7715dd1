"""Provenance of upstream files: `pypid.index.upstream.file_metadata`."""

from __future__ import annotations

from msgspec.structs import replace

from pypid.core.errors import NotThere, UpstreamDown
from pypid.core.model import File
from pypid.core.records.layout import ObjectKind, kept_key
from pypid.flow import whole
from pypid.index.upstream.file_metadata import lacking
from tests.index.file_cache_cases import KeeperCase, listed, noise, provenance_of, read_kept

URL = "https://files.example/integrity/spam/1.0/spam-1.0.tar.gz/provenance"
DATA = noise(2000)


class CachedProvenanceTests(KeeperCase):
    """Provenance is stored beside its cached file."""

    def setUp(self) -> None:
        super().setUp()
        self.file = listed(DATA, provenance_url=URL)
        self.upstream.sends(self.file.source or "", DATA)
        self.data = provenance_of(self.file)
        self.upstream.sends(URL, self.data)
        self.key = kept_key(self.file.project, self.file.filename, ObjectKind.PROVENANCE)

    def fetched(self, file: File | None = None) -> bytes:
        """The bytes that a client gets of the file."""
        return self.successResultOf(self.client(file or self.file).ended)

    def asked_for_provenance(self) -> int:
        return [url for url, _ in self.upstream.asked].count(URL)

    def provenance(self) -> bytes:
        return self.have(self.file_cache.provenance.provenance(self.file))

    def test_stored_with_its_file(self) -> None:
        """The object is stored as upstream sent it, and is served with upstream away; the catalog
        and the storage agree on it.
        """
        self.assertEqual(self.fetched(), DATA)
        self.assertEqual(self.have(self.read(self.key)), self.data)
        self.upstream.answers.clear()
        self.assertEqual(self.provenance(), self.data)
        self.assertEqual(self.asked_for_provenance(), 1)
        kept = self.kept(self.file)
        assert kept is not None
        self.assertTrue(kept.attested)
        self.assertEqual(self.have(read_kept(self.blobs, self.file.project)), (kept,))

    async def read(self, key: str) -> bytes:
        return await whole(await self.blobs.read(key), 1 << 20)

    def test_failures_hide_no_file(self) -> None:
        """Without provenance, with an unreachable one or a wrong one the file is served, and
        nothing is stored beside it.
        """
        other = replace(self.file, sha256="0" * 64)
        for answer in (
            NotThere(URL),
            UpstreamDown("it is away."),
            b"",
            b"{}",
            b"[" * 100_000,
            b'{"version":1,"attestation_bundles":[]}',
            provenance_of(other),
            provenance_of(self.file, name="eggs-1.0.tar.gz"),
            provenance_of(self.file, digest={}),
            b" " * (1 << 20) + self.data,
        ):
            self.setUp()
            if isinstance(answer, bytes):
                self.upstream.sends(URL, answer)
            else:
                self.upstream.answers[URL] = answer
            self.assertEqual(self.fetched(), DATA)
            self.assertEqual(self.fetched(), DATA)
            self.assertNotIn(self.key, self.stored())
            # a wrong one is not fetched again; one that could not be reached is, at the next use
            self.assertEqual(self.asked_for_provenance() > 1, isinstance(answer, UpstreamDown))

    def test_files_of_earlier_versions(self) -> None:
        """A file that was cached without its provenance gets it when it is requested, or by the
        maintenance.
        """
        plain = replace(self.file, provenance_url=None)
        self.fetched(plain)
        self.assertEqual(self.asked_for_provenance(), 0)
        self.fetched()
        self.assertIn(self.key, self.stored())
        self.have(self.blobs.delete(self.key))
        self.have(self.file_cache.kept.records.resync(self.file.project))
        entry = self.have(self.catalog.upstream.get(self.file.project))
        self.assertFalse(entry.kept[0].attested)
        self.assertEqual(lacking(entry), [])  # it was recorded without an address
        self.have(self.file_cache.forget(self.file.project, self.file.filename))
        self.upstream.answers[URL] = UpstreamDown("it is away.")
        self.fetched()
        self.assertNotIn(self.key, self.stored())
        self.upstream.sends(URL, self.data)
        fetch = self.file_cache.provenance.fetch_missing
        self.assertEqual(self.have(fetch("", 0)), "")
        self.assertIsNone(self.have(fetch("", 10)))
        self.assertIn(self.key, self.stored())

    def test_other_bytes_of_the_name(self) -> None:
        """Each of two contents under one name has the provenance of its own bytes."""
        self.fetched()
        other = listed(noise(3000), provenance_url=URL)
        self.upstream.sends(other.source or "", noise(3000))
        self.upstream.sends(URL, provenance_of(other))
        self.assertEqual(self.fetched(other), noise(3000))
        self.assertEqual(
            self.have(self.file_cache.provenance.provenance(other)), provenance_of(other)
        )
        self.assertEqual(len([key for key in self.stored() if "provenance" in key]), 1)

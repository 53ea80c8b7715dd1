"""What pages say of metadata, what proves bytes, where kept files lie:
`pypid.core.simple_api.metadata_offer`, `verifying`, `layout`.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import hashlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Digests, File, ListedFile, Listing, UpstreamEntry, as_stored
from pypid.core.packaging.expected_digest import ExpectedDigest, claim_of, computed, hash_of
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import (
    KEPT,
    ObjectKind,
    ObjectPlace,
    cached_overwrite_key,
    kept_folder,
    kept_key,
    kept_place,
    place,
)
from pypid.core.simple_api.metadata_offer import offering, with_metadata
from tests.support import BEGINNING

SPAM = project_name("spam")
FILE = ListedFile(
    project=SPAM,
    filename="spam-1.0-py3-none-any.whl",
    version="1.0",
    sha256="ab" * 32,
    size=1,
    source="https://x/y",
)


def said(*files: File) -> Listing:
    return Listing(name=SPAM, files=files, confirmed=BEGINNING, index="https://x/")


class OfferingTests(SynchronousTestCase):
    """A page promises metadata only where it can be served."""

    def test_offers(self) -> None:
        """What is kept is offered always; what only upstream has, while it can be asked."""
        for fields in (
            {},
            {"metadata_offered": True},
            {"metadata_sha256": "cd" * 32, "metadata_offered": True},
        ):
            theirs = replace(FILE, **fields)
            for kept in (None, as_stored(FILE, key=".kept/x")):
                self.assertEqual(offering(theirs, kept, reachable=True), theirs)
                away = offering(theirs, kept, reachable=False)
                self.assertEqual((away.metadata_sha256, away.metadata_offered), (None, False))
            kept = as_stored(FILE, key=".kept/x", metadata_sha256="ef" * 32)
            for reachable in (True, False):
                self.assertEqual(
                    offering(theirs, kept, reachable=reachable).metadata_sha256, "ef" * 32
                )

    def test_learns(self) -> None:
        """A hash that was learnt is listed, for that file only, never instead of upstream's, while
        the file is the same.
        """
        other = replace(FILE, filename="spam-2.0.tar.gz")
        heard = UpstreamEntry(name=SPAM, listing=said(FILE, other), kept=(FILE,))
        learnt = with_metadata(heard, FILE.filename, "cd" * 32)
        assert learnt.listing is not None and learnt.listing.files is not None
        self.assertEqual([file.metadata_sha256 for file in learnt.listing.files], ["cd" * 32, None])
        self.assertEqual([file.metadata_sha256 for file in learnt.kept], ["cd" * 32])
        again = with_metadata(learnt, FILE.filename, "ef" * 32)
        self.assertEqual(again.listing, learnt.listing)

    def test_learns_nothing_without_hash(self) -> None:
        """Of a listed file without SHA-256 the metadata may change with the bytes, unnoticed."""
        heard = UpstreamEntry(name=SPAM, listing=said(replace(FILE, sha256=None)))
        self.assertEqual(with_metadata(heard, FILE.filename, "cd" * 32), heard)


class VerifyingTests(SynchronousTestCase):
    """The strongest hash that was given proves the bytes."""

    def test_strongest(self) -> None:
        """sha256, then any other of hashlib's, then blake2b, then md5; what cannot be computed is
        no claim.
        """
        bare = replace(FILE, sha256=None)
        all_given = replace(FILE, digest="sha512=12", blake2b_256="34", md5="56")
        self.assertEqual(claim_of(all_given), ExpectedDigest("sha256", "ab" * 32))
        self.assertEqual(claim_of(replace(all_given, sha256=None)), ExpectedDigest("sha512", "12"))
        self.assertEqual(
            claim_of(replace(bare, blake2b_256="34", md5="56")), ExpectedDigest("blake2b_256", "34")
        )
        self.assertEqual(claim_of(replace(bare, md5="56")), ExpectedDigest("md5", "56"))
        for digest in (None, "", "sha512", "sha512=", "shake_128=12", "rot13=12", "=12"):
            self.assertIsNone(claim_of(replace(bare, digest=digest)), digest)

    def test_computed(self) -> None:
        """The hashes that every body gets are not computed twice; all others are
        those of hashlib.
        """
        digests = Digests(sha256="1", md5="2", blake2b_256="3", size=4)
        names = ("sha256", "md5", "blake2b_256", "sha512")
        self.assertEqual([computed(digests, name) for name in names], ["1", "2", "3", None])
        for name in ("sha1", "sha224", "sha384", "sha512", "sha3_256", "blake2b", "blake2s"):
            file = io.BytesIO(b"spam")
            file.read()
            self.assertEqual(hash_of(file, name), hashlib.new(name, b"spam").hexdigest())


class KeptLayoutTests(SynchronousTestCase):
    """Kept files lie where no file of ours can."""

    @given(
        st.sampled_from(
            [kind for kind in ObjectKind if kind not in (ObjectKind.OVERWRITE, ObjectKind.PROJECT)]
        )
    )
    @settings(max_examples=20, deadline=None, database=None)
    def test_there_and_back(self, kind: ObjectKind) -> None:
        """A key of a kept file means that file, and nothing to those who look for ours."""
        key = kept_key(SPAM, FILE.filename, kind)
        self.assertEqual(kept_place(key), ObjectPlace(SPAM, FILE.filename, kind))
        self.assertTrue(key.startswith(kept_folder(SPAM)) and key.startswith(KEPT))
        self.assertIsNone(place(key))
        self.assertIsNone(kept_place(key.removeprefix(KEPT)))

    def test_beside(self) -> None:
        """Bytes that lie beside others of the same name are found as such."""
        key = cached_overwrite_key(SPAM, FILE.filename, "ab" * 32)
        self.assertEqual(kept_place(key), ObjectPlace(SPAM, FILE.filename, ObjectKind.OVERWRITE))
        self.assertIsNone(place(key))
        for foreign in (
            KEPT,
            ".kept/spam",
            ".kept/spam/eggs-1.0.tar.gz",
            ".kept/Spam/spam-1.0.tar.gz",
            ".kept/.kept/x/y",
        ):
            self.assertIsNone(kept_place(foreign), foreign)

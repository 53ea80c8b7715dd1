"""What pages say of metadata, what proves bytes, where kept files lie:
`pypid.core.simple_api.metadata_offer`, `verifying`, `layout`.
"""

from __future__ import annotations

import hashlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Digests, ListedFile
from pypid.core.packaging.expected_digest import ExpectedDigest, claim_of, computed, hash_of
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import (
    KEPT,
    ObjectKind,
    ObjectPlace,
    kept_folder,
    kept_key,
    kept_place,
    place,
)

SPAM = project_name("spam")
FILE = ListedFile(
    project=SPAM,
    filename="spam-1.0-py3-none-any.whl",
    version="1.0",
    sha256="ab" * 32,
    size=1,
    source="https://x/y",
)


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

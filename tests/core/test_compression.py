"""Compression in fragments that can be joined."""

from __future__ import annotations

import gzip as standard
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.compression import content, fragment, gzip, gzip_of


class CompressionTests(SynchronousTestCase):
    """`pypid.core.compression`."""

    @settings(deadline=None, database=None)
    @given(st.lists(st.binary(max_size=1 << 12), max_size=5))
    def test_fragments_join_to_one_gzip_member(self, pieces: list[bytes]) -> None:
        """A strict reader reads one member with the content of all fragments, in their order."""
        data = b"".join(pieces)
        member = gzip_of(map(fragment, pieces), data)
        reader = zlib.decompressobj(31)
        self.assertEqual(reader.decompress(member), data)
        self.assertTrue(reader.eof)
        self.assertEqual(reader.unused_data, b"")
        self.assertEqual(standard.decompress(gzip(data)), data)
        for piece in pieces:
            self.assertEqual(content(fragment(piece), len(piece)), piece)

    def test_equal_bytes(self) -> None:
        """The same data gives the same bytes: a strong entity tag names them."""
        self.assertEqual(gzip(b"spam" * 999), gzip(b"spam" * 999))

    def test_limit(self) -> None:
        """Content beyond the limit is refused, without unpacking all of it."""
        bomb = fragment(bytes(1 << 24))
        with self.assertRaises(ValueError):
            content(bomb, 1 << 16)

    def test_damaged(self) -> None:
        """Bytes that are no deflate data are refused."""
        with self.assertRaises(ValueError):
            content(b"\xff\xff", 10)

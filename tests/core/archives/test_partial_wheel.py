"""METADATA out of parts of a wheel: `pypid.core.archives.zips`."""

from __future__ import annotations

import contextlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.archives.members import UnusableArchive
from pypid.core.archives.zips import TAIL, WheelParts, first_part, metadata_of, peek
from pypid.core.model import Span
from pypid.core.packaging.names import project_name
from tests.distributions import metadata, wheel, zipped

SPAM = project_name("spam")


def peeked(data: bytes) -> tuple[bytes, list[Span]]:
    """What is found, and what was asked for."""
    parts, asked = WheelParts(len(data)), []
    needed: bytes | Span = first_part(len(data))
    while isinstance(needed, Span):
        asked.append(needed)
        parts.add(needed, data[needed.start : needed.stop])
        needed = peek(parts, SPAM)
    return needed, asked


class PeekTests(SynchronousTestCase):
    """A wheel of which only parts are at hand."""

    def test_small(self) -> None:
        """A wheel of up to 64 KiB is one part."""
        self.assertEqual(peeked(wheel()), (metadata(), [Span(0, len(wheel()))]))

    @given(st.integers(0, 300_000), st.integers(0, 40_000), st.integers(0, 800), st.booleans())
    @settings(max_examples=25, deadline=None, database=None)
    def test_any(self, before: int, description: int, members: int, first: bool) -> None:
        """Wherever METADATA lies and however long the directory is, it is found, with few parts, as
        in the whole file.
        """
        text = metadata(description="x" * description)
        inside = {f"spam/{number}": b"" for number in range(members)} | {
            "spam/large": b"\0" * before
        }
        described = {"spam-1.0.dist-info/METADATA": text}
        data = zipped({**described, **inside} if first else {**inside, **described}, compression=0)
        found, asked = peeked(data)
        self.assertEqual((found, metadata_of(io.BytesIO(data), SPAM)), (text, text))
        self.assertLessEqual(len(asked), 4)

    @given(st.binary(max_size=200), st.integers(0, 500), st.integers(0, 255))
    @settings(max_examples=60, deadline=None, database=None)
    def test_hostile(self, junk: bytes, where: int, value: int) -> None:
        """Damaged wheels are `UnusableArchive` or found, whatever the bytes; nothing else is
        raised, and it ends.
        """
        data = bytearray(wheel())
        data[-1 - where % len(data)] = value
        for each in (junk, bytes(data), wheel()[:where]):
            with contextlib.suppress(UnusableArchive):
                peeked(each)

    def test_refused(self) -> None:
        """No METADATA, two of them, or one of another project is `UnusableArchive`; so is a part
        that is shorter than asked for.
        """
        two = zipped({"spam-1.0.dist-info/METADATA": b"x", "spam-2.0.dist-info/METADATA": b"x"})
        for data in (zipped({"spam.py": b""}), two, wheel("eggs"), b"", b"x" * (TAIL + 10)):
            self.assertRaises(UnusableArchive, peeked, data)
        self.assertRaises(UnusableArchive, WheelParts(100).add, Span(0, 100), b"x")

"""Tests of `pypid.core.archives.inspection` with broken files: it returns what it found, whatever
the bytes are.
"""

from __future__ import annotations

import io
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.archives.test_sdists import PKG_INFO, member
from tests.core.archives.test_wheels import INFO, WHEEL, contents, look
from tests.distributions import (
    compressed,
    egg,
    egg_filename,
    sdist,
    sdist_filename,
    tarred,
    wheel,
    zipped,
)

BASES = (
    (WHEEL, wheel()),
    (WHEEL, zipped(contents(), compression=zipfile.ZIP_STORED)),
    *(
        (sdist_filename(suffix=suffix), sdist(suffix=suffix))
        for suffix in (".tar.gz", ".tar.bz2", ".tar.xz", ".zip")
    ),
    (egg_filename(), egg()),
)
CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 255), st.sampled_from("==++--^^^<")),
    min_size=1,
    max_size=8,
)


def mutated(data: bytes, changes: list[tuple[int, int, str]]) -> bytes:
    changed = bytearray(data)
    for where, byte, how in changes:
        at = where % max(1, len(changed))
        match how:
            case "=":
                changed[at : at + 1] = bytes([byte])
            case "+":
                changed[at:at] = bytes([byte]) * (byte % 9)
            case "-":
                del changed[at : at + byte % 9]
            case "^" if changed:
                changed[at] ^= 1 << byte % 8
            case _:
                del changed[at:]
    return bytes(changed)


class HostileTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.sampled_from(BASES), CHANGES)
    def test_mutated(self, base: tuple[str, bytes], changes: list[tuple[int, int, str]]) -> None:
        """No change to an archive makes `inspect` raise; what it returns is metadata without
        problems, or problems.
        """
        filename, data = base
        inside = look(mutated(data, changes), filename)
        self.assertTrue(inside.problems or inside.metadata is not None)

    @settings(max_examples=75, deadline=None, database=None)
    @given(CHANGES)
    def test_mutated_tar(self, changes: list[tuple[int, int, str]]) -> None:
        """No change to the tar within an sdist makes `inspect` raise."""
        tar = tarred([PKG_INFO, member("spam-1.0/" + "x" * 150, data=b"x" * 600)], suffix=".tar")[
            :5120
        ]
        inside = look(compressed(mutated(tar, changes), ".tar.gz"), sdist_filename())
        self.assertTrue(inside.problems or inside.metadata is not None)

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.sampled_from(BASES[:2]), CHANGES)
    def test_zipfile_agrees(
        self, base: tuple[str, bytes], changes: list[tuple[int, int, str]]
    ) -> None:
        """What is accepted, pip's zip reader understands alike: it finds the same METADATA."""
        filename, data = base
        data = mutated(data, changes)
        inside = look(data, filename)
        if not inside.problems:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                self.assertEqual(archive.read(f"{INFO}/METADATA"), inside.metadata)

"""What lies in archives: `pypid.core.archives.contents`."""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.archives import contents
from pypid.core.archives.contents import (
    MOST_SHOWN,
    MemberListing,
    OpenedMember,
    is_zip,
    list_members,
    open_tarred,
    open_zipped,
    printable,
    read_text,
    visible,
)
from pypid.core.archives.members import UnusableArchive
from tests.distributions import compressed, sdist, tarred, wheel, zipped

TAR = "spam-1.0.tar.gz"


def listed(data: bytes, filename: str) -> MemberListing:
    return list_members(io.BytesIO(data), filename)


def opened(data: bytes, filename: str, path: str) -> OpenedMember | None:
    """The member, found as whoever looks finds it."""
    if not is_zip(filename):
        return open_tarred(io.BytesIO(data), filename, path)
    member = listed(data, filename).member(path)
    return None if member is None else open_zipped(io.BytesIO(data), member)


def tar(*members: tuple[str, bytes], suffix: str = ".tar.gz") -> bytes:
    made = []
    for name, data in members:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        made.append((entry, data))
    return tarred(made, suffix=suffix)


class PathTests(SynchronousTestCase):
    """How names of members are spelled."""

    def test_spelled(self) -> None:
        """What cannot be printed stands as an escape; a backslash, which begins one, is doubled."""
        self.assertEqual(printable("spam/__init__.py"), "spam/__init__.py")
        self.assertEqual(
            printable("a\nb\u202e\\c\udcff\U000e0001"), "a\\u000ab\\u202e\\\\c\\xff\\U000e0001"
        )
        self.assertEqual(visible("\ta\\b\u202e"), "\ta\\b\\u202e")
        self.assertEqual(
            visible("\udc80\x01\xa0\U000e0001\x01"), "\\x80\\u0001\xa0\\U000e0001\\u0001"
        )


class BoundTests(SynchronousTestCase):
    """Whatever the bytes are, it ends soon, and in little memory."""

    def test_cut(self) -> None:
        """Of a large member the first MiB is unpacked, also where it is a bomb."""
        for size in (MOST_SHOWN, MOST_SHOWN + 1, 16 << 20):
            text = b"0" * size
            for data, filename in (
                (zipped({"a": text}), "x.whl"),
                (zipped({"a": text}, compression=0), "x.whl"),
                (tar(("a", text)), TAR),
            ):
                found = opened(data, filename, "a")
                assert found is not None
                self.assertEqual((found.data, found.is_cut), (text[:MOST_SHOWN], size > MOST_SHOWN))

    def test_unpacks_to_too_much(self) -> None:
        """A tar that unpacks to more than is looked through is `UnusableArchive`, as one that is a
        bomb.
        """
        self.patch(contents, "MOST_UNPACKED", 1 << 20)
        self.assertRaises(UnusableArchive, listed, tar(("a", b"0" * (3 << 20))), TAR)
        self.assertRaises(
            UnusableArchive, opened, tar(("a", b"0" * (3 << 20)), ("b", b"")), TAR, "b"
        )

    def test_sizes_that_lie(self) -> None:
        """A member that says another size than it has is `UnusableArchive`, and not read beyond
        what it says.
        """
        data = bytearray(zipped({"a": b"0" * 5000}))
        where = data.rfind(b"PK\x01\x02")
        struct.pack_into("<L", data, where + 24, 100)
        self.assertRaises(UnusableArchive, opened, bytes(data), "x.whl", "a")

    def test_encrypted(self) -> None:
        """An encrypted member is said to be so, whatever its size."""
        for size in (100, MOST_SHOWN + 100):
            data = bytearray(zipped({"a": b"0" * size}))
            struct.pack_into("<H", data, data.rfind(b"PK\x01\x02") + 8, 1)
            error = self.assertRaises(UnusableArchive, opened, bytes(data), "x.whl", "a")
            self.assertIn("encrypted", str(error))

    @given(
        st.binary(max_size=300),
        st.integers(0, 900),
        st.integers(0, 255),
        st.sampled_from(["x.whl", TAR, "x.tar.bz2", "x.tar.xz"]),
    )
    @settings(max_examples=150, deadline=None, database=None)
    def test_damaged(self, junk: bytes, where: int, value: int, filename: str) -> None:
        """Whatever the bytes are, they are listed, or `UnusableArchive`; nothing else is raised."""
        good = wheel() if is_zip(filename) else compressed(sdist(suffix=".tar"), filename[1:])
        changed = bytearray(good)
        changed[-1 - where % len(changed)] = value
        for data in (junk, bytes(changed), good[: where % len(good)]):
            with contextlib.suppress(UnusableArchive):
                for member in listed(data, filename).members:
                    with contextlib.suppress(UnusableArchive):
                        found = opened(data, filename, member.path)
                        self.assertEqual(found is not None and found.member.path, member.path)

    def test_offset_out_of_all_bounds(self) -> None:
        """A member that is said to lie where no file has bytes is `UnusableArchive`."""
        data = bytearray(zipped({"a": b"0" * 50}))
        struct.pack_into("<L", data, data.rfind(b"PK\x01\x02") + 42, 0xFFFFFF00)
        self.assertRaises(UnusableArchive, opened, bytes(data), "x.whl", "a")


class TextTests(SynchronousTestCase):
    """What bytes say."""

    @given(st.text(max_size=60), st.integers(0, 100))
    @settings(max_examples=100, deadline=None, database=None)
    def test_any(self, text: str, at: int) -> None:
        """Wherever a text is cut, it is the beginning of itself, if it has
        no control characters.
        """
        data = text.replace("\0", "").replace("\ufeff", "").encode()[:at]
        found = read_text(data, cut=True)
        assert found is not None
        if found.encoding == "utf-8":
            self.assertTrue(text.replace("\0", "").replace("\ufeff", "").startswith(found.text))

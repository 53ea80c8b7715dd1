"""Tests of sdists and the tars that they are: what is read out of them, and every attack that is
refused.
"""

from __future__ import annotations

import tarfile

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.archives import tars
from pypid.core.archives.inspection import Inside
from pypid.core.packaging.core_metadata import LONGEST_METADATA
from tests.core.archives.test_wheels import look
from tests.distributions import (
    compressed,
    metadata,
    sdist,
    sdist_filename,
    tarred,
    zipped,
)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


PKG_INFO = member("spam-1.0/PKG-INFO", data=metadata())


class SdistTests(SynchronousTestCase):
    def refused(self, data: bytes, words: str, suffix: str = ".tar.gz") -> None:
        inside = look(data, sdist_filename(suffix=suffix))
        self.assertTrue(any(words in problem for problem in inside.problems), inside.problems)

    def accepted(self, data: bytes) -> None:
        self.assertEqual(look(data, sdist_filename()), Inside(metadata(), ()))

    def test_no_tar(self) -> None:
        """What is not compressed as its name says, is no tar within, or is empty is refused."""
        self.refused(b"", "cut off")
        self.refused(b"hello" * 300, "not compressed as its name says")
        self.refused(sdist(suffix=".tar.bz2"), "not compressed as its name says")
        self.refused(compressed(b"hello" * 300, ".tar.gz"), "not a tar archive")
        self.refused(compressed(b"", ".tar.gz"), "empty")
        self.refused(compressed(bytes(10240), ".tar.gz"), "empty")

    def test_truncated(self) -> None:
        """An sdist cut off anywhere is refused, be it the stream or the tar within."""
        whole = sdist()
        for length in range(0, len(whole), 5):
            self.assertTrue(look(whole[:length], sdist_filename()).problems)
        tar = tarred([PKG_INFO, member("spam-1.0/x", data=bytes(5000))], suffix=".tar")
        for length in range(512, 6144, 512):
            self.refused(compressed(tar[:length], ".tar.gz"), "cut off") if length > 1024 else None

    def test_top(self) -> None:
        """Two top folders, files outside of one, and no PKG-INFO in it are refused."""
        self.refused(tarred([PKG_INFO, member("other/x")]), "several top folders")
        self.refused(tarred([PKG_INFO, member("setup.py")]), "several top folders")
        self.refused(tarred([member("spam-1.0/setup.py")]), "no PKG-INFO")
        self.refused(zipped({"a/x": b"", "b/PKG-INFO": metadata()}), "several top folders", ".zip")

    def test_hostile_names(self) -> None:
        """Absolute names, .. (as Windows reads it too) and control characters are refused."""
        for name, words in (
            ("/etc/passwd", "absolute"),
            ("spam-1.0/../../x", "leads out"),
            ("spam-1.0\\..\\..\\x", "leads out"),
            ("spam-1.0/a\x01b", "control"),
        ):
            self.refused(tarred([PKG_INFO, member(name)]), words)

    def test_links_out(self) -> None:
        """Links that lead out of the top folder, straight or by a chain of links, are refused."""
        for kind, target in (
            (tarfile.SYMTYPE, "/etc/passwd"),
            (tarfile.SYMTYPE, ".."),
            (tarfile.SYMTYPE, "a/a/../../.."),
            (tarfile.SYMTYPE, "..\\..\\x"),
            (tarfile.LNKTYPE, "/etc/passwd"),
            (tarfile.LNKTYPE, "spam-1.0/../../x"),
            (tarfile.LNKTYPE, "elsewhere/x"),
        ):
            self.refused(
                tarred([PKG_INFO, member("spam-1.0/l", kind, target)]),
                "leads out of its top folder",
            )

    def test_through_links(self) -> None:
        """A member that would be written through a link of the archive is refused."""
        link = member("spam-1.0/l", tarfile.SYMTYPE, "a")
        self.refused(tarred([PKG_INFO, link, member("spam-1.0/l/x")]), "through a link")

    def test_devices(self) -> None:
        """Devices, pipes and members of unknown types are refused."""
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"):
            self.refused(tarred([PKG_INFO, member("spam-1.0/d", kind)]), "device")

    def test_pkg_info_is_a_file(self) -> None:
        """A PKG-INFO that is a link, or there twice, is refused."""
        self.refused(
            tarred([member("spam-1.0/PKG-INFO", tarfile.SYMTYPE, "x")]),
            "PKG-INFO of the sdist is a symbolic link",
        )
        self.refused(tarred([PKG_INFO, PKG_INFO]), "several PKG-INFO")
        large = member("spam-1.0/PKG-INFO", data=bytes(LONGEST_METADATA + 1))
        self.refused(tarred([large]), "larger than the 8 MiB")

    def test_after_the_stream(self) -> None:
        """Zeros after the compressed stream are accepted; data, or a second stream, is refused."""
        for suffix in (".tar.gz", ".tar.bz2", ".tar.xz"):
            data = sdist(suffix=suffix)
            self.assertEqual(
                look(data + bytes(600_000), sdist_filename(suffix=suffix)).problems, ()
            )
            self.refused(data + b"more", "after its compressed stream", suffix)
            self.refused(data + data, "after its compressed stream", suffix)

    def test_after_the_tar(self) -> None:
        """Members after the end of the tar (readers that ignore zeros would find
        them) are refused.
        """
        tar = tarred([PKG_INFO], suffix=".tar")
        self.refused(compressed(tar + tar, ".tar.gz"), "data after its end")

    def test_pax_sizes(self) -> None:
        """A member with two sizes, in its header and in an extended one, is refused
        (CVE-2025-62518).
        """
        info, data = member("spam-1.0/x", data=bytes(1024))
        info.pax_headers = {"size": "0"}
        self.refused(tarred([PKG_INFO, (info, data)]), "two sizes")

    def test_huge_header(self) -> None:
        """An extended header that says to be huge is not read into memory."""
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 1 << 33
        self.refused(
            compressed(info.tobuf(tarfile.GNU_FORMAT) + bytes(5120), ".tar.gz"),
            "header of 8589934592 bytes",
        )

    def test_many_records(self) -> None:
        """Headers full of records are read in linear time, and all the headers together are
        bounded.
        """
        text = (b"13 comment=x\n" * 80_660)[: 13 * 80_659]
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XGLTYPE, len(text)
        header = info.tobuf() + text + bytes(-len(text) % 512)
        self.accepted(compressed(header + tarred([PKG_INFO], suffix=".tar"), ".tar.gz"))
        self.patch(tars, "_MOST_HEADERS", len(text) + 1)
        self.refused(compressed(header * 2, ".tar.gz"), "of extended headers")

    def test_damaged_headers(self) -> None:
        """Extended headers that are torn, negative sizes, and wrong checksums are refused."""
        for text in (
            b"9999 path=x\n",
            b"-1 path=x\n",
            b"0 path=x\n",
            b"x",
            b"12 path",
            b"11 path=xyz",
        ):
            info = tarfile.TarInfo("x")
            info.type, info.size = tarfile.XHDTYPE, len(text)
            tar = info.tobuf() + text.ljust(512, b"\0") + tarred([PKG_INFO], suffix=".tar")
            self.refused(compressed(tar, ".tar.gz"), "damaged extended")
        info = tarfile.TarInfo("spam-1.0/x")
        info.size = -512
        self.refused(compressed(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024), ".tar.gz"), "damaged")
        for size in (b"0o7", b"1_0", b"-1", b"+1", b"9"):
            header = member("spam-1.0/x")[0].tobuf()
            header = (
                header[:124] + size.ljust(12, b"\0") + header[136:148] + b" " * 8 + header[156:]
            )
            header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
            self.refused(compressed(header + bytes(1024), ".tar.gz"), "no number")
        tar = bytearray(tarred([PKG_INFO, member("spam-1.0/x")], suffix=".tar"))
        tar[1024] ^= 1
        self.refused(compressed(bytes(tar), ".tar.gz"), "damaged")

    def test_bomb(self) -> None:
        """A stream that unpacks to more than 100 times its size, above the free limit, is given up
        there.
        """
        from pypid.core.archives import tars

        self.patch(
            tars,
            "is_bomb",
            lambda unpacked, packed: unpacked > 4 << 20 and unpacked > 100 * packed,
        )
        data = sdist(files={"zeros": bytes(64 << 20)})
        self.refused(data, "100 times")

    def test_too_many_members(self) -> None:
        """A tar of more members than are allowed is refused, extended headers included."""
        self.patch(tars, "MOST_ENTRIES", 2)
        self.refused(
            tarred([PKG_INFO, member("spam-1.0/a"), member("spam-1.0/b")]),
            "more than the 2 members",
        )

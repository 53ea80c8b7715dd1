"""Tests of wheels, eggs and the zips that they are: what is read out of them, and every attack that
is refused.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.archives import members
from pypid.core.archives.inspection import Inside, inspect
from pypid.core.packaging.core_metadata import LONGEST_METADATA
from pypid.core.packaging.names import parse_filename
from tests.distributions import (
    egg,
    egg_filename,
    metadata,
    record,
    wheel,
    wheel_filename,
    zipped,
)

WHEEL = "spam-1.0-py3-none-any.whl"
INFO = "spam-1.0.dist-info"
WHEEL_TEXT = b"Wheel-Version: 1.0\nTag: py3-none-any\n"


def look(data: bytes, filename: str = WHEEL) -> Inside:
    return inspect(io.BytesIO(data), parse_filename(filename))


def contents(**changes: bytes) -> dict[str, bytes]:
    """The contents of a correct wheel, and more files; RECORD fits them all."""
    files = {
        "spam.py": b"eggs = 1\n",
        **changes,
        f"{INFO}/METADATA": metadata(),
        f"{INFO}/WHEEL": WHEEL_TEXT,
    }
    return {**files, f"{INFO}/RECORD": record(files, f"{INFO}/RECORD")}


def with_entry(
    change: Callable[[zipfile.ZipInfo], None], data: bytes = b"bad\n", name: str = "spam.txt"
) -> bytes:
    """A wheel with one more member, whose header `change` has changed."""
    files = contents()
    del files[f"{INFO}/RECORD"]
    entry = zipfile.ZipInfo(name)
    change(entry)
    files[f"{INFO}/RECORD"] = record({**files, entry.filename: data}, f"{INFO}/RECORD")
    file = io.BytesIO(zipped(files))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(entry, data)
    return file.getvalue()


def renamed(name: str) -> Callable[[zipfile.ZipInfo], None]:
    def change(entry: zipfile.ZipInfo) -> None:
        entry.filename = name

    return change


class WheelTests(SynchronousTestCase):
    def refused(self, data: bytes, words: str, filename: str = WHEEL) -> None:
        inside = look(data, filename)
        self.assertTrue(any(words in problem for problem in inside.problems), inside.problems)

    def test_odd_but_right(self) -> None:
        """Other spellings of name and version, build numbers, stored members, folders and
        signatures of RECORD are accepted.
        """
        files = contents()
        files[f"{INFO}/RECORD.jws"] = files[f"{INFO}/RECORD.p7s"] = b"signed"
        files["folder/"] = b""
        for data, filename in (
            (wheel("Spam.Eggs", "1.0.0"), wheel_filename("spam_eggs", "1.0")),
            (wheel("spam", "1.0+cu118"), wheel_filename("spam", "1.0+cu118", build="1abc")),
            (wheel(compression=zipfile.ZIP_STORED), WHEEL),
            (zipped(files), WHEEL),
        ):
            self.assertEqual(look(data, filename).problems, ())

    def test_streamed(self) -> None:
        """A wheel that was written to a pipe (sizes after the data) is accepted when it is
        compressed, refused when stored.
        """

        class Pipe(io.RawIOBase):
            def __init__(self) -> None:
                self.data = b""

            def writable(self) -> bool:
                return True

            def write(self, data: object) -> int:
                piece = bytes(data)  # type: ignore[call-overload]
                self.data += piece
                return len(piece)

        for method, right in ((zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_STORED, False)):
            pipe = Pipe()
            with zipfile.ZipFile(pipe, "w", method) as archive:  # type: ignore[type-var]
                for name, data in contents().items():
                    archive.writestr(name, data)
            self.assertEqual(look(pipe.data).problems == (), right)

    def test_not_a_zip(self) -> None:
        """Text, nothing, and a wheel cut off anywhere are refused."""
        self.refused(b"", "not a zip")
        self.refused(b"<html>" * 100, "not a zip")
        whole = wheel()
        for length in range(0, len(whole), 7):
            self.assertTrue(look(whole[:length]).problems)

    def test_dist_info(self) -> None:
        """No .dist-info, two of them, and one of another name or version are refused."""
        self.refused(zipped({"a": b""}), "no .dist-info")
        self.refused(zipped({**contents(), "eggs-1.dist-info/METADATA": b""}), "several .dist-info")
        self.refused(wheel(), "is not that of", "eggs-1.0-py3-none-any.whl")
        self.refused(wheel(), "is not that of", "spam-1.1-py3-none-any.whl")

    def test_missing(self) -> None:
        """METADATA, WHEEL and RECORD must all be there."""
        for name in ("METADATA", "WHEEL", "RECORD"):
            files = contents()
            del files[f"{INFO}/{name}"]
            self.refused(zipped(files), f"lacks '{INFO}/{name}'")

    def test_record(self) -> None:
        """A file that RECORD does not name, one that only RECORD names, and a RECORD that is no
        text are refused.
        """
        files = contents()
        self.refused(zipped({**files, "more.py": b""}), "does not name 'more.py'")
        del files["spam.py"]
        self.refused(zipped(files), "names 'spam.py', which is not")
        self.refused(zipped({**files, f"{INFO}/RECORD": b"\xff\xfe"}), "cannot be read")

    def test_record_of_a_small_wheel_cannot_be_large(self) -> None:
        """It is bounded by the members, and refused before it is unpacked."""
        files = contents()
        self.refused(zipped({**files, f"{INFO}/RECORD": b"a\n" * 10_000}), "larger than")

    def test_wheel_version(self) -> None:
        """Wheels of version 0.1 are accepted, since pip and uv install them; a higher one than 1 is
        refused.
        """
        for version, words in (
            ("0.1", ""),
            ("1.9", ""),
            ("2.0", "1.x and older"),
            ("1.x", "1.x"),
            ("", "1.x"),
        ):
            files = contents()
            data = zipped({**files, f"{INFO}/WHEEL": f"Wheel-Version: {version}\n".encode()})
            if words:
                self.refused(data, words)
            else:
                self.assertEqual(look(data).problems, ())

    def test_record_with_backslashes_is_accepted(self) -> None:
        """Old tools on Windows wrote them; pip, uv and the public index take them. A member with
        one is refused still.
        """
        files = contents(**{"spam/eggs.py": b""})
        text = (
            files[f"{INFO}/RECORD"]
            .replace(b"/eggs.py", b"\\eggs.py")
            .replace(b".dist-info/", b".dist-info\\")
        )
        self.assertIn(b"spam\\eggs.py,", text)
        self.assertEqual(look(zipped({**files, f"{INFO}/RECORD": text})).problems, ())

    def test_hostile_names(self) -> None:
        """Absolute names, drives, .., backslashes and control characters are refused."""
        for name, words in (
            ("/etc/passwd", "absolute"),
            ("C:/x", "absolute"),
            ("a/../../x", "leads out"),
            ("..", "leads out"),
            ("a\\b", "backslash"),
            ("a\nb", "control"),
        ):
            self.refused(with_entry(renamed(name)), words)

    def test_scripts_outside_of_their_folder_are_refused(self) -> None:
        """Entry points of which an installer would write a file outside of the folder for scripts
        are refused.
        """
        for name in (
            "../../evil",
            "/etc/evil",
            "a/../../evil",
            "..\\evil",
            "\\evil",
            "C:\\evil",
            "C:evil",
            "..",
            ".",
            "",
            "a/..",
        ):
            for group in ("console_scripts", "gui_scripts"):
                text = (
                    f"# ../x = m:f\n[other]\n../x = m:f\n[{group}]\nspam = m:f\n{name} = m:f "
                    f"[extra]\n"
                ).encode()
                inside = look(wheel(files={f"{INFO}/entry_points.txt": text}))
                self.assertEqual(len(inside.problems), 1, (name, inside.problems))
                self.assertIn(f"outside of the folder for scripts: {name!r}", inside.problems[0])
                self.assertEqual(inside.metadata, metadata())
        text = b"[console_scripts]\n../evil=m:f\n"
        [problem] = look(egg(files={"EGG-INFO/entry_points.txt": text}), egg_filename()).problems
        self.assertIn("'../evil'", problem)

    def test_nul(self) -> None:
        """A NUL in a name, where some readers stop, is refused."""
        self.refused(wheel(files={"a.pyZx": b""}).replace(b"a.pyZx", b"a.py\0x"), "control")

    def test_link(self) -> None:
        """A symbolic link is refused."""

        def change(entry: zipfile.ZipInfo) -> None:
            entry.create_system, entry.external_attr = 3, 0o120777 << 16

        self.refused(with_entry(change, b"/etc/passwd"), "link")

    def test_methods(self) -> None:
        """Members compressed by bzip2 or lzma are refused: not every installer has them."""
        for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            self.refused(wheel(compression=method), "compressed by")

    def test_encrypted(self) -> None:
        """An encrypted member is refused."""
        data = bytearray(wheel())
        for signature, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            data[data.index(signature) + at] |= 1
        self.refused(bytes(data), "encrypted")

    def test_duplicates(self) -> None:
        """Two members of one name are refused: readers disagree which counts."""
        file = io.BytesIO(wheel())
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("spam.py", b"evil")
        self.assertEqual([warning["category"] for warning in self.flushWarnings()], [UserWarning])
        self.refused(file.getvalue(), "twice")

    def test_local_header_lies(self) -> None:
        """A local header with another name or size than the directory has is refused."""
        data = wheel()
        self.refused(data.replace(b"spam.py", b"evil.py", 1), "another name in its local header")
        changed = bytearray(data)
        changed[18] ^= 1
        self.refused(bytes(changed), "contradicts the directory")

    def test_two_names(self) -> None:
        """A second name in an extra field (Info-ZIP's Unicode path) is refused."""

        def change(entry: zipfile.ZipInfo) -> None:
            name = b"evil.txt"
            entry.extra = (
                struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(b"spam.txt")) + name
            )

        self.refused(with_entry(change), "two names")

    def test_data_around(self) -> None:
        """Data before the first member, after the end, and two archives in one are refused."""
        self.refused(b"#!/bin/sh\n" + wheel(), "before its first member")
        self.refused(wheel() + b"more", "after its end")
        self.refused(wheel(files={"other.py": b""}) + wheel(), "before its first member")

    def test_hidden(self) -> None:
        """A local header that the directory does not know (a reader of streams would find it) is
        refused.
        """
        data = wheel()
        start = data.index(b"PK\x01\x02")
        hidden = zipped({"evil.py": b"x"})
        hidden = hidden[: hidden.index(b"PK\x01\x02")]
        end = bytearray(data[start:])
        struct.pack_into("<L", end, len(end) - 6, start + len(hidden))
        self.refused(data[:start] + hidden + bytes(end), "belong to no member")

    def test_overlap(self) -> None:
        """Members that share bytes (the quine and the 42.zip of our days) are refused."""
        data = bytearray(zipped(contents(), compression=zipfile.ZIP_STORED))
        second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
        struct.pack_into("<L", data, second + 42, 1)
        self.refused(bytes(data), "overlaps")

    def test_bomb_by_declared_sizes(self) -> None:
        """A wheel that says to unpack to more than 100 times its size, above 256
        MiB, is refused.
        """
        self.assertFalse(members.is_bomb(members.UNPACKED_FREELY, 1))
        data = bytearray(wheel())
        at = data.index(b"PK\x01\x02")
        struct.pack_into("<L", data, at + 24, 1 << 30)
        self.refused(bytes(data), "100 times")

    def test_bomb_in_metadata(self) -> None:
        """METADATA that is, or says to be, over 8 MiB is not unpacked; one that lies about its size
        is found out.
        """
        files = contents()
        files[f"{INFO}/METADATA"] = metadata() + b"\n" + bytes(LONGEST_METADATA)
        self.refused(zipped(files), "larger than the 8 MiB")
        data = bytearray(zipped(files))
        size = struct.pack("<L", len(files[f"{INFO}/METADATA"]))
        self.assertEqual(data.count(size), 2)
        self.refused(bytes(data.replace(size, struct.pack("<L", 100))), "damaged, or larger")

    def test_too_many_members(self) -> None:
        """An end record that announces more members than are allowed is refused before they are
        read.
        """
        self.patch(members, "MOST_ENTRIES", 2)
        from pypid.core.archives import zips

        self.patch(zips, "MOST_ENTRIES", 2)
        self.refused(wheel(), "more than the 2 members")

    def test_reads_little(self) -> None:
        """Of a wheel only headers, WHEEL, RECORD and METADATA are read, however large it is."""

        class Counting(io.BytesIO):
            count = 0

            def read(self, size: int | None = -1) -> bytes:
                data = super().read(size)
                self.count += len(data)
                return data

        file = Counting(wheel(files={"big.bin": bytes(8 << 20)}, compression=zipfile.ZIP_STORED))
        self.assertEqual(inspect(file, parse_filename(WHEEL)).problems, ())
        self.assertLess(file.count, 100_000)

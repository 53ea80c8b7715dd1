"""The format of backup files."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import tempfile
import zlib
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import PypidError
from pypid.core.records.documents import dump
from pypid.jobs.backup.backup_file import (
    CONFIGURATION,
    FORMAT,
    HEADER,
    STORAGE,
    BackupHeader,
    BackupTotals,
    BackupWriter,
)
from pypid.jobs.backup.backup_reader import BackupFile, BadBackup, NeedsSecret
from pypid.jobs.backup.sealing import SealedReader, SealedWriter, WrongSecret
from pypid.testing import world

SECRET = "a-secret-that-pypid-gen-secret-could-have-made"
MADE = datetime(2026, 11, 23, tzinfo=UTC)
HEAD = BackupHeader(
    id="1", made=MADE, pypid="1", includes_files=True, includes_cache=False, storage="s",
    configuration="/etc/pypid/pypid.ini",
)  # fmt: skip

LINKED_HEAD = replace(HEAD, format=FORMAT)
FILE = f"{STORAGE}spam/spam-1.0.tar.gz"
TEAM_FILE = f"{STORAGE}.pypid/index/team/spam/spam-1.0.tar.gz"

names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120
).filter(lambda name: name not in (".", ".."))
contents = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=3000), max_size=6
)


class BackupFileCase(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.path = Path(made.name) / "backup.tar.gz"

    def write(
        self, members: dict[str, bytes], secret: str | None = None, end: bool = True
    ) -> BackupFile:
        with self.path.open("wb") as file:
            writer = BackupWriter(file, HEAD, secret, world().random)
            for path, data in members.items():
                writer.add(STORAGE + path, data)
            if end:
                totals = BackupTotals(members=writer.members, size=writer.size, projects=1, files=2)
                writer.finish(totals)
        return BackupFile(self.path, secret)

    @staticmethod
    def content(backup: BackupFile) -> dict[str, bytes]:
        return {
            member.path.removeprefix(STORAGE): member.content.read() for member in backup.members()
        }


class RoundTripTest(BackupFileCase):
    @settings(max_examples=60, deadline=None)
    @given(contents, st.sampled_from([None, SECRET]))
    def test_everything_comes_back(self, members: dict[str, bytes], secret: str | None) -> None:
        """Any keys and contents come back, encrypted or not, and the hashes are correct."""
        backup = self.write(members, secret)
        self.assertEqual(self.content(backup), members)
        self.assertEqual(backup.verify().members, len(members) + 1)
        self.assertEqual(backup.header(), HEAD)

    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def test_no_changed_byte_goes_unnoticed(self, data: st.DataObject) -> None:
        """A flipped bit anywhere in the archive, or a missing end, is an error of `verify`. (Some
        bits of a compressed stream can have either value for the same data.)
        """
        secret = data.draw(st.sampled_from([None, SECRET]))
        backup = self.write({"a/b": b"content" * 50, "c/d": b"more"}, secret)
        before = self.path.read_bytes()
        place = data.draw(st.integers(10, len(before) - 1))
        cut = data.draw(st.booleans())
        after = before[:place] + (b"" if cut else bytes([before[place] ^ 1]) + before[place + 1 :])
        if secret is None and not cut:
            with contextlib.suppress(zlib.error, OSError, EOFError):
                assume(gzip.decompress(after) != gzip.decompress(before))
        self.path.write_bytes(after)
        self.assertRaises(PypidError, backup.verify)

    def test_the_description_of_an_object_comes_back(self) -> None:
        """What a storage says of an object, in a pax header, is read back."""
        with self.path.open("wb") as file:
            writer = BackupWriter(file, HEAD, None, world().random)
            writer.begin(f"{STORAGE}a/b", 1, {"name": "spam", "hash-md5": "00"})
            writer.write(b"x")
            writer.end()
            writer.finish(BackupTotals(members=2, size=writer.size, projects=0, files=0))
        (member,) = BackupFile(self.path).members()
        self.assertEqual(member.description, {"name": "spam", "hash-md5": "00"})

    def test_links_come_back(self) -> None:
        """A link names the member that has its bytes. The manifest has its hash and no size."""
        digest = sha256(b"bytes").hexdigest()
        backup = self.linked(TEAM_FILE, digest)
        totals = backup.verify()
        self.assertEqual((totals.members, totals.size), (3, len(dump(LINKED_HEAD)) + 5))
        first, second = [(each.path, each.link, each.read(9)) for each in backup.members()]
        self.assertEqual(first, (TEAM_FILE, "", b"bytes"))
        self.assertEqual(second, (FILE, TEAM_FILE, b""))
        with tarfile.open(self.path) as archive:
            file = archive.extractfile(FILE)
            assert file is not None
            self.assertEqual(file.read(), b"bytes")

    def test_a_link_without_its_bytes_is_refused(self) -> None:
        """The other member has to come first. Neither a missing one nor another hash is accepted."""
        digest = sha256(b"bytes").hexdigest()
        for target, hashed in ((f"{TEAM_FILE}x", digest), (TEAM_FILE, "0" * 64)):
            backup = self.linked(target, hashed)
            self.assertRaises(BadBackup, backup.verify)

    def linked(self, target: str, digest: str) -> BackupFile:
        with self.path.open("wb") as file:
            writer = BackupWriter(file, LINKED_HEAD, None, world().random)
            writer.add(TEAM_FILE, b"bytes")
            writer.link(FILE, target, digest)
            totals = BackupTotals(members=writer.members, size=writer.size, projects=2, files=2)
            writer.finish(totals)
        return BackupFile(self.path)

    def test_tar_reads_it(self) -> None:
        """Any tar program reads an unencrypted backup."""
        self.write({"spam/spam-1.0.tar.gz": b"bytes"})
        with tarfile.open(self.path) as archive:
            file = archive.extractfile(f"{STORAGE}spam/spam-1.0.tar.gz")
            assert file is not None
            self.assertEqual(file.read(), b"bytes")

    def test_a_member_of_another_length_is_refused(self) -> None:
        """A file that grows or shrinks while it is read makes no backup."""
        with self.path.open("wb") as file:
            writer = BackupWriter(file, HEAD, None, world().random)
            writer.begin(f"{STORAGE}a/b", 3)
            self.assertRaises(EOFError, writer.write, b"four")
            writer.begin(f"{STORAGE}a/b", 3)
            writer.write(b"12")
            self.assertRaises(EOFError, writer.end)


class RefusalTest(BackupFileCase):
    def refused(self, reason: str, secret: str | None = None) -> None:
        error = self.assertRaises(BadBackup, BackupFile(self.path, secret).verify)
        self.assertIn(reason, str(error))

    def test_a_backup_without_its_end(self) -> None:
        """A backup that was broken off is incomplete, at whatever member it ends."""
        backup = self.write({"a/b": b"1", "c/d": b"2"})
        with gzip.open(self.path) as data:
            blocks = data.read()
        for end in range(512, len(blocks) - 1024, 512):
            self.path.write_bytes(gzip.compress(blocks[:end]))
            self.assertRaises(BadBackup, backup.verify)

    def test_other_files(self) -> None:
        """A file of another kind is named as such."""
        self.path.write_bytes(b"PK\x03\x04")
        self.refused("was not made by")
        self.path.write_bytes(b"")
        self.refused("was not made by")

    def test_a_newer_format(self) -> None:
        """A backup of a newer format names the reason."""
        self.archive((HEADER, b'{"format": 3}'))
        self.refused("a newer pypid made it")

    def archive(self, *members: tuple[str, bytes], **more: object) -> None:
        with tarfile.open(self.path, "w:gz") as archive:
            for path, data in members:
                info = tarfile.TarInfo(path)
                info.size = len(data)
                for name, value in more.items() if path != HEADER else ():
                    setattr(info, name, value)
                archive.addfile(info, io.BytesIO(data))

    def test_members_outside(self) -> None:
        """No member may have a path outside of the archive's folders."""
        head = (HEADER, self.header())
        for path in (
            f"{STORAGE}../x", "/etc/passwd", f"{STORAGE}a/../../x", "state/x", "state/../storage/x",
            "databases/a/b.db", "other", "state/.ssh", f"{STORAGE}a//b", "configuration/x",
        ):  # fmt: skip
            self.archive(head, (path, b"x"))
            self.refused("which no backup has")

    def test_links_and_devices(self) -> None:
        """Only regular files are read, and hard links to files of named indexes."""
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            for target in ("/etc/passwd", FILE, f"{STORAGE}.pypid/index/../../../etc/passwd"):
                self.archive((HEADER, self.header()), (FILE, b""), type=kind, linkname=target)
                error = self.assertRaises(BadBackup, BackupFile(self.path).verify)
                self.assertRegex(str(error), "which no backup has|to which|outside")
        self.archive(
            (HEADER, self.header()), (CONFIGURATION, b""), type=tarfile.LNKTYPE, linkname=TEAM_FILE
        )
        self.refused("which no backup has")

    def test_large_members(self) -> None:
        """A configuration or state file that would not fit into memory is refused, and so are
        extended headers of that kind.
        """
        head = (HEADER, self.header())
        self.archive(head, (CONFIGURATION, bytes(2 << 20)))
        self.refused("too large")
        long = {"PYPID.description": "x" * 100_000}
        self.archive(head, (f"{STORAGE}a/b", b"x"), pax_headers=long)
        self.assertRaises(BadBackup, BackupFile(self.path).verify)

    def header(self) -> bytes:
        self.write({})
        with tarfile.open(self.path) as archive:
            file = archive.extractfile(HEADER)
            assert file is not None
            return file.read()


class SealedTest(BackupFileCase):
    def test_the_secret_is_needed(self) -> None:
        """An encrypted backup shows nothing without its secret."""
        self.write({"a/b": b"plain text"}, SECRET)
        self.assertNotIn(b"plain text", self.path.read_bytes())
        self.assertRaises(NeedsSecret, BackupFile(self.path).verify)
        self.assertRaises(WrongSecret, BackupFile(self.path, SECRET + "x").verify)

    def test_chunks_cannot_be_dropped_or_swapped(self) -> None:
        """A stream of several chunks is read as it was written, or not at all."""
        data = bytes(range(256)) * (4096 * 3 + 1)
        target = io.BytesIO()
        writer = SealedWriter(target, SECRET, "name", world().random)
        for start in range(0, len(data), 1_000_000):
            writer.write(data[start : start + 1_000_000])
        writer.close()
        sealed = target.getvalue()

        def opened(text: bytes, name: str = "name") -> bytes:
            return SealedReader(io.BytesIO(text), SECRET, name).read()

        self.assertEqual(opened(sealed), data)
        head = sealed.index(b"\n") + 1
        chunk = (1 << 20) + 16
        first, second = sealed[head : head + chunk], sealed[head + chunk : head + 2 * chunk]
        rest = sealed[head + 2 * chunk :]
        for torn in (
            sealed[:head] + second + first + rest,
            sealed[:head] + second + rest,
            sealed[: head + 2 * chunk],
            sealed + b"x",
        ):
            self.assertRaises(PypidError, opened, torn)
        self.assertRaises(PypidError, opened, sealed, "another name")

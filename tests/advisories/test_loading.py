"""Loading by the real child process, and what the index then answers."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from twisted.trial.unittest import SynchronousTestCase

from pypid.advisories.archive import UnusableSource
from pypid.advisories.database import FILE, AdvisoryDatabase
from pypid.advisories.index import AdvisoryIndex, read_index
from pypid.advisories.refresh import AdvisoryLoader
from pypid.advisories.sources import temporary_archive
from pypid.core.packaging.names import ProjectName
from tests.advisories.archives import archive, archive_of, record

FOO = ProjectName("foo")


class LoadingCase(SynchronousTestCase):
    """A database in a folder of its own."""

    def setUp(self) -> None:
        super().setUp()
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.database = AdvisoryDatabase(self.folder / FILE)
        self.loader = AdvisoryLoader(self.database)

    def file(self, content: BytesIO) -> BinaryIO:
        """Return the content as a file that a process can be given."""
        file = temporary_archive(self.folder)
        self.addCleanup(file.close)
        file.write(content.getvalue())
        return file

    def replace(self, *public: bytes, own: dict[str, bytes] | None = None) -> AdvisoryIndex:
        """Load a whole source, and the company's own advisories; return the index."""
        mine = None if own is None else self.file(archive(own))
        self.loader.load(self.file(archive_of(*public)), mine, {"generation": "1"})
        return read_index(self.database)

    def ids(self, index: AdvisoryIndex, version: str) -> list[str]:
        """Return the ids of the advisories that hit a version of foo."""
        return [each.id for each in index.hits(FOO, version)]


class LoadingTests(LoadingCase):
    """`AdvisoryLoader`."""

    def test_hits(self) -> None:
        index = self.replace(
            record("PYSEC-1", "foo", "introduced=0", "fixed=1.5"),
            record("PYSEC-2", "Foo", "introduced=1", withdrawn="2026-01-01T00:00:00Z"),
            record("PYSEC-3", "bar"),
        )
        self.assertEqual((self.ids(index, "1.2"), self.ids(index, "1.5")), (["PYSEC-1"], []))
        self.assertEqual([each.id for each in index.of(FOO)], ["PYSEC-1", "PYSEC-2"])
        self.assertEqual((index.of(ProjectName("none")), index.count), ((), 3))

    def test_record(self) -> None:
        data = record("PYSEC-1", "foo", extra=[1, 2])
        self.replace(data)
        found = self.database.record("PYSEC-1")
        assert found is not None
        self.assertEqual((found.document, found.private, found.projects), (data, False, ("foo",)))
        self.assertIsNone(self.database.record("PYSEC-2"))

    def test_own_record_replaces_a_public_one(self) -> None:
        """A private record counts in place of the public one with its id, as long as it is there."""
        public = record("PYSEC-1", "foo", "introduced=0"), record("PYSEC-2", "foo")
        own = {"a.json": record("PYSEC-1", "bar"), "b.yaml": b"id: ACME-1\n"}
        index = self.replace(*public, own=own)
        self.assertEqual(self.ids(index, "1"), ["PYSEC-2"])
        self.assertTrue(index.of(ProjectName("bar"))[0].private)
        found = self.database.record("PYSEC-1")
        self.assertTrue(found is not None and found.private)
        self.loader.load(None, self.file(archive({})), {"generation": "2"}, keeps=True)
        self.assertEqual(self.ids(read_index(self.database), "1"), ["PYSEC-1", "PYSEC-2"])

    def test_delta(self) -> None:
        """A delta replaces the records that it names; the others, and the private ones, stay."""
        self.replace(record("A-1"), record("A-2"), own={"o.json": record("ACME-1")})
        new = record("A-1", "foo", "introduced=2"), record("A-3"), b"A-2 is broken"
        self.loader.load(self.file(archive_of(*new)), None, {"generation": "2"}, keeps=True)
        index = read_index(self.database)
        self.assertEqual(self.ids(index, "1"), ["A-2", "A-3", "ACME-1"])
        self.assertEqual(self.ids(index, "2"), ["A-1", "A-2", "A-3", "ACME-1"])
        self.assertEqual((index.count, index.generation), (4, "2"))

    def test_last_data_stays(self) -> None:
        """An unusable or empty source, and a child that dies or hangs, leave all as it was."""
        self.replace(record("A-1"))
        failing = ((sys.executable, "-c", "raise SystemExit('out of luck')"), 60.0)
        hanging = ((sys.executable, "-c", "import time; time.sleep(600)"), 0.5)
        garbage = ((sys.executable, "-c", "print('x' * 9)"), 60.0)
        torn = "open(sys.argv[1], 'ab').write(b'x' * 9000); os.kill(os.getpid(), 9)"
        killed = ((sys.executable, "-c", f"import os, sys; {torn}"), 60.0)
        good = archive_of(record("A-1", "bar"), record("A-2"))
        for (program, limit), content in (
            ((self.loader.program, 60.0), BytesIO(b"no archive")),
            (failing, good),
            (hanging, good),
            (garbage, good),
            (killed, good),
        ):
            loader = AdvisoryLoader(self.database, program, limit)
            for keeps in (False, True):
                with self.assertRaises(UnusableSource):
                    loader.load(self.file(content), None, {}, keeps=keeps)
        with self.assertRaises(UnusableSource):
            self.loader.load(self.file(archive({})), None, {})
        self.assertEqual(self.ids(read_index(self.database), "1"), ["A-1"])
        self.assertEqual([path.name for path in self.folder.iterdir()], [FILE])

    def test_stopped(self) -> None:
        """After `stop` nothing is loaded."""
        self.loader.stop()
        with self.assertRaises(UnusableSource):
            self.replace(record("A-1"))

    def test_damaged_file_counts_as_none(self) -> None:
        for content in (b"", b"nonsense" * 1000):
            self.database.path.write_bytes(content)
            self.assertEqual(self.database.meta(), {})
            with self.assertRaises(sqlite3.Error):
                self.database.record("A-1")
            self.assertEqual(read_index(self.database).count, 0)
        self.replace(record("A-1"))
        data = bytearray(self.database.path.read_bytes())
        data[4096:] = bytes(len(data) - 4096)
        self.database.path.write_bytes(data)
        with self.assertRaises((sqlite3.Error, ValueError)):
            self.database.record("A-1")
        with self.assertRaises((sqlite3.Error, ValueError)):
            if read_index(self.database).count == 0:
                raise ValueError("it counts as empty")

    def test_note(self) -> None:
        """Facts are written into the database that is there, without a child; a killed writer
        leaves the last ones.
        """
        self.replace(record("A-1"))
        self.loader.program = ("false",)
        self.loader.load(None, None, {"failure": "why"}, keeps=True)
        self.assertEqual((self.database.meta()["failure"], self.database.count()), ("why", 1))

    def test_damaged_content(self) -> None:
        """A change of a damaged database says so: then all of the source is read again."""
        self.replace(*(record(f"A-{number}", summary="x" * 200) for number in range(500)))
        data = self.database.path.read_bytes()
        self.database.path.write_bytes(data[:8192] + bytes(len(data) - 8192))
        with self.assertRaises(sqlite3.DatabaseError):
            delta = self.file(archive_of(record("A-1", "bar")))
            self.loader.load(delta, None, {}, keeps=True)

    def test_mode(self) -> None:
        """Other users of the machine cannot read it."""
        self.replace(record("A-1"))
        self.assertEqual(self.database.path.stat().st_mode & 0o777, 0o600)

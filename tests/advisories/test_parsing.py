"""What the child process makes of an archive: records, and documents that are skipped."""

from __future__ import annotations

import io
import json
import struct
from typing import BinaryIO
from unittest import mock

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from pypid.advisories import archive as archive_module
from pypid.advisories import parsing as parsing_module
from pypid.advisories.archive import LONGEST_DOCUMENT, UnusableSource
from pypid.advisories.database import ParsedRecord, decoded_summaries, joined
from pypid.advisories.parsing import AdvisoryParser
from pypid.core.compression import content
from tests.advisories.archives import archive, archive_of, record


@define
class Parsed:
    """What a source has."""

    records: list[ParsedRecord]
    skipped: int
    problems: list[str]
    failure: str


def everything(file: BinaryIO, *, private: bool = False) -> Parsed:
    """Return all batches as one."""
    parser, records, failure = AdvisoryParser(private), list[ParsedRecord](), ""
    try:
        for batch in parser.parse(file):
            records += batch
    except UnusableSource as error:
        failure = str(error)
    return Parsed(records, parser.skipped, parser.problems, failure)


class ParsingTests(SynchronousTestCase):
    """`AdvisoryParser`."""

    def test_records_keep_their_documents(self) -> None:
        data = record("PYSEC-2026-1", "Foo", "introduced=0", unknown={"kept": True})
        found = everything(archive({"PYSEC-2026-1.json": data, "README.md": b"no record"}))
        (only,) = found.records
        self.assertEqual(content(only.document, LONGEST_DOCUMENT), data)
        ((name, encoded),) = only.summaries
        (summary,) = decoded_summaries(joined([encoded]))
        self.assertEqual((name, summary.id, found.skipped), ("foo", "PYSEC-2026-1", 0))

    def test_other_ecosystems_are_left_out(self) -> None:
        document = {"id": "GO-1", "affected": [{"package": {"ecosystem": "Go", "name": "x"}}]}
        found = everything(archive_of(json.dumps(document).encode()))
        self.assertEqual((found.records, found.skipped, found.failure), ([], 0, ""))

    def test_bad_documents_are_skipped_and_reported(self) -> None:
        good = record("X-1")
        members = {
            "../out.json": good,
            "/absolute.json": good,
            "broken.json": b'{"id": "X',
            "list.json": b"[]",
            "deep.json": b"[" * 200_000,
            "huge.json": b" " * (LONGEST_DOCUMENT + 1),
            "surrogate.json": b'{"id": "\\ud800"}',
            "good.json": good,
        }
        found = everything(archive(members))
        self.assertEqual([each.id for each in found.records], ["X-1"])
        self.assertEqual(found.skipped, len(members) - 1)
        self.assertEqual(
            [problem.partition(":")[0] for problem in found.problems], list(members)[:-1]
        )

    def test_much_about_many_projects(self) -> None:
        """A record that repeats much for each project is skipped, before it takes memory."""
        names = [f"foo{number}" for number in range(20_000)]
        affected = [{"package": {"ecosystem": "PyPI", "name": name}} for name in names]
        aliases = [f"CVE-2026-{number}" for number in range(20_000)]
        big = json.dumps({"id": "X-1", "affected": affected, "aliases": aliases}).encode()
        found = everything(archive_of(big, record("X-2")))
        self.assertEqual([each.id for each in found.records], ["X-2"])
        self.assertEqual((found.skipped, found.failure), (1, ""))

    def test_memory_of_a_source_is_bounded(self) -> None:
        records = [record(f"X-{number}", summary="x" * 200) for number in range(9)]
        with mock.patch.object(parsing_module, "MOST_SUMMARIES", 1000):
            self.assertIn("memory", everything(archive_of(*records)).failure)
        self.assertEqual(len(everything(archive_of(*records)).records), 9)

    def test_problems_are_bounded(self) -> None:
        found = everything(archive({f"{'x' * 500}{number}.json": b"" for number in range(100)}))
        self.assertEqual((found.skipped, len(found.problems)), (100, 20))
        self.assertLess(max(map(len, found.problems)), 301)

    def test_no_archive(self) -> None:
        whole = archive_of(record("X-1")).getvalue()
        for data in (b"", b"PK\x03\x04", whole[:-30], b"x" * 1000):
            found = everything(io.BytesIO(data))
            self.assertIn("zip archive", found.failure)
            self.assertEqual(found.records, [])

    def test_bomb(self) -> None:
        """The sizes that members claim are not believed, and all of them together are limited."""
        data = bytearray(archive({"a.json": b" " * (LONGEST_DOCUMENT + 1)}).getvalue())
        central = data.index(b"PK\x01\x02")
        struct.pack_into("<L", data, central + 24, 10)  # its uncompressed size
        found = everything(io.BytesIO(data))
        self.assertEqual((found.records, found.skipped), ([], 1))
        with mock.patch.object(archive_module, "MOST_BYTES", 1000):
            found = everything(archive_of(*(record(f"X-{n}", summary="x" * 300) for n in range(9))))
        self.assertTrue(found.failure)

    def test_damaged_member(self) -> None:
        data = bytearray(archive({"a.json": record("X-1"), "b.json": record("X-2")}).getvalue())
        central = data.index(b"PK\x01\x02")
        struct.pack_into("<L", data, central + 16, 1)  # its checksum
        found = everything(io.BytesIO(data))
        self.assertEqual([each.id for each in found.records], ["X-2"])
        struct.pack_into("<L", data, central + 42, len(data) - 3)  # where it begins
        self.assertEqual(everything(io.BytesIO(data)).skipped, 1)

    def test_yaml_is_refused(self) -> None:
        """Its records are not left out unseen: the last data stays."""
        for name in ("a.yaml", "sub/b.YML"):
            found = everything(archive({name: b"id: ACME-1", "good.json": record("X-1")}))
            self.assertIn(f"{name} is YAML", found.failure)

    def test_documents_that_are_no_records(self) -> None:
        """They are skipped, in a folder of one's own too: an OpenVEX document mutes nothing."""
        vex = {"@context": "https://openvex.dev/ns/v0.2.0", "statements": []}
        members = {"vex.json": json.dumps(vex).encode(), "own.json": record("ACME-1")}
        found = everything(archive(members), private=True)
        self.assertEqual((len(found.records), found.skipped), (1, 1))
        ((_, encoded),) = found.records[0].summaries
        self.assertTrue(decoded_summaries(joined([encoded]))[0].private)

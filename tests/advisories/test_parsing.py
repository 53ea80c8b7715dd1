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
from pypid.advisories.parsing import AdvisoryParser, read_yaml
from pypid.core.advisories import InvalidRecord
from pypid.core.compression import content
from tests.advisories.archives import archive, archive_of, record

YAML = b"""\
id: PYSEC-2026-7
modified: 2026-01-02T03:04:05Z
withdrawn: null
affected:
- package: {ecosystem: PyPI, name: Foo}
  ranges:
  - type: ECOSYSTEM
    events:
    - introduced: 0
    - fixed: 1.10
  versions: [1.0, "1.1"]
details: |
  A *star* and * another, [*x], - *y
"""
BOMB = b"a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n"


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
            "alias.yaml": BOMB,
            "broken.yml": b"a: [",
            "list.yml": b"- a",
            "good.json": good,
        }
        found = everything(archive(members))
        self.assertEqual([each.id for each in found.records], ["X-1"])
        self.assertEqual(found.skipped, len(members) - 1)
        self.assertEqual(
            [problem.partition(":")[0] for problem in found.problems], list(members)[:-1]
        )

    def test_yaml_that_is_no_json_is_skipped(self) -> None:
        """One such document does not end the child, nor hide the others."""
        members = {
            "null.yaml": b"null: x",
            "on.yaml": b"id: X-2\non: push",
            "digits.yaml": b"a: !!int " + b"1:" * 10_000 + b"1",
            "keys.yaml": b"? !!binary /w==\n: x",
            "deep.yaml": b"[" * 1000 + b"]" * 1000,
            "flow.yaml": b"[" * 100_000,
            "block.yaml": b"- " * 100_000,
            "map.yaml": b"{a: " * 100_000,
            "good.yaml": YAML,
        }
        found = everything(archive(members))
        self.assertEqual([each.id for each in found.records], ["PYSEC-2026-7"])
        self.assertEqual((found.skipped, found.failure), (len(members) - 1, ""))

    def test_long_yaml(self) -> None:
        """A long document with usual nesting is read."""
        found = everything(archive({"long.yaml": YAML + b"  x" * 10_000 + b"\n"}))
        self.assertEqual([each.id for each in found.records], ["PYSEC-2026-7"])

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

    def test_yaml(self) -> None:
        """Scalars are text, so that no version is a number."""
        found = everything(archive({"a.yaml": YAML}))
        ((_, encoded),) = found.records[0].summaries
        (summary,) = decoded_summaries(joined([encoded]))
        self.assertEqual((summary.fixed, summary.versions), (("1.10",), ("1", "1.1")))
        document = json.loads(content(found.records[0].document, LONGEST_DOCUMENT))
        self.assertEqual(document["modified"], "2026-01-02T03:04:05Z")
        self.assertIsNone(document["withdrawn"])

    def test_yaml_aliases_are_refused(self) -> None:
        for data in (BOMB, b"&a a: *a\n", b"x: {y: &a 1, z: *a}\n", b"- &a [*a]\n"):
            with self.assertRaises(InvalidRecord):
                read_yaml(data)

    def test_documents_that_are_no_records(self) -> None:
        """They are skipped, in a folder of one's own too: an OpenVEX document mutes nothing."""
        vex = {"@context": "https://openvex.dev/ns/v0.2.0", "statements": []}
        members = {"vex.json": json.dumps(vex).encode(), "own.json": record("ACME-1")}
        found = everything(archive(members), private=True)
        self.assertEqual((len(found.records), found.skipped), (1, 1))
        ((_, encoded),) = found.records[0].summaries
        self.assertTrue(decoded_summaries(joined([encoded]))[0].private)

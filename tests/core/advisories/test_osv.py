"""OSV records: which versions they affect, and what is shown of them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.advisories import (
    MOST_EVENTS,
    MOST_VERSIONS,
    AdvisorySeverity,
    Candidate,
    InvalidRecord,
    base_score,
    canonical,
    parse_record,
    range_text,
    summaries_of,
)
from pypid.core.packaging.names import ProjectName

FOO = ProjectName("foo")
DIGEST = "ab" * 32


def osv(id: str = "PYSEC-2026-1", **fields: Any) -> bytes:
    """Return a record of the project foo."""
    affected = {"package": {"ecosystem": "PyPI", "name": "Foo"}}
    affected |= {key: fields.pop(key) for key in ("versions", "ranges") if key in fields}
    affected |= fields.pop("entry", {})
    return json.dumps({"id": id, "affected": [affected], **fields}).encode()


def within(*events: tuple[str, str], type: str = "ECOSYSTEM") -> list[Any]:
    """Return one range with these events."""
    return [{"type": type, "events": [{event: version} for event, version in events]}]


def affected_of(data: bytes, *versions: str) -> list[str]:
    """Return which of these versions the record affects."""
    found = summaries_of(parse_record(data)).get(FOO)
    return [each for each in versions if found is not None and found.affects(Candidate.of(each))]


class RangeTests(SynchronousTestCase):
    """The evaluation of versions and ranges."""

    def test_text(self) -> None:
        """Ranges in words are specifiers."""
        for events, expected in (
            ((("introduced", "0"), ("fixed", "1.5")), "<1.5"),
            (
                (
                    ("introduced", "0"),
                    ("fixed", "1.5"),
                    ("introduced", "2"),
                    ("last_affected", "2.3"),
                ),
                "<1.5 or >=2, <=2.3",
            ),
            ((("introduced", "0"),), "all versions"),
            ((("introduced", "0"), ("limit", "*")), "all versions"),
            ((("fixed", "3"),), "<3"),
        ):
            self.assertEqual(range_text(events), expected)

    def test_local_version_counts_as_its_public_version(self) -> None:
        data = osv(versions=["2.0"], ranges=within(("introduced", "3"), ("last_affected", "3.1")))
        self.assertEqual(
            affected_of(data, "2.0+cu118", "3.1+cpu", "3.2+cpu"), ["2.0+cu118", "3.1+cpu"]
        )
        fixed = osv(versions=["4+a"], ranges=within(("introduced", "0"), ("fixed", "2.0")))
        self.assertEqual(affected_of(fixed, "1.9+a", "2.0+a", "4", "4+a"), ["1.9+a", "4+a"])

    def test_other_ecosystems_and_git_ranges_affect_nothing(self) -> None:
        git = osv(ranges=within(("introduced", "0"), type="GIT"))
        self.assertEqual(affected_of(git, "1.0"), [])
        npm = osv(entry={"package": {"ecosystem": "npm", "name": "foo"}}, versions=["1.0"])
        self.assertEqual(affected_of(npm, "1.0"), [])
        self.assertEqual(summaries_of(parse_record(npm)), {})

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.data())
    def test_as_the_reference(self, data: st.DataObject) -> None:
        """Any record affects the versions that the schema's pseudocode says."""
        versions = st.sampled_from(
            [
                "0",
                "0.1",
                "1",
                "1.0",
                "1.0a1",
                "1.0.post1",
                "1.1.dev3",
                "1.10",
                "2!0.1",
                "2.0rc1",
                "3",
            ]
        )
        kinds = st.sampled_from(["introduced", "introduced", "fixed", "last_affected", "limit"])
        events = st.lists(st.tuples(kinds, versions), max_size=6)
        ranges = data.draw(st.lists(events, max_size=3))
        named = data.draw(st.lists(versions, max_size=3))
        record = osv(versions=named, ranges=[within(*events)[0] for events in ranges])
        candidate = data.draw(versions)
        expected = any(Version(candidate) == Version(each) for each in named) or any(
            reference(candidate, events) for events in ranges
        )
        self.assertEqual(affected_of(record, candidate), [candidate] if expected else [])

    @settings(max_examples=200, deadline=None, database=None)
    @given(
        st.from_regex(r"v?[0-3](\.0{1,2}|\.[0-2]){0,3}((a|rc|\.post|\.dev)[01])?", fullmatch=True),
        st.from_regex(r"[0-3](\.[0-2]){0,3}((a|rc)[01])?", fullmatch=True),
    )
    def test_canonical(self, one: str, other: str) -> None:
        """Two versions share their canonical spelling if they are equal by PEP 440."""
        equal = Version(one) == Version(other)
        self.assertEqual(canonical(one) == canonical(other), equal)


def reference(version: str, events: list[tuple[str, str]]) -> bool:
    """Evaluate a range by the pseudocode of the schema, on parsed versions."""

    def position(event: tuple[str, str]) -> tuple[bool, Version]:
        return event != ("introduced", "0"), Version(event[1])

    limits = [Version(text) for event, text in events if event == "limit"]
    if limits and not any(Version(version) < limit for limit in limits):
        return False
    vulnerable = False
    for event, text in sorted(events, key=position):
        if event == "introduced" and (text == "0" or Version(version) >= Version(text)):
            vulnerable = True
        if event == "fixed" and Version(version) >= Version(text):
            vulnerable = False
        if event == "last_affected" and Version(version) > Version(text):
            vulnerable = False
    return vulnerable


class RecordTests(SynchronousTestCase):
    """`summaries_of`, and what is refused."""

    def test_summary(self) -> None:
        data = osv(
            summary="Bad\x00 thing\nmore",
            aliases=["CVE-2026-1", "no alias"],
            modified="never",
            withdrawn="2026-01-01T00:00:00Z",
            ranges=within(
                ("introduced", "0"), ("fixed", "1.10"), ("introduced", "2"), ("fixed", "2.3")
            ),
        )
        found = summaries_of(parse_record(data), private=True)[FOO]
        self.assertEqual(found.summary, "Bad\ufffd thing")
        self.assertEqual(found.aliases, ("CVE-2026-1",))
        self.assertEqual(found.fixed, ("1.10", "2.3"))
        self.assertTrue(found.private and found.withdrawn and not found.is_malware)
        self.assertEqual(found.modified, "never")

    def test_malware(self) -> None:
        """A malware report is critical; without versions it affects all; the hashes of its files
        count, those of its reports do not.
        """
        entry = {"database_specific": {"hashes": [{"sha256": DIGEST.upper()}, "nonsense"]}}
        origins = {"malicious-packages-origins": [{"sha256": "cd" * 32, "source": "x"}]}
        found = summaries_of(
            parse_record(osv("MAL-2026-1", entry=entry, database_specific=origins))
        )
        self.assertTrue(found[FOO].is_malware and found[FOO].affects(Candidate.of("1.0")))
        self.assertEqual(
            (found[FOO].severity, found[FOO].hashes), (AdvisorySeverity.CRITICAL, (DIGEST,))
        )
        other = summaries_of(parse_record(osv("PYSEC-1", entry=entry)))[FOO]
        self.assertEqual((other.hashes, other.affects(Candidate.of("1.0"))), ((), False))

    def test_invalid_records(self) -> None:
        for data in (
            b"",
            b"[]",
            b'{"id": ""}',
            b'{"id": "a b"}',
            b'{"id": 7}',
            b'{"affected": []}',
            b'{"id": "X-1", "affected": {}}',
            b'{"id": "X-1", "summary": "\xff"}',
            b"[" * 100_000,
            osv(versions=["1"] * (MOST_VERSIONS + 1)),
            osv(ranges=[{"type": "ECOSYSTEM", "events": [{"fixed": "1"}] * (MOST_EVENTS + 1)}]),
        ):
            with self.subTest(data=data[:40]), self.assertRaises(InvalidRecord):
                parse_record(data)


class SeverityTests(SynchronousTestCase):
    """Labels and CVSS."""

    def test_base_scores(self) -> None:
        """The scores of the examples of CVSS 3.1 and 2 are those of their specifications."""
        for vector, score in (
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
            ("CVSS:3.0/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8),
            ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.6),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
            ("AV:N/AC:L/Au:N/C:P/I:P/A:P", 7.5),
            ("AV:N/AC:M/Au:N/C:N/I:P/A:N", 4.3),
            ("CVSS:3.1/AV:N", None),
            ("CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", None),
            ("", None),
            ("A" * 1000, None),
        ):
            self.assertEqual(base_score(vector), score, vector)

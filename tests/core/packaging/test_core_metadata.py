"""Tests of `pypid.core.packaging.core_metadata`: what METADATA and PKG-INFO of every age say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.core_metadata import read_metadata
from pypid.core.packaging.names import same_version
from tests.core.archives.test_inspection import CHANGES, mutated
from tests.distributions import (
    metadata,
)


class MetadataTests(SynchronousTestCase):
    def test_versions(self) -> None:
        """Metadata 1.0 to 2.6 and later minor versions are accepted, another major
        version is not.
        """
        for version in (
            "1.0",
            "1.1",
            "1.2",
            "2.0",
            "2.1",
            "2.2",
            "2.3",
            "2.4",
            "2.5",
            "2.6",
            "2.99",
        ):
            self.assertEqual(read_metadata(metadata(metadata_version=version)).problems, ())
        for version in ("3.0", "0.9", "two", "", "UNKNOWN"):
            self.assertEqual(len(read_metadata(metadata(metadata_version=version)).problems), 1)

    def test_problems(self) -> None:
        """A bad Requires-Python, version or name, and two names that differ, are all problems."""
        said = read_metadata(metadata("-", "one", requires_python="3.x up"))
        self.assertEqual(len(said.problems), 3)
        self.assertEqual(len(read_metadata(metadata(extra=[("Name", "other")])).problems), 2)

    def test_work_is_bounded(self) -> None:
        """What the email parser would work on for minutes is refused unread: lines, fields and
        names of fields without end.
        """
        plain = metadata()
        for much in (
            b"Classifier: x\n" * 500_000,
            b"Classifier: x\r" * 500_000,
            b"".join(b"X%d: y\n" % number for number in range(100_000)),
            b"".join(b"X%d : y\r\n" % number for number in range(100_000)),
            b"Description: x\n" + b"  y\n" * 1_000_000,
            b"\n" + b"y\n" * 2_000_000,
        ):
            said = read_metadata(plain + much)
            self.assertEqual((len(said.problems), said.fields), (1, {}), much[:20])
            self.assertIn("more than the", said.problems[0])
        many = b"".join(
            b"Requires-Dist: p%d\nProvides-Extra: e%d\n" % (number, number)
            for number in range(3000)
        )
        self.assertEqual(read_metadata(plain + many + b"\n" + b"a: readme\n" * 50_000).problems, ())

    def test_digits_without_end(self) -> None:
        """A number that Python refuses to read, and so installers do, is a problem and nothing
        worse.
        """
        digits = "1" * 5000
        for version in (digits, f"1.{digits}", f"1.0a{digits}", f"1.0+{digits}"):
            self.assertIn("is not a version", read_metadata(metadata(version=version)).problems[0])
            self.assertFalse(same_version("1.0", version))
            self.assertTrue(same_version(version, version))
        for requires in (f">={digits}", f"!={digits}.*"):
            self.assertEqual(len(read_metadata(metadata(requires_python=requires)).problems), 1)

    @settings(max_examples=75, deadline=None, database=None)
    @given(
        st.binary(max_size=300)
        | CHANGES.map(lambda changes: mutated(metadata(requires_python=">=3"), changes))
    )
    def test_metadata_never_raises(self, data: bytes) -> None:
        """`read_metadata` reads any bytes; without problems there are a name and a version."""
        said = read_metadata(data)
        self.assertTrue(said.problems or (said.project and said.version))

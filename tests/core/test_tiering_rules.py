"""Which files go into a cheaper storage class."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.core.model import File, StoredFile
from pypid.core.packaging.names import project_name
from pypid.core.tiering_rules import TieringRule, due

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SPAM = project_name("spam")
quick = settings(max_examples=30, deadline=None, database=None)
VERSIONS = (
    "0.9",
    "1.0",
    "1.0.0",
    "1.0+cpu",
    "1.0+cu118",
    "1.1",
    "2.0a1",
    "2.0b2",
    "2.0",
    "2.0.post1",
    "1!0.1",
    "dog",
    "cat",
)


def file(version: str, days: float = 1000, number: int = 0, yanked: str | None = None) -> File:
    """A file of that version, published so many days ago."""
    uploaded = NOW - timedelta(days=days)
    name = f"spam-{version}-{number}-py3-none-any.whl"
    return StoredFile(
        project=SPAM,
        filename=name,
        version=version,
        sha256="0" * 64,
        size=1,
        uploaded=uploaded,
        yanked=yanked,
        key=name,
    )


def rule(days: float = 100, keep: int = 1) -> TieringRule:
    """Files older than so many days, but of the newest versions."""
    return TieringRule(timedelta(days=days), keep, "GLACIER_IR")


def versions(files: list[File], keep: int, days: float = 100) -> list[str]:
    """The versions of those that are due."""
    return [each.version for each in due(files, rule(days, keep), NOW)]


FILES = st.lists(
    st.builds(
        file,
        st.sampled_from(VERSIONS),
        st.floats(-10, 1000),
        st.integers(0, 3),
        st.sampled_from([None, None, "", "bad"]),
    ),
    max_size=12,
)


class DueTests(SynchronousTestCase):
    """`due`."""

    @quick
    @given(FILES, st.integers(0, 4), st.floats(0, 500))
    def test_any(self, files: list[File], keep: int, days: float) -> None:
        """What is due is old, and at least `keep` newer releases are not: who wants a version finds
        these as they were.
        """
        found = due(files, rule(days, keep), NOW)
        self.assertEqual(list(found), [each for each in files if each in found])
        known = {
            Version(each.version).public for each in files if each.version not in ("dog", "cat")
        }
        for each in found:
            assert each.uploaded is not None
            self.assertGreater(NOW - each.uploaded, timedelta(days=days))
            if each.version in ("dog", "cat"):
                continue
            newer = {
                public
                for public in known
                if Version(public) > Version(Version(each.version).public)
            }
            self.assertGreaterEqual(len({Version(public) for public in newer}), keep)

    @quick
    @given(FILES, st.integers(0, 3), st.floats(0, 500), st.floats(0, 100))
    def test_monotone(self, files: list[File], keep: int, days: float, more: float) -> None:
        """To keep more versions, or wait longer, never moves more; time alone does."""
        found = set(due(files, rule(days, keep), NOW))
        self.assertLessEqual(set(due(files, rule(days, keep + 1), NOW)), found)
        self.assertLessEqual(set(due(files, rule(days + more, keep), NOW)), found)
        self.assertLessEqual(found, set(due(files, rule(days, keep), NOW + timedelta(days=more))))


class RuleTests(SynchronousTestCase):
    """`TieringRule`."""

    def test_refused(self) -> None:
        """A class that cannot be one (a header of its own, say), and numbers below
        0, are refused.
        """
        for name in (
            "",
            "glacier",
            "GLACIER IR",
            "GLACIER\r\nX: y",
            "G" * 65,
            "GLÄCIER",
            "GLACIER_IR\n",
        ):
            self.assertRaises(BadRequest, TieringRule, timedelta(days=1), 1, name)
        self.assertRaises(BadRequest, TieringRule, timedelta(days=1), -1, "GLACIER_IR")
        self.assertRaises(BadRequest, TieringRule, timedelta(days=-1), 1, "GLACIER_IR")
        TieringRule(timedelta(), 0, "EXPRESS_ONEZONE")

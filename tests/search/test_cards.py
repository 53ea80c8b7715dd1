"""What a card says, of a project as it is seen and of what its metadata says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, ListedFile, Project, StoredFile, in_order
from pypid.core.packaging.names import project_name
from pypid.core.search import ProjectDescription
from pypid.search.fts_index import (
    LONGEST_KEYWORD,
    MOST_KEYWORDS,
    NOTHING,
    CardSource,
    Filed,
    describe,
    filed,
    words,
)
from tests.distributions import metadata

SPAM = project_name("spam")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def file(version: str, day: int, **options: Any) -> File:
    name = f"spam-{version}-py3-none-any.whl"
    uploaded = MOMENT + timedelta(days=day)
    given = {
        "metadata_sha256": version * 4,
        "sha256": "a" * 64,
        "size": 1,
        **options,
    }
    kind = ListedFile if "source" in given else StoredFile
    if kind is StoredFile:
        given["key"] = f"spam/{name}"
    return kind(project=SPAM, filename=name, version=version, uploaded=uploaded, **given)


def made(
    *files: File, described: str | None = None, description: ProjectDescription = NOTHING
) -> Filed:
    return filed(
        CardSource(Project(name=SPAM, files=in_order(files)), True, "1"), described, description
    )


class CardTests(SynchronousTestCase):
    """Cards."""

    def test_release(self) -> None:
        """The newest release that is final and not yanked is shown; uploads of all count."""
        card = made(
            file("1.0", 3, summary="old"),
            file("2.0", 1),
            file("3.0", 2, yanked=""),
            file("4.0a1", 0),
        ).card
        self.assertEqual((card.version, card.yanked, card.summary), ("2.0", False, ""))
        self.assertEqual((card.created, card.updated), (MOMENT, MOMENT + timedelta(days=3)))

    def test_nothing(self) -> None:
        """A project without files has a card, at the end."""
        card = made()
        self.assertEqual(
            (card.card.version, card.card.yanked, card.unread, card.described), ("", True, None, "")
        )

    def test_description(self) -> None:
        """What metadata says counts while it is that of the newest release; else it is
        to be read.
        """
        said = ProjectDescription(summary="New", keywords=("a",), license="MIT")
        known = made(file("1.0", 0, summary="old"), described="1.01.01.01.0", description=said)
        self.assertEqual(
            (known.card.summary, known.card.keywords, known.unread), ("New", ("a",), None)
        )
        newer = made(
            file("1.0", 0),
            file("2.0", 0, summary="two"),
            described="1.01.01.01.0",
            description=said,
        )
        self.assertEqual(
            (newer.card.summary, newer.card.keywords, newer.described), ("two", (), None)
        )
        assert newer.unread is not None
        self.assertEqual(newer.unread.version, "2.0")


class DescribeTests(SynchronousTestCase):
    """What is read in metadata."""

    def test_bounds(self) -> None:
        """However much is said, some of it is kept."""
        found = describe(
            metadata(extra=[("Keywords", ",".join(f"{number}{'x' * 99}" for number in range(99)))])
        )
        self.assertEqual(len(found.keywords), MOST_KEYWORDS)
        self.assertEqual({len(keyword) for keyword in found.keywords}, {LONGEST_KEYWORD})

    @given(
        st.binary(max_size=300)
        | st.text(max_size=100).map(
            lambda text: metadata(extra=[("Keywords", text), ("License", text)])
        )
    )
    @settings(max_examples=100, deadline=None, database=None)
    def test_any(self, data: bytes) -> None:
        """Whatever it is, it can be filed: nothing is raised, and all of it can be written in
        UTF-8, without NUL.
        """
        card = made(file("1.0", 0), described="1.01.01.01.0", description=describe(data)).card
        for text in (*words(card), card.summary, card.license, *card.keywords):
            self.assertNotIn(b"\0", text.encode())

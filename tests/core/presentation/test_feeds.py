"""The feeds: RSS 2.0, whatever people call things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, Project
from pypid.core.packaging.names import project_name
from pypid.core.presentation.feeds import News, news_of, projects, releases_of, updates

SPAM = project_name("spam")
BEGINNING = datetime(2026, 1, 1, 12, tzinfo=UTC)
BASE = "https://index.example"


def file(version: str, days: float | None, filename: str = "") -> File:
    """A file of spam that was uploaded so many days after the beginning."""
    uploaded = None if days is None else BEGINNING + timedelta(days=days)
    name = filename or f"spam-{version}.tar.gz"
    return File(
        project=SPAM,
        filename=name,
        version=version,
        sha256="0" * 64,
        size=1,
        uploaded=uploaded,
        summary=f"S{version}",
    )


class FeedTests(SynchronousTestCase):
    """What stands in them."""

    def items(self, body: bytes) -> list[dict[str, str | None]]:
        """The items, by the names of their elements."""
        root = ElementTree.fromstring(body)
        self.assertEqual((root.tag, root.get("version")), ("rss", "2.0"))
        self.assertTrue(root.findtext("channel/title") and root.findtext("channel/description"))
        return [{element.tag: element.text for element in item} for item in root.iter("item")]

    def test_releases(self) -> None:
        """A release is as old as its first file, the newest come first, and what has no time is
        left out.
        """
        files = (
            file("1.0", 5),
            file("1.0", 1, "spam-1.0-py3-none-any.whl"),
            file("2.0", 3),
            file("3.0", None),
        )
        news = news_of(Project(name=SPAM, files=files))
        self.assertEqual(
            [(one.version, one.uploaded.day) for one in news], [("2.0", 4), ("1.0", 2)]
        )
        first, second = self.items(releases_of(SPAM, news, BASE))
        self.assertEqual((first["title"], second["title"]), ("2.0", "1.0"))
        self.assertEqual(first["link"], f"{BASE}/simple/spam/")
        self.assertEqual(first["pubDate"], "Sun, 04 Jan 2026 12:00:00 GMT")
        self.assertEqual(first["description"], "S2.0")

    def test_all(self) -> None:
        """The feeds of all name projects, and tell releases from each other."""
        news = news_of(Project(name=SPAM, files=(file("1.0", 1), file("2.0", 2))))
        self.assertEqual(
            [item["title"] for item in self.items(updates(news, ".."))], ["spam 2.0", "spam 1.0"]
        )
        self.assertEqual(len({item["guid"] for item in self.items(updates(news, ".."))}), 2)
        self.assertEqual(
            [item["title"] for item in self.items(projects(news[-1:], ".."))], ["spam added"]
        )

    @given(st.text(), st.text(min_size=1))
    @settings(max_examples=60, deadline=None, database=None)
    def test_any_text(self, summary: str, version: str) -> None:
        """Whatever a summary or a version is, it is XML."""
        [item] = self.items(updates([News(SPAM, version, BEGINNING, summary)], BASE))
        self.assertEqual(item["link"], f"{BASE}/simple/spam/")

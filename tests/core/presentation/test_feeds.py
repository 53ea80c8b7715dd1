"""The feeds: RSS 2.0, whatever people call things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File
from pypid.core.packaging.names import project_name
from pypid.core.presentation.feeds import News, updates

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

    @given(st.text(), st.text(min_size=1))
    @settings(max_examples=60, deadline=None, database=None)
    def test_any_text(self, summary: str, version: str) -> None:
        """Whatever a summary or a version is, it is XML."""
        [item] = self.items(updates([News(SPAM, version, BEGINNING, summary)], BASE))
        self.assertEqual(item["link"], f"{BASE}/simple/spam/")

"""What is new: feeds, JSON and the first page, and that nobody learns from them what is not for
them.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

from pypid.core.accounts.rights import grants_of, parse_right
from pypid.core.permissions import EVERYONE, Rules
from tests.web.full_app import HOST, RULES, Answer, WholeCase
from tests.web.ui.test_pages import BROWSER

BASE = f"http://{HOST}"


class NewsCase(WholeCase):
    """Three projects, a minute apart; the first has two releases, the second of which came last."""

    def setUp(self) -> None:
        super().setUp()
        for name, version in (("spam", "1.0"), ("eggs", "0.1"), ("ham", "2.0"), ("spam", "1.1")):
            self.have_sdist(name, version)
            self.pypid.clock.advance(60)

    def feed(self, path: str, *, user: str | None = None) -> list[dict[str, str]]:
        """The items of a feed."""
        answer = self.pypid.get(path, user=user)
        self.assertEqual((answer.status, answer["content-type"]), (200, "text/xml; charset=utf-8"))
        [channel] = ElementTree.fromstring(answer.body)
        self.assertTrue(
            channel.findtext("title")
            and channel.findtext("description")
            and channel.findtext("link")
        )
        return [{each.tag: each.text or "" for each in item} for item in channel.iter("item")]


class FeedTests(NewsCase):
    """The feeds."""

    def test_valid(self) -> None:
        """Feeds are RSS 2.0: dated items with absolute links that lead to pages, and ids that are
        each its own (C114).
        """
        for path in ("/rss/updates.xml", "/rss/packages.xml", "/rss/project/spam/releases.xml"):
            document = ElementTree.fromstring(self.pypid.get(path).body)
            self.assertEqual((document.tag, document.get("version")), ("rss", "2.0"))
            items = self.feed(path)
            self.assertTrue(items)
            self.assertEqual(len({item["guid"] for item in items}), len(items))
            for item in items:
                self.assertIsNotNone(parsedate_to_datetime(item["pubDate"]).tzinfo)
                self.assertTrue(item["link"].startswith(f"{BASE}/project/"), item)


class HiddenTests(NewsCase):
    """A project that is for alice alone."""

    rules = Rules(
        read=EVERYONE, write=RULES.write, projects=grants_of([parse_right("ham.user.alice", "rw")])
    )

    def test_hidden(self) -> None:
        """Who may not read it finds it nowhere, nor its place: as many others are there; who may
        does.
        """
        for path in ("/rss/updates.xml", "/rss/packages.xml", "/api/news", "/"):
            for user in (None, "bob"):
                answer = self.pypid.get(path, BROWSER if path == "/" else None, user=user)
                self.assertEqual(answer.status, 200)
                self.assertNotIn("ham", answer.text, (path, user))
                self.assertNotIn("public", answer["cache-control"] or "")
            self.assertIn(
                "ham", self.pypid.get(path, BROWSER if path == "/" else None, user="alice").text
            )
        self.assertEqual(len(self.pypid.get("/api/news?most=3").json["releases"]), 3)
        self.assertEqual(self.pypid.get("/rss/project/ham/releases.xml").status, 401)
        self.assertEqual(self.pypid.get("/rss/project/ham/releases.xml", user="bob").status, 403)
        self.assertEqual(self.pypid.get("/rss/project/ham/releases.xml", user="alice").status, 200)


class HomeTests(NewsCase):
    """The first page."""

    def page(self, *headers: tuple[str, str]) -> Answer:
        """As a browser asks for it."""
        return self.pypid.get("/", BROWSER, *headers)

    def test_strange_host(self) -> None:
        """A Host that cannot be one stands in no command, and the page says why there are none."""
        connection = self.pypid.connect()
        connection.send(b'GET / HTTP/1.1\r\nHost: x"><b>\r\nAccept: text/html\r\n\r\n')
        answer = connection.answer()
        assert answer is not None
        self.assertNotIn(b"<b>", answer.body)

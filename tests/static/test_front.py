"""The pages for people, and the feed."""

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.static import front
from tests.static.lists import HASH, POOL, SETTINGS, names, objects, tree_of


class FirstPageTests(SynchronousTestCase):
    def test_projects(self) -> None:
        """Each project has a line with its newest version, and leads to its page; the box filters
        by data-name.
        """
        page = tree_of(names("spam-1.9.tar.gz", "spam-1.10.tar.gz", "eggs.tar.gz"))[
            "index.html"
        ].decode()
        self.assertEqual(
            re.findall(
                r'<a class="package" href="(.*?)" data-name="(.*?)"><strong>(.*?)</strong> \((.*?)\)',
                page,
            ),
            [
                ("simple/eggs/index.html", "eggs", "eggs", "latest version: unknown"),
                ("simple/spam/index.html", "spam", "spam", "latest version: 1.10"),
            ],
        )
        self.assertIn('<input id="search"', page)

    def test_looks(self) -> None:
        """Title and logo are escaped, and cannot become anything else."""
        settings = evolve(
            SETTINGS, title="A & <B>", logo='x.png" onerror="alert(1)', logo_width=120
        )
        page = tree_of(names("spam-1.0.tar.gz"), settings)["index.html"].decode()
        self.assertIn("<title>A &amp; &lt;B&gt;</title>", page)
        self.assertIn('<img src="x.png&quot; onerror=&quot;alert(1)" alt="" width="120">', page)

    def test_generated(self) -> None:
        """When it was made is said on this page alone: nothing that installers read changes with
        time.
        """
        listed = names("spam-1.0.tar.gz")
        plain = tree_of(listed)
        dated = tree_of(
            listed, evolve(SETTINGS, generated=datetime(2026, 8, 1, 12, 30, tzinfo=UTC))
        )
        self.assertEqual([path for path in plain if plain[path] != dated[path]], ["index.html"])
        self.assertIn(b"Generated on 2026-08-01 12:30:00 UTC.", dated["index.html"])


class ChangelogTests(SynchronousTestCase):
    def test_order(self) -> None:
        """What came last is first; what has no time comes last, by name and version."""
        entries = [
            {"filename": f"spam-{number}.0.tar.gz", "upload_timestamp": number}
            for number in (2, 9, 5)
        ]
        unknown = [
            {"filename": "eggs-10.0.tar.gz"},
            {"filename": "eggs-9.0.tar.gz", "uploaded_by": "<b>"},
        ]
        page = tree_of(objects(*unknown, *entries))["changelog/page1.html"].decode()
        self.assertEqual(
            re.findall(r">([a-z]+-\d+)\.0\.tar", page),
            ["spam-9", "spam-5", "spam-2", "eggs-9", "eggs-10"],
        )
        self.assertIn("<td>&lt;b&gt;</td>", page)

    def test_pages(self) -> None:
        """It has pages of 5,000 files, that lead to each other."""
        self.patch(front, "PER_PAGE", 2)
        pages = tree_of(names(*(f"spam-{number}.0.tar.gz" for number in range(5))))
        self.assertEqual(
            sorted(path for path in pages if path.startswith("changelog")),
            [f"changelog/page{n}.html" for n in (1, 2, 3)],
        )
        middle = pages["changelog/page2.html"].decode()
        ways = re.findall(r'href="(page\d\.html)"', middle)
        self.assertEqual(ways, ["page1.html", "page1.html", "page3.html", "page3.html"] * 2)
        self.assertIn("Page 2/3", middle)

    def test_twice_placed(self) -> None:
        """A file that stands on two projects' pages is named once."""
        page = tree_of(names("foo-bar-1.tar.gz"))["changelog/page1.html"]
        self.assertEqual(page.count(b"<td><a "), 1)


class FeedTests(SynchronousTestCase):
    def test_feed(self) -> None:
        """It has the last hundred files that say when they came, and is XML whatever they say."""
        entries = [
            {
                "filename": f"spam-{number}.0.tar.gz",
                "upload_timestamp": 1512539924 + number,
                "uploaded_by": "<&\x00\ud7ff",
            }
            for number in range(150)
        ]
        settings = evolve(SETTINGS, site_url="https://pypi.example.com", title="<&\x01>")
        body = tree_of(objects(*entries, {"filename": "eggs-1.0.tar.gz", "hash": HASH}), settings)[
            "rss/updates.xml"
        ]
        channel = ElementTree.fromstring(body)[0]
        items = channel.findall("item")
        self.assertEqual((len(items), channel.findtext("link")), (100, "https://pypi.example.com/"))
        self.assertEqual(items[0].findtext("title"), "spam-149.0.tar.gz")
        self.assertEqual(items[0].findtext("link"), f"{POOL}spam-149.0.tar.gz")
        self.assertEqual(items[-1].findtext("pubDate"), "Wed, 06 Dec 2017 05:59:34 +0000")

    def test_nothing(self) -> None:
        """Without times it is empty, and still a feed."""
        channel = ElementTree.fromstring(tree_of(names("spam-1.0.tar.gz"))["rss/updates.xml"])[0]
        self.assertEqual(channel.findall("item"), [])

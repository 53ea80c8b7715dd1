"""Every page of the site, found by its links: none is broken, and nobody is kept out of any by how
it is made.
"""

import functools

from tests.live.browser import Look, SiteTestCase
from tests.live.clients import ROOT
from tests.live.crawler import Crawl, all_kinds, seen_by_all
from tests.live.daemon import LiveIndex
from tests.live.site_content import does, stocked

BEGINNINGS = ("/", "/project/theirs/", "/search?source=upstream")
ADVISORIES = ROOT / "tests/live/data/advisories"
ENTRANCES = {"/account/login", "/account/register"}
"""Which nobody is led to who is in."""


@functools.cache
def crawled() -> LiveIndex:
    """A pypid with advisories, a named index and a right on a glob, too."""
    index = stocked(f"[advisories]\nown = {ADVISORIES}\n")
    does(index, "POST", "/api/indexes", {"name": "team", "values": {}})
    does(index, "PUT", "/api/rights/acme-data-*/user/alice", {"right": "rw"})
    return index


class CrawlTests(SiteTestCase):
    """From the first page on."""

    def start(self) -> LiveIndex:
        return crawled()

    def test_administrator(self) -> None:
        """All that an administrator can click on is there, and built as a page should be; axe-core
        finds nothing in any kind of page in both themes and at both widths.
        """
        self.assertEqual(
            all_kinds() - self.crawl("admin"), {*ENTRANCES, "/manage/why"}
        )  # which leads on to a project's own

    def test_nobody(self) -> None:
        """The same for somebody who has not logged in, who meets no link that leads to a closed
        door.
        """
        seen = self.crawl(None)
        self.assertEqual(ENTRANCES - seen, set())
        self.assertEqual([kind for kind in seen if kind.startswith(("/manage", "/upload"))], [])

    def crawl(self, user: str | None) -> set[str]:
        """The kinds of pages that were found."""
        page = self.visit(Look(), user=user)
        walk = Crawl(
            page, BEGINNINGS, lambda page, number: seen_by_all(self, page) if number == 1 else ()
        )
        walk.walk()
        self.none_of(walk.faults)
        return set(walk.kinds)

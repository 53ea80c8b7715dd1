"""Whatever anybody stores is text: no page makes an element, a script or a way elsewhere of it."""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tests.live.browser import Look, SiteTestCase, expect
from tests.live.crawler import Crawl
from tests.live.daemon import LiveIndex, shared
from tests.live.site_content import settings, upstream
from tests.nightly.site_hostile import (
    ALL,
    CONTENTS,
    FORBIDDEN,
    MARK,
    addresses,
    hostile_pages,
    plant,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

CALCULATED: Final = "13383377"
"""What a text would become if it were a template."""
REFUSALS: Final = (400, 403, 404, 405, 406, 409, 410, 413, 414, 422)


@functools.cache
def planted() -> LiveIndex:
    """The pypid of this process that is full of it."""
    index = shared(settings(server="# full of it"))
    plant(index, upstream())
    return index


class HostileTests(SiteTestCase):
    """An index full of what somebody means ill by."""

    def start(self) -> LiveIndex:
        return planted()

    def injected(self, page: "Page", number: int) -> Iterable[str]:
        """What was made of somebody's text."""
        found = [f"an element: {element}" for element in page.evaluate(FORBIDDEN, MARK)]
        if page.evaluate("(text) => document.body.innerText.includes(text)", CALCULATED):
            found.append("a text was taken for a template")
        return found

    def test_pages(self) -> None:
        """Every page that an administrator finds, with hostile texts in all that it shows, is what
        its template says.
        """
        walk = Crawl(self.visit(Look(), user="admin"), ("/", *hostile_pages()), self.injected)
        walk.walk()
        self.none_of(walk.faults)

    def test_scripts(self) -> None:
        """What scripts of ours put into pages is text, too: suggestions, what a search finds while
        one types, file names.
        """
        page = self.visit(Look(), user="admin")
        page.get_by_label("Search projects").press_sequentially(MARK)
        expect(page.get_by_role("option").first).to_be_visible()
        faults = list(self.injected(page, 1))
        page.goto("/search")
        page.get_by_label("Names, summaries and keywords").press_sequentially(MARK)
        expect(
            page.get_by_role("main").get_by_role("link").filter(has_text=f"{MARK}-rest")
        ).to_be_visible()
        faults += self.injected(page, 1)
        page.goto("/upload")
        files = [
            {"name": name.replace("/", "_"), "mimeType": "text/html", "buffer": b"<script>"}
            for name in CONTENTS
        ]
        page.get_by_label("Wheel or sdist").set_input_files(files)
        page.get_by_role("button", name="Publish", exact=True).click()
        expect(page.get_by_role("main")).to_contain_text(f"{len(files)} not published")
        self.none_of([*faults, *self.injected(page, 1)])

    def test_shown(self) -> None:
        """They are shown, as they are: nothing is hidden in place of being escaped."""
        page = self.visit(Look(), f"/project/{MARK}-markdown/")
        self.assertIn(ALL[0], page.inner_text("body"))

    def test_addresses(self) -> None:
        """What is in an address is text, too, also on the pages that say no; and nobody is sent to
        another host by it.
        """
        page = self.visit(Look(), user="admin")
        self.expects(*REFUSALS)
        faults = []
        for path in addresses():
            page.goto(path)
            faults += [f"{path}: {fault}" for fault in self.injected(page, 1)]
        self.none_of(faults)

    def test_would_be_seen(self) -> None:
        """An element, an attribute and a link of somebody's making would be found."""
        page = self.visit(Look())
        page.evaluate(
            "(html) => document.body.insertAdjacentHTML('beforeend', html)",
            (
                f"<{MARK}></{MARK}><b {MARK}>{CALCULATED}</b><a href='javascript:1'>x</a><form "
                f"action='https://example.org/'></form>"
            ),
        )
        self.assertEqual(len(list(self.injected(page, 1))), 5)

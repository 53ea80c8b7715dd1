"""Searching in a browser: suggestions below the small box, the page as one types, and both without
scripts.
"""

from typing import TYPE_CHECKING

from tests.live.browser import ALL_LOOKS, TWO_LOOKS, Look, SiteTestCase, expect, path_of
from tests.live.daemon import LiveIndex, for_each
from tests.live.site_content import stocked

if TYPE_CHECKING:
    from playwright.sync_api import Page


class SearchTests(SiteTestCase):
    """What is typed, and what comes of it."""

    def start(self) -> LiveIndex:
        return stocked()

    def found(self, page: "Page") -> list[str]:
        """The names on the page."""
        return page.locator("[data-found] li strong").all_inner_texts()

    @for_each(*TWO_LOOKS)
    def suggested(self, words: str) -> None:
        """Below the box are the best; arrows choose, Enter goes there, Escape and going on close
        the list.
        """
        look = Look.of(words)
        page = self.visit(look)
        box = page.get_by_role("combobox", name="Search projects")
        box.press_sequentially("spa", delay=20)
        options = page.get_by_role("option")
        expect(options.first).to_contain_text("spam")
        expect(box).to_have_attribute("aria-expanded", "true")
        self.looks_well(page, look, "suggestions")
        box.press("ArrowDown")
        expect(options.first).to_have_attribute("aria-selected", "true")
        self.assertEqual(
            box.get_attribute("aria-activedescendant"), options.first.get_attribute("id")
        )
        box.press("Escape")
        expect(page.get_by_role("listbox")).to_be_hidden()
        self.assertEqual(box.input_value(), "spa")
        box.press("m")
        expect(options.first).to_be_visible()
        box.press("ArrowUp")
        box.press("ArrowDown")
        box.press("ArrowDown")
        box.press("Enter")
        page.wait_for_url("**/project/spam/")

    def test_enter(self) -> None:
        """Without a choice Enter searches, as without the script; a click chooses."""
        page = self.visit(Look())
        box = page.get_by_label("Search projects")
        box.fill("spa")
        expect(page.get_by_role("option").first).to_be_visible()
        box.press("Enter")
        page.wait_for_url("**/search?q=spa")
        box.press("End")
        box.press("m")
        page.get_by_role("listbox").get_by_role("option").first.click()
        page.wait_for_url("**/project/spam/")

    @for_each(*TWO_LOOKS)
    def typed(self, words: str) -> None:
        """The page follows what is typed, says how many there are, and its address can be kept;
        arrows lead into the list.
        """
        look = Look.of(words)
        page = self.visit(look, "/search")
        box = page.get_by_label("Names, summaries and keywords")
        everything = self.found(page)  # the first page of it: other journeys publish, too
        self.assertTrue(everything)
        box.press_sequentially("spam", delay=20)
        expect(page.locator("[data-found] li").first).to_contain_text("spam")
        page.wait_for_url("**/search?q=spam")
        expect(page.locator("[data-count]")).to_contain_text("project")
        some = self.found(page)
        self.assertEqual(some[0], "spam")
        self.assertNotEqual(some, everything)
        self.looks_well(page, look, "typed")
        page.reload()
        self.assertEqual(self.found(page), some)
        page.get_by_text("Filters").click()
        page.get_by_label("Source").select_option("upstream")
        expect(page.locator("[data-count]")).to_have_text("0 projects")
        self.looks_well(page, look, "nothing")
        page.get_by_label("Source").select_option("")
        expect(page.locator("[data-found] li").first).to_be_visible()
        box.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/project/spam/")

    def test_half_typed(self) -> None:
        """A filter that is half typed leaves the list as it is; the button says what is wrong with
        it.
        """
        page = self.visit(Look(), "/search?q=spam")
        self.expects(400)
        page.get_by_text("Filters").click()
        some = self.found(page)
        page.get_by_label("Runs on Python").fill("three")
        page.wait_for_timeout(500)
        self.assertEqual(self.found(page), some)
        page.get_by_role("main").get_by_role("button", name="Search").click()
        expect(page.get_by_role("alert")).to_contain_text(
            "The filter python is a version of Python"
        )
        self.looks_well(page, Look(), "wrong")

    @for_each(*ALL_LOOKS)
    def plain(self, words: str) -> None:
        """What is typed and sent is found, with filters, in any look."""
        look = Look.of(words)
        page = self.visit(look)
        page.get_by_label("Search projects").fill("spam")
        page.get_by_label("Search projects").press("Enter")
        page.wait_for_url("**/search?q=spam")
        self.assertEqual(self.found(page)[0], "spam")
        page.get_by_text("Filters").click()
        page.get_by_label("Source").select_option("ours")
        page.get_by_role("main").get_by_role("button", name="Search").click()
        page.wait_for_url("**/search?q=spam&source=ours*")
        self.assertEqual(self.found(page)[0], "spam")
        self.looks_well(page, look, "found")
        page.get_by_role("main").get_by_role("link", name="spam").first.click()
        self.assertEqual(path_of(page), "/project/spam/")

"""The site without a mouse: all that can be clicked on is reached by Tab, in an order that is read,
and seen to be reached.
"""

from typing import TYPE_CHECKING, Any, Final

from tests.live.browser import TWO_LOOKS, Look, SiteTestCase
from tests.live.daemon import LiveIndex, for_each
from tests.live.site_content import stocked

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES: Final = (
    "/",
    "/search?q=spam",
    "/project/spam/",
    "/project/spam/-/versions",
    "/upload",
    "/account/",
    "/manage/",
)
MOST: Final = 400
"""Times that Tab is pressed before it is said that there is no end."""
REACHABLE: Final = """
() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
    .filter(each => !each.disabled && each.tabIndex >= 0 && (each.type !== "radio" || each.checked))
    .filter(each => each.checkVisibility({visibilityProperty: true}) && each.getBoundingClientRect().width > 0)
    .map((each, number) => (each.dataset.number = number, each.outerHTML.slice(0, 150)))
"""
FOCUSED: Final = """
() => {
    const each = document.activeElement;
    if (!each || each === document.body) return null;
    const style = getComputedStyle(each), box = each.getBoundingClientRect();
    return {
        number: each.dataset.number === undefined ? -1 : Number(each.dataset.number),
        html: each.outerHTML.slice(0, 150),
        seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
        inside: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    };
}
"""


class KeyboardTests(SiteTestCase):
    """Tab, Enter, and what is typed."""

    def start(self) -> LiveIndex:
        return stocked()

    @for_each(*TWO_LOOKS)
    def reached(self, words: str) -> None:
        """On each page Tab comes to all that can be used, sees to it that it is on the screen, and
        shows where it is.
        """
        page = self.visit(Look.of(words), user="admin")
        faults = []
        for path in PAGES:
            page.goto(path)
            faults += [f"{path}: {fault}" for fault in self.missed(page)]
        self.none_of(faults)

    def missed(self, page: "Page") -> list[str]:
        """What Tab does not reach, and what does not show that it was."""
        wanted = page.evaluate(REACHABLE)
        faults, reached = [], set[int]()
        for _ in range(MOST):
            page.keyboard.press("Tab")
            now: dict[str, Any] | None = page.evaluate(FOCUSED)
            if now is None:
                break
            reached.add(now["number"])
            faults += [] if now["seen"] else [f"no outline: {now['html']}"]
            faults += [] if now["inside"] else [f"not on the screen: {now['html']}"]
        else:
            return [f"no end after {MOST} times Tab"]
        return faults + [
            f"not reached: {html}" for number, html in enumerate(wanted) if number not in reached
        ]

    def test_past_the_menu(self) -> None:
        """The first thing that Tab comes to is a link past the menu, which can be seen then; behind
        it the page goes on.
        """
        page = self.visit(Look(), "/project/spam/")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        self.assertTrue(skip.evaluate("each => each === document.activeElement"))
        self.assertTrue(page.evaluate(FOCUSED)["inside"])
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        self.assertTrue(
            page.evaluate("() => document.querySelector('main').contains(document.activeElement)")
        )

    def test_search(self) -> None:
        """From the first page to a project, by the keyboard alone."""
        page = self.visit(Look())
        box = page.get_by_label("Search projects")
        for _ in range(5):
            page.keyboard.press("Tab")
            if box.evaluate("each => each === document.activeElement"):
                break
        page.keyboard.type("wonderful")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=wonderful*")
        wanted = page.get_by_role("main").get_by_role("link", name="spam", exact=False).first
        for _ in range(40):
            page.keyboard.press("Tab")
            if wanted.evaluate("each => each === document.activeElement"):
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/project/spam/")

"""Several indexes in a browser: an administrator creates one, and users find their way between them."""

import functools
import re
from typing import TYPE_CHECKING

from tests.live.browser import ALL_LOOKS, TWO_LOOKS, Look, SiteTestCase, expect
from tests.live.daemon import LiveIndex, Settings, for_each, shared
from tests.live.projects import publish
from tests.live.site_client import Visitor
from tests.live.site_content import does, published

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

LONG = "curated-and-reviewed-packages-of-2026-q4"
_NAMES = re.compile(r"/(?:frames|common|team-\d\d)/")
SECTIONS = "[index:team-data]\nwrite = alice\n"


@functools.cache
def indexes() -> LiveIndex:
    """A pypid with many indexes."""
    index = shared(Settings(access="backend = config sql\n", sections=SECTIONS))
    for name in (LONG, *(f"team-{number:02}" for number in range(12))):
        does(index, "POST", "/api/indexes", {"name": name, "values": {}})
    values = {"read": "carol", "write": "carol"}
    does(index, "POST", "/api/indexes", {"name": "vault", "values": values})
    publish(index, published("frames", summary="Of data"), to="/team-data/legacy/")
    publish(index, published("common", summary="Of all"), user="admin")
    return index


def main(page: "Page") -> "Locator":
    """The page without its head and foot."""
    return page.get_by_role("main")


class IndexesTests(SiteTestCase):
    """Windows of administrators, users and visitors."""

    def start(self) -> LiveIndex:
        return indexes()

    @for_each(*ALL_LOOKS)
    def administered(self, words: str) -> None:
        """An index is created, changed after a mistake that is marked, and deleted."""
        look, name = Look.of(words), f"new-{words.replace(' ', '-')}"
        page = self.visit(look, "/manage/indexes", user="admin")
        self.expects(400)
        self.looks_well(page, look, "list")
        main(page).get_by_label("Name Lowercase letters").fill(name)
        main(page).get_by_role("button", name="Create index").click()
        expect(main(page).get_by_role("status")).to_contain_text("was created")
        self.looks_well(page, look, "created")
        page.get_by_label("write The only users").fill("alice")
        page.get_by_label("expires When").fill("soon")
        page.get_by_role("button", name="Change index").click()
        expect(page.get_by_role("alert")).to_contain_text("expires")
        expect(page.get_by_label("expires When")).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_label("write The only users")).to_have_value("alice")
        self.looks_well(page, look, "mistake")
        page.get_by_label("expires When").fill("2099-01-31")
        page.get_by_role("button", name="Change index").click()
        expect(main(page)).to_contain_text("Expires 1 Feb 2099")
        page.get_by_label("To delete it, type").fill(name)
        page.get_by_role("button", name="Delete index").click()
        expect(main(page).get_by_role("status")).to_contain_text("was deleted")
        expect(main(page).get_by_role("link", name=name)).to_have_count(0)

    @for_each(*ALL_LOOKS)
    def found(self, words: str) -> None:
        """A visitor goes from index to index. Each page says in which index it is; an index that
        the visitor may not read is nowhere.
        """
        look = Look.of(words)
        page = self.visit(look, "/")
        page.get_by_text("Indexes", exact=True).click()
        indexes = page.get_by_role("list", name="Indexes")
        expect(indexes.get_by_role("link")).to_have_count(15)
        expect(page.get_by_text("vault")).to_have_count(0)
        self.looks_well(page, look, "open")
        indexes.get_by_role("link", name="team-data").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Index team-data")
        self.looks_well(page, look, "index")
        main(page).get_by_role("link", name="frames").first.click()
        expect(page).to_have_title("frames 1.0 · team-data · pypid")
        expect(main(page)).to_contain_text(f"--index-url {self.index.url('/team-data/simple/')}")
        self.looks_well(page, look, "project")
        page.get_by_role("banner").get_by_role("link", name="team-data").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Index team-data")
        page.goto(f"/{LONG}/project/common/")
        self.looks_well(page, look, "long-name")

    def test_links(self) -> None:
        """All links of the pages below an index work, and none leads to an index that the user may
        not read.
        """
        for user in (None, "bob", "alice"):
            visitor = Visitor(self.index.url("/"), self.index.port)
            if user is not None:
                visitor.log_in(user)
            walk = visitor.walk(lambda path: _NAMES.sub("/NAME/", path), "team-data/")
            faults = [each for each in walk.faults if "/docs/" not in each]  # needs a build
            self.none_of(faults)
            self.assertGreater(len(walk.seen), 20)
            for url, got in walk.seen.items():
                self.assertNotIn(b"vault", got.body, url)

    @for_each(*TWO_LOOKS)
    def filtered(self, words: str) -> None:
        """The list of many indexes is filtered and left by the keyboard alone."""
        page = self.visit(Look.of(words), "/")
        page.get_by_text("Indexes", exact=True).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Filter indexes")).to_be_focused()
        page.keyboard.type("-DATA")
        lines = page.get_by_role("list", name="Indexes").get_by_role("link")
        expect(lines).to_have_text(["team-data"])
        page.keyboard.press("Escape")
        expect(lines.first).to_be_hidden()
        expect(page.get_by_text("Indexes", exact=True)).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Filter indexes")).to_be_focused()
        expect(page.get_by_label("Filter indexes")).to_have_value("")
        page.keyboard.type("team-d")
        page.keyboard.press("Enter")
        expect(page).to_have_title("Python package index · team-data · pypid")

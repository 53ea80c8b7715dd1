"""Finding and reading a project by the site, as somebody does it who wonders whether
to install it.
"""

from typing import TYPE_CHECKING

from tests.live.browser import ALL_LOOKS, TWO_LOOKS, Look, SiteTestCase, expect
from tests.live.daemon import LiveIndex, for_each
from tests.live.projects import publish
from tests.live.site_content import does, published, stocked

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def main(page: "Page") -> "Locator":
    """Where the page itself is, without its head and foot."""
    return page.get_by_role("main")


class ReadingTests(SiteTestCase):
    """Somebody who has not logged in."""

    def start(self) -> LiveIndex:
        return stocked()

    @for_each(*ALL_LOOKS)
    def search(self, words: str) -> None:
        """Words out of a summary and keywords find projects, which filters make fewer; what may not
        be read is not found.
        """
        look = Look.of(words)
        page = self.visit(look)
        self.looks_well(page, look, "home")
        box = page.get_by_label("Search projects")
        if look.scripts:
            box.press_sequentially("wonder")
            option = page.get_by_role("option", name="spam")
            expect(option).to_be_visible()
            self.looks_well(page, look, "suggested")
        box.fill("breakfast")
        box.press("Enter")
        page.wait_for_url("**/search?q=breakfast")
        found = main(page).get_by_role("listitem").get_by_role("link")
        expect(found).to_have_count(2)
        self.looks_well(page, look, "found")
        main(page).get_by_text("Filters").click()
        page.get_by_label("Licence").fill("MIT")
        if not look.scripts:
            main(page).get_by_role("button", name="Search").click()
        expect(found).to_have_count(1)
        self.looks_well(page, look, "filtered")
        found.click()
        page.wait_for_url("**/project/spam/")
        for secret in ("acme-secret", "everybody"):
            page.goto(f"/search?q={secret}")
            expect(found).to_have_count(0)
        self.looks_well(page, look, "nothing")

    @for_each(*ALL_LOOKS)
    def read(self, words: str) -> None:
        """The README, which file is for whom, what it depends on, who published it and how often it
        was downloaded.
        """
        look = Look.of(words)
        page = self.visit(look, "/project/spam/")
        self.looks_well(page, look, "project")
        expect(page.get_by_role("heading", level=1)).to_contain_text("spam")
        readme = page.locator(".readme")
        expect(readme.get_by_role("heading", name="Usage")).to_be_visible()
        expect(readme.get_by_role("cell", name="lots")).to_be_visible()
        expect(readme.get_by_role("link", name="the menu")).to_have_attribute(
            "href", "https://example.org/menu"
        )
        expect(
            main(page).get_by_role("link", name="spam-2.0-py3-none-any.whl", exact=True)
        ).to_be_visible()
        expect(main(page)).to_contain_text("by alice")
        expect(main(page)).to_contain_text("from this index in 90 days")
        main(page).get_by_role("link", name="1.0", exact=True).click()
        expect(main(page)).to_contain_text("It was broken on Tuesdays.")
        self.looks_well(page, look, "yanked")
        page.go_back()
        main(page).get_by_role("link", name="eggs", exact=True).click()
        page.wait_for_url("**/project/eggs/")
        expect(page.locator(".readme")).to_contain_text("Not for horses")
        self.looks_well(page, look, "rest")

    @for_each(*ALL_LOOKS)
    def versions(self, words: str) -> None:
        """All versions of a project that has many, and what is different between two of another
        one.
        """
        look = Look.of(words)
        page = self.visit(look, "/project/flying-circus/")
        main(page).get_by_role("link", name="All 120 versions").click()
        expect(main(page).get_by_role("link", name="12.9", exact=True)).to_be_visible()
        self.looks_well(page, look, "many")
        page.goto("/project/spam/-/versions")
        page.get_by_role("combobox", name="Compare").select_option("1.1")
        page.get_by_role("combobox", name="with").select_option("2.0")
        main(page).get_by_role("button", name="Show differences").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("1.1")
        expect(main(page)).to_contain_text("spam/old.py")
        self.looks_well(page, look, "compared")
        main(page).get_by_role("link", name="spam/__init__.py").click()
        expect(main(page)).to_contain_text("def cook(much: bool)")
        self.looks_well(page, look, "lines")

    @for_each(*ALL_LOOKS)
    def contents(self, words: str) -> None:
        """What is inside a file, and a text in it."""
        look = Look.of(words)
        page = self.visit(look, "/project/spam/2.0/")
        main(page).get_by_role("link", name="Contents of spam-2.0-py3-none-any.whl").click()
        self.looks_well(page, look, "contents")
        main(page).get_by_role("link", name="spam/", exact=True).click()
        main(page).get_by_role("link", name="__init__.py").click()
        expect(main(page)).to_contain_text("def cook(much: bool)")
        self.looks_well(page, look, "text")
        page.goto("/project/spam/-/contents/spam-2.0.tar.gz?path=spam-2.0/spam/data.bin")
        expect(main(page)).to_contain_text("This file is not text")
        self.looks_well(page, look, "binary")

    @for_each(*TWO_LOOKS)
    def odd(self, words: str) -> None:
        """Names, summaries and READMEs without an end, a project of upstream's, a deprecated one,
        and pages that say no.
        """
        look = Look.of(words)
        page = self.visit(look)
        for path, said in (
            ("/search?q=companies", "a-project-with-quite"),
            (
                "/project/a-project-with-quite-a-long-name-as-they-do-happen-to-be-in-larger-companies/",
                "2026.11.22",
            ),
            ("/project/theirs/", "upstream"),
            ("/project/bacon/", "indented"),
            ("/project/sausage/", "Take spam instead."),
        ):
            page.goto(path)
            expect(main(page)).to_contain_text(said)
            self.looks_well(page, look, path.strip("/").split("/")[-1][:20].split("?")[0])
        self.expects(404, 403, 401)
        for path, said in (
            ("/project/nowhere/", "nowhere"),
            ("/project/spam/9.9/", "9.9"),
            ("/no/such/page", "Not Found"),
        ):
            page.goto(path)
            expect(main(page)).to_contain_text(said)
            self.looks_well(page, look, "no")

    @for_each(*ALL_LOOKS)
    def blocked(self, words: str) -> None:
        """A blocked version is marked, and has a page with the reason, which leads to a version that
        can be installed; so has a project of which everything is blocked.
        """
        look, name = Look.of(words), f"mousse-{words.replace(' ', '-')}"
        publish(self.index, published(name, "1.0"), published(name, "2.0"))
        reason = "It sends the passwords of its users to another host."
        does(self.index, "POST", "/api/blocks", {"spec": f"{name}==2.0", "reason": reason})
        page = self.visit(look, f"/project/{name}/", "bob")
        expect(main(page).get_by_role("row", name="2.0 blocked")).to_contain_text(reason)
        self.looks_well(page, look, "project")
        main(page).get_by_role("link", name="2.0", exact=True).click()
        expect(main(page)).to_contain_text(f"This release is blocked: {reason}")
        self.looks_well(page, look, "release")
        main(page).get_by_role("link", name="Why are files hidden?").click()
        expect(main(page)).to_contain_text(reason)
        self.looks_well(page, look, "why")
        does(self.index, "POST", "/api/blocks", {"spec": name, "reason": "Nothing of it is safe."})
        page.goto(f"/project/{name}/")
        expect(main(page)).to_contain_text("No version of this project is available")
        self.looks_well(page, look, "nothing")

    @for_each(*TWO_LOOKS)
    def hidden(self, words: str) -> None:
        """Who may not read a project is sent to log in, comes back to it then, and is told no where
        the right is missing.
        """
        look = Look.of(words)
        page = self.visit(look, "/project/acme-secret/")
        self.expects(403, 404)
        self.assertIn("/account/login?next=", page.url)
        self.looks_well(page, look, "login")
        self.enters(page, "alice", "rabbit-secret-2")
        page.wait_for_url("**/project/acme-secret/")
        expect(main(page)).to_contain_text("Not for everybody")
        page.get_by_role("button", name="Log out").click()
        page.goto("/account/login?next=project/acme-secret/")
        self.enters(page, "bob", "builder-secret-3")
        expect(main(page)).not_to_contain_text("Not for everybody")
        self.looks_well(page, look, "refused")

    def enters(self, page: "Page", user: str, password: str) -> None:
        """By the form."""
        page.get_by_label("User name").fill(user)
        page.get_by_label("Password", exact=True).fill(password)
        main(page).get_by_role("button", name="Log in").click()

    def test_leads_nowhere_else(self) -> None:
        """Whoever logs in by a link that somebody else has made stays here."""
        away = (
            "https://example.org/",
            "//example.org/",
            "/\\example.org",
            "javascript:alert(1)",
            "..//example.org",
            "%0d%0aX",
        )
        for where in away:
            page = self.visit(Look(), f"/account/login?next={where}")
            self.enters(page, "bob", "builder-secret-3")
            expect(page.get_by_role("button", name="Log out")).to_be_visible()
            self.assertTrue(page.url.startswith(self.index.url("/")), page.url)

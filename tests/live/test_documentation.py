"""The documentation that pypid serves, in a real browser: search, dark mode, and a policy that
stops nothing of it.
"""

import re
import subprocess
import sys

from tests.live.browser import Look, SiteTestCase, expect
from tests.live.clients import ROOT
from tests.live.daemon import LiveIndex, Settings, for_each, shared

BUILT = ROOT / "build/docs"


def build() -> None:
    """Build the documentation, unless `make docs` has."""
    if not (BUILT / "index.html").is_file():
        subprocess.run(
            [
                *(sys.executable, "-m", "sphinx", "-q"),
                *("-d", ROOT / "build/doctrees", ROOT / "docs", BUILT),
            ],
            check=True,
            timeout=300,
        )


class DocumentationTests(SiteTestCase):
    """The built documentation at /docs/. Each window fails the test if the policy stops anything, a
    script fails, or a request leaves the index.
    """

    def start(self) -> LiveIndex:
        build()
        return shared(Settings(read="authenticated", server="# documentation"))

    @for_each("light wide", "dark phone")
    def search(self, words: str) -> None:
        """The search finds the page of the configuration, with an excerpt, and leads there."""
        look = Look.of(words)
        page = self.visit(look, "/docs/")
        expect(page.locator("h1")).to_contain_text("pypid")
        self.picture(page, look, "start")
        page.goto("/docs/search.html?q=max_upload")
        link = page.locator("a[href^='reference/configuration.html']")
        found = page.locator("#search-results li", has=link).first
        expect(found.locator("p.context")).to_contain_text("upload")
        found.get_by_role("link").first.click()
        expect(page).to_have_url(re.compile(r"/docs/reference/configuration\.html"))
        expect(page.locator(".highlighted").first).to_be_attached()
        self.picture(page, look, "configuration")

    def test_first_results(self) -> None:
        """The first result for words that operators search for is the page about them."""
        page = self.visit(Look(), "/docs/")
        for word, path in {
            "upgrade": "operate/upgrade",
            "backup": "operate/backup",
            "docker": "guides/ci-and-docker",
            "permissions": "guides/access-control",
            "quota": "guides/access-control",
            "403": "operate/troubleshooting",
            "SSO": "guides/access-control",
            "CVE": "guides/advisories",
            "kubernetes": "operate/install",
            "delete": "guides/manage-releases",
            "newest version": "operate/troubleshooting",
        }.items():
            page.goto(f"/docs/search.html?q={word}")
            first = page.locator("#search-results li a").first
            expect(first).to_have_attribute("href", re.compile(rf"^{path}\.html"))
        page.goto("/docs/search.html?q=503")
        expect(page.locator("#search-results li").first.locator("p.context")).to_contain_text("503")
        found = page.locator("#search-results a[href='operate/troubleshooting.html']")
        expect(found).to_have_count(1)

    def test_search_form(self) -> None:
        """The search form of each page leads to the results."""
        page = self.visit(Look(), "/docs/guides/s3.html")
        page.get_by_placeholder("Search").fill("promotion")
        page.keyboard.press("Enter")
        expect(page.locator("#search-results li").first).to_be_visible()

    def test_dark_mode(self) -> None:
        """The switch changes the colours, and the next page keeps them."""
        page = self.visit(Look(), "/docs/")
        ground = "() => getComputedStyle(document.body).backgroundColor"
        light, switch = page.evaluate(ground), page.locator(".theme-toggle-header, .theme-toggle")
        for _ in range(3):  # from "as the system" over light or dark to the other
            if page.evaluate(ground) != light:
                break
            switch.locator("visible=true").first.click()
        self.assertNotEqual(page.evaluate(ground), light)
        dark = page.evaluate(ground)
        page.goto("/docs/guides/")
        self.assertEqual(page.evaluate(ground), dark)

    @for_each("light wide", "dark phone")
    def accessible(self, words: str) -> None:
        """axe-core finds nothing in the pages, and none scrolls sideways."""
        look = Look.of(words)
        for path in ("", "reference/configuration.html", "reference/http-api/json-api.html"):
            page = self.visit(look, f"/docs/{path}")
            self.looks_well(page, look)

    def test_copy_button(self) -> None:
        """Commands can be copied with one click."""
        page = self.visit(Look(), "/docs/guides/s3.html")
        page.locator("div.highlight").first.hover()
        button = page.locator("button.copybtn").first
        expect(button).to_be_attached()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button.click(force=True)
        expect(page.locator("button.copybtn.success")).to_have_count(1)

    def test_without_scripts(self) -> None:
        """The pages can be read and followed without scripts."""
        page = self.visit(Look(scripts=False), "/docs/")
        page.get_by_role("link", name="Reference", exact=True).first.click()
        expect(page).to_have_url(re.compile("/docs/reference/"))
        expect(page.locator("h1")).to_contain_text("Reference")

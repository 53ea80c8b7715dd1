"""The documentation that pypid serves, in a real browser: the policy stops nothing of it."""

import re
import subprocess
import sys

from tests.live.browser import Look, SiteTestCase, expect
from tests.live.clients import ROOT
from tests.live.daemon import LiveIndex, Settings, shared

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

    def test_search(self) -> None:
        """The search finds the page of the configuration, with an excerpt, and leads there."""
        page = self.visit(Look(), "/docs/")
        expect(page.locator("h1")).to_contain_text("pypid")
        page.goto("/docs/search.html?q=max_upload")
        link = page.locator("a[href^='reference/configuration.html']")
        found = page.locator("#search-results li", has=link).first
        expect(found.locator("p.context")).to_contain_text("upload")
        found.get_by_role("link").first.click()
        expect(page).to_have_url(re.compile(r"/docs/reference/configuration\.html"))
        expect(page.locator(".highlighted").first).to_be_attached()

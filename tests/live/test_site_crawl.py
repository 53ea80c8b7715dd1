"""Every page of the site, found by its links: none is broken, and nobody is kept out of any by how it is made."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urldefrag, urljoin, urlsplit

from pypid.web.app import app
from tests.live.browser import SIZES, Look, SiteTestCase
from tests.live.daemon import LiveIndex
from tests.live.sitestock import stocked

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOST: Final = 150
"""Pages that are looked at."""
OF_A_KIND: Final = 4
"""Pages of one route that are looked at, if so many are linked."""
NO_PAGES: Final = ("/packages/", "/simple/", "/api/", "/rss/", "/pypi/", "/_/", "/integrity/", "/config/", "/local/", "/at/")
STRUCTURE: Final = """
() => ({
    title: document.title, lang: document.documentElement.lang, heads: document.querySelectorAll("h1").length,
    main: document.querySelectorAll("main").length, skip: (document.querySelector("a[href]") || {}).hash || "",
    ids: [...document.querySelectorAll("[id]")].map(each => each.id).filter((id, at, all) => all.indexOf(id) !== at),
    links: [...document.querySelectorAll("a[href]")].map(each => each.getAttribute("href")),
    style: document.querySelectorAll("[style], style, script:not([src])").length,
    handlers: [...document.querySelectorAll("*")].filter(
        each => [...each.attributes].some(attribute => attribute.name.startsWith("on"))).length,
})
"""


def kind_of(path: str) -> str:
    """The rule of the route that answers there; "" for none."""
    try:
        rule, _ = app.url_map.bind("").match(path, method="GET", return_rule=True)
    except Exception:  # what is not found, and what is redirected
        return ""
    return str(rule.rule)


class CrawlTests(SiteTestCase):
    """From the first page on."""

    def start(self) -> LiveIndex:
        return stocked()

    def test_administrator(self) -> None:
        """All that an administrator can click on is there, is built as a page should be, and axe-core finds nothing in it: once for
        each kind of page in both themes and at both widths.
        """
        seen = self.crawl("admin")
        for kind in ("/", "/search", "/project/<project>/", "/account/", "/manage/"):
            self.assertIn(kind, seen)

    def test_nobody(self) -> None:
        """The same for somebody who has not logged in, who meets no link that leads to a closed door."""
        seen = self.crawl(None)
        self.assertNotIn("/manage/", seen)

    def crawl(self, user: str | None) -> set[str]:
        """The kinds of pages that were found."""
        look = Look()
        page = self.visit(look, user=user)
        ways, kinds, other = {"/": "(the beginning)"}, dict[str, int](), dict[str, str]()
        faults = list[str]()
        for path in self.growing(ways):
            kind = kind_of(urlsplit(path).path)
            if path.startswith(NO_PAGES):
                other.setdefault(path, ways[path])
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] > OF_A_KIND or sum(kinds.values()) > MOST:
                continue
            answer = page.goto(path)
            assert answer is not None
            where = f"{path} (linked on {ways[path]})"
            if answer.status >= 400:
                faults.append(f"{answer.status} for {where}")
                continue
            faults += [f"{where}: {fault}" for fault in self.built(page, ways)]
            if kinds[kind] == 1:
                self.seen_by_all(page, faults)
        faults += self.others(page, other)
        self.assertEqual(faults, [], "\n".join(["", *faults]))
        return set(kinds)

    def growing(self, ways: dict[str, str]) -> Iterator[str]:
        """Its keys, also those that come."""
        done = 0
        while done < len(ways):
            yield list(ways)[done]
            done += 1

    def built(self, page: "Page", ways: dict[str, str]) -> list[str]:
        """What is wrong with how it is made; and where its links lead is added to `ways`."""
        found = page.evaluate(STRUCTURE)
        here = urlsplit(page.url).path
        for link in found["links"]:
            target = urlsplit(urldefrag(urljoin(page.url, link)).url)
            if target.netloc == urlsplit(page.url).netloc and target.scheme == "http":
                ways.setdefault(target.path + (f"?{target.query}" if target.query else ""), here)
        faults = [
            *([f"{found['heads']} h1"] if found["heads"] != 1 else []),
            *([f"{found['main']} main"] if found["main"] != 1 else []),
            *(["no title"] if not re.match(r"\S.* · pypid$", found["title"]) else []),
            *([f"lang={found['lang']}"] if found["lang"] != "en" else []),
            *(["no way past the menu"] if found["skip"] != "#main" else []),
            *([f"ids twice: {found['ids']}"] if found["ids"] else []),
            *(["inline style or script"] if found["style"] else []),
            *(["inline handlers"] if found["handlers"] else []),
        ]
        return faults

    def seen_by_all(self, page: "Page", faults: list[str]) -> None:
        """In both themes and at both widths."""
        for look in (Look("light", "wide"), Look("dark", "phone")):
            width, height = SIZES[look.width]
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if look.theme == "dark" else "light")
            try:
                self.looks_well(page, look)
            except self.failureException as error:
                faults.append(str(error))
            self.picture(page, look, re.sub(r"\W+", "-", urlsplit(page.url).path).strip("-") or "home")
        page.set_viewport_size({"width": SIZES["wide"][0], "height": SIZES["wide"][1]})
        page.emulate_media(color_scheme="light")

    def others(self, page: "Page", found: dict[str, str]) -> list[str]:
        """Links to what is no page: a few of each kind are asked for."""
        faults, kinds = [], dict[str, int]()
        for path, way in found.items():
            kind = kind_of(urlsplit(path).path)
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] <= OF_A_KIND:
                answer = page.request.get(path)
                if answer.status >= 400:
                    faults.append(f"{answer.status} for {path} (linked on {way})")
        return faults

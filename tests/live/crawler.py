"""Following the links of the site from its first page on, and looking at what is there."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urldefrag, urljoin, urlsplit

from attrs import Factory, define, field

from pypid.core.indexes import is_index_name
from tests.live.browser import SIZES, Look, SiteTestCase, faults_of
from tests.web.routes import ALL_ROUTES

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOST: Final = 150
"""Pages that are looked at."""
OF_A_KIND: Final = 4
"""Pages of one route that are looked at, if so many are linked."""
NO_PAGES: Final = (
    *(
        "/packages/",
        "/simple/",
        "/api/",
        "/rss/",
        "/pypi/",
        "/_/",
        "/integrity/",
        "/config/",
        "/local/",
        "/at/",
    ),
    *("/osv/", "/ready", "/health", "/metrics"),
    "/docs/",  # made by Sphinx: tests.live.test_documentation
)
BEGINNING: Final = "no page"
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
        route, _ = ALL_ROUTES.match(path.removeprefix("/").encode(), b"GET")
    except Exception:  # what is not found, and what is redirected
        return ""
    return route.path


def is_below_index(path: str) -> bool:
    """Whether it is a page of a named index."""
    first, slash, _ = path.removeprefix("/").partition("/")
    return bool(slash) and is_index_name(first)


def all_kinds() -> set[str]:
    """The rules of all routes that answer with a page for people."""
    return {route.path for route in ALL_ROUTES if route.page and "GET" in route.methods}


@define
class Crawl:
    """One walk through the site, in one window."""

    page: "Page"
    beginning: Iterable[str] = ("/",)
    look_at: Callable[["Page", int], Iterable[str]] = lambda page, number: ()
    """What else is wrong with a page; the number is 1 for the first of its kind."""
    kinds: dict[str, int] = Factory(dict)
    faults: list[str] = Factory(list)
    _ways: dict[str, str] = field(init=False)
    _others: dict[str, str] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        self._ways = dict.fromkeys(self.beginning, BEGINNING)

    def walk(self) -> None:
        """Until there is nothing new."""
        for path, way in self._growing():
            if path.startswith(NO_PAGES) or is_below_index(path):
                self._others.setdefault(path, way)
                continue
            kind = kind_of(urlsplit(path).path)
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if way == BEGINNING or (
                self.kinds[kind] <= OF_A_KIND and sum(self.kinds.values()) <= MOST
            ):
                self._visit(path, f"{path} (linked on {way})", kind)
        self.faults += self._broken()

    def _growing(self) -> Iterator[tuple[str, str]]:
        done = 0
        while done < len(self._ways):
            yield list(self._ways.items())[done]
            done += 1

    def _visit(self, path: str, where: str, kind: str) -> None:
        answer = self.page.goto(path)
        assert answer is not None
        if answer.status >= 400:
            self.faults.append(f"{answer.status} for {where}")
            return
        found = [*self._built(), *self.look_at(self.page, self.kinds[kind])]
        self.faults += [f"{where}: {fault}" for fault in found]

    def _built(self) -> list[str]:
        """What is wrong with how the page is made; where its links lead will be looked at, too."""
        found = self.page.evaluate(STRUCTURE)
        here = urlsplit(self.page.url)
        for link in found["links"]:
            target = urlsplit(urldefrag(urljoin(self.page.url, link)).url)
            if target.netloc == here.netloc and target.scheme == "http":
                self._ways.setdefault(
                    target.path + (f"?{target.query}" if target.query else ""), here.path
                )
        return [
            *([f"{found['heads']} h1"] if found["heads"] != 1 else []),
            *([f"{found['main']} main"] if found["main"] != 1 else []),
            *(
                []
                if re.match(r"\S.* · pypid$", found["title"], re.DOTALL)
                else [f"its title is {found['title']!r}"]
            ),
            *([f"lang={found['lang']}"] if found["lang"] != "en" else []),
            *(["no way past the menu"] if found["skip"] != "#main" else []),
            *([f"ids twice: {found['ids']}"] if found["ids"] else []),
            *(["inline style or script"] if found["style"] else []),
            *(["inline handlers"] if found["handlers"] else []),
        ]

    def _broken(self) -> list[str]:
        """Links to what is no page, and is not there: a few of each kind are tried."""
        faults, kinds = [], dict[str, int]()
        for path, way in self._others.items():
            kind = kind_of(urlsplit(path).path)
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] <= OF_A_KIND:
                answer = self.page.request.get(path)
                if answer.status >= 400:
                    faults.append(f"{answer.status} for {path} (linked on {way})")
        return faults


def seen_by_all(test: SiteTestCase, page: "Page") -> list[str]:
    """What axe-core finds, and what scrolls sideways: in both themes and at both widths,
    one picture of each.
    """
    faults = []
    for look in (Look("light", "wide"), Look("dark", "phone")):
        width, height = SIZES[look.width]
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if look.theme == "dark" else "light")
        faults += [f"{look.theme}, {look.width}: {fault}" for fault in faults_of(page)]
        name = re.sub(r"[^\w.]+", "-", urlsplit(page.url).path).strip("-")[:80] or "home"
        test.picture(page, look, name, numbered=False)
    page.set_viewport_size({"width": SIZES["wide"][0], "height": SIZES["wide"][1]})
    page.emulate_media(color_scheme="light")
    return faults

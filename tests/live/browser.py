"""A real Chromium that looks at the site: Debian's, driven by Playwright, with nothing around it
but the pypid under test.

`SiteTestCase.visit` opens a window that is watched: a dialog, a script's error, anything that the
Content-Security-Policy had to stop, a request to another host or an answer 500 fails the test at
its end. What the steps of a journey look like lies in ``build/screenshots/``, also when all went
well. `looks_well` asks axe-core, and whether the page scrolls sideways.
"""

import asyncio
import atexit
import functools
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from attrs import Factory, define, frozen

from tests.live.clients import ROOT, Unavailable, axe, in_ci
from tests.live.daemon import PASSWORDS, IndexTestCase

try:
    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Page,
        Response,
        expect,
        sync_playwright,
    )
except ImportError:
    expect = sync_playwright = None  # type: ignore[assignment]

SCREENSHOTS: Final = ROOT / "build/screenshots"
SIZES: Final = {  # a phone is as narrow as a wide window at 400 % (WCAG 1.4.10)
    "phone": (320, 640),
    "wide": (1280, 900),
}
FLAGS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
PATIENCE: Final = 10_000.0
"""Milliseconds that something on a page may take to be there; the machine may have much else to do.
"""

RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
ASK_AXE: Final = """
axe.run(document, {
    runOnly: {type: "tag", values: %s}, rules: {"target-size": {enabled: true}},
    resultTypes: ["violations"], preload: %s,
}).then(found => found.violations.map(violation =>
    violation.id + " (" + violation.help + ")" + violation.nodes.slice(0, 5).map(
        node => "\\n    " + node.html.slice(0, 200) + "\\n        " + node.any.concat(node.all, node.none).map(
            check => check.message).join("; ")).join("")))
"""
NO_TIMERS: Final = (
    "globalThis.setTimeout = (does, after, ...given) => { queueMicrotask(() => does(...given)); "
    "return 1 }; 0"
)
"""Where scripts are off, the browser's own timers never end, and axe-core waits for some of no time
at all.
"""
REPORT: Final = """
document.addEventListener("securitypolicyviolation", event => pypidReports(
    event.effectiveDirective + " stopped " + (event.blockedURI || event.sample || "something") + " at " + event.sourceFile));
"""
WIDEST: Final = """
() => {
    const limit = innerWidth, page = document.scrollingElement;
    if (page.scrollWidth <= limit) return "";
    const wide = [...document.querySelectorAll("body *")].filter(each => each.getBoundingClientRect().right > limit + 1);
    return page.scrollWidth + " px: " + wide.slice(0, 6).map(each => each.outerHTML.slice(0, 120)).join(" | ");
}
"""


@frozen
class Look:
    """Theme, window size and scripts of a visit."""

    theme: str = "light"
    width: str = "wide"
    scripts: bool = True


@functools.cache
def chromium() -> "Browser":
    """The browser of this process; ends with it. Skips by name where it cannot be had, and fails
    where CI is set.
    """
    program = shutil.which("chromium")
    missing = [
        *(["chromium: apt install chromium"] if program is None else []),
        *(["playwright: pip install .[test]"] if sync_playwright is None else []),
    ]
    if missing:
        said = "not on this machine: " + ", ".join(missing)
        if in_ci():
            raise Unavailable(said)
        raise SkipTest(said)
    playwright = sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        with _loop(loop):
            browser.close()
            playwright.stop()

    atexit.register(stop)
    expect.set_options(timeout=PATIENCE)
    asyncio._set_running_loop(None)
    _LOOPS.append(loop)
    return browser


_LOOPS: list[asyncio.AbstractEventLoop] = []


@contextmanager
def _loop(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Playwright's loop is said to run. It does so between its calls, too, where other tests must
    not find it.
    """
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


@define(eq=False, slots=False)  # Playwright writes into whose methods it calls
class Watch:
    """What must not happen in a window."""

    origin: str
    faults: list[str] = Factory(list)
    expected: set[int] = Factory(set)
    """Statuses of pages that say no, as they should."""

    def over(self, context: "BrowserContext") -> None:
        """See all that happens there."""
        context.on("console", self.said)
        context.on("dialog", self.asked)
        context.on("weberror", lambda error: self.faults.append(f"a script failed: {error.error}"))
        context.on("request", lambda request: self.goes(request.url))
        context.on("response", self.answered)
        context.expose_binding(
            "pypidReports", lambda source, text: self.faults.append(f"{source['page'].url}: {text}")
        )
        context.add_init_script(REPORT)

    def asked(self, dialog: Any) -> None:
        """alert() and its like; and the browser's own question of who leaves a page that has
        something under way.
        """
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        self.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def said(self, message: "ConsoleMessage") -> None:
        """The console has a word for each answer that is an error, too; which of those may be, the
        test knows.
        """
        status = re.search(r"responded with a status of (\d+)", message.text)
        if status is not None and int(status[1]) in self.expected:
            return
        if message.type == "error" or "Content Security Policy" in message.text:
            self.faults.append(f"the console: {message.text} ({message.location.get('url')})")

    def goes(self, url: str) -> None:
        """Only to pypid."""
        if not url.startswith((self.origin + "/", "blob:" + self.origin)):
            self.faults.append(f"a request to {url[:200]}")

    def answered(self, response: "Response") -> None:
        """Never with an error of pypid's own."""
        if response.status >= 500 and response.status not in self.expected:
            self.faults.append(f"{response.status} for {response.request.method} {response.url}")


class SiteTestCase(IndexTestCase):
    """Journeys through the site of the shared pypid."""

    def setUp(self) -> None:
        self.browser = chromium()
        super().setUp()
        self.entered(_loop(_LOOPS[0]))
        self.watches: list[Watch] = []
        self.steps = 0
        self.addCleanup(self.nothing_amiss)

    def nothing_amiss(self) -> None:
        """In no window of the test."""
        self.none_of([fault for watch in self.watches for fault in watch.faults])

    def none_of(self, faults: list[str]) -> None:
        """Fail with all of them."""
        if faults:
            self.fail("\n".join([f"{len(faults)} faults:", *faults]))

    def visit(self, look: Look, path: str = "/", user: str | None = None) -> "Page":
        """A window of a browser that was never here, at `path`; `user` logs in first."""
        width, height = SIZES[look.width]
        context = self.browser.new_context(
            color_scheme="dark" if look.theme == "dark" else "light",
            viewport={"width": width, "height": height},
            java_script_enabled=look.scripts,
            base_url=self.index.url("/"),
            reduced_motion="reduce",
            locale="en-GB",
            accept_downloads=True,
        )
        self.addCleanup(context.close)
        context.set_default_timeout(PATIENCE)
        watch = Watch(self.index.url("").rstrip("/"))
        watch.over(context)
        self.watches.append(watch)
        page = context.new_page()
        if user is not None:
            self.log_in(page, user)
        page.goto(path)
        return page

    def log_in(self, page: "Page", user: str, password: str | None = None) -> None:
        """In a moment, without the form."""
        said = {"user": user, "password": PASSWORDS[user] if password is None else password}
        answer = page.request.post("/api/session", data=said)
        self.assertEqual(answer.status, 200, answer.text())

    def expects(self, *statuses: int) -> None:
        """Pages of the last window may have these."""
        self.watches[-1].expected.update(statuses)

    def looks_well(self, page: "Page", look: Look, step: str = "") -> None:
        """Nothing that axe-core finds, no scrolling sideways; and with a name for it a picture."""
        if step:
            self.picture(page, look, step)
        found = faults_of(page, scripts=look.scripts)
        self.none_of([f"{page.url} ({look.theme}, {look.width}): {fault}" for fault in found])

    def picture(self, page: "Page", look: Look, step: str, *, numbered: bool = True) -> Path:
        """Of the whole page, in a file that is named by module, journey, step and look."""
        self.steps += 1
        room = type(self).__module__.rpartition(".")[2].removeprefix("test_site_")
        journey = re.sub("^test_|_(light|dark)_(wide|phone).*$", "", self._testMethodName)
        number = f"{self.steps:02}-" if numbered else ""
        scripts = "" if look.scripts else "-plain"
        path = (
            SCREENSHOTS / f"{room}-{journey}-{number}{step}-{look.theme}-{look.width}{scripts}.png"
        )
        page.screenshot(path=path, full_page=True)
        return path


def faults_of(page: "Page", *, scripts: bool = True) -> list[str]:
    """What axe-core finds, and what makes the page scroll sideways."""
    return [*violations(page, scripts=scripts), *sideways(page)]


def sideways(page: "Page") -> list[str]:
    """What makes the page scroll sideways."""
    wide = page.evaluate(WIDEST)
    return [f"it scrolls sideways: {wide}"] if wide else []


def violations(page: "Page", *, scripts: bool = True) -> list[str]:
    """What axe-core finds. It runs in a world of its own, where the page's scripts and its policy
    do not reach.
    """
    devtools = page.context.new_cdp_session(page)
    try:
        frame = devtools.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
        world = devtools.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"})[
            "executionContextId"
        ]
        asked = {"contextId": world, "awaitPromise": True, "returnByValue": True}
        for source in (*(() if scripts else (NO_TIMERS,)), _axe_source()):
            devtools.send("Runtime.evaluate", {"contextId": world, "expression": source})
        answer = devtools.send(
            "Runtime.evaluate",
            {**asked, "expression": ASK_AXE % (list(RULES), str(scripts).lower())},
        )
    finally:
        devtools.detach()
    if "exceptionDetails" in answer:
        raise AssertionError(str(answer["exceptionDetails"]))
    return list(answer["result"]["value"])


@functools.cache
def _axe_source() -> str:
    return axe().read_text() + ";0"

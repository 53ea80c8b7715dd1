"""What somebody is told whose files do not arrive: each file has its own word for it, and can be
sent again.
"""

import time
from typing import TYPE_CHECKING

from tests.live.browser import TWO_LOOKS, Look, SiteTestCase, expect
from tests.live.daemon import LiveIndex, for_each
from tests.live.projects import Artifact, listed
from tests.live.site_content import published, stocked

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

DROP_FOLDER = """
() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(["x"], "dist"));
    const entry = {isDirectory: true};
    const item = {kind: "file", webkitGetAsEntry: () => entry, getAsFile: () => transfer.files[0]};
    const event = new DragEvent("drop", {bubbles: true, cancelable: true});
    Object.defineProperty(event, "dataTransfer", {value: {files: transfer.files, items: [item], types: ["Files"]}});
    document.querySelector("main").dispatchEvent(event);
    return event.defaultPrevented;
}
"""


class UploadTroubleTests(SiteTestCase):
    """alice, who has chosen files."""

    def start(self) -> LiveIndex:
        return stocked()

    def choose(self, page: "Page", *files: Artifact) -> None:
        """Send them."""
        page.get_by_label("Wheel or sdist").set_input_files(
            [file.into(self.folder) for file in files]
        )
        page.get_by_role("button", name="Publish", exact=True).click()

    @for_each(*TWO_LOOKS)
    def answers(self, words: str) -> None:
        """A lost connection and the refusals of servers on the way are told in words, and each file
        can be tried again.
        """
        look, project = Look.of(words), f"trouble-{words.replace(' ', '-')}"
        page, file = (
            self.visit(look, "/upload", user="alice"),
            published(f"trouble-{words.replace(' ', '-')}"),
        )
        answers: list[int] = [0, 413, 507, 503, 502, 401, 418]
        self.expects(*answers)
        left = list(answers)

        def answer(route: "Route") -> None:
            if route.request.method != "POST" or not left:
                route.continue_()
            elif status := left.pop(0):
                route.fulfill(status=status, body="<h1>No</h1>", content_type="text/html")
            else:
                route.abort("connectionreset")

        page.route("**/upload", answer)
        self.choose(page, file)
        for status, told in zip(
            answers,
            (
                "connection was lost",
                "too large",
                "no space left",
                "busy",
                "behind its proxy",
                "not logged in",
                "HTTP 418",
            ),
            strict=True,
        ):
            expect(page.locator("#uploads")).to_contain_text(told)
            expect(page.get_by_text("0 of 1 file published, 1 not published.")).to_be_visible()
            if status in (0, 507):
                self.looks_well(page, look, f"answer-{status}")
            page.get_by_role("button", name=f"Try again: {file.filename}").click()
        expect(page.get_by_text("1 of 1 file published.")).to_be_visible()
        self.assertEqual(listed(self.index, project), [file.filename])
        self.watches[-1].faults[:] = [
            fault for fault in self.watches[-1].faults if "ERR_CONNECTION_RESET" not in fault
        ]

    def test_two_at_once(self) -> None:
        """Of many files two are under way at once, each in a request of its own."""
        page = self.visit(Look(), "/upload", user="alice")
        held: list[Route] = []
        page.route(
            "**/upload", lambda route: held.append(route)
        )  # Playwright writes into what it calls
        files = [published("at-once", f"{number}.0") for number in range(5)]
        self.choose(page, *files)
        for done in range(5):
            expect(page.get_by_text(f"{done} of 5 files published")).to_be_visible()
            deadline = time.monotonic() + 10
            while len(held) < min(2, 5 - done) and time.monotonic() < deadline:
                page.wait_for_timeout(10)  # the next one is sent after the text has changed
            self.assertEqual(len(held), min(2, 5 - done))
            held.pop(0).continue_()
        expect(page.get_by_text("5 of 5 files published.")).to_be_visible()
        self.assertEqual(len(listed(self.index, "at-once")), 5)

    def test_hints(self) -> None:
        """What cannot be a distribution is told so before it is sent, and can be sent all the same;
        a folder cannot.
        """
        page = self.visit(Look(), "/upload", user="alice")
        self.expects(400)
        self.choose(
            page,
            Artifact("notes.pdf", b"x"),
            Artifact("hints-1.0.tar.gz.asc", b"x"),
            Artifact("hints-1.0.zip", b""),
        )
        main = page.get_by_role("main")
        for told in ("is not a distribution", "PGP signatures are not stored", "is empty"):
            expect(main).to_contain_text(told)
        self.assertTrue(page.evaluate(DROP_FOLDER))
        expect(main).to_contain_text("This is a folder")
        self.looks_well(page, Look(), "hints")
        page.get_by_role("button", name="Send it all the same: notes.pdf").click()
        expect(main).to_contain_text("it ends neither in .whl")
        expect(page.get_by_text("0 of 4 files published, 4 not published.")).to_be_visible()

"""Publishing by the site, as somebody does it who would rather not read a manual: a token for
twine, files dropped, a yank.
"""

import random
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from tests.live.asking import ask, basic
from tests.live.browser import ALL_LOOKS, Look, SiteTestCase, expect
from tests.live.clients import client
from tests.live.daemon import LiveIndex, for_each
from tests.live.isolation import fails, works
from tests.live.projects import Artifact, listed, publish
from tests.live.projects import page as simple
from tests.live.site_content import published, stocked

if TYPE_CHECKING:
    pass

DROP = """
async ([name, data]) => {
    const transfer = new DataTransfer(), bytes = Uint8Array.from(atob(data), each => each.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const target = document.querySelector("main form");
        target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }
}
"""


class PublishingTests(SiteTestCase):
    """alice, who may publish."""

    def start(self) -> LiveIndex:
        return stocked()

    def own(self, words: str, what: str) -> str:
        """A project of this test alone."""
        return f"{what}-{words.replace(' ', '-')}"

    @for_each(*ALL_LOOKS)
    def token(self, words: str) -> None:
        """A token that is made in the page publishes with twine; it is shown once, and revoked it
        is good for nothing.
        """
        look, project = Look.of(words), self.own(words, "token")
        page = self.visit(look, "/account/", user="alice")
        self.looks_well(page, look, "account")
        page.get_by_label("Name", exact=True).fill(project)
        page.get_by_label("read", exact=True).uncheck()
        page.get_by_label("publish", exact=True).check()
        page.get_by_role("textbox", name="Projects").fill("token-*")
        page.get_by_role("button", name="Create token").click()
        shown = page.get_by_label("The token", exact=True)
        expect(shown).to_be_visible()
        secret = shown.inner_text().strip()
        self.assertRegex(secret, "^pypi-[A-Za-z0-9_-]{43}$")
        self.looks_well(page, look)  # a picture would show the secret
        path = published(project).into(self.folder)
        line = [client("twine"), "upload", "--non-interactive", "--disable-progress-bar"]
        line += ["--repository-url", self.index.url("/legacy/"), "-u", "__token__", "-p", secret]
        works([*line, path], self.folder)
        page.goto("/account/")
        self.assertNotIn(secret, page.content())
        row = page.get_by_role("row").filter(has_text=project)
        expect(row.get_by_text("usable")).to_be_visible()
        self.picture(page, look, "made")
        row.get_by_text("Revoke …").click()
        page.get_by_role("button", name=f"Revoke the token {project}").click()
        expect(row.get_by_text("revoked", exact=True)).to_be_visible()
        self.looks_well(page, look, "revoked")
        self.assertIn(
            "was revoked", fails([*line, published(project, "2.0").into(self.folder)], self.folder)
        )
        page.goto(f"/project/{project}/")
        expect(page.get_by_role("heading", name=project)).to_be_visible()

    @for_each(*ALL_LOOKS)
    def upload(self, words: str) -> None:
        """Files are chosen or dropped, one without scripts; what was wrong with one is said with
        all its reasons, and the others are published.
        """
        look, project = Look.of(words), self.own(words, "upload")
        page = self.visit(look, user="alice")
        page.get_by_role("link", name="Upload", exact=True).click()
        self.looks_well(page, look, "empty")
        good, other = published(project), published(project, "1.1")
        bad = Artifact(published(project, "2.0").filename, published(project, "3.0").data)
        self.expects(400)
        for file in (good, bad):
            page.get_by_label("Wheel or sdist").set_input_files(file.into(self.folder))
            page.get_by_role("button", name="Publish", exact=True).click()
            if file is good:
                expect(page.get_by_role("link", name=f"{project} 1.0")).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text(
            "the metadata in the file says version 3.0, its name says 2.0"
        )
        self.looks_well(page, look, "one-of-two")
        self.assertEqual(listed(self.index, project), [good.filename])
        if look.scripts:
            page.evaluate(DROP, [other.filename, b64encode(other.data).decode()])
            expect(page.get_by_text("2 of 3 files published")).to_be_visible()
            self.looks_well(page, look, "dropped")
            self.assertEqual(listed(self.index, project), [good.filename, other.filename])
            page.get_by_role("link", name=f"{project} 1.0").click()
        else:
            page.goto(f"/project/{project}/1.0/")
        expect(page.get_by_role("heading", level=1)).to_contain_text(project)

    def test_progress(self) -> None:
        """While a large file is on its way its progress is told."""
        page = self.visit(Look(), "/upload", user="alice")
        slow = page.context.new_cdp_session(page)
        speed = {
            "offline": False,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": 300_000,
        }
        slow.send("Network.enable")
        slow.send("Network.emulateNetworkConditions", speed)
        large = published("slow-upload", files={"slow.bin": random.Random(0).randbytes(500_000)})
        page.get_by_label("Wheel or sdist").set_input_files(large.into(self.folder))
        page.get_by_role("button", name="Publish", exact=True).click()
        expect(page.get_by_role("progressbar")).to_be_visible()
        slow.send("Network.emulateNetworkConditions", {**speed, "uploadThroughput": -1})
        expect(page.get_by_text("1 of 1 file published")).to_be_visible()

    @for_each(*ALL_LOOKS)
    def yank(self, words: str) -> None:
        """A release is yanked with a reason, which the page and installers are told, and taken
        back.
        """
        look, project = Look.of(words), self.own(words, "yank")
        publish(self.index, published(project), published(project, "2.0"))
        page = self.visit(look, f"/project/{project}/", user="alice")
        page.get_by_role("link", name="Settings").click()
        self.looks_well(page, look, "settings")
        page.get_by_role("row").get_by_role("link", name="2.0").click()
        whole = page.get_by_role("region", name="Entire release").or_(page.locator("section").first)
        whole.get_by_label("Reason").fill("Eggs <b>were</b> bad.")
        whole.get_by_role("button", name="Yank release").click()
        expect(page.get_by_role("main").get_by_role("status")).to_be_visible()
        self.looks_well(page, look, "yanked")
        yanked = {
            file["filename"]: file.get("yanked") for file in simple(self.index, project)["files"]
        }
        self.assertEqual(list(yanked.values()), [False, "Eggs <b>were</b> bad."])
        page.goto(f"/project/{project}/2.0/")
        expect(page.locator(".notice", has_text="This release was yanked")).to_contain_text(
            "Eggs <b>were</b> bad."
        )
        self.looks_well(page, look, "told")
        page.go_back()
        page.get_by_role("button", name="Un-yank").first.click()
        expect(page.get_by_role("main").get_by_role("status")).to_be_visible()
        self.assertFalse(any(file.get("yanked") for file in simple(self.index, project)["files"]))

    @for_each("light phone", "dark wide", "light wide plain")
    def delete(self, words: str) -> None:
        """What cannot be undone wants its name typed first; a wrong one deletes nothing."""
        look, project = Look.of(words), self.own(words, "delete")
        publish(self.index, published(project), user="admin")
        page = self.visit(look, f"/project/{project}/-/settings", user="admin")
        button, word = (
            page.get_by_role("button", name="Delete project"),
            page.get_by_label("To delete it permanently, type"),
        )
        word.fill(project[:-1])
        if look.scripts:
            expect(button).to_be_disabled()
        else:
            self.expects(400)
            button.click()
            expect(page.get_by_role("alert")).to_be_visible()
            self.looks_well(page, look, "refused")
        self.assertEqual(len(listed(self.index, project)), 1)
        word.fill(project)
        button.click()
        expect(page.get_by_role("main").get_by_role("status")).to_be_visible()
        self.looks_well(page, look, "deleted")
        self.assertEqual(self.simple_status(project), [])

    def simple_status(self, project: str) -> Any:
        """The files that the project has; none of one that has nothing left."""
        answer = ask(self.index.port, f"/api/projects/{project}", basic("admin"))
        return answer.json["files"] if answer.status == 200 else []

    @for_each("dark phone", "light wide plain")
    def status(self, words: str) -> None:
        """A project is archived by an administrator, takes no uploads then, and says so."""
        look, project = Look.of(words), self.own(words, "status")
        publish(self.index, published(project))
        page = self.visit(look, f"/project/{project}/-/settings", user="admin")
        page.get_by_label("Archived").check()
        page.get_by_label("Reason").last.fill("The kitchen is closed.")
        page.get_by_role("button", name="Set status").click()
        expect(page.get_by_role("main").get_by_role("status")).to_be_visible()
        page.goto(f"/project/{project}/")
        expect(page.get_by_role("main")).to_contain_text("The kitchen is closed.")
        self.looks_well(page, look, "archived")
        self.assertEqual(simple(self.index, project)["project-status"]["status"], "archived")

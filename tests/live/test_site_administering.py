"""What an administrator does in the pages: a right for a group, of which somebody else has the good
at once, and a rebuild.
"""

import re
from typing import TYPE_CHECKING

from tests.live.asking import ask, basic
from tests.live.browser import ALL_LOOKS, Look, SiteTestCase, expect
from tests.live.daemon import PASSWORDS, LiveIndex, for_each
from tests.live.projects import listed, publish
from tests.live.site_content import does, published, stocked

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def main(page: "Page") -> "Locator":
    """Where the page itself is, without its head and foot."""
    return page.get_by_role("main")


class AdministeringTests(SiteTestCase):
    """The admin, and others in windows of their own."""

    def start(self) -> LiveIndex:
        return stocked()

    @for_each(*ALL_LOOKS)
    def session(self, words: str) -> None:
        """A wrong password is told, and nothing else; the right one lets somebody in, who can go
        out again.
        """
        look = Look.of(words)
        page = self.visit(look, "/project/spam/")
        page.get_by_role("link", name="Log in").click()
        self.looks_well(page, look, "form")
        self.expects(403)
        for password in ("wrong", PASSWORDS["bob"]):
            page.get_by_label("User name").fill("bob")
            page.get_by_label("Password", exact=True).fill(password)
            main(page).get_by_role("button", name="Log in").click()
            if password == "wrong":
                expect(page.get_by_role("alert")).to_be_visible()
                expect(page.get_by_label("User name")).to_have_value("bob")
                expect(page.get_by_label("Password", exact=True)).to_have_value("")
                self.looks_well(page, look, "wrong")
        expect(page.get_by_role("link", name="bob", exact=True)).to_be_visible()
        self.looks_well(page, look, "in")
        page.get_by_role("button", name="Log out").click()
        site = page.get_by_role("navigation", name="Site")  # the text of the page has one, too
        expect(site.get_by_role("link", name="Log in", exact=True)).to_be_visible()
        self.looks_well(page, look, "out")

    @for_each(*ALL_LOOKS)
    def block(self, words: str) -> None:
        """After a block is created, the page says first that it is in force."""
        look, spec = Look.of(words), f"flawed-{words.replace(' ', '-')}==1.0"
        page = self.visit(look, "/manage/blocks", user="admin")
        main(page).get_by_label(re.compile("^What to block")).fill(spec)
        main(page).get_by_label("Reason").fill("It deletes files.")
        main(page).get_by_label("Type once more what to block").fill(spec)
        main(page).get_by_role("button", name="Create block").click()
        status = main(page).get_by_role("status")
        expect(status).to_contain_text(f"{spec} is blocked.")
        expect(status).to_contain_text("Copies outside pypid")
        self.looks_well(page, look, "blocked")

    @for_each(*ALL_LOOKS)
    def grant(self, words: str) -> None:
        """A group is given a right in the page: bob, who is in it, sees the project then, and no
        longer when it is gone.
        """
        look, project = Look.of(words), f"acme-{words.replace(' ', '-')}"
        publish(self.index, published(project, summary="For cooks"), user="admin")
        does(self.index, "PUT", f"/api/projects/{project}/rights/user/alice", {"right": "rw"})
        bob = self.visit(look, f"/search?q={project}", user="bob")
        self.expects(403)
        expect(main(bob).get_by_role("link", name=project)).to_have_count(0)
        bob.goto(f"/project/{project}/")
        expect(main(bob)).not_to_contain_text("For cooks")
        self.looks_well(bob, look, "bob-may-not")

        admin = self.visit(look, f"/project/{project}/", user="admin")
        admin.get_by_role("link", name="Rights", exact=True).click()
        self.looks_well(admin, look, "before")
        admin.get_by_role("combobox", name="To").select_option("group")
        admin.get_by_label("Name of the group or user").fill("kitchen")
        admin.get_by_role("button", name="Grant access").click()
        expect(main(admin).get_by_role("row").filter(has_text="kitchen")).to_be_visible()
        self.looks_well(admin, look, "given")

        bob.goto(f"/project/{project}/")
        expect(main(bob)).to_contain_text("For cooks")
        bob.goto(f"/search?q={project}")
        expect(main(bob).get_by_role("link", name=project)).to_be_visible()
        self.looks_well(bob, look, "bob-may")
        self.assertEqual(ask(self.index.port, f"/simple/{project}/", basic("bob")).status, 200)

        row = main(admin).get_by_role("row").filter(has_text="kitchen")
        row.get_by_text("Remove …").click()
        self.looks_well(admin, look, "to-be-removed")
        row.get_by_role("button").click()
        expect(row).to_have_count(0)
        bob.goto(f"/project/{project}/")
        expect(main(bob)).not_to_contain_text("For cooks")

    @for_each(*ALL_LOOKS)
    def rebuild(self, words: str) -> None:
        """Files that were dropped into the storage are taken in; how far it is, is told while it
        goes on.
        """
        look, project = Look.of(words), f"dropped-{words.replace(' ', '-')}"
        for version in ("1.0", "2.0"):
            published(project, version).into(self.index.storage / project)
        page = self.visit(look, "/manage/", user="admin")
        page.get_by_role("link", name="Storage").first.click()
        self.looks_well(page, look, "storage")
        main(page).get_by_role("button", name="Rebuild").click()
        expect(page.get_by_role("log", name="Progress")).to_contain_text("Listing the storage.")
        expect(page.get_by_role("heading", name="Done")).to_be_visible()
        expect(main(page)).to_contain_text(published(project, "2.0").filename)
        self.looks_well(page, look, "done")
        self.assertEqual(len(listed(self.index, project)), 2)

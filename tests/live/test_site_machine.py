"""The administration of the machine, in a browser: rebuild as it goes on, check, purge,
the log's level, why.
"""

import os
import re

from tests.live.browser import TWO_LOOKS, Look, SiteTestCase, expect
from tests.live.daemon import LiveIndex, Settings, for_each, shared
from tests.live.projects import wheel


class MachineTests(SiteTestCase):
    """What an administrator does when something is odd."""

    def start(self) -> LiveIndex:
        return shared(Settings(access="backend = config sql", server="# machine"))

    @for_each(*TWO_LOOKS, "light wide plain")
    def rebuild(self, words: str) -> None:
        """Files that somebody has put into the storage are taken in, and the page tells of them,
        and of one that cannot be; a check says what is wrong, and removes nothing without the word.
        """
        look, project = Look.of(words), f"hand-{words.replace(' ', '-')}"
        good, folder = wheel(project, "1.0"), self.index.storage / project
        folder.mkdir()
        (folder / good.filename).write_bytes(good.data)
        odd = folder / good.filename.replace("-1.0-", "-2.0-")
        odd.write_bytes(good.data)
        os.utime(odd, (0, 0))  # nobody can be publishing it just now
        page = self.visit(look, "/manage/", user="admin")
        self.looks_well(page, look, "overview")
        page.get_by_role("link", name="Storage", exact=True).click()
        self.looks_well(page, look, "storage")
        page.get_by_role("textbox", name=re.compile("^Project")).fill(project)
        page.get_by_role("button", name="Rebuild").click()
        expect(page.get_by_role("heading", name="Done")).to_be_visible()
        expect(page.locator("main")).to_contain_text("Imported")
        expect(page.locator("main")).to_contain_text("refused")
        self.looks_well(page, look, "rebuilt")
        page.goto(f"/project/{project}/")
        expect(page.locator("h1")).to_contain_text(project)
        page.goto("/manage/storage")
        page.get_by_label("Delete orphaned files").check()
        self.expects(400)
        page.get_by_role("button", name="Check").click()
        expect(page.locator("#problems")).to_contain_text("sweep")
        page.get_by_label("Delete orphaned files").uncheck()
        page.get_by_role("button", name="Check").click()
        expect(page.get_by_role("heading", name="Done")).to_be_visible()
        expect(page.locator("main")).to_contain_text("no-record")
        self.looks_well(page, look, "checked")

    @for_each(*TWO_LOOKS, "light wide plain")
    def rest(self, words: str) -> None:
        """What is kept is taken away, the log is written from another level on, and any name is
        asked why it is as it is.
        """
        look = Look.of(words)
        page = self.visit(look, "/manage/upstream", user="admin")
        self.looks_well(page, look, "upstream")
        page.get_by_role("textbox", name="Project", exact=True).fill("nothing")
        page.get_by_role("button", name="Delete cached files").first.click()
        expect(page.locator("main")).to_contain_text("There were no cached files to delete.")
        self.looks_well(page, look, "purged")
        page.goto("/manage/configuration")
        self.looks_well(page, look, "configuration")
        page.get_by_label("New level").select_option("debug")
        page.get_by_role("button", name="Change level").click()
        expect(page.locator("main")).to_contain_text("the configuration says info")
        page.get_by_label("New level").select_option("default")
        page.get_by_role("button", name="Change level").click()
        expect(page.locator("main")).not_to_contain_text("the configuration says info")
        page.goto("/manage/")
        page.get_by_role("textbox", name="Project name").fill("Some.Thing")
        page.get_by_role("button", name="Explain").click()
        expect(page).to_have_url(re.compile("/project/some-thing/-/why$"))
        self.looks_well(page, look, "why")

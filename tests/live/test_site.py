"""Five journeys through the site in a real browser: a newcomer, an uploader, an administrator, a
reader without rights, and a look at every page on a phone and with a keyboard alone.

What a page says is tested in `tests.web.ui`; here is what needs a browser: scripts, the policy that
confines them, sizes, contrast and focus.
"""

import functools
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from tests.live.asking import ask, bearer
from tests.live.browser import Look, SiteTestCase, expect
from tests.live.clients import ROOT
from tests.live.crawler import Crawl, all_kinds, seen_by_all
from tests.live.daemon import PASSWORDS, LiveIndex, Settings, shared
from tests.live.isolation import fails, twine, works
from tests.live.projects import Artifact, listed, publish
from tests.live.projects import page as simple
from tests.live.site_content import does, published, stocked

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

PHONE: Final = Look("dark", "phone")
WIDE: Final = Look()
ADVISORIES: Final = ROOT / "tests/live/data/advisories"
BEGINNINGS: Final = ("/", "/project/theirs/", "/search?source=upstream")
ENTRANCES: Final = {"/account/login", "/account/register"}
"""Pages without a link for a user who has logged in."""

DROP: Final = """
async ([name, data]) => {
    const transfer = new DataTransfer(), bytes = Uint8Array.from(atob(data), each => each.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const target = document.querySelector("main form");
        target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }
}
"""
REACHABLE: Final = """
() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
    .filter(each => !each.disabled && each.tabIndex >= 0 && (each.type !== "radio" || each.checked))
    .filter(each => each.checkVisibility({visibilityProperty: true}) && each.getBoundingClientRect().width > 0)
    .map((each, number) => (each.dataset.number = number, each.outerHTML.slice(0, 150)))
"""
FOCUSED: Final = """
() => {
    const each = document.activeElement;
    if (!each || each === document.body) return null;
    const style = getComputedStyle(each), box = each.getBoundingClientRect();
    return {
        number: each.dataset.number === undefined ? -1 : Number(each.dataset.number),
        html: each.outerHTML.slice(0, 150),
        seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
        inside: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    };
}
"""
MOST_TABS: Final = 400


@functools.cache
def crawled() -> LiveIndex:
    """A pypid with advisories, a named index and a right on a glob, too."""
    index = stocked(f"[advisories]\nown = {ADVISORIES}\n")
    does(index, "POST", "/api/indexes", {"name": "team", "values": {}})
    does(index, "PUT", "/api/rights/acme-data-*/user/alice", {"right": "rw"})
    return index


def main(page: "Page") -> "Locator":
    """The page without its head and foot."""
    return page.get_by_role("main")


def enters(page: "Page", user: str, password: str) -> None:
    """Log in by the form."""
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password", exact=True).fill(password)
    main(page).get_by_role("button", name="Log in").click()


def chooses(page: "Page", *paths: Any) -> None:
    """Choose the files in the form, and send them."""
    page.get_by_label("Wheel or sdist").set_input_files(paths)
    page.get_by_role("button", name="Publish", exact=True).click()


class NewcomerTests(SiteTestCase):
    """An index with invitations and a captcha."""

    def start(self) -> LiveIndex:
        return shared(Settings(access="backend = config sql\nregistration = token\ncaptcha = yes"))

    def test_newcomer(self) -> None:
        """The link of an invitation fills the form, and is in no address that pypid was sent; the
        browser solves the captcha. The new user logs in, and has a token that is good until it is
        revoked.
        """
        admin = self.visit(PHONE, "/manage/users", user="admin")
        admin.get_by_role("button", name="Create invitation").click()
        self.looks_well(admin, PHONE, "invitation")
        link = admin.locator("pre").first.text_content() or ""
        self.assertIn("#invitation=pypid-invitation-", link)
        page = self.visit(PHONE, link[link.index("/account/") :])
        self.assertNotIn("#", page.url)
        page.get_by_label("User name").fill("eve")
        page.get_by_label("Password", exact=True).fill("kiwi-secret-7")
        page.get_by_label("Repeat password").fill("kiwi-secret-7")
        self.looks_well(page, PHONE, "captcha")
        page.get_by_role("button", name="Create account").click()
        page.wait_for_url("**/account/login?done=registered", timeout=60_000)
        self.expects(403, 400)
        enters(page, "eve", "wrong")
        expect(page.locator("#problems")).to_contain_text("wrong")
        self.looks_well(page, PHONE, "wrong")
        enters(page, "eve", "kiwi-secret-7")
        page.get_by_role("link", name="eve").click()
        page.get_by_role("textbox", name="Name").fill("laptop")
        page.get_by_role("button", name="Create token").click()
        self.looks_well(page, PHONE)  # a picture would show the secret
        secret = page.locator("pre").first.text_content() or ""
        self.assertEqual(ask(self.index.port, "/api/me", bearer(secret)).json["user"], "eve")
        page.get_by_role("link", name="Back to your account").click()
        self.assertNotIn(secret, page.content())
        page.get_by_text("Revoke …").first.click()
        page.get_by_role("button", name="Revoke the token laptop").first.click()
        expect(page.locator("main .notice", has_text="revoked").first).to_be_visible()
        self.assertEqual(ask(self.index.port, "/api/me", bearer(secret)).status, 401)
        page.get_by_role("button", name="Log out").click()
        site = page.get_by_role("navigation", name="Site")  # the text of the page has one, too
        expect(site.get_by_role("link", name="Log in", exact=True)).to_be_visible()

    def test_without_scripts(self) -> None:
        """Without scripts the page says how to get an account otherwise."""
        page = self.visit(Look(scripts=False), "/account/register")
        expect(page.locator("noscript p")).to_contain_text("ask an administrator")
        expect(page.locator("noscript p")).to_be_visible()


class UploaderTests(SiteTestCase):
    """alice, who may publish."""

    def start(self) -> LiveIndex:
        return stocked()

    def test_uploader(self) -> None:
        """Files are chosen and dropped; the reason why one is refused is shown, and the others are
        published. A release is yanked with a reason that installers see.
        """
        page = self.visit(WIDE, user="alice")
        page.get_by_role("link", name="Upload", exact=True).click()
        self.looks_well(page, WIDE, "empty")
        good, other = published("chosen"), published("chosen", "1.1")
        bad = Artifact(published("chosen", "2.0").filename, published("chosen", "3.0").data)
        self.expects(400)
        chooses(page, good.into(self.folder), bad.into(self.folder))
        expect(page.get_by_role("link", name="chosen 1.0")).to_be_visible()
        expect(main(page)).to_contain_text(
            "the metadata in the file says version 3.0, its name says 2.0"
        )
        page.evaluate(DROP, [other.filename, b64encode(other.data).decode()])
        expect(page.get_by_text("2 of 3 files published")).to_be_visible()
        self.looks_well(page, WIDE, "dropped")
        self.assertEqual(listed(self.index, "chosen"), [good.filename, other.filename])
        page.goto("/project/chosen/-/settings")
        page.get_by_role("row").get_by_role("link", name="1.1").click()
        whole = page.get_by_role("region", name="Entire release").or_(page.locator("section").first)
        whole.get_by_label("Reason").fill("Eggs <b>were</b> bad.")
        whole.get_by_role("button", name="Yank release").click()
        expect(main(page).get_by_role("status")).to_be_visible()
        self.looks_well(page, WIDE, "yanked")
        yanked = [file.get("yanked") for file in simple(self.index, "chosen")["files"]]
        self.assertEqual(yanked, [False, "Eggs <b>were</b> bad."])

    def test_token(self) -> None:
        """A token of the page publishes with twine, and no longer once it is revoked."""
        page = self.visit(WIDE, "/account/", user="alice")
        page.get_by_label("Name", exact=True).fill("for-twine")
        page.get_by_label("publish", exact=True).check()
        page.get_by_role("button", name="Create token").click()
        secret = page.get_by_label("The token", exact=True).inner_text().strip()
        line = twine(self.index.url("/legacy/"), "__token__", secret)
        works([*line, published("by-token").into(self.folder)], self.folder)
        page.goto("/account/")
        row = page.get_by_role("row").filter(has_text="for-twine")
        row.get_by_text("Revoke …").click()
        page.get_by_role("button", name="Revoke the token for-twine").click()
        expect(row.get_by_text("revoked", exact=True)).to_be_visible()
        file = published("by-token", "2.0").into(self.folder)
        self.assertIn("was revoked", fails([*line, file], self.folder))

    def test_trouble(self) -> None:
        """A lost connection and refusals of servers between are told in words, and the file can be
        sent again.
        """
        page, file = self.visit(PHONE, "/upload", user="alice"), published("trouble")
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
        chooses(page, file.into(self.folder))
        for told in (
            *("connection was lost", "too large", "no space left", "busy", "behind its proxy"),
            *("not logged in", "HTTP 418"),
        ):
            expect(page.locator("#uploads")).to_contain_text(told)
            expect(page.get_by_text("0 of 1 file published, 1 not published.")).to_be_visible()
            page.get_by_role("button", name=f"Try again: {file.filename}").click()
        expect(page.get_by_text("1 of 1 file published.")).to_be_visible()
        self.looks_well(page, PHONE, "sent-again")
        self.watches[-1].faults[:] = [
            fault for fault in self.watches[-1].faults if "ERR_CONNECTION_RESET" not in fault
        ]

    def test_without_scripts(self) -> None:
        """Without scripts one file is published, and another one is refused with the reason."""
        plain = Look(scripts=False)
        page = self.visit(plain, "/upload", user="alice")
        self.expects(400)
        chooses(page, published("plain").into(self.folder))
        expect(page.get_by_role("link", name="plain 1.0")).to_be_visible()
        odd = Artifact(published("plain", "2.0").filename, published("plain", "3.0").data)
        chooses(page, odd.into(self.folder))
        expect(main(page)).to_contain_text("its name says 2.0")
        self.looks_well(page, plain, "refused")


class AdministratorTests(SiteTestCase):
    """The admin, and others in windows of their own."""

    def start(self) -> LiveIndex:
        return stocked()

    def test_administrator(self) -> None:
        """A registration is approved; a group is given a right, and its user sees the project until
        the right is removed.
        """
        eve = self.visit(WIDE, "/account/register")
        for label, text in (
            ("User name", "mallory"),
            ("Password", "kiwi-secret-7"),
            ("Repeat password", "kiwi-secret-7"),
        ):
            eve.get_by_label(label, exact=True).fill(text)
        eve.get_by_role("button", name="Create account").click()
        expect(eve.locator("main .notice", has_text="approved").first).to_be_visible()
        admin = self.visit(WIDE, "/manage/users", user="admin")
        self.looks_well(admin, WIDE, "pending")
        admin.get_by_role("button", name="Approve mallory").click()
        enters(eve, "mallory", "kiwi-secret-7")
        publish(self.index, published("acme-cooks", summary="For cooks"), user="admin")
        does(self.index, "PUT", "/api/projects/acme-cooks/rights/user/alice", {"right": "rw"})
        does(self.index, "PUT", "/api/groups/kitchen/members/mallory")
        self.watches[0].expected.add(403)
        eve.goto("/project/acme-cooks/")
        expect(main(eve)).not_to_contain_text("For cooks")
        admin.goto("/project/acme-cooks/-/rights")
        admin.get_by_role("combobox", name="To").select_option("group")
        admin.get_by_label("Name of the group or user").fill("kitchen")
        admin.get_by_role("button", name="Grant access").click()
        row = main(admin).get_by_role("row").filter(has_text="kitchen")
        expect(row).to_be_visible()
        self.looks_well(admin, WIDE, "granted")
        eve.goto("/project/acme-cooks/")
        expect(main(eve)).to_contain_text("For cooks")
        row.get_by_text("Remove …").click()
        row.get_by_role("button").click()
        expect(row).to_have_count(0)
        eve.goto("/project/acme-cooks/")
        expect(main(eve)).not_to_contain_text("For cooks")

    def test_indexes(self) -> None:
        """An index is created; the list of indexes is filtered and left by the keyboard alone."""
        page = self.visit(WIDE, "/manage/indexes", user="admin")
        main(page).get_by_label("Name Lowercase letters").fill("new-one")
        main(page).get_by_role("button", name="Create index").click()
        expect(main(page).get_by_role("status")).to_contain_text("was created")
        self.looks_well(page, WIDE, "created")
        page.goto("/")
        page.get_by_text("Indexes", exact=True).focus()
        page.keyboard.press("Enter")
        lines = page.get_by_role("list", name="Indexes").get_by_role("link")
        expect(lines.first).to_be_visible()
        page.keyboard.press("Escape")
        expect(lines.first).to_be_hidden()
        expect(page.get_by_text("Indexes", exact=True)).to_be_focused()


class MobileTests(SiteTestCase):
    """Every page, 320 pixels wide and 1280, in both themes, and without a mouse."""

    def start(self) -> LiveIndex:
        return crawled()

    def test_every_page(self) -> None:
        """All that an administrator can click on is there. axe-core finds nothing in any kind of
        page, and none scrolls sideways.
        """
        page = self.visit(Look(), user="admin")
        walk = Crawl(
            page, BEGINNINGS, lambda page, number: seen_by_all(self, page) if number == 1 else ()
        )
        walk.walk()
        self.none_of(walk.faults)
        self.assertEqual(all_kinds() - set(walk.kinds), {*ENTRANCES, "/manage/why"})

    def test_keyboard(self) -> None:
        """Tab first comes to a link past the menu, then to all that can be used, and shows where it
        is.
        """
        page, faults = self.visit(PHONE, user="admin"), list[str]()
        for path in ("/", "/project/spam/", "/upload", "/account/", "/manage/"):
            page.goto(path)
            faults += [f"{path}: {fault}" for fault in self.missed(page)]
        self.none_of(faults)
        page.goto("/project/spam/")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        inside = "() => document.querySelector('main').contains(document.activeElement)"
        self.assertTrue(page.evaluate(inside))

    def missed(self, page: "Page") -> list[str]:
        """What Tab does not reach, and what does not show that it was."""
        wanted = page.evaluate(REACHABLE)
        faults, reached = [], set[int]()
        for _ in range(MOST_TABS):
            page.keyboard.press("Tab")
            now: dict[str, Any] | None = page.evaluate(FOCUSED)
            if now is None:
                break
            reached.add(now["number"])
            faults += [] if now["seen"] else [f"no outline: {now['html']}"]
            faults += [] if now["inside"] else [f"not on the screen: {now['html']}"]
        else:
            return [f"no end after {MOST_TABS} times Tab"]
        return faults + [
            f"not reached: {html}" for number, html in enumerate(wanted) if number not in reached
        ]


class ReaderTests(SiteTestCase):
    """A visitor who has not logged in, or has no right."""

    def start(self) -> LiveIndex:
        return crawled()

    def test_reader(self) -> None:
        """Suggestions lead to a project by the keyboard. The page of results follows what is typed,
        and the README is formatted. A project without a right is not found, asks for a login, and
        says no to the wrong user.
        """
        page = self.visit(PHONE)
        box = page.get_by_role("combobox", name="Search projects")
        box.press_sequentially("spa", delay=20)
        expect(page.get_by_role("option").first).to_contain_text("spam")
        self.looks_well(page, PHONE, "suggestions")
        box.press("ArrowDown")
        box.press("Enter")
        page.wait_for_url("**/project/spam/")
        readme = page.locator(".readme")
        expect(readme.get_by_role("heading", name="Usage")).to_be_visible()
        self.looks_well(page, PHONE, "project")
        page.goto("/search")
        page.get_by_label("Names, summaries and keywords").press_sequentially("spam", delay=20)
        page.wait_for_url("**/search?q=spam")
        expect(page.locator("[data-found] li").first).to_contain_text("spam")
        page.get_by_text("Filters").click()
        page.get_by_label("Source").select_option("upstream")
        expect(page.locator("[data-count]")).to_have_text("0 projects")
        page.goto("/search?q=acme-secret")
        expect(main(page).get_by_role("listitem").get_by_role("link")).to_have_count(0)
        page.goto("/project/acme-secret/")
        self.assertIn("/account/login?next=", page.url)
        self.expects(403, 404)
        enters(page, "bob", PASSWORDS["bob"])
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        expect(main(page)).not_to_contain_text("Not for everybody")
        self.looks_well(page, PHONE, "refused")

    def test_no_closed_doors(self) -> None:
        """A visitor meets no link that leads to a page without the right to it."""
        walk = Crawl(self.visit(Look()), BEGINNINGS)
        walk.walk()
        self.none_of(walk.faults)
        self.assertEqual(ENTRANCES - set(walk.kinds), set())
        closed = [kind for kind in walk.kinds if kind.startswith(("/manage", "/upload"))]
        self.assertEqual(closed, [])

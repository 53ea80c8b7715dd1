"""People on the site, in a browser: an invitation and a riddle, tokens, rights, and each page that
only a form leads to.
"""

import re
from typing import TYPE_CHECKING

from tests.live.asking import ask, bearer
from tests.live.browser import TWO_LOOKS, Look, SiteTestCase, expect
from tests.live.daemon import PASSWORDS, LiveIndex, Settings, for_each, shared

if TYPE_CHECKING:
    from playwright.sync_api import Page

MANY = (*TWO_LOOKS, "light wide plain")
"""Both themes and both widths, and without scripts."""


def enters(page: "Page", user: str, password: str) -> None:
    """By the form."""
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def told(page: "Page", words: str) -> None:
    """The page says so at its top."""
    expect(page.locator("main .notice", has_text=words).first).to_be_visible()


class InvitedTests(SiteTestCase):
    """Where one registers by invitation, and robots are kept out."""

    def start(self) -> LiveIndex:
        return shared(Settings(access="backend = config sql\nregistration = token\ncaptcha = yes"))

    @for_each(*TWO_LOOKS)
    def registers(self, words: str) -> None:
        """The link of an invitation fills the form, the browser solves the riddle without a secure
        context or a worker, and whoever was invited logs in; the invitation was in no address that
        pypid was sent.
        """
        look, name = Look.of(words), f"eve-{words.replace(' ', '-')}"
        admin = self.visit(look, "/manage/users", user="admin")
        admin.get_by_role("button", name="Create invitation").click()
        self.looks_well(admin, look, "people-invitation")
        link = admin.locator("pre").first.text_content() or ""
        self.assertIn("#invitation=pypid-invitation-", link)
        page = self.visit(look, link[link.index("/account/") :])
        self.assertNotIn("#", page.url)
        self.assertRegex(
            page.get_by_label("Invitation").input_value(), r"\Apypid-invitation-[\w-]{20,}\Z"
        )
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password", exact=True).fill("kiwi-secret-7")
        page.get_by_label("Repeat password").fill("kiwi-secret-7")
        self.looks_well(page, look, "people-riddle")
        page.get_by_role("button", name="Create account").click()
        page.wait_for_url("**/account/login?done=registered", timeout=60_000)
        told(page, "Log in with it")
        enters(page, name, "kiwi-secret-7")
        expect(page.get_by_role("link", name=name)).to_be_visible()

    def test_without_scripts(self) -> None:
        """Without scripts the page says how to get an account otherwise."""
        page = self.visit(Look(scripts=False), "/account/register")
        expect(page.locator("noscript p")).to_contain_text("ask an administrator")
        expect(page.locator("noscript p")).to_be_visible()


class PeopleTests(SiteTestCase):
    """The rest."""

    def start(self) -> LiveIndex:
        return shared(Settings(access="backend = config sql\nregistration = approval"))

    @for_each(*MANY)
    def own(self, words: str) -> None:
        """A wrong password, the right one, a token that is shown once and holds, and is revoked;
        and out again.
        """
        look = Look.of(words)
        page = self.visit(look, "/account/")
        self.expects(403, 400)
        enters(page, "alice", "wrong")
        expect(page.locator("#problems")).to_contain_text("wrong")
        self.looks_well(page, look, "people-wrong")
        enters(page, "alice", PASSWORDS["alice"])
        expect(page).to_have_url(re.compile(r"/account/$"))
        page.get_by_role("textbox", name="Name").fill("laptop")
        page.get_by_label("read", exact=True).uncheck()
        page.get_by_role("button", name="Create token").click()
        expect(page.locator("#problems")).to_contain_text("Tick at least one")
        self.looks_well(page, look, "people-no-token")
        page.get_by_label("read", exact=True).check()
        page.get_by_role("button", name="Create token").click()
        self.looks_well(page, look, "people-token")
        secret = page.locator("pre").first.text_content() or ""
        self.assertEqual(self.known_by(secret), "alice")
        page.get_by_role("link", name="Back to your account").click()
        self.assertNotIn(secret, page.content())
        page.get_by_text("Revoke …").first.click()
        page.get_by_role("button", name="Revoke the token laptop").first.click()
        told(page, "revoked")
        self.assertIsNone(self.known_by(secret))
        self.looks_well(page, look, "people-account")
        page.get_by_role("button", name="Log out").click()
        site = page.get_by_role("navigation", name="Site")  # the text of the page has one, too
        expect(site.get_by_role("link", name="Log in", exact=True)).to_be_visible()

    def known_by(self, secret: str) -> str | None:
        """Who comes with the token; None for nobody."""
        answer = ask(self.index.port, "/api/me", bearer(secret))
        return answer.json["user"] if answer.status == 200 else None

    @for_each(*MANY)
    def administers(self, words: str) -> None:
        """A registration is approved, a right is given to a group that the person is in, the other
        one sees the project then; and the account is removed.
        """
        look, name = Look.of(words), f"eve-{words.replace(' ', '-')}"
        eve = self.visit(look, "/account/register")
        for label, text in (
            ("User name", name),
            ("Password", "kiwi-secret-7"),
            ("Repeat password", "kiwi-secret-7"),
        ):
            eve.get_by_label(label, exact=True).fill(text)
        eve.get_by_role("button", name="Create account").click()
        told(eve, "approved")
        admin = self.visit(look, "/manage/users", user="admin")
        self.looks_well(admin, look, "people-pending")
        admin.get_by_role("button", name=f"Approve {name}").click()
        enters(eve, name, "kiwi-secret-7")
        group = f"cooks-{name}"
        admin.goto("/manage/groups")
        admin.get_by_label("Name").last.fill(group)
        admin.get_by_role("button", name="Create group").click()
        admin.get_by_label("User name").fill(name)
        admin.get_by_role("button", name="Add").click()
        self.looks_well(admin, look, "people-group")
        project = f"acme-{name}"
        admin.goto(f"/project/{project}/-/rights")
        admin.get_by_label("Name of the group or user").fill(group)
        admin.get_by_role("button", name="Grant access").click()
        told(admin, "This is the first right")
        self.looks_well(admin, look, "people-rights")
        for path in (
            f"/manage/users/{name}",
            "/manage/rights",
            "/manage/tokens",
            "/manage/audit",
            "/manage/groups",
        ):
            admin.goto(path)
            self.looks_well(admin, look, "people-" + path.split("/")[2])
        admin.goto(f"/manage/users/{name}")
        admin.get_by_role("button", name="Set password").click()
        self.looks_well(admin, look, "people-password")
        admin.goto(f"/manage/users/{name}")
        admin.get_by_label("To confirm, type").fill(name)
        admin.get_by_role("button", name="Remove account").click()
        told(admin, "removed")

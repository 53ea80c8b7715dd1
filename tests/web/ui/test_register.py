"""Making an account for oneself, by a form."""

from __future__ import annotations

import re
from typing import ClassVar

from pypid.core.accounts.sessions import AccountSettings
from pypid.core.configuration.choices import Registration
from pypid.web.api import accounts as captcha
from tests.web.app.test_captcha import Stopped, widget
from tests.web.ui.browsing import BrowsedCase, Browser

NEW = {"user": "zoe", "password": "kiwi-secret", "again": "kiwi-secret"}


class OpenTests(BrowsedCase):
    """Anybody may."""

    people = AccountSettings(registration=Registration.OPEN)

    def test_register(self) -> None:
        """The account is there, one is told so on the page to log in, and does."""
        answer = self.browser.post("/account/register", **NEW)
        self.went(answer, "../account/login?done=registered")
        self.assertIn("Log in with it", self.browser.get("/account/login?done=registered").text)
        self.went(self.browser.log_in("zoe", "kiwi-secret"), "../")
        self.assertEqual(self.done(), [("anonymous", "user register", "zoe")])
        self.never_told("kiwi-secret")
        self.assertIn("You are logged in as", self.browser.get("/account/register").text)

    def test_mistakes(self) -> None:
        """What is wrong is said; the name is kept, the password never; nobody is made."""
        for said, status, words in (
            ({"again": "other"}, 400, "not the same"),
            ({"password": "Xyzzy", "again": "Xyzzy"}, 400, "too short"),
            ({"user": "alice"}, 409, "taken"),
            ({"user": "root"}, 409, "taken"),
            ({"user": '"><script>alert(1)</script>'}, 400, "&#34;&gt;&lt;script&gt;"),
            ({"user": ""}, 400, "letters"),
        ):
            answer = self.browser.post("/account/register", **{**NEW, **said})
            self.said_wrong(answer, status, words)
            self.assertNotIn("Xyzzy", answer.text)
            self.assertNotIn("kiwi", answer.text)
            self.assertNotIn("<script>alert", answer.text)
        self.assertEqual(self.done(), [])

    def test_other_site(self) -> None:
        """No other site registers anybody; the cookie of a session is not looked at."""
        self.assertEqual(
            self.browser.post(
                "/account/register", ("Origin", "https://evil.example"), **NEW
            ).status,
            403,
        )
        self.assertIsNone(self.standing("zoe"))
        self.went(
            self.as_user("alice").post("/account/register", **NEW, csrf_token=""),
            "../account/login?done=registered",
        )
        self.assertEqual(self.done(), [("anonymous", "user register", "zoe")])


class InvitationTests(BrowsedCase):
    """By invitation."""

    people = AccountSettings(registration=Registration.TOKEN)

    def invitation(self, ada: Browser) -> str:
        """A new one."""
        answer = ada.post("/manage/invitations", expires="1d")
        self.assertEqual((answer.status, answer["cache-control"]), (201, "private, no-store"))
        found = set(re.findall(r"pypid-invitation-[\w-]+", answer.text))
        self.assertEqual(len(found), 1)
        self.assertIn(
            "http://index.example/account/register#invitation=pypid-invitation-", answer.text
        )
        return found.pop()

    def test_once(self) -> None:
        """It is shown once, is good once, and stands in no log."""
        ada = self.as_user("ada")
        secret = self.invitation(ada)
        [_, (_, _, id)] = self.peopled.done()
        self.assertIn(id, ada.get("/manage/users").text)
        self.assertNotIn(secret, ada.get("/manage/users").text)
        self.assertIn(
            f'value="{secret}"', self.browser.get(f"/account/register?token={secret}").text
        )
        self.said_wrong(self.browser.post("/account/register", **NEW), 403, "invitation")
        self.said_wrong(
            self.browser.post("/account/register", **NEW, token=secret[:-1] + "_"),
            400,
            "no invitation",
        )
        self.went(
            self.browser.post("/account/register", **NEW, token=f" {secret} "),
            "../account/login?done=registered",
        )
        answer = self.browser.post("/account/register", **{**NEW, "user": "yan"}, token=secret)
        self.said_wrong(answer, 400, secret)
        self.assertNotIn(id, ada.get("/manage/users").text)
        self.never_told(secret)


class RiddleTests(BrowsedCase):
    """Where robots are kept out."""

    people: ClassVar[AccountSettings] = AccountSettings(
        registration=Registration.OPEN, captcha=True
    )

    def setUp(self) -> None:
        super().setUp()
        self.patch(captcha, "COST", 2)
        self.patch(captcha, "FEWEST", 3)
        self.patch(captcha, "MOST", 4)
        self.patch(
            __import__("altcha", fromlist=["v2"]).v2, "time", Stopped(self.pypid.world.now())
        )

    def test_riddle(self) -> None:
        """The form says where riddles are, and takes a solution, once."""
        page = self.browser.get("/account/register").text
        self.assertIn('data-riddle="../api/captcha"', page)
        self.assertIn("<noscript>", page)
        self.said_wrong(self.browser.post("/account/register", **NEW), 400, "JavaScript")
        self.said_wrong(
            self.browser.post("/account/register", **NEW, captcha="AAAA"), 400, "check against bots"
        )
        solution = widget(self.pypid.get("/api/captcha").json)
        self.went(
            self.browser.post("/account/register", **NEW, captcha=solution),
            "../account/login?done=registered",
        )
        answer = self.browser.post("/account/register", **{**NEW, "user": "yan"}, captcha=solution)
        self.said_wrong(answer, 400, "used already")

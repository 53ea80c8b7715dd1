"""One's own account: who one is, the password, and tokens that are shown once."""

from __future__ import annotations

import re

from tests.web.app_with_accounts import have
from tests.web.full_app import basic
from tests.web.ui.browsing import BROWSER, BrowsedCase, Browser

NEW = {
    "name": "CI <i>of</i> spam",
    "actions": ["read", "publish"],
    "projects": "spam acme-*",
    "expires": "30d",
}
SECRET = re.compile(r"pypi-[A-Za-z0-9_-]{40,}")


class AccountTests(BrowsedCase):
    """What somebody sees."""

    def test_by_token(self) -> None:
        """Whoever has come by a token sees that one, and makes none and changes no
        password by it.
        """
        browser = self.as_user("alice")
        [secret, *_] = SECRET.findall(browser.post("/account/tokens", **NEW).text)
        browser.post("/account/tokens", **{**NEW, "name": "another one"})
        by_token = basic("__token__", secret)
        page = self.pypid.get("/account/", BROWSER, by_token)
        self.assertEqual(page.status, 200)
        self.assertNotIn("another one", page.text)
        self.assertNotIn('id="new-token"', page.text)
        before = len(self.done())
        for path, said in (
            ("tokens", NEW),
            ("password", {"current": "alice's", "password": "x" * 9, "again": "x" * 9}),
        ):
            answer = self.browser.post(f"/account/{path}", by_token, **said)
            self.assertEqual(answer.status, 403, path)
            self.assertIn("A token cannot be used for this", answer.text)
        self.assertEqual(len(self.done()), before)


class TokenTests(BrowsedCase):
    """Tokens."""

    def setUp(self) -> None:
        super().setUp()
        self.browser = self.as_user("alice")

    def test_shown_once(self) -> None:
        """The secret is on the answer that makes the token, which nobody keeps, and nowhere else:
        no page, log or address.
        """
        answer = self.browser.post("/account/tokens", **NEW)
        self.assertEqual((answer.status, answer["cache-control"]), (201, "private, no-store"))
        [secret] = set(SECRET.findall(answer.text))
        for words in (
            "twine",
            "UV_PUBLISH_TOKEN",
            "netrc",
            "http://index.example/legacy/",
            "CI &lt;i&gt;of",
        ):
            self.assertIn(words, answer.text)
        self.assertNotIn("<i>", answer.text)
        [token] = have(self.peopled.accounts.tokens("alice"))
        self.assertEqual(
            (token.name, token.scope.projects), ("CI <i>of</i> spam", ("spam", "acme-*"))
        )
        page = self.browser.get("/account/").text
        self.assertIn(token.id, page)
        self.assertNotIn(secret, page)
        self.assertNotIn("<i>", page)
        self.assertNotIn(secret, self.browser.get("/account/tokens").text)
        self.never_told(secret)
        self.assertEqual(self.done(), [("alice", "token create", token.id)])
        self.assertEqual(
            self.pypid.get("/api/me", None, basic("__token__", secret)).json["user"], "alice"
        )

    def test_mistakes(self) -> None:
        """What is wrong is said above the form, which keeps what was typed; nothing is made."""
        for said, status, words in (
            ({"name": " "}, 400, "Give the token a name"),
            ({"name": "x" * 101}, 400, "The token is not valid"),
            ({"name": "a\x07b"}, 400, "can be printed"),
            ({"actions": []}, 400, "Tick at least one"),
            ({"actions": ["fly"]}, 400, "no action of a token"),
            ({"actions": ["admin"]}, 400, "concerns the whole index"),
            ({"actions": ["admin"], "projects": ""}, 403, "administer"),
            ({"projects": "<b>"}, 400, "&lt;b&gt;"),
            ({"expires": "own", "until": ""}, 400, "choose a date"),
            ({"expires": "own", "until": "2025-01-01"}, 400, "past"),
            ({"expires": "own", "until": "soon"}, 400, "expires is"),
            ({"expires": "1000y"}, 400, "Choose when"),
        ):
            answer = self.browser.post("/account/tokens", **{**NEW, **said})
            self.said_wrong(answer, status, words)
            self.assertIn("acme-*" if "projects" not in said else "Projects", answer.text)
        self.assertEqual(have(self.peopled.accounts.tokens("alice")), [])


class PasswordTests(BrowsedCase):
    """One's own password."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("zoe", "boss"):
            self.have_account(name, admin=name == "boss")

    def change(self, browser: Browser, **said: str) -> None:
        """Nothing changes, and it is said why."""
        answer = browser.post(
            "/account/password",
            **{"current": "zoe's", "password": "new-secret", "again": "new-secret", **said},
        )
        self.assertEqual(answer.status, 400, answer)
        self.assertIn('id="problems"', answer.text)
        for word in said.values():
            self.assertTrue(not word or word not in answer.text, said)

    def test_change(self) -> None:
        """With the current one; all sessions end, and so one logs in anew."""
        browser, elsewhere = self.as_user("zoe", "zoe's"), self.as_user("zoe", "zoe's")
        self.change(browser, current="wrong-one")
        self.change(browser, current="")
        self.change(browser, again="other-secret")
        self.change(browser, password="short1", again="short1")
        self.assertEqual(self.done(), [])
        answer = browser.post(
            "/account/password", current="zoe's", password="new-secret", again="new-secret"
        )
        self.went(answer, "../account/login?done=password-changed")
        self.assertEqual(
            [each.get("/account/").status for each in (browser, elsewhere)], [303, 303]
        )
        self.assertEqual(self.browser.log_in("zoe", "zoe's").status, 403)
        self.as_user("zoe", "new-secret")
        self.assertEqual(self.done(), [("zoe", "user set-password", "zoe")])
        self.browser = browser
        self.never_told("new-secret")

    def test_administrator(self) -> None:
        """An administrator has to say the current one, too: a window that was left open gives
        nobody the account for good.
        """
        browser = self.as_user("boss", "boss's")
        self.change(browser, current="wrong-one")
        self.went(
            browser.post(
                "/account/password", current="boss's", password="new-secret", again="new-secret"
            ),
            "../account/login?done=password-changed",
        )

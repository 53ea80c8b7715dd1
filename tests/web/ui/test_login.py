"""Logging in and out by forms."""

from __future__ import annotations

from urllib.parse import quote

from pypid.core.permissions import AUTHENTICATED, Rules
from tests.web.full_app import PASSWORDS, RULES
from tests.web.ui.browsing import BrowsedCase, Browser


class LoginTests(BrowsedCase):
    """Who comes in, and where they are led."""

    rules = Rules(read=AUTHENTICATED, write=RULES.write)

    def test_whole_life(self) -> None:
        """Whoever wants to see a page is led to the form, back to the page, and out again."""
        asked = self.browser.get("/account/?page=1")
        self.assertEqual(
            (asked.status, asked["location"]), (303, "../account/login?next=account%2F%3Fpage%3D1")
        )
        form = self.browser.get("/account/login?next=account%2F%3Fpage%3D1")
        self.assertIn('<input type="hidden" name="next" value="account/?page=1">', form.text)
        self.assertIn("Log in to continue", form.text)
        self.assertNotIn("Log in to continue", self.browser.get("/account/login").text)
        self.went(self.browser.log_in("alice", back="account/?page=1"), "../account/?page=1")
        self.assertEqual(self.browser.get("/").status, 200)
        self.went(self.browser.get("/account/login?next=upload"), "../upload")
        self.went(self.browser.post("/account/logout"), "../account/login?done=logged-out")
        self.assertIsNone(self.browser.cookie)
        self.assertEqual(self.browser.get("/").status, 303)
        self.assertEqual(
            self.peopled.done(),
            [("alice", "user log-in", "alice"), ("alice", "user log-out", "alice")],
        )
        self.never_told(PASSWORDS["alice"])

    def test_wrong(self) -> None:
        """A wrong password and a name that nobody has are answered alike, with the form and the
        name, never the password.
        """
        self.have_account("zoe")
        told = set()
        for user in ("alice", "nobody", "zoe", "ada"):
            answer = self.browser.log_in(user, "Xyzzy-wrong")
            self.said_wrong(answer, 403, f'value="{user}"')
            self.assertNotIn("Xyzzy", answer.text)
            self.assertIsNone(answer["set-cookie"])
            told.add(answer.text.replace(f'value="{user}"', ""))
        self.assertEqual(len(told), 1)

    def test_hostile(self) -> None:
        """What was typed comes back as text only; what cannot be anybody is refused
        like the rest.
        """
        for user in (
            '"><script>alert(1)</script>',
            "x" * 5000,
            "__token__",
            "__session__",
            "al\nice",
            "",
        ):
            answer = self.browser.log_in(user, "x")
            self.said_wrong(answer, 403)
            self.assertNotIn("<script>alert", answer.text)

    def test_next(self) -> None:
        """After the login nobody is led elsewhere, whatever stands in the address or the form."""
        for way in (
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "javascript:alert(1)",
            "../../evil",
            "a//evil",
            "%2e%2e/%2E%2E/evil",
            "a/%2e%2e/%2e./evil",
            "x\r\nSet-Cookie: a=b",
        ):
            address = f"/account/login?next={quote(way, safe='')}"
            self.assertNotIn('name="next"', self.browser.get(address).text)
            page = Browser(self.pypid)
            self.went(page.log_in("alice", back=way), "../")
            self.went(page.get(address), "../")

    def test_fixation(self) -> None:
        """A login never goes on with the cookie that came along, and ends that session."""
        planted = "pypid_session=" + "A" * 43
        self.browser.cookie = planted
        self.browser.log_in("alice")
        first = self.browser.cookie
        self.assertNotIn(first, (None, planted))
        victim = Browser(self.pypid, cookie=first)
        victim.log_in("bob")
        self.assertNotEqual(victim.cookie, first)
        self.assertEqual(Browser(self.pypid, cookie=first).get("/account/").status, 303)

    def test_never_packed_together(self) -> None:
        """The token against CSRF is not compressed with what a link can have a page repeat: the
        length would tell of both.
        """
        mine, packed = self.as_user("alice"), ("Accept-Encoding", "gzip")
        said = f"/search?q=csrf-token%20content%20{mine.token[:9]}"
        answer = mine.get(said, packed)
        self.assertEqual((answer["content-encoding"], mine.token in answer.text), (None, True))
        self.assertEqual(mine.get("/", packed)["content-encoding"], "gzip")
        self.assertEqual(
            Browser(self.pypid).get("/account/login?next=upload", packed)["content-encoding"],
            "gzip",
        )

    def test_other_site(self) -> None:
        """A form on another site logs nobody in, and nobody out."""
        for origin in ("https://evil.example", "null"):
            answer = self.browser.post(
                "/account/login", ("Origin", origin), user="bob", password=PASSWORDS["bob"]
            )
            self.assertEqual((answer.status, answer["set-cookie"]), (403, None))
        mine = self.as_user("alice")
        self.assertEqual(
            mine.post("/account/logout", ("Origin", "https://evil.example")).status, 403
        )
        self.assertEqual(mine.post("/account/logout", csrf_token="").status, 403)
        self.assertEqual(mine.get("/account/").status, 200)
        without_cookie = Browser(self.pypid).post("/account/logout")
        self.assertEqual((without_cookie.status, without_cookie["set-cookie"]), (303, None))

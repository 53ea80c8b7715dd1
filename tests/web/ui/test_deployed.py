"""What the site does for other processes beside it, and for proxies before it."""

from __future__ import annotations

from tests.web.ui.browsing import BrowsedCase


class OthersTests(BrowsedCase):
    def test_after_a_form(self) -> None:
        """The page that tells what a form has done first hears of what was done elsewhere, for
        whoever is logged in.
        """
        heard: list[int] = []

        async def catch_up() -> None:
            heard.append(self.browser.answers[-1].status)

        self.browser.log_in("alice")
        self.pypid.app.catch_up = catch_up
        for path in ("/", "/account/", "/search?q=done", "/api/session?done=x"):
            self.browser.get(path)
        self.pypid.get("/?done=logged-out", "text/html")
        self.assertEqual(heard, [])
        self.assertEqual(self.browser.get("/account/?x=1&done=password-changed").status, 200)
        self.assertEqual(len(heard), 1)


class ProxiesTests(BrowsedCase):
    def test_hostile(self) -> None:
        """Whatever the Origin is comes back as text, and not much of it."""
        for origin in ("x://<script>alert(1)</script>", "https://" + "x" * 5000, "null", "://"):
            answer = self.browser.post(
                "/account/login", ("Origin", origin), user="alice", password="x"
            )
            self.assertEqual(answer.status, 403)
            self.assertNotIn("<script>alert", answer.text)
            self.assertNotIn("x" * 300, answer.text)

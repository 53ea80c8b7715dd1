"""The home page, as users with and without the right to publish see it."""

from __future__ import annotations

from tests.web.ui.administered import AdministeredCase


class HomeTests(AdministeredCase):
    def test_publish(self) -> None:
        """Users who may publish see the commands; others, whom to ask."""
        self.assertIn("twine upload", self.look("/").text)
        for user, advice in (
            ("bob", "bob may not publish here"),
            (None, 'href="./account/login">Log in</a> to see how to publish'),
        ):
            text = self.look("/", user).text
            self.assertIn(advice, text)
            for command in ("twine", "uv publish", ".pypirc"):
                self.assertNotIn(command, text)
            self.assertIn("pip install", text)

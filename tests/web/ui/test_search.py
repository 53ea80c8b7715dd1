"""The page on which projects are looked for."""

from __future__ import annotations

from urllib.parse import urlencode

from tests.web.api.test_search import SearchingCase
from tests.web.full_app import Answer


class SearchPageTests(SearchingCase):
    """The page, without its script."""

    def page(self, user: str | None = None, status: int = 200, **asked: object) -> str:
        """Its text."""
        answer: Answer = self.pypid.get(f"/search?{urlencode(asked)}", "text/html", user=user)
        self.assertEqual(
            (answer.status, answer["content-type"]), (status, "text/html; charset=utf-8"), answer
        )
        return answer.text

    def test_found(self) -> None:
        """What is found is listed with links, and stored texts are text."""
        text = self.page(q="spam")
        self.assertIn('href="./project/spam/"', text)
        self.assertIn("Lovely &lt;b&gt;spam&lt;/b&gt;", text)
        self.assertIn("1 project<", text)
        self.assertNotIn("eggs", text)

    def test_mistake(self) -> None:
        """A filter that says nothing is told above the form."""
        text = self.page(python="three", status=400)
        self.assertIn("The filter python is a version of Python, such as 3.12.", text)
        self.assertIn('value="three"', text)

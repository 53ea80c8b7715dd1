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

    def test_form(self) -> None:
        """What was asked is in the form again, whatever it was, and the filters are open where
        there are any.
        """
        text = self.page(q='"><script>', license="MIT", source="ours")
        self.assertIn('value="&#34;&gt;&lt;script&gt;"', text)
        self.assertIn("<details open>", text)
        self.assertIn('<option value="ours" selected>', text)
        self.assertNotIn("<details open>", self.page(q="spam"))

    def test_mistake(self) -> None:
        """A filter that says nothing is told above the form."""
        text = self.page(python="three", status=400)
        self.assertIn("The filter python is a version of Python, such as 3.12.", text)
        self.assertIn('value="three"', text)

    def test_pages(self) -> None:
        """Long lists are cut into pages; what is beyond the last is the last."""
        for number in range(25):
            self.have_wheel(f"ham-{number}")
        text = self.page(q="ham")
        self.assertIn('href="?q=ham&amp;page=2"', text)
        last = self.page(q="ham", page=2)
        self.assertIn("Page 2 of 2", last)
        self.assertEqual(self.page(q="ham", page=99), last)
        self.assertIn("Page 1 of 2", self.page(q="ham", page="x"))

    def test_nothing(self) -> None:
        """Without words all projects are there, and where nothing is found that is said."""
        text = self.page()
        self.assertLess(text.index("project/eggs/"), text.index("project/spam/"))
        self.assertIn("0 projects", self.page(q="nothing"))

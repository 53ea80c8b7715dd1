"""The page that compares two releases: `pypid.web.ui.contents`."""

from __future__ import annotations

from tests.web.full_app import Answer, WholeCase
from tests.web.ui.test_pages import BROWSER, Seen

XSS = "<script>alert(1)</script>"


class ComparePageTests(WholeCase):
    """Somebody who compares releases in a browser."""

    def see(self, query: str = "", project: str = "spam", user: str | None = None) -> Answer:
        answer = self.pypid.get(
            f"/project/{project}/-/compare{query}",
            BROWSER,
            ("Accept-Encoding", "identity"),
            user=user,
        )
        if answer.status == 200:
            seen = Seen(answer.text)
            self.assertEqual((seen.headings, seen.odd), (1, []))
        return answer

    def have_both(self) -> None:
        self.have_wheel(
            extra=[("Requires-Dist", "eggs>=1")],
            files={"spam/a.py": b"one\ntwo\n", "b.py": b"b", "same.py": b"same"},
        )
        self.have_wheel(
            version="2.0",
            extra=[("Requires-Dist", "eggs>=2"), ("Classifier", f"{XSS} :: \u202eX")],
            files={"spam/a.py": f"one\n{XSS}\u202e\n".encode(), "same.py": b"same", "d.py": b"d"},
        )
        self.have_sdist()

    def test_everything(self) -> None:
        """Without a choice the newest is compared with the one before it; each difference has a
        word.
        """
        self.have_both()
        page = self.see().text
        self.assertEqual(page, self.see("?from=1.0&to=2.0").text.replace("?from=1.0&to=2.0", ""))
        self.assertIn("<h1>spam from 1.0 to 2.0</h1>", page)
        self.assertRegex(page, r'<option value="1.0" selected>1.0</option>')
        self.assertIn("eggs&gt;=1", page)
        self.assertIn("1 added, 1 removed, 3 changed, 2 unchanged", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt; :: \\u202eX", page)
        self.assertNotIn(XSS, page)
        for word in ("+ added", "\u2212 removed", "± changed"):
            self.assertIn(word, page)
        self.assertIn("spam-1.0.tar.gz", page)

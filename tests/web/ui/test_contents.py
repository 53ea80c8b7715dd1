"""The pages about what is inside files: `pypid.web.ui.contents`."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

from pypid.core.configuration.choices import Mode
from pypid.core.policy import Policy
from pypid.web.ui.pages import part
from tests.distributions import wheel_filename
from tests.web.full_app import Answer, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere
from tests.web.ui.test_pages import BROWSER, Seen

XSS = "<script>alert(1)</script>"
TURNED = "\u202e"


def paths(answer: Answer) -> list[str]:
    """The paths that a page links."""
    return re.findall(r'href="\?path=([^"]*)"', answer.text)


def folders(answer: Answer) -> list[str]:
    """The folders of its list."""
    return re.findall(r'<td><a class="code" href="\?in=([^"]*)"', answer.text)


class ContentsPageTests(WholeCase):
    """Somebody who looks into files in a browser."""

    def see(
        self,
        filename: str,
        query: str = "",
        project: str = "spam",
        pypid: Pypid | None = None,
        **options: Any,
    ) -> Answer:
        target = f"/project/{project}/-/contents/{filename}{query}"
        answer = (pypid or self.pypid).get(
            target, BROWSER, ("Accept-Encoding", "identity"), **options
        )
        if answer.status in (200, 422):
            seen = Seen(answer.text)
            self.assertEqual((seen.headings, seen.odd), (1, []))
            self.assertIn("default-src 'none'", answer["content-security-policy"] or "")
        return answer

    def test_list(self) -> None:
        """Each member is a link to its page, which has its lines, numbered."""
        filename, _ = self.have_wheel(files={"spam/__init__.py": b"one = 1\r\n\ntwo = '<&'\n"})
        answer = self.see(filename)
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            (folders(answer), paths(answer)), (["spam%2F", "spam-1.0.dist-info%2F"], [])
        )
        self.assertEqual(
            paths(self.see(filename, f"?in={folders(answer)[0]}")), ["spam%2F__init__.py"]
        )
        page = self.see(filename, "?path=spam%2F__init__.py").text
        self.assertIn('href="?in=spam%2F"', page)
        self.assertIn('<li id="L1"><code>one = 1</code></li>', page)
        self.assertIn('<li id="L3"><code>two = &#39;&lt;&amp;&#39;</code></li>', page)
        self.assertNotIn("L4", page)
        self.assertIn("3 lines", page)

    def test_hostile(self) -> None:
        """Whatever a member is called, and says, is text, in which nothing is hidden."""
        upstream = Elsewhere()
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name in (
                XSS,
                f"a{TURNED}b",
                "../up",
                "javascript:alert(1)",
                '"onmouseover="x',
                "x" * 3000,
                "a\nb",
                "a&find=b",
            ):
                archive.writestr(name, f"{XSS}{TURNED}\x1b[2J\n")
        upstream.has("ham", wheel_filename("ham"), file.getvalue())
        pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=upstream)
        there = self.pypid_paths(pypid, wheel_filename("ham"))
        self.assertEqual(len(there), 8)
        answer = self.see(wheel_filename("ham"), project="ham", pypid=pypid)
        for folder in folders(answer):
            answer = self.see(wheel_filename("ham"), f"?in={folder}", "ham", pypid)
            self.assertEqual(answer.status, 200)
        for path in map(part, there):
            page = self.see(wheel_filename("ham"), f"?path={path}", "ham", pypid)
            self.assertEqual(page.status, 200, path)
            self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\u001b[2J", page.text)
            for text in (answer.text, page.text):
                self.assertNotIn(XSS, text)
                self.assertNotIn(TURNED, text)

    def pypid_paths(self, pypid: Pypid, filename: str) -> list[str]:
        """The paths of all members."""
        answer = pypid.get(f"/api/projects/ham/files/{filename}/contents")
        return [member["path"] for member in answer.json["members"]]

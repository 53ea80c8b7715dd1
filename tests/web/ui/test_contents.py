"""The pages about what is inside files: `pypid.web.ui.contents`."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pypid.core.configuration.choices import Mode
from pypid.core.policy import Policy
from pypid.web.ui.contents import LINES, LONGEST_LINE, MEMBERS, line_of
from pypid.web.ui.pages import part
from tests.distributions import sdist, sdist_filename, wheel_filename
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

    def test_sdist(self) -> None:
        """Sdists, too."""
        filename, _ = self.have_sdist(files={"a.py": b"x\n", "image.png": b"\x89PNG\0"})
        self.assertIn(
            "spam-1.0%2Fa.py", paths(self.see(filename, f"?in={folders(self.see(filename))[0]}"))
        )
        self.assertIn("not text", self.see(filename, "?path=spam-1.0/image.png").text)

    def test_long_lists(self) -> None:
        """A list comes in pages, and can be narrowed; a text, too; a line has an end."""
        files = {f"spam/{number:04}.py": b"" for number in range(MEMBERS + 5)}
        files["long.txt"] = b"".join(b"%d\n" % number for number in range(LINES + 7)) + b"y" * (
            LONGEST_LINE + 1000
        )
        filename, _ = self.have_wheel(files=files)
        self.assertEqual(len(paths(self.see(filename, "?in=spam/"))), MEMBERS)
        self.assertIn("?in=spam%2F&amp;page=2", self.see(filename, "?in=spam/").text)
        self.assertEqual(len(paths(self.see(filename, "?in=spam/&page=2"))), 5)
        self.assertEqual(len(paths(self.see(filename, "?find=PY&page=2"))), 5)
        self.assertEqual(paths(self.see(filename, "?find=0007")), ["spam%2F0007.py"])
        self.assertIn("No paths match", self.see(filename, "?find=%3Cb%3E").text)
        page = self.see(filename, "?path=long.txt&page=2").text
        self.assertIn(f'<ol class="source" start="{LINES + 1}">', page)
        self.assertIn("… (1,000 more characters)", page)
        self.assertIn("?path=long.txt&amp;page=1", page)

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

    def test_opaque(self) -> None:
        """What cannot be looked into is said on a page, with the way to the file itself."""
        upstream = Elsewhere()
        upstream.has("ham", sdist_filename("ham"), sdist("ham")[:-30])
        pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=upstream)
        answer = self.see(sdist_filename("ham"), project="ham", pypid=pypid)
        self.assertEqual(answer.status, 422)
        self.assertIn("cannot be inspected", answer.text)
        self.assertIn("../../../../packages/ham/ham-1.0.tar.gz", answer.text)

    def test_not_there(self) -> None:
        """What is not there is a page of 404; other spellings lead to the right one, with all that
        was asked.
        """
        filename, _ = self.have_wheel()
        for target in (f"{filename}?path=nothing", f"{filename}?in=nothing/", "spam-9.tar.gz"):
            answer = self.see(target)
            self.assertEqual(
                (answer.status, answer["content-type"]), (404, "text/html; charset=utf-8")
            )
        answer = self.see(filename, "?path=spam.py", "SPAM")
        self.assertEqual(answer.status, 301)
        self.assertIn(f"spam/-/contents/{filename}?path=spam.py", answer["location"] or "")

    def test_lines(self) -> None:
        """Tabs stay; what cannot be seen is spelled out."""
        self.assertEqual(line_of("\ta\x0c\u2066b"), "\ta\\u000c\\u2066b")
        self.assertEqual(unescape(quote("ä")), "%C3%A4")
        self.assertLess(len(gzip.compress(line_of("x" * 9_000_000).encode())), 1000)

"""READMEs as they stand in a page: what they become, and that nothing in them is active."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.rendering.markup import MarkupKind
from pypid.rendering.readmes import cleaned, preformatted
from pypid.rendering.render import RenderOutcome, render
from tests.rendering.hostile import HTML, MARKDOWN, PLAIN, RST
from tests.rendering.looking import Looked

ALL = (*HTML, *MARKDOWN, *RST, *PLAIN)
PIECES = st.lists(st.one_of(st.sampled_from(ALL), st.text(max_size=12)), max_size=6)
JOINTS = st.sampled_from(["", " ", "\n", "\n\n", "\n    ", '"', "`", "<"])


def shown(text: str, kind: MarkupKind) -> str:
    """As `Readmes` does it, without a child."""
    text = cleaned(text)
    return render(text, kind).html or preformatted(text)


class Case(SynchronousTestCase):
    """Looks at what comes out."""

    def look(self, html: str, *about: object) -> Looked:
        """Nothing is wrong with it."""
        looked = Looked(html)
        self.assertEqual(looked.wrong, [], (html, *about))
        return looked

    def md(self, text: str, kind: MarkupKind = MarkupKind.GFM) -> str:
        """Of Markdown that can be rendered."""
        html = render(text, kind).html
        assert html is not None
        self.look(html)
        return html.strip()

    def rst(self, text: str) -> str:
        """Of reStructuredText that can be rendered."""
        html = render(text, MarkupKind.RST).html
        assert html is not None
        self.look(html)
        return html.strip()


class HostileTests(Case):
    """What would be more than a text."""

    def test_each(self) -> None:
        """Each string of the corpus, in each kind of README, leaves only what is allowed."""
        for text in ALL:
            for kind in MarkupKind:
                self.look(shown(text, kind), text, kind)
                self.look(shown(f"x\n\n{text}\n\ny", kind), text, kind)

    def test_all_together(self) -> None:
        """So do all of them in one README."""
        for texts in (HTML, MARKDOWN, (*HTML, *MARKDOWN)):
            for joint in ("\n\n", "\n", ""):
                looked = self.look(shown(joint.join(texts), MarkupKind.GFM))
                self.assertTrue(looked.tags)

    @given(PIECES, JOINTS, st.sampled_from(list(MarkupKind)))
    @settings(max_examples=250, deadline=None, database=None)
    def test_mixed(self, pieces: list[str], joint: str, kind: MarkupKind) -> None:
        """So does whatever is put together of them and of any text."""
        self.look(shown(joint.join(pieces), kind), pieces, joint, kind)

    @given(
        st.text(alphabet="<>/\"'= aimgsrchefdvx#:!-[]()`\n&;1", max_size=80),
        st.sampled_from(list(MarkupKind)),
    )
    @settings(max_examples=250, deadline=None, database=None)
    def test_anything(self, text: str, kind: MarkupKind) -> None:
        """So does any text of the characters that matter."""
        self.look(shown(text, kind), text, kind)

    def test_no_file(self) -> None:
        """No directive of reStructuredText reads a file; a README with one is shown as it was
        written.
        """
        secret = Path(self.mktemp())
        secret.write_text("hunter2, hunter2\n")
        for directive in (
            "include:: {}",
            "raw:: html\n   :file: {}",
            "csv-table:: x\n   :file: {}",
            "literalinclude:: {}",
        ):
            for path in (secret.absolute(), secret):
                html = shown(f"x\n\n.. {directive.format(path)}\n", MarkupKind.RST)
                self.assertNotIn("hunter2", html)
                self.assertIn("readme-plain", html)

    def test_deep(self) -> None:
        """What is nested a thousand times ends in some way."""
        for text in (
            "> " * 2000 + "x",
            "<div>" * 5000,
            "[" * 5000,
            "<b>" * 3000 + "x",
            "- " * 1000 + "x",
        ):
            self.look(shown(text, MarkupKind.GFM))


class TamedTests(Case):
    """What is not hostile, and not as it is on the public index either."""

    def test_images(self) -> None:
        """An image is a link to it, named by what would stand in its place; where there is a link
        already, only the name.
        """
        self.assertEqual(
            self.md("![a <b>](https://x.example/a.png)"),
            (
                '<p><a class="readme-image" href="https://x.example/a.png" rel="nofollow '
                'noopener">a '
                "&lt;b&gt;</a></p>"
            ),
        )
        self.assertEqual(
            self.md("[![build](https://x.example/a.svg)](https://ci.example/)"),
            (
                '<p><a href="https://ci.example/" rel="nofollow noopener"><span '
                'class="readme-image">build</span></a></p>'
            ),
        )
        self.assertIn(">image</a>", self.md("![](https://x.example/a.png)"))
        for source in (
            "docs/a.png",
            "data:image/png;base64,AAAA",
            "//x.example/a.png",
            "javascript:x",
            "http:",
            "https://[",
        ):
            self.assertEqual(
                self.md(f'<p><img src="{source}" alt="a"></p>'),
                '<p><span class="readme-image">a</span></p>',
            )
            self.assertEqual(self.md(f'<p>x<img src="{source}"></p>'), "<p>x</p>")

    def test_links(self) -> None:
        """Links lead out by three schemes, or to a place in the README that is there; all others
        are text.
        """
        for address in ("https://x.example/?a=1&amp;b", "http://x.example", "mailto:a@x.example"):
            self.assertEqual(
                self.md(f"[a]({address})"),
                f'<p><a href="{address}" rel="nofollow noopener">a</a></p>',
            )
        for address in (
            "docs/a.md",
            "/a",
            "../a",
            "?a",
            "//x.example",
            "ftp://x.example",
            "tel:1",
            "#nowhere",
            "#",
            "",
            "mailto:",
        ):
            self.assertEqual(self.md(f"[a]({address})"), "<p><span>a</span></p>", address)

    def test_inside(self) -> None:
        """Links within the README follow its headings, anchors and footnotes, whose names are none
        of the page's.
        """
        html = self.md(
            "[a](#über-uns) [b](#z)\n\n# Über uns\n\n<a id='z'>z</a> f[^1]\n\n[^1]: note"
        )
        looked = self.look(html)
        self.assertEqual(
            looked.ids, ["readme-über-uns", "readme-z", "readme-fnref-1", "readme-fn-1"]
        )
        self.assertEqual(
            looked.links,
            ["#readme-%C3%BCber-uns", "#readme-z", "#readme-fn-1", "#readme-fnref-1"],
            "and no empty link",
        )
        html = self.rst("A\n=\n\n.. contents:: C\n\nB\n-\n\nx A_ [1]_\n\n.. [1] y\n")
        looked = self.look(html)
        self.assertLessEqual({link[1:] for link in looked.links}, set(looked.ids))
        self.assertIn("readme-b", looked.ids)

    def test_headings(self) -> None:
        """Headings stand below one of level 2, and no level is left out, whichever it began with;
        empty ones are none.
        """

        def levels(*given: int) -> list[str]:
            html = self.md("\n\n".join(f"{'#' * level} x" for level in given))
            return [tag for tag in self.look(html).tags if tag.startswith("h")]

        self.assertEqual(levels(1, 2, 3, 2, 1), ["h3", "h4", "h5", "h4", "h3"])
        self.assertEqual(levels(2, 4, 6, 3), ["h3", "h4", "h5", "h4"])
        self.assertEqual(levels(3, 2, 1), ["h3", "h3", "h3"])
        self.assertEqual(levels(1, 2, 3, 4, 5, 6), ["h3", "h4", "h5", "h6", "h6", "h6"])
        self.assertEqual(
            self.md("x\n\n#\n\n<h1 id='z'><img src='x'></h1>").split(),
            ["<p>x</p>", "<span", 'id="readme-z"></span>'],
        )
        self.assertIn("<h3>A</h3>", self.rst("A\n=\n\nx\n"))

    def test_scrolling(self) -> None:
        """Tables, and code that is wider than a phone, can be scrolled by keyboard, and say what
        they are.
        """
        html = self.md("| a | |\n|---|---|\n| 1 | 2 |")
        self.assertTrue(
            html.startswith(
                '<div class="readme-scroll" role="group" tabindex="0" aria-label="Table"><table>'
            ),
            html,
        )
        self.assertIn('<th scope="col">a</th>', html)
        self.assertIn("<td></td>", html, "a header without a word is none")
        self.assertEqual(html.count("</div>"), 1)
        self.assertTrue(self.md("```\nx = 1\n```").startswith("<pre><code>"))
        wide = self.md(f"```python\nx = 1\n{'x' * 60}\n```")
        self.assertTrue(wide.startswith('<pre role="group" tabindex="0" aria-label="Code">'), wide)
        self.assertIn('<span class="n">', wide)

    def test_what_stays(self) -> None:
        """Tasks, things that unfold, alerts, alignment and definitions; landmarks and the classes
        of others do not.
        """
        html = self.md("- [x] a\n- [ ] b")
        self.assertIn('<span class="readme-task">☑</span> a', html)
        self.assertIn('<span class="readme-task">☐</span> b', html)
        self.assertIn(
            "<details><summary>s</summary>x</details>",
            self.md("<details><summary>s</summary>x</details>"),
        )
        self.assertIn('<div class="readme-admonition readme-warn">', self.md("> [!WARNING]\n> x"))
        self.assertIn('<div class="readme-admonition readme-bad">', self.rst(".. danger:: x"))
        self.assertIn('<p align="center">x</p>', self.md("<p align=center>x</p>"))
        self.assertIn("<code>x = 1</code>", self.rst("``x = 1``"))
        self.assertEqual(
            self.md("<div class='notice skip' align=evil><nav>x</nav></div>"),
            "<div><div>x</div></div>",
        )
        self.assertEqual(
            self.md("x\n\n<li>a</li>").split(), ["<p>x</p>", "<div>a</div>"], "an item of no list"
        )

    def test_variants(self) -> None:
        """Each variant of Markdown has what is its own."""
        self.assertIn("<table>", self.md("| a |\n|---|\n| 1 |", MarkupKind.GFM))
        self.assertNotIn("<table>", self.md("| a |\n|---|\n| 1 |", MarkupKind.COMMONMARK))

    def test_none(self) -> None:
        """What cannot be rendered, or says nothing, is none."""
        for text in ("x `y", "=====\nx\n", "* x\ny", ".. nonsense::", "", "  \n", ".. comment"):
            self.assertEqual(render(text, MarkupKind.RST), RenderOutcome(None), text)
        self.assertEqual(render("", MarkupKind.GFM), RenderOutcome(None))
        self.assertEqual(render("x", MarkupKind.PLAIN), RenderOutcome(None))

"""READMEs that need no process; those that do are in `tests.live.test_renderers`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.flow import start
from pypid.rendering.readmes import LONGEST, SHOWN, SOURCE_NOTE, Readmes, Rendered
from tests.rendering.looking import Looked

MD = "text/markdown"


class PlainTests(SynchronousTestCase):
    """What needs no process."""

    def html(self, text: str, content_type: str | None, readmes: Readmes | None = None) -> Rendered:
        """At once."""
        return self.successResultOf(start((readmes or Readmes()).html(text, content_type, "x")))

    def test_plain(self) -> None:
        """Text is shown as it is; markup that is not rendered is shown as source, with a note."""
        for content_type in ("text/plain", "text/html", MD, None):
            made = self.html("<b>*x*</b>\r\n\x1b", content_type)
            note = "" if content_type and content_type != MD else SOURCE_NOTE
            source = '<pre class="readme-plain">&lt;b&gt;*x*&lt;/b&gt;\n </pre>'
            self.assertEqual(made, Rendered(note + source, plain=True))
        self.assertEqual(
            self.html("", MD, Readmes(object())).html, '<pre class="readme-plain"></pre>'
        )

    def test_cut(self) -> None:
        """Of what is too long the beginning is shown, with a note, and no process is asked."""
        for text in ("<ä>" * (LONGEST // 3), "x\n" * LONGEST, "x\r\n" * (LONGEST // 2)):
            made = self.html(text, MD, Readmes(object()))
            looked = Looked(made.html)
            self.assertEqual(
                (looked.wrong, looked.tags, made.plain, made.cut), ([], ["p", "pre"], True, True)
            )
            self.assertIn("longer than 512 KiB", looked.text)
            self.assertLess(len(looked.text.encode()), SHOWN + 200)

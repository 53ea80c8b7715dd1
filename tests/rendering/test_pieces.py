"""What a README is written in; text as it is."""

from __future__ import annotations

from html import unescape

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.rendering.markup import MarkupKind, kind_of
from pypid.rendering.readmes import beginning, cleaned, preformatted
from tests.rendering.looking import Looked


class KindTests(SynchronousTestCase):
    """`kind_of`."""

    def test_known(self) -> None:
        """The types of the specification, with its parameters, in any case; nothing is
        reStructuredText, all else is text.
        """
        for content_type, kind in {
            None: MarkupKind.RST,
            "": MarkupKind.RST,
            "  ": MarkupKind.RST,
            "text/x-rst": MarkupKind.RST,
            "text/x-rst; charset=UTF-8": MarkupKind.RST,
            "Text/X-RST;charset=latin-1": MarkupKind.RST,
            "text/plain": MarkupKind.PLAIN,
            "text/markdown": MarkupKind.GFM,
            "text/markdown; charset=UTF-8; variant=GFM": MarkupKind.GFM,
            'text/markdown; variant="CommonMark"': MarkupKind.COMMONMARK,
            "text/markdown;VARIANT=commonmark": MarkupKind.COMMONMARK,
            "text/markdown; variant=Original": MarkupKind.GFM,
            "text/markdown; variant": MarkupKind.GFM,
            "text/html": MarkupKind.PLAIN,
            "markdown": MarkupKind.PLAIN,
            "UNKNOWN": MarkupKind.PLAIN,
        }.items():
            self.assertIs(kind_of(content_type), kind, content_type)

    @given(st.text(max_size=40))
    @settings(max_examples=60, deadline=None, database=None)
    def test_any(self, text: str) -> None:
        """Nothing that a project may say is an error."""
        self.assertIsInstance(kind_of(text), MarkupKind)


class PlainTests(SynchronousTestCase):
    """Text as it is."""

    @given(st.text(max_size=60))
    @settings(max_examples=100, deadline=None, database=None)
    def test_nothing_but_text(self, text: str) -> None:
        """It is one element with the text, of which only control characters and ends of lines are
        others.
        """
        clean = cleaned(text)
        self.assertEqual(cleaned(clean), clean)
        looked = Looked(preformatted(clean))
        self.assertEqual((looked.wrong, looked.tags), ([], ["pre"]))
        self.assertEqual(looked.text, clean)
        self.assertEqual(unescape(preformatted(clean)), f'<pre class="readme-plain">{clean}</pre>')

    def test_cleaned(self) -> None:
        """What no terminal, and no page, should get is a blank; halves of characters are question
        marks.
        """
        self.assertEqual(cleaned("a\r\nb\rc\x1b[31m\0\x9b\t\ud800é"), "a\nb\nc [31m  \t?é")

    @given(st.text(max_size=60), st.integers(0, 70))
    @settings(max_examples=100, deadline=None, database=None)
    def test_beginning(self, text: str, most: int) -> None:
        """It is how the text begins, and no longer than wanted."""
        text = cleaned(text)
        found = beginning(text, most)
        self.assertTrue(text.startswith(found))
        self.assertLessEqual(len(found.encode()), most)
        self.assertEqual(beginning("ab\ncd\nef", 7), "ab\ncd")

"""Text as it is, as HTML: what needs no renderer, and what is left where there is none that can."""

from __future__ import annotations

from html import escape

_UNPRINTABLE = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in b"\t\n\x0c\r"}


def cleaned(text: str) -> str:
    """Without control characters, halves of characters, and other ends of lines than one."""
    whole = text.encode("utf-8", "replace").decode()
    return whole.replace("\r\n", "\n").replace("\r", "\n").translate(_UNPRINTABLE)


def preformatted(text: str) -> str:
    """In the lines that it has."""
    return f'<pre class="readme-plain">{escape(text)}</pre>'


def beginning(text: str, most: int) -> str:
    """At most so many bytes of it, in whole lines if there are any."""
    cut = text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
    lines, end, _ = cut.rpartition("\n")
    return lines if end and lines else cut

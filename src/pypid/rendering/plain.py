"""Plain text as HTML: what needs no renderer, and the fallback without one."""

from __future__ import annotations

import re
from html import escape

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


def cleaned(text: str) -> str:
    """Return the text without control characters and lone surrogates, with one kind of line end."""
    whole = text.encode("utf-8", "replace").decode()
    return _UNPRINTABLE.sub(" ", whole.replace("\r\n", "\n").replace("\r", "\n"))


def preformatted(text: str) -> str:
    """Return the text as HTML that keeps its lines."""
    return f'<pre class="readme-plain">{escape(text)}</pre>'


def beginning(text: str, most: int) -> str:
    """Return at most `most` bytes of the text, in whole lines if there are any."""
    cut = text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
    lines, end, _ = cut.rpartition("\n")
    return lines if end and lines else cut

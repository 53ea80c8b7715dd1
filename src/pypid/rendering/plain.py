"""Text as it is, as HTML: what needs no renderer, and what is left where there is none that can."""

from __future__ import annotations

import re
from html import escape

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


def cleaned(text: str) -> str:
    """Without control characters, halves of characters, and other ends of lines than one."""
    whole = text.encode("utf-8", "replace").decode()
    return _UNPRINTABLE.sub(" ", whole.replace("\r\n", "\n").replace("\r", "\n"))


def preformatted(text: str) -> str:
    """In the lines that it has."""
    return f'<pre class="readme-plain">{escape(text)}</pre>'


def beginning(text: str, most: int) -> str:
    """At most so many bytes of it, in whole lines if there are any."""
    cut = text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
    lines, end, _ = cut.rpartition("\n")
    return lines if end and lines else cut

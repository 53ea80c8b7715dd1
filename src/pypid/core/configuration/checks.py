"""Check single keys: whether a text is an allowed value, and the known word nearest to a typo."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pypid.core.configuration.keys import Key
from pypid.core.errors import shortened


def nearest(word: str, known: Iterable[str], form: str = "{!r}") -> str:
    """Return advice with the known word most similar to `word`: ``; did you mean 'listen'?``; empty
    if none is similar.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(word[:80].lower(), by_lower, 1)
    return f"; did you mean {form.format(by_lower[close[0]])}?" if close else ""


def value_of(key: Key, text: str) -> Any:
    """Return the value that `text` spells. Raises `ValueError` with the text (unless it is secret)
    and the allowed values.
    """
    try:
        return key.kind.parse(text)
    except ValueError as error:
        advice = f" ({error})" if str(error) and not key.secret and not key.kind.url else ""
        close = nearest(text, key.kind.words)
        raise ValueError(
            f"{_shown(key, text)} was read{advice}; allowed: {key.kind.allowed}{close}"
        ) from None


def _shown(key: Key, text: str) -> str:
    if key.secret:
        return "a value (not shown, it may be secret)"
    if (
        key.kind.url
    ):  # a password may precede the @, and invalid text may continue past the end of a URL
        text = re.sub(r".*@", "(set)@", text, flags=re.DOTALL)
    return repr(shortened(text))

"""Check single keys: the values that this version allows, and whether a text is one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
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


def is_open(key: Key, not_yet: AbstractSet[str]) -> bool:
    """Return whether this version allows the key to be set."""
    return not (isinstance(key.needs, str) and key.needs in not_yet)


def allowed(key: Key, not_yet: AbstractSet[str] = frozenset()) -> str:
    """Return the description of the key's allowed values."""
    if not is_open(key, not_yet):
        return f"only the default, {key.default}" if key.default else "only an empty value"
    if key.kind.words and not isinstance(key.needs, str):
        return ", ".join(word for word in key.kind.words if key.needs.get(word) not in not_yet)
    return key.kind.allowed


def value_of(key: Key, text: str, not_yet: AbstractSet[str]) -> Any:
    """Return the value that `text` spells. Raises `ValueError` with the text (unless it is secret)
    and the allowed values.
    """
    may = allowed(key, not_yet)
    shown = _shown(key, text)
    closed = f"{shown} is not part of this version of pypid yet; allowed: {may}"
    try:
        value = key.kind.parse(text)
    except ValueError as error:
        if not is_open(key, not_yet):
            raise ValueError(closed) from None
        advice = f" ({error})" if str(error) and not key.secret and not key.kind.url else ""
        close = nearest(text, may.split(", ")) if key.kind.words else ""
        raise ValueError(f"{shown} was read{advice}; allowed: {may}{close}") from None
    if not is_open(key, not_yet) and value != key.kind.parse(key.default):
        raise ValueError(closed)
    if not isinstance(key.needs, str) and any(
        key.needs.get(word) in not_yet for word in key.kind.show(value).split()
    ):
        raise ValueError(closed)
    return value


def _shown(key: Key, text: str) -> str:
    if key.secret:
        return "a value (not shown, it may be secret)"
    if (
        key.kind.url
    ):  # a password may precede the @, and invalid text may continue past the end of a URL
        text = re.sub(r".*@", "(set)@", text, flags=re.DOTALL)
    return repr(shortened(text))

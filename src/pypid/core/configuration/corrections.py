"""Corrections of common mistakes in values: what to write instead.

A correction is proposed only if the key accepts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pypid.core.configuration.value_kinds import ValueKind

_COMMENT = re.compile(r"\s+#.*", re.DOTALL)
_MEASURE = re.compile(
    r"(?P<number>[0-9]{1,15})\s*(?:(?P<size>[kmgt])(?:i?b)?|"
    r"(?P<time>s|m|h|d)(?:ec|econd|in|inute|r|our|ay)?s?)",
    re.IGNORECASE,
)


def correction(kind: ValueKind[Any], text: str) -> str:
    """Return advice for a value that `kind` refuses, which begins with ``; ``; empty if no simple
    change makes it valid.
    """
    for reason, candidate in _candidates(text):
        if candidate != text and _accepts(kind.parse, candidate):
            return f"; {reason}write {candidate}"
    return ""


def has_comment(text: str) -> bool:
    """Return whether a value contains what looks like a comment that begins with ``#``."""
    return "\n" not in text and _COMMENT.search(text) is not None


def _candidates(text: str) -> Iterator[tuple[str, str]]:
    yield "after a value, only ; starts a comment; ", _COMMENT.sub("", text)
    yield "white space separates the values of a list; ", " ".join(text.replace(",", " ").split())
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        yield "a value has no quotation marks; ", text[1:-1]
    yield "", re.sub(r"\Ahttps?://", "", text).rstrip("/")
    if match := _MEASURE.fullmatch(text):
        number = match["number"]
        if unit := match["size"]:
            yield "", f"{number}{'k' if unit in 'kK' else unit.upper()}"
        yield "", f"{number}{text[len(number) :].strip()[0].lower()}"


def _accepts(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return bool(text)

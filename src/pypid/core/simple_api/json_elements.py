"""A large JSON document, read some elements of its one long array at a time, so that nobody is held
up by it.

To decode 40 MB in one call takes 150 ms, during which no other thread runs. So the text is cut, and
each cut is proven by decoding: JSON is read from left to right without looking ahead, so where
``[`` + the beginning of an array + ``]`` is valid, that beginning is whole elements, and the array
goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from itertools import islice
from typing import Any

import msgspec

from pypid.core.errors import BadListing

SLICE = 1 << 16
"""Bytes that are decoded at a time: some 300 microseconds."""
LARGEST_ELEMENT = 4 << 20
"""Bytes of one element; more is no file of any index. Also of what stands before the array, or
behind it.
"""
GUESSES_AT_BEGINNING = 32
GUESSES_AT_END = 4
"""Places that are tried for the beginning of the array, and for the end of a slice."""

_END = re.compile(rb"\s*\]")
_COMMA = re.compile(rb"\s*,\s*")
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""Texts and brackets; a text without end goes on to the end, so that nothing is looked at twice."""


def elements(data: bytes | bytearray, key: str) -> Generator[list[Any], None, dict[str, Any]]:
    """The elements of the array under `key` of the JSON object `data`, some at a time; returns the
    rest of the object.

    Raises `BadListing` for what is no object with an array of objects there, or where one is larger
    than `LARGEST_ELEMENT`.
    """
    head, position = _beginning(data, key)
    while (end := _END.match(data, position)) is None:
        found, position = _slice(data, position)
        yield found
        comma = _COMMA.match(data, position)
        if comma is not None:
            position = comma.end()
        elif _END.match(data, position) is None:
            raise BadListing("its JSON is damaged.")
    if len(data) - end.end() > LARGEST_ELEMENT:
        raise BadListing(f"there is too much in its JSON beside {key!r}.")
    try:
        rest = msgspec.json.decode(b'{"":0' + data[end.end() :])
    except (ValueError, RecursionError):
        raise BadListing("its JSON is damaged.") from None
    if not isinstance(rest, dict) or key in rest:
        raise BadListing(f"its JSON says {key!r} twice.")
    return {**head, **rest}


def _beginning(data: bytes | bytearray, key: str) -> tuple[dict[str, Any], int]:
    """What stands before the array, and where its first element begins."""
    opening = re.compile(rb'"' + key.encode() + rb'"\s*:\s*\[\s*')
    for found in islice(opening.finditer(data, 0, LARGEST_ELEMENT), GUESSES_AT_BEGINNING):
        try:
            head = msgspec.json.decode(data[: found.end()] + b"]}")
        except (ValueError, RecursionError):
            continue  # in a text, or deeper
        if isinstance(head, dict):
            return head, found.end()
    raise BadListing(f"it is no JSON object with a list of {key!r}, or it is damaged.")


def _slice(data: bytes | bytearray, start: int) -> tuple[list[Any], int]:
    """Whole elements from `start` on, and where the last of them ends."""
    stop = min(start + SLICE, len(data))
    for _ in range(GUESSES_AT_END):
        stop = data.rfind(b"}", start, stop)
        if stop < 0:
            break
        try:
            found: list[Any] = msgspec.json.decode(b"[" + data[start : stop + 1] + b"]")
        except (ValueError, RecursionError):
            continue  # the brace is in a text, in an element, or behind the array
        return found, stop + 1
    stop = _scanned(data, start)
    try:
        return msgspec.json.decode(b"[" + data[start:stop] + b"]"), stop
    except (ValueError, RecursionError):
        raise BadListing("its JSON is damaged.") from None


def _scanned(data: bytes | bytearray, start: int) -> int:
    """Where elements that begin at `start` end, found bracket by bracket: slow, for what is no use
    to guess at.
    """
    depth, stop = 0, start
    for token in _TOKENS.finditer(data, start, start + LARGEST_ELEMENT):
        bracket = token[0][:1]
        if bracket in b"{[":
            depth += 1
        elif bracket in b"}]":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                stop = token.end()
                if stop - start >= SLICE:
                    break
    if stop == start:
        raise BadListing("its JSON is damaged, or an element of it is too large.")
    return stop

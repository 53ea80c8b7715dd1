"""Incremental decoding of a large JSON document with one long array, some elements at a time, so
that other threads are not blocked.

Decoding 40 MB in one call takes 150 ms, during which no other thread runs. So the text is cut, and
each cut is verified by decoding: JSON is read from left to right without lookahead, so if ``[`` +
the beginning of an array + ``]`` is valid, that beginning consists of whole elements, and the array
continues after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any

import msgspec

from pypid.core.errors import BadListing

SLICE = 1 << 16
"""Bytes decoded at a time: some 300 microseconds."""
NEAR = 1 << 12
"""Bytes before the end of a slice in which most elements end."""
LARGEST_ELEMENT = 4 << 20
"""Maximum size in bytes of one element; no index has larger ones. Also of what precedes or follows
the array.
"""
GUESSES_AT_BEGINNING = 32
GUESSES_AT_END = 4
"""Positions tried for the beginning of the array, and for the end of a slice."""

_BETWEEN = (b"},{", b"}, {")
"""What indexes write between two elements."""
_LAST = (b"}]", b"} ]")
"""What they write after the last one."""
_END = re.compile(rb"\s*\]")
_COMMA = re.compile(rb"\s*,\s*")
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""Strings and brackets; a string without an end extends to the end, so that nothing is scanned
twice.
"""


Decode = Callable[[bytes], list[Any]]


def elements(
    data: bytes | bytearray, key: str, decode: Decode = msgspec.json.decode
) -> Generator[list[Any], None, dict[str, Any]]:
    """Yield the elements of the array under `key` of the JSON object `data`, some at a time; return
    the rest of the object. `decode` returns the elements of an array, or raises `ValueError`.

    Raises `BadListing` if it is not an object with such an array of objects, or if an element is
    larger than `LARGEST_ELEMENT`.
    """
    head, position = _beginning(data, key)
    while (end := _END.match(data, position)) is None:
        found, position = _slice(data, position, decode)
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
    """Return what precedes the array, and the position of its first element."""
    opening = re.compile(rb'"' + key.encode() + rb'"\s*:\s*\[\s*')
    for found in islice(opening.finditer(data, 0, LARGEST_ELEMENT), GUESSES_AT_BEGINNING):
        try:
            head = msgspec.json.decode(data[: found.end()] + b"]}")
        except (ValueError, RecursionError):
            continue  # inside a string, or nested deeper
        if isinstance(head, dict):
            return head, found.end()
    raise BadListing(f"it is no JSON object with a list of {key!r}, or it is damaged.")


def _slice(data: bytes | bytearray, start: int, decode: Decode) -> tuple[list[Any], int]:
    """Return whole elements from `start` on, and the position after the last of them."""
    limit = min(start + SLICE, len(data))
    # at the end of an element rather than of an object in it
    texts = _BETWEEN if limit < len(data) else _LAST
    near = max(start, limit - NEAR)  # first: a text that occurs nowhere is sought everywhere
    between = [data.rfind(text, near, limit) for text in texts]
    if max(between) < 0:
        between = [data.rfind(text, start, limit) for text in texts]
    stop = max(between)
    if stop < 0:
        stop = data.rfind(b"}", start, limit)
    for _ in range(GUESSES_AT_END):
        if stop < 0:
            break
        try:
            return decode(b"[" + data[start : stop + 1] + b"]"), stop + 1
        except (ValueError, RecursionError):  # in a string, in an element, or after the array
            stop = data.rfind(b"}", start, stop)
    stop = _scanned(data, start)
    try:
        return decode(b"[" + data[start:stop] + b"]"), stop
    except (ValueError, RecursionError):
        raise BadListing("its JSON is damaged.") from None


def _scanned(data: bytes | bytearray, start: int) -> int:
    """Return the end of the elements that begin at `start`, found bracket by bracket: slow, for
    texts where guessing fails.
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

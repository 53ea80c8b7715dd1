"""A large JSON document, read some elements of its one long array at a time, so that nobody is held up by it.

To decode 40 MB in one call takes 150 ms, during which no other thread runs. So the text is cut, and each cut is proven by
decoding: JSON is read from left to right without looking ahead, so where ``[`` + the beginning of an array + ``]`` is
valid, that beginning is whole elements, and the array goes on behind it.
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
"""Bytes of one element; more is no file of any index. Also of what stands before the array, or behind it."""
MOST_GUESSES = 32
"""Places that are tried for the beginning of the array."""

_END = re.compile(rb"\s*\]")
_COMMA = re.compile(rb"\s*,\s*")
_LENGTHS = (SLICE, SLICE // 4, SLICE // 16, SLICE // 64, SLICE // 256, *(SLICE << bits for bits in range(1, 7)))


def elements(data: bytes | bytearray, key: str) -> Generator[list[Any], None, dict[str, Any]]:
    """The elements of the array under `key` of the JSON object `data`, some at a time; returns the rest of the object.

    Raises `BadListing` for what is no object with an array of objects there, or where one is larger than `LARGEST_ELEMENT`.
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
    for found in islice(opening.finditer(data, 0, LARGEST_ELEMENT), MOST_GUESSES):
        try:
            head = msgspec.json.decode(data[: found.end()] + b"]}")
        except (ValueError, RecursionError):
            continue  # in a text, or deeper
        if isinstance(head, dict):
            return head, found.end()
    raise BadListing(f"it is no JSON object with a list of {key!r}, or it is damaged.")


def _slice(data: bytes | bytearray, start: int) -> tuple[list[Any], int]:
    """Whole elements from `start` on, and where the last of them ends."""
    for length in _LENGTHS:
        for stop in _ends(data, start, min(start + length, len(data))):
            try:
                found = msgspec.json.decode(b"[" + data[start:stop] + b"]")
            except (ValueError, RecursionError):
                continue
            return found, stop
    raise BadListing("its JSON is damaged, or an element of it is too large.")


def _ends(data: bytes | bytearray, start: int, about: int) -> Generator[int, None, None]:
    """The last few places before `about` where an object that begins at `start` or later may end."""
    stop = about
    for _ in range(4):
        stop = data.rfind(b"}", start, stop)
        if stop < 0:
            return
        yield stop + 1

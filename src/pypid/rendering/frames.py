"""Frames between pypid and the child: JSON objects, each after its length in four bytes
(big-endian).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field

LONGEST_FRAME = 2 << 20
"""Bytes of an object: of HTML, four times as much as the longest text that is rendered."""
HEAD = 4


class GarbledFrame(Exception):
    """The received bytes are not an object, or one that is too long."""


def framed(document: Mapping[str, Any]) -> bytes:
    """Return the object with its length. Raises `ValueError` for one that is too long."""
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "replace"
    )
    if len(data) > LONGEST_FRAME:
        raise ValueError(f"{len(data)} bytes are more than {LONGEST_FRAME}")
    return len(data).to_bytes(HEAD, "big") + data


def length_of(head: bytes) -> int:
    """Return the length in the first bytes. Raises `GarbledFrame`."""
    length = int.from_bytes(head, "big")
    if length > LONGEST_FRAME:
        raise GarbledFrame(f"{length} bytes are more than {LONGEST_FRAME}")
    return length


def read(data: bytes) -> dict[str, Any]:
    """Return the object. Raises `GarbledFrame`."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise GarbledFrame("no JSON") from None
    if not isinstance(document, dict):
        raise GarbledFrame("no JSON object")
    return document


@define(eq=False)
class Frames:
    """A parser of bytes, in whatever pieces, into objects."""

    _rest: bytearray = field(factory=bytearray, init=False, repr=False)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the objects that are complete with this. Raises `GarbledFrame`."""
        self._rest += data
        found = []
        while len(self._rest) >= HEAD:
            end = HEAD + length_of(bytes(self._rest[:HEAD]))
            if len(self._rest) < end:
                break
            found.append(read(bytes(self._rest[HEAD:end])))
            del self._rest[:end]
        return found

"""Lists for people: columns, and the API's times."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns to the left, as wide as they need; nothing where there are no rows."""
    lines = [[printable(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for row in (head, *lines):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def printable(text: str) -> str:
    """`text` for a terminal: what somebody else wrote cannot steer it."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def counted(number: int, thing: str) -> str:
    """``1 right``, ``2 rights``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def in_minutes(text: str | None, never: str = "never") -> str:
    """A time of the API, to the minute (UTC)."""
    return never if text is None else text[:16].replace("T", " ")


def print_warnings(answer: Mapping[str, Any]) -> None:
    """What the daemon wants known, on standard error."""
    for warning in answer.get("warnings", ()):
        print(f"pypid: {warning}", file=sys.stderr)

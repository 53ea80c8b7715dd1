"""Tables and texts that the commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with columns aligned left; nothing if there are no rows."""
    lines = [[printable(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for row in (head, *lines):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def printable(text: str) -> str:
    """Return `text` escaped for a terminal: text from other users must not control it."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def counted(number: int, thing: str) -> str:
    """Return the number with its noun: ``1 right``, ``2 rights``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def in_minutes(text: str | None, never: str = "never") -> str:
    """Return a time of the API, to the minute (UTC)."""
    return never if text is None else text[:16].replace("T", " ")


def print_warnings(answer: Mapping[str, Any]) -> None:
    """Print the warnings of an answer on standard error."""
    for warning in answer.get("warnings", ()):
        print(f"pypid: {warning}", file=sys.stderr)

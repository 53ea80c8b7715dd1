"""What the commands print: tables, times, sizes, JSON, warnings and progress bars."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from attrs import define

_BAR_WIDTH = 30
_MINUTES, _SECONDS = len("2026-01-01T00:00"), len("2026-01-01T00:00:00")


def print_answer(
    options: argparse.Namespace, answer: Any, print_text: Callable[[Any], object]
) -> None:
    """Print an answer of the daemon: as JSON with `--json`, else with `print_text`."""
    if options.json:
        print_json(answer)
    else:
        print_text(answer)


def print_json(document: Any) -> None:
    """Print the document as JSON, indented."""
    import msgspec  # `--help` need not wait for it

    print(msgspec.json.format(msgspec.json.encode(document)).decode())


def print_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, align_right: bool = False
) -> None:
    """Print a table; nothing if there are no rows.

    Columns are aligned left; with `align_right` all but the first are aligned right, for numbers.
    On a terminal, lines are cut to its width.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for first, *rest in (head, *lines):
        align = str.rjust if align_right else str.ljust
        cells = [first.ljust(widths[0]), *map(align, rest, widths[1:])]
        print(_cut("  ".join(cells).rstrip()))


Column = str | Callable[[Mapping[str, Any]], str]
"""What a column shows of an item: the value of a key (a list: its words), or a text that is made of
the item.
"""


def print_rows(
    items: Iterable[Mapping[str, Any]],
    columns: Mapping[str, Column],
    *,
    align_right: bool = False,
) -> None:
    """Print a table of the items; `columns` by their heads. See `print_table`."""
    rows = [[_cell(item, column) for column in columns.values()] for item in items]
    print_table(tuple(columns), rows, align_right=align_right)


def _cell(item: Mapping[str, Any], column: Column) -> str:
    value = item[column] if isinstance(column, str) else column(item)
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else str(value)


def table_of(
    key: str, noun: str, columns: Mapping[str, Column], many: str = ""
) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that prints the list `key` of an answer, the number of its items, and the
    warnings. `columns`: by their heads; `noun` and `many`: see `counted`.
    """

    def print_list(answer: Mapping[str, Any]) -> None:
        print_rows(answer[key], columns)
        print(counted(len(answer[key]), noun, many))
        print_warnings(answer)

    return print_list


def print_done(key: str, done: str) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that prints that something was done to what `key` of an answer names."""
    return lambda answer: print(f"{printable(answer[key])}: {done}")


def time_of(key: str, never: str = "never") -> Callable[[Mapping[str, Any]], str]:
    """Return a column with a time of the API; `never` for none."""
    return lambda item: format_time(item.get(key), never)


def _cut(line: str) -> str:
    """Return the line, cut to the width of the terminal if standard output is one."""
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return line if len(line) <= width else f"{line[: width - 1]}…"


def printable(text: str) -> str:
    """Return `text` escaped for a terminal: text from other users must not control it."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def with_token(url: str) -> str:
    """Return the URL with the place of a token, for an index that needs a login to read."""
    return url.replace("://", "://__token__:TOKEN@", 1)


def counted(number: int, thing: str, many: str = "") -> str:
    """Return the number with its noun: ``1 right``, ``2 rights``, ``2 advisories`` (`many`)."""
    return f"{number} {thing}" if number == 1 else f"{number} {many or f'{thing}s'}"


def format_time(text: str | None, never: str = "never", *, seconds: bool = False) -> str:
    """Return a time of the API (UTC) to the minute, or to the second; `never` for None."""
    return never if text is None else text[: _SECONDS if seconds else _MINUTES].replace("T", " ")


def format_size(size: int) -> str:
    """Return a number of bytes in readable units: 1536 is 1.5 KiB."""
    number, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{size} bytes" if units[0] == "bytes" else f"{number:.1f} {units[0]}"


def print_warnings(answer: Mapping[str, Any]) -> None:
    """Print the warnings of an answer on standard error."""
    for warning in answer.get("warnings", ()):
        print(f"pypid: {warning}", file=sys.stderr)


def print_progress(event: Mapping[str, Any]) -> None:
    """Print a progress message of the daemon, which comes every few seconds, on standard error."""
    print(event["said"], file=sys.stderr, flush=True)


@define
class ProgressBar:
    """One line of a terminal, overwritten with the progress; silent if `stream` is no terminal."""

    stream: TextIO
    _shown: bool = False

    def show(self, text: str, done: int = 0, of: int | None = None) -> None:
        """Show the text, after a bar if the total is known."""
        if not self.stream.isatty():
            return
        if of is not None:
            filled = _BAR_WIDTH * done // of if of else _BAR_WIDTH
            text = f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {text}"
        self.stream.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        self.stream.flush()
        self._shown = True

    def show_pages(self, done: int, of: int) -> None:
        """Show how many projects have their pages written."""
        self.show(f"{done} of {of} projects written", done, of)

    def clear(self) -> None:
        """Clear the line."""
        if self._shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._shown = False

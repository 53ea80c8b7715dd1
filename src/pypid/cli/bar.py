"""A progress bar on a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from typing import TextIO

from attrs import define

_BAR = 30


@define
class ProgressBar:
    """One line of a terminal, overwritten with the progress; silent if there is no terminal."""

    stream: TextIO
    terminal: bool
    _shown: bool = False

    def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the lines, and show how many were read."""
        for number, line in enumerate(lines, 1):
            if number % 5000 == 0:
                self._show(f"{number} lines read")
            yield line

    def pages(self, done: int, of: int) -> None:
        """Show how many projects are done."""
        filled = _BAR * done // of if of else _BAR
        self._show(f"[{'#' * filled}{'.' * (_BAR - filled)}] {done} of {of} projects written")

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._shown = False

    def _show(self, text: str) -> None:
        if self.terminal:
            self.stream.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
            self.stream.flush()
            self._shown = True

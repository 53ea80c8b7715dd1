"""A file that stays open between responses, so that the next one need not look it up."""

from __future__ import annotations

import os
from typing import BinaryIO, cast

from pypid.core.model import Span
from pypid.flow import Blocking, FileBody
from pypid.flow.bodies import at_hand
from pypid.web.http.sendfile import WINDOW


class OpenFile:
    """An open file, closed when the last reference is dropped: those of caches and of responses in
    progress.
    """

    __slots__ = ("descriptor", "size")

    def __init__(self, descriptor: int, size: int) -> None:
        """Duplicate `descriptor`, which the caller keeps."""
        self.descriptor = os.dup(descriptor)
        self.size = size

    def __del__(self) -> None:
        os.close(self.descriptor)

    def is_at_hand(self) -> bool:
        """Return whether its first window can be sent without waiting for a disk."""
        return bool(
            at_hand(self.descriptor, 0, 1)
            and at_hand(self.descriptor, min(WINDOW, self.size) - 1, 1)
        )

    def body(self, position: int, blocking: Blocking) -> FileBody:
        """Return a body from this position to the end."""
        return FileBody(cast("BinaryIO", _Reading(self)), Span(position, self.size), blocking)


class _Reading:
    """As much of a file object as a `FileBody` needs, with a position of its own."""

    def __init__(self, file: OpenFile) -> None:
        self._file: OpenFile | None = file
        self._position = 0

    def fileno(self) -> int:
        return -1 if self._file is None else self._file.descriptor

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, most: int) -> bytes:
        file = self._file  # a local reference keeps it open until the read is done
        return b"" if file is None else os.pread(file.descriptor, most, self._position)

    def close(self) -> None:
        self._file = None

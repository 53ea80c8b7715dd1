"""Bytes that do not fit into memory, in files of a folder.

The files have no names, so they go away with the process; nothing in them is needed after a start.
New bytes are appended to the last file. A file whose bytes are mostly replaced is emptied, by
moving the remaining ones, and closed.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Generic, TypeVar
from weakref import finalize
from zlib import crc32

import msgspec

from pypid.core.errors import Unreadable

K = TypeVar("K", bound=Hashable)

LONGEST_FILE = 64 << 20
"""Bytes after which a new file is begun."""


class SpillFile:
    """One file. It is closed when nothing refers to it any more: a dump may still read it when it
    has been emptied.
    """

    def __init__(self, folder: Path) -> None:
        # mode 0600, without a name
        file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # `finalize` closes it
        self.descriptor = file.fileno()
        self.size = 0
        self._close = finalize(self, file.close)

    def append(self, data: bytes) -> SpilledBytes:
        """Write the bytes at the end. Raises `OSError`; then they are not in the file."""
        start, rest = self.size, memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, start)
            start, rest = start + written, rest[written:]
        spilled = SpilledBytes(self, self.size, len(data), crc32(data))
        self.size = start
        return spilled


class SpilledBytes(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Where some bytes are: they can be read as long as this exists."""

    file: SpillFile
    start: int
    size: int
    crc: int

    def __len__(self) -> int:
        return self.size

    def read(self) -> bytes:
        """Return the bytes; blocks. Raises `Unreadable` if they are damaged."""
        try:
            data = os.pread(self.file.descriptor, self.size, self.start)
        except OSError as error:
            raise Unreadable("a spilled listing", error.strerror or str(error)) from None
        if len(data) != self.size or crc32(data) != self.crc:
            raise Unreadable("a spilled listing", "it is not what was written")
        return data


class Spill(Generic[K]):
    """Bytes by key in files of `folder`. `write` blocks, in any thread; all else is for the reactor
    thread.
    """

    def __init__(self, folder: Path, longest_file: int = LONGEST_FILE) -> None:
        self._folder = folder
        self._longest_file = longest_file
        self._lock = Lock()
        self._last: SpillFile | None = None
        self._files: dict[SpillFile, dict[K, SpilledBytes]] = {}
        self._held: dict[K, SpilledBytes] = {}
        self._used: dict[SpillFile, int] = {}

    @property
    def used(self) -> int:
        """The number of bytes that are held."""
        return sum(self._used.values())

    @property
    def size(self) -> int:
        """The number of bytes of all files that are in use."""
        return sum(file.size for file in self._files)

    def write(self, data: Iterable[bytes]) -> list[SpilledBytes]:
        """Append each of these; `hold` the result. Raises `OSError`."""
        with self._lock:
            return [self._write(each) for each in data]

    def _write(self, data: bytes) -> SpilledBytes:
        if self._last is None or self._last.size >= self._longest_file:
            self._last = SpillFile(self._folder)
        return self._last.append(data)

    def hold(self, key: K, spilled: SpilledBytes) -> None:
        """Hold these bytes under the key, in place of others."""
        self.drop(key)
        self._held[key] = spilled
        self._files.setdefault(spilled.file, {})[key] = spilled
        self._used[spilled.file] = self._used.get(spilled.file, 0) + spilled.size

    def drop(self, key: K) -> None:
        """Hold nothing under the key any more."""
        spilled = self._held.pop(key, None)
        if spilled is None:
            return
        del self._files[spilled.file][key]
        self._used[spilled.file] -= spilled.size
        if not self._files[spilled.file]:
            del self._files[spilled.file], self._used[spilled.file]

    def misplaced(self) -> Mapping[K, SpilledBytes]:
        """Return the bytes of a full file of which less than half is held: to be written once more,
        so that its space becomes free. Empty if there is no such file.
        """
        for file, held in self._files.items():
            if file.size >= self._longest_file and 2 * self._used[file] < file.size:
                return dict(held)
        return {}

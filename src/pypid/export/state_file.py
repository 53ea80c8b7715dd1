"""The file of a tree with its state (`export.tree_state`), which other runs and versions may make
invalid.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from attrs import define, field

from pypid.static.tree import JSON_PAGE, PAGE

STATE = ".pypid-export-state.json"
"""The name of the file, at the root of the tree."""
_LISTS = (PAGE, f"simple/{PAGE}", f"simple/{JSON_PAGE}")
"""Pages that nearly every run writes, also one of an older version."""


@define(eq=False)
class StateFile:
    """The state of the tree at `root`. While one run has the lock, of the folder `locked`, others
    cannot use it, and make it invalid.
    """

    root: str
    locked: str
    _lock: int | None = field(default=None, init=False, repr=False)
    _token: bytes = field(factory=lambda: token_hex(16).encode(), init=False, repr=False)

    @property
    def _path(self) -> str:
        return f"{self.root}/{STATE}"

    def recall(self) -> bytes | None:
        """Return the state that the last run stored, if it is valid; it is void from now on."""
        is_alone = self._take()
        signature, _, state = self._read().partition(b"\n")
        replace_file(self._path, b"being written by " + self._token)
        return state if is_alone and signature == self._signature() else None

    def remember(self, state: bytes) -> None:
        """Store the state, unless another run has begun since `recall`."""
        if self._lock is not None and self._read().endswith(self._token):
            replace_file(self._path, b"\n".join((self._signature(), state)))

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _signature(self) -> bytes:
        """Return what tells whether pages were written since, by any program."""
        words = []
        for page in _LISTS:
            with suppress(FileNotFoundError, NotADirectoryError):
                found = Path(self.root, page).lstat()
                words.append(f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}")
        return " ".join(words).encode()

    def _take(self) -> bool:
        """Take the lock, if this run does not have it; return whether it has it now."""
        if self._lock is None:
            lock = os.open(self.locked, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            except OSError:  # some network file systems have no locks
                pass
            self._lock = lock
        return True


def replace_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file atomically and durably."""

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW, mode)

    with open(f"{path}.new", "wb", opener=opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(f"{path}.new").rename(path)

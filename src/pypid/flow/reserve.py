"""Disk space reserved for what must work on a full disk: deleting, yanking, closing a project,
reading accounts.

There is a file of `SIZE` bytes in the state folder, and one in the storage folder. What writes
little and must not fail takes from it. All functions block.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.logger import Logger

_log = Logger()

FILE: Final = "reserve"
SIZE = 4 << 20
"""Bytes of each reserve: some thousand records."""
STEP = 256 << 10
"""Bytes that are released at a time."""
SMALL = 64 << 10
"""Bytes of the largest document that may use the reserve."""
REFILL = 60.0
"""Seconds between two attempts to fill the reserve again."""


@frozen
class Reserve:
    """The reserve file at `path`."""

    path: Path

    def fill(self) -> None:
        """Allocate what is missing, as long as that leaves as much again for others. A disk that
        refuses is left alone.
        """
        with suppress(OSError):
            descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                held, room = os.fstat(descriptor).st_size, os.fstatvfs(descriptor)
                if held < SIZE and room.f_bavail * room.f_frsize >= 2 * SIZE - held:
                    os.posix_fallocate(descriptor, 0, SIZE)
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Free `STEP` bytes of the disk; return whether there were any."""
        try:
            held = self.path.stat().st_size
            if not held:
                return False
            left = max(0, held - STEP)
            os.truncate(self.path, left)
        except OSError:
            return False
        _log.warn(
            "the disk is full, space was taken from the reserve: path={path} left={left}",
            path=str(self.path),
            left=left,
        )
        return True

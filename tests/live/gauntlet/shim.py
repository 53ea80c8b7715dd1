"""A process whose file-system calls fail, or that is killed at one of them, as the test chooses
(`shim.c`).
"""

from __future__ import annotations

import atexit
import functools
import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from enum import Enum, IntEnum
from pathlib import Path
from tempfile import mkdtemp
from typing import Final
from unittest import SkipTest

from tests.live.clients import Unavailable, in_ci


class Call(IntEnum):
    """Families of system calls, by their bit in the shim."""

    OPEN = 0
    WRITE = 1
    FSYNC = 2
    RENAME = 3
    UNLINK = 4
    MKDIR = 5
    LINK = 6
    READ = 7
    STAT = 8
    TRUNCATE = 9


CHANGES: Final = (
    Call.OPEN,
    Call.WRITE,
    Call.FSYNC,
    Call.RENAME,
    Call.UNLINK,
    Call.MKDIR,
    Call.LINK,
    Call.TRUNCATE,
)
"""The calls at which a process is killed: what another call leaves behind is what the next of these
finds.
"""


class Action(Enum):
    """What the shim does at a call."""

    FAIL = 1
    KILL = 2
    KILL_HALF = 3
    """Kill after half of a write; at other calls as KILL."""


_LAYOUT: Final = struct.Struct("8I")


class Shim:
    """The control of the shim in the processes that have `environ`."""

    def __init__(self, folder: Path, folders: Sequence[Path]) -> None:
        path = folder / "shim-control"
        path.write_bytes(bytes(_LAYOUT.size))
        with path.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._folders = [str(each) for each in folders]
        self.environ = {
            "LD_PRELOAD": str(library()),
            "SHIM_CONTROL": str(path),
            "SHIM_FOLDERS": ":".join(self._folders),
        }

    def arm(
        self,
        action: Action,
        *,
        nth: int = 0,
        calls: Iterable[Call] = CHANGES,
        folders: Iterable[int] | None = None,
        error: int = 0,
    ) -> None:
        """From now on take the action at the matching call number `nth` (from 1), or at each of
        them (0).
        """
        self.disarm()
        which = range(len(self._folders)) if folders is None else folders
        values = (
            sum(1 << call for call in calls),
            sum(1 << number for number in which),
            error,
            nth,
            0,
            0,
            0,
        )
        self._mapped[4 : _LAYOUT.size] = struct.pack("7I", *values)
        self._mapped[:4] = struct.pack("I", action.value)

    def disarm(self) -> None:
        """Let all calls through."""
        self._mapped[:4] = bytes(4)

    @property
    def count(self) -> int:
        """How many calls matched since the shim was armed."""
        return int(_LAYOUT.unpack(self._mapped[:])[5])

    @property
    def struck(self) -> int:
        """How often the action was taken since then."""
        return int(_LAYOUT.unpack(self._mapped[:])[6])

    @property
    def last(self) -> str:
        """The name of the call at which it was taken last."""
        return Call(_LAYOUT.unpack(self._mapped[:])[7]).name.lower()


@functools.cache
def library() -> Path:
    """Compile the shim. Raises `unittest.SkipTest` where there is no gcc, `Unavailable` in CI."""
    gcc = shutil.which("gcc")
    if gcc is None:
        reason = "gcc: not on this machine (apt install gcc libc6-dev)"
        raise Unavailable(reason) if in_ci() else SkipTest(reason)
    folder = Path(mkdtemp(prefix="pypid-shim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made, source = folder / "shim.so", Path(__file__).with_name("shim.c")
    ended = subprocess.run(
        [gcc, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", made, source, "-ldl"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return made

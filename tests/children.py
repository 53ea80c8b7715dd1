"""Child processes that do not outlive the test process that started them, however that ends."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
from contextlib import suppress
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def with_us() -> list[str]:
    """Return the words to put before a command whose process the kernel kills when this process
    ends.

    The kernel counts the end of the thread that starts the process: a thread that starts one has to
    outlive it.
    """
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


def end_with_parent(parent: int, sign: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send `sign` to this process when its parent, whose process id is `parent`,
    ends.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), sign)


def kill_group(leader: int) -> None:
    """Kill what is left of the process group of `leader`, which may have ended itself."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)

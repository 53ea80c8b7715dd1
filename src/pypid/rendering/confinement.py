"""The confinement of the child: it may compute for a while, in so much memory, and read the program
files that it is made of.

The renderers are configured to read no file, and nothing in them starts a process or opens a
connection. This is a second defense, in case one of them has a hole.
"""

from __future__ import annotations

import mimetypes
import os
import resource
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

MEMORY = 512 << 20
"""Bytes of address space."""
CPU = 10
"""Seconds of computing for a README: more than pypid waits; they end an orphaned child."""
_PROGRAMS = (".py", ".pyc", ".so")
_NEVER = (
    *(
        "socket.",
        "subprocess.",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "os.startfile",
        "pty.",
        "shutil.",
    ),
    *(
        "shutil.",
        "os.chmod",
        "os.chown",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
    ),
)
"""Prefixes of audit events that no renderer needs."""


def confine(largest_file: int = 0) -> None:
    """Confine this process, irrevocably. `largest_file`: bytes that C code may write to a file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pypid, which then ends this one
    for limit, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, largest_file),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    with suppress(OSError):  # systemd's unit forbids setting priorities
        os.nice(5)
    mimetypes.init()  # docutils guesses the type of each image, and the first guess reads files
    _watch()


def compute_for(seconds: int) -> None:
    """End the process (SIGXCPU) after so much more computing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(
        resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )


def _watch() -> None:
    """Refuse to open any file but programs, and docutils' own style sheets."""
    found = find_spec("docutils")
    own = Path(found.origin).parent if found is not None and found.origin else None

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (
                writes
                or not isinstance(path, str)
                or not (path.endswith(_PROGRAMS) or _is_below(path, own))
            ):
                raise PermissionError(f"a README wants to open {path!r}")
        elif event.startswith(_NEVER):
            raise PermissionError(f"a README wants {event}")

    sys.addaudithook(look)


def _is_below(path: str, folder: Path | None) -> bool:
    return folder is not None and ".." not in path and Path(path).is_relative_to(folder)

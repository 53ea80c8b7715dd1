"""A system that fails, or a process that dies, at a step that the test chooses."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

STEPS = frozenset(
    (
        "open",
        "close",
        "write",
        "fsync",
        "stat",
        "lstat",
        "fstat",
        "fchmod",
        "mkdir",
        "link",
        "rename",
        "replace",
        "unlink",
    )
)
CHANGES = STEPS - {"close", "fsync", "stat", "lstat", "fstat"}
"""What may leave other files than were there before it: who dies at another step leaves what he
leaves at the next of these.
"""
REFUSALS = (errno.ENOSPC, errno.EIO)


class Scripted:
    """Stands for `os`: counts the calls that touch files, and does `act` in place of call number
    `nth`.

    Of a process that dies only the calls are counted that change files.
    """

    def __init__(self, nth: int, act: Callable[[str], None]) -> None:
        self._nth = nth
        self._act = act
        self._steps = CHANGES if act is die else STEPS
        self.calls: list[str] = []

    @property
    def failed(self) -> str | None:
        """The call that was failed; None if there were not so many."""
        return self.calls[self._nth - 1] if len(self.calls) >= self._nth else None

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self._steps:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) == self._nth:
                if name == "close":
                    real(*args)  # a close that reports an error has closed
                self._act(name)
            return real(*args, **kwargs)

        return call


def refuse(number: int) -> Callable[[str], None]:
    """The system refuses with this errno."""

    def act(name: str) -> None:
        raise OSError(number, os.strerror(number), "/a/path/of/the/machine")

    return act


def die(name: str) -> None:
    """The process ends here and now, and nothing is tidied up."""
    os._exit(9)


def in_child(job: Callable[[], object]) -> bool:
    """Run `job` in a process of its own; whether it came to its end."""
    child = os.fork()
    if not child:
        try:
            job()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), f"the child ended with {code}"
    return code == 0

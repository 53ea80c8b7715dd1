"""The program of a process that renders and writes pages of projects, until its input ends.

Run as ``python -m pypid.export.page_program``; pypid sends what is visible already
(`export.page_frames`).
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress

from attrs import define

from pypid.export.options import fits
from pypid.export.page_frames import Answer, encoded, read_batch, read_task, receive, send
from pypid.export.written_projects import put_projects, render
from pypid.static.tree import TreeFolder

MEMORY = 2 << 30
"""Bytes of address space: some million files of one project."""


@define
class ParentedFolder(TreeFolder):
    """A tree into which this process writes only as long as its parent lives: the next pypid may
    be writing there.
    """

    parent: int = 0

    def write(self, path: str, body: bytes) -> None:
        """Write the page, or end this process."""
        if os.getppid() != self.parent:
            os._exit(1)
        super().write(path, body)


def main() -> None:
    """Write what each message says, and answer it."""
    _confine()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed is not an answer
    begun = receive(requests)
    if begun is None:
        return
    task = read_task(begun)
    folder = ParentedFolder(task.root, fits, parent=task.parent)
    while (message := receive(requests)) is not None:
        projects, since = read_batch(message)
        try:
            rendered = render(projects, task.options, since, compressed=True)
            answer = Answer(put_projects(folder, rendered, task.options))
        except OSError as error:
            failed = (error.errno, error.strerror or str(error), error.filename)
            answer = Answer(failed=failed)
        send(answers, encoded(answer))


def _confine() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for pypid, which then ends this one
        signal.signal(number, signal.SIG_IGN)
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, most))
    with suppress(OSError):  # systemd's unit forbids setting priorities
        os.nice(5)


if __name__ == "__main__":
    main()

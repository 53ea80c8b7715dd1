"""The processes that render and write pages of many projects into a folder, so that pypid's own
threads do not hold up its answers.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import IO

import msgspec
from attrs import define, field
from twisted.internet.defer import DeferredQueue
from twisted.logger import Logger

from pypid.export.options import ExportOptions
from pypid.export.page_frames import (
    Task,
    encoded,
    encoded_batch,
    read_answer,
    receive,
    send,
)
from pypid.export.pages import ShownProject
from pypid.export.written_projects import WrittenProject
from pypid.flow import World
from pypid.flow.python_child import child_environ, program_of
from pypid.static.processes import Died

_log = Logger()

PROGRAM = program_of("pypid.export.page_program")
MOST = 4
"""Maximum number of processes."""
PATIENCE = 10.0
"""Seconds after which a process that should end is killed."""
COMPLAINT = 1000
"""Characters of its last standard error that are logged."""


def how_many() -> int:
    """Return the number of processes for this machine."""
    return min(MOST, len(os.sched_getaffinity(0)))


@define(eq=False)
class PageProcess:
    """A running process. Its methods block: call them in a thread, one at a time."""

    process: subprocess.Popen[bytes]
    requests: IO[bytes] = field(repr=False)
    answers: IO[bytes] = field(repr=False)
    complaints: IO[bytes] = field(repr=False)

    @staticmethod
    def begin(task: Task) -> PageProcess:
        """Start it. Raises `OSError`."""
        process = subprocess.Popen(
            PROGRAM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environ(),
            cwd="/",
        )
        assert process.stdin and process.stdout and process.stderr
        begun = PageProcess(process, process.stdin, process.stdout, process.stderr)
        with suppress(BrokenPipeError):  # the first batch says why
            send(begun.requests, encoded(task))
        return begun

    def write(self, batch: bytes) -> list[WrittenProject]:
        """Have it write the pages of the projects in an `encoded_batch`. Raises `OSError` as the
        process did, and `Died` if it has ended.
        """
        try:
            send(self.requests, batch)
            message = receive(self.answers)
            answer = None if message is None else read_answer(message)
        except (BrokenPipeError, msgspec.DecodeError):
            answer = None
        if answer is None:
            raise self._died()
        if answer.failed is not None:
            raise OSError(*answer.failed)
        return answer.done

    def _died(self) -> Died:
        self.process.kill()
        status = self.process.wait()
        complaint = self.complaints.read().decode(errors="backslashreplace")[-COMPLAINT:].strip()
        if complaint:
            _log.error("a process that wrote pages has failed: {complaint}", complaint=complaint)
        return Died(status, "")

    def end(self) -> None:
        """End the process, after what it is doing."""
        for stream in (self.requests, self.answers, self.complaints):
            with suppress(OSError):
                stream.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@define(eq=False)
class PageProcesses:
    """Some processes, of which each writes one batch of projects at a time."""

    world: World = field(repr=False)
    _all: list[PageProcess] = field(factory=list, init=False)
    _idle: DeferredQueue[PageProcess] = field(factory=DeferredQueue, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._all)

    async def begin(self, root: str, options: ExportOptions) -> None:
        """Start the processes. Raises `OSError`."""
        task = Task(root, options, os.getpid())
        for _ in range(how_many()):
            process = await self.world.blocking(PageProcess.begin, task)
            self._all.append(process)
            self._idle.put(process)

    async def write(
        self, projects: Sequence[ShownProject], since: datetime
    ) -> list[WrittenProject]:
        """Write the pages of the projects by the first process that is idle. Raises as
        `PageProcess.write`.
        """
        batch = await self.world.thinking(encoded_batch, projects, since)
        process = await self._idle.get()
        try:
            return await self.world.blocking(process.write, batch)
        finally:
            self._idle.put(process)

    async def end(self) -> None:
        """End all processes; none may be working."""
        processes, self._all, self._idle = self._all, [], DeferredQueue()
        for process in processes:
            await self.world.blocking(process.end)

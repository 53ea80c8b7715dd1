"""The parent's side of a child process: one request at a time; the child is killed when it takes
too long or sends an invalid answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from pypid.flow.python_child import child_environ, program_of
from pypid.rendering.frames import Frames, GarbledFrame, framed

PROGRAM = program_of("pypid.rendering.program")
COMPLAINT = 1000
"""Bytes of its last standard error that are kept for the log."""


class ChildEnded(Exception):
    """The child has ended, or was killed; the text is the reason."""


class Child(ProcessProtocol):
    """A running child. Call `expect` right after the start, and after each `say`."""

    transport: Any

    def __init__(self) -> None:
        self._frames = Frames()
        self._expecting: Deferred[Mapping[str, Any]] | None = None
        self._stderr = b""
        self._over: str | None = None
        self._gone: list[Deferred[None]] = []
        self.has_gone = False
        """Whether the process has ended."""

    @property
    def is_over(self) -> bool:
        """Whether the child accepts no more requests."""
        return self._over is not None

    @property
    def complaint(self) -> str:
        """The last line of its standard error."""
        return self._stderr.decode(errors="backslashreplace").strip().rpartition("\n")[2]

    def say(self, document: Mapping[str, Any]) -> None:
        """Send a request."""
        self.transport.write(framed(document))

    async def expect(self, clock: Any, within: float) -> Mapping[str, Any]:
        """Return the next object that it sends. Raises `ChildEnded`, and then it has ended, or is
        about to.
        """
        if self._over is not None:
            raise ChildEnded(self._over)
        expected: Deferred[Mapping[str, Any]] = Deferred()
        self._expecting = expected
        expected.addTimeout(within, clock)
        try:
            return await expected
        except TimedOut:
            self.kill(f"it took longer than {within:g} s")
            raise ChildEnded(self._over) from None
        finally:
            self._expecting = None

    def kill(self, why: str) -> None:
        """Kill the process."""
        self._end(why)
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    async def gone(self) -> None:
        """Wait until the process has ended."""
        if not self.has_gone:
            waiter: Deferred[None] = Deferred()
            self._gone.append(waiter)
            await waiter

    def _end(self, why: str) -> None:
        if self._over is None:
            self._over = why
        expecting, self._expecting = self._expecting, None
        if expecting is not None and not expecting.called:
            expecting.errback(ChildEnded(self._over))

    # --- what Twisted calls ---

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != 1:
            self._stderr = (self._stderr + data)[-COMPLAINT:]
            return
        if self._over is not None:
            return
        try:
            found = self._frames.feed(data)
        except GarbledFrame as error:
            self.kill(f"what it said is no answer: {error}")
            return
        for document in found:
            expecting, self._expecting = self._expecting, None
            if expecting is None or expecting.called:
                self.kill("it sent data that was not requested")
                return
            expecting.callback(document)

    def childConnectionLost(self, childFD: int) -> None:
        if childFD != 2:
            self.kill("it closed its input, or its output")

    def processEnded(self, reason: Failure) -> None:
        self.has_gone = True
        self._end("it ended by itself")
        gone, self._gone = self._gone, []
        for waiter in gone:
            waiter.callback(None)


def start_child(reactor: Any, program: tuple[str, ...]) -> Child:
    """Start a child; `reactor` is an `IReactorProcess`. Raises `OSError`.

    It gets nothing of this process's environment, and not its folder.
    """
    child = Child()
    reactor.spawnProcess(
        child,
        program[0],
        list(program),
        env=child_environ(),
        path="/",
        childFDs={0: "w", 1: "r", 2: "r"},
    )
    return child

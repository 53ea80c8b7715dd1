"""Running a program to its end, within limits of time and output, or until its caller is
cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from pypid.core.errors import Busy

MOST = 4 << 20
"""Bytes of each of its two streams."""


@frozen
class ProgramResult:
    """The result: the exit status (None: a signal ended it), and the output."""

    status: int | None
    out: bytes
    err: bytes


class _Bounded(ProcessProtocol):
    """The protocol that writes the input, and reads up to `MOST` bytes of each stream."""

    def __init__(self, stdin: bytes) -> None:
        self._stdin = stdin
        self._streams = {1: bytearray(), 2: bytearray()}
        self._waiting: list[Deferred[None]] = []
        self._ended: ProgramResult | None = None
        self.overflowed = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._stdin)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        stream = self._streams[childFD]
        stream += data[: MOST - len(stream)]
        if len(stream) == MOST:
            self.overflowed = True
            self.kill()

    def processEnded(self, reason: Failure) -> None:
        status = getattr(reason.value, "exitCode", None)
        self._ended = ProgramResult(status, bytes(self._streams[1]), bytes(self._streams[2]))
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    def kill(self) -> None:
        """Kill the program, if it has not ended."""
        assert self.transport is not None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    async def ended(self, clock: Any = None, within: float | None = None) -> ProgramResult:
        """Wait for the end of the program. Raises `TimedOut`."""
        if self._ended is None:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            if within is not None:
                waiter.addTimeout(within, clock)
            await waiter
        assert self._ended is not None
        return self._ended


async def run(
    reactor: Any,
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    folder: Path,
    stdin: bytes,
    within: float,
) -> ProgramResult:
    """Run the program in `folder`, with `environ` and nothing else of the environment, and `stdin`
    as its input.

    `reactor` is an `IReactorProcess` and `IReactorTime`. Raises `Busy` where it takes longer than
    `within` seconds or writes too much. However this ends, also when cancelled, the program has
    ended then.
    """
    protocol = _Bounded(stdin)
    reactor.spawnProcess(protocol, command[0], list(command), env=dict(environ), path=str(folder))
    try:
        ended = await protocol.ended(reactor, within)
    except TimedOut:
        raise Busy(
            f"Working out what is needed took longer than {within:g} s, and was given up.", 60
        ) from None
    finally:
        protocol.kill()
        await protocol.ended()
    if protocol.overflowed:
        raise Busy(f"Working out what is needed gave more than {MOST} bytes, and was given up.", 60)
    return ended

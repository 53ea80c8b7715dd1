"""Work on many projects, split between processes: forked, so that they share what is in memory
already.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NoReturn, TypeVar

import msgspec
from attrs import define, field

from pypid.core.errors import PypidError

T = TypeVar("T")


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """Progress since the last report: number of things done, and of their pages written or
    unchanged.
    """

    things: int = 0
    written: int = 0
    same: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(
            self.things + other.things, self.written + other.written, self.same + other.same
        )


class _Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line that a child process sends to its parent; `failed`: the arguments of an `OSError`."""

    done: Done = Done()
    failed: tuple[int | None, str, str | None] | None = None


@define(slots=False, repr=False)
class Died(PypidError):
    """Raised when a process that did a share of the work ended early."""

    status: int
    advice: str = " Run it again; with --processes 1 it needs least."

    def text(self) -> str:
        """Return how the process ended, and what to do."""
        how = f"by signal {-self.status}" if self.status < 0 else f"with status {self.status}"
        return (
            f"A process that wrote pages was ended {how} (is there too little memory?)."
            f"{self.advice}"
        )


Work = Callable[[Sequence[T]], Iterator[Done]]
"""Does a share of the work, and yields progress now and then. Raises only `OSError`."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Report)


def shared_out(
    things: Sequence[T], work: Work[T], processes: int, on_progress: Callable[[Done], None]
) -> None:
    """Do all of the work in this number of processes; `on_progress` receives their progress. Raises
    what `work` raises, or `Died`.

    With more than one process, the caller must have no other threads and no event loop.
    """
    if processes <= 1:
        for done in work(things):
            on_progress(done)
        return
    children: list[_Child] = []
    try:
        for number in range(processes):
            # one by one: each is ended if the next fails
            children.append(_fork(things[number::processes], work))  # noqa: PERF401
        _listen(children, on_progress)
    finally:
        for child in children:
            child.end()


@define(eq=False)
class _Child:
    pid: int
    pipe: int
    rest: bytes = field(default=b"", repr=False)
    ended: bool = False

    def read_reports(self) -> list[_Report] | None:
        """Return what the child reports, or None at its end. Raises the error that it reports, and
        `Died`.
        """
        some = os.read(self.pipe, 1 << 16)
        if not some:
            self.ended = True
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            if status:
                raise Died(status)
            return None
        *lines, self.rest = (self.rest + some).split(b"\n")
        reports = [_decoder.decode(line) for line in lines]
        for one in reports:
            if one.failed is not None:
                raise OSError(*one.failed)
        return reports

    def end(self) -> None:
        """End the child, and close its pipe."""
        os.close(self.pipe)
        if not self.ended:
            with suppress(ProcessLookupError):
                os.kill(
                    self.pid, signal.SIGKILL
                )  # the file it was writing is not in place yet, and is removed later
            os.waitpid(self.pid, 0)


def _listen(children: Sequence[_Child], on_progress: Callable[[Done], None]) -> None:
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child.pipe, selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select():
                reports = key.data.read_reports()
                if reports is None:
                    selector.unregister(key.fd)
                for one in reports or ():
                    on_progress(one.done)


def _fork(things: Sequence[T], work: Work[T]) -> _Child:
    ours, its = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ours)
        _do(things, work, its)
    os.close(its)
    return _Child(pid, ours)


def _do(things: Sequence[T], work: Work[T], pipe: int) -> NoReturn:
    """Do the work in the child, and exit: it must never return into its parent's code."""
    status = 1
    try:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches all at once: the parent ends the children
        for done in work(things):
            os.write(pipe, _encoder.encode(_Report(done)) + b"\n")
        status = 0
    except OSError as error:
        report = _Report(failed=(error.errno, error.strerror or str(error), error.filename))
        os.write(pipe, _encoder.encode(report) + b"\n")
        status = 0
    finally:
        os._exit(status)

"""Trial in several processes, each of which runs whole modules: ``python -m tests.parallel -j2
--temp-directory=DIR tests.core``.

``trial -j`` hands out single tests. What a module's tests share (a pypid, a PostgreSQL, a
directory) is then started in each process, and each test costs a few messages: in the unit part a
fourth of the time. Here the names of the modules are queued in a socket, and a process that is free
takes the next one. Each process ends with trial's own summary, and the command with the modules
that took longest; the exit status is 0 if all tests passed.

The modules of ``order.txt`` are run first: a long module that begins last keeps the other processes
idle at the end. The modules in one of its lines are run by one process, since they share what takes
long to start.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, Final, Protocol

from twisted.trial import _synctest
from twisted.trial.itrial import IReporter
from twisted.trial.reporter import Reporter
from twisted.trial.runner import TestLoader, TestSuite, TrialRunner

from tests.children import end_with_parent

ROOT: Final = Path(__file__).resolve().parents[1]
ORDER: Final = Path(__file__).with_name("order.txt").read_text().splitlines()
"""The longest modules, longest first. One process runs the modules of a line."""
FREEZE_EVERY: Final = 10
"""Modules after which what is in memory is left out of garbage collections."""


class _Tests(Protocol):
    def run(self, result: IReporter) -> object: ...


def modules(names: Iterable[str]) -> list[str]:
    """Return the modules with tests that are, or lie below, `names`. Raises `FileNotFoundError` for
    an unknown name.
    """
    listing: list[str] = []
    for name in names:
        path = ROOT.joinpath(*name.split("."))
        files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path.with_suffix(".py")]
        if not files or not files[0].is_file():
            raise FileNotFoundError(f"{name} is no module and no folder with tests")
        listing += [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return list(dict.fromkeys(listing))


def portions(wanted: list[str]) -> list[str]:
    """Return the lines of the queue, in order: the names of the modules that one process takes
    together.
    """
    left = dict.fromkeys(wanted)
    lines = []
    for line in ORDER:
        together = [name for name in (f"tests.{short}" for short in line.split()) if name in left]
        if together:
            lines.append(" ".join(together))
        for name in together:
            del left[name]
    return [*lines, *left]


def run(jobs: int, folder: str, wanted: list[str]) -> int:
    """Run the modules in so many processes, with their temporary folders below `folder`; return the
    exit status.
    """
    with TemporaryFile("w+") as times:
        processes = _start(jobs, folder, portions(wanted), times.fileno())
        try:
            ends = [process.wait() for process in processes]
        except KeyboardInterrupt:  # it interrupts the processes, too
            ends = [process.wait() for process in processes]
        except SystemExit:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
            raise
        print(slowest(times), end="", flush=True)
    for end in ends:
        if end not in (0, 1):
            print(f"FAILED (errors=1)\nA process with tests ended with {end}", flush=True)
    return 1 if any(ends) else 0


def _start(jobs: int, folder: str, lines: list[str], times: int) -> list[subprocess.Popen[bytes]]:
    """Start so many processes, and queue the lines for them."""
    give, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with give:
        with take:
            inherited = (take.fileno(), times)
            command = [
                sys.executable,
                "-m",
                "tests.parallel",
                "--take",
                *map(str, (*inherited, os.getpid())),
            ]
            processes = [
                subprocess.Popen(
                    [*command, "--temp-directory", f"{folder}-{number}"],
                    pass_fds=inherited,
                    cwd=ROOT,
                )
                for number in range(jobs)
            ]
        try:
            for line in lines:
                give.send(line.encode())
        except BrokenPipeError:  # all processes have ended
            pass
    return processes


def slowest(times: IO[str], count: int = 10) -> str:
    """Return a heading and so many of the lines in the file `times`, longest time first."""
    times.seek(0)
    lines = sorted(times, key=lambda line: float(line.split()[0]), reverse=True)
    return "".join([f"The slowest of {len(lines)} modules:\n", *lines[:count]])


class QueuedModules(TestSuite):
    """Takes modules from the queue and runs them until it is empty; `on_done` is called with a line
    for each module.
    """

    def __init__(
        self, queue: socket.socket, on_done: Callable[[str], object] = lambda line: None
    ) -> None:
        super().__init__()
        self.queue = queue
        self.on_done = on_done

    def run(self, result: Any) -> Any:
        """Run the modules, and print for each how long it took."""
        for number, name in enumerate(self._names(), 1):
            if result.shouldStop:
                break
            if number % FREEZE_EVERY == 0:  # while no test exists, which would stay with all it has
                gc.collect()
                gc.freeze()
            begun, before = time.monotonic(), result.testsRun
            tests: _Tests = TestLoader().loadByName(name)
            tests.run(result)
            line = f"{time.monotonic() - begun:6.1f} s {result.testsRun - before:5}  {name}\n"
            print(line, end="", flush=True)
            self.on_done(line)
        return result

    def _names(self) -> Iterator[str]:
        while line := self.queue.recv(65_536).decode():
            yield from line.split()


def work(queue: socket.socket, times: int, folder: str) -> int:
    """Run queued modules in this process, and write into the file `times` how long each took;
    return the exit status.
    """
    # Tests make much garbage, and modules stay: to search all of it again and again was an eighth of
    # the time.
    gc.set_threshold(20_000, 20, 50)
    _keep_warning_registries()
    report = io.StringIO()  # printed at once, so that the reports of two processes do not mix
    try:
        with queue:
            result = TrialRunner(Reporter, stream=report, workingDirectory=folder).run(
                QueuedModules(
                    queue, lambda line: os.write(times, line.encode())
                )  # one file, one position: lines do not mix
            )
    finally:
        print(report.getvalue(), end="", flush=True)
    return 0 if result.wasSuccessful() else 1


def _keep_warning_registries() -> None:
    """Have trial not reset the warning registry of every module before every test.

    That is a fifteenth of the time, and without effect: trial sets the filter "always" as well,
    which neither reads nor writes registries.
    """
    if hasattr(_synctest, "_setWarningRegistryToNone"):
        _synctest._setWarningRegistryToNone = lambda modules: None


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.parallel", description=__doc__)
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, metavar="JOBS")
    parser.add_argument(
        "--temp-directory",
        metavar="DIR",
        help="with a number behind it for each process; else one that is removed",
    )
    parser.add_argument("--take", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help="modules, or packages of them")
    options = parser.parse_args(arguments)
    if options.take is not None:
        queue, times, parent = options.take
        end_with_parent(parent)
        return work(socket.socket(fileno=queue), times, options.temp_directory)
    # the processes of a run do not try twice to install what cannot be installed
    # (tests.live.clients)
    os.environ.setdefault("TEST_RUN", f"{os.getpid()}-{time.time_ns()}")  # noqa: TID251
    # hypothesis keeps its tables of characters there: making them takes each process three seconds
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".hypothesis"))  # noqa: TID251
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # a make that is killed does not end what it started
    if os.environ.get("MAKELEVEL"):  # noqa: TID251
        end_with_parent(os.getppid())
    try:
        wanted = modules(options.names)
        if options.temp_directory:
            return run(options.j, options.temp_directory, wanted)
        with TemporaryDirectory() as folder:
            return run(options.j, f"{folder}/trial", wanted)
    except FileNotFoundError as error:
        parser.error(str(error))


if __name__ == "__main__":
    # another name, so that `tests.parallel` is one module in a process, and not also `__main__`
    from tests.parallel import main as begin

    sys.exit(begin(sys.argv[1:]))

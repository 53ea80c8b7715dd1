"""Trial in several processes, each takes whole modules: ``python -m tests.parallel -j2
--temp-directory=DIR tests.core``.

``trial -j`` hands out single tests. What a module's tests share (a pypid, a PostgreSQL, a
directory) is then made in each of its processes, and each test costs a few messages: of the unit
part a fourth of the time. Here the modules lie in a socket, and whoever is free takes the next one.
Each process ends with trial's own summary, and all of them with the modules that took longest; the
exit status is 0 if all went well.

The first modules are those of `FIRST`: who takes one of them last lets the others wait for him.
Modules in one line of `TOGETHER` are taken by one process, since they share what takes long to
start.
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

from twisted.trial.itrial import IReporter
from twisted.trial.reporter import Reporter
from twisted.trial.runner import TestLoader, TestSuite, TrialRunner

from tests.children import end_with_parent

ROOT: Final = Path(__file__).resolve().parents[1]
FIRST: Final = (
    *(
        "live.test_packaging",
        "live.test_container",
        "live.test_api_fuzz",
        "live.test_catalog_postgresql",
    ),
    *(
        "live.test_site_reading",
        "live.test_site_crawl",
        "live.test_site_publishing",
        "live.test_site_people",
    ),
    *(
        "live.test_pypicloud_ini",
        "live.test_cache",
        "live.test_upload",
        "live.test_site_administering",
        "live.test_site_machine",
    ),
    *(
        "live.test_site_deployed",
        "live.test_site_hostile",
        "live.test_pypicloud_storage",
        "live.test_daemon",
    ),
    *(
        "live.test_site_several",
        "live.test_workers",
        "live.test_catalog_redis",
        "live.test_static",
        "live.test_throwaway",
    ),
    *(
        "live.test_pypicloud_fallback",
        "live.test_commands",
        "live.test_starting",
        "live.test_collect",
    ),
    *("live.test_upstream_away", "live.test_private_names"),
    *(
        "live.test_install",
        "live.test_tokens",
        "live.test_tls",
        "live.test_rights",
        "live.test_trusted_publishing",
    ),
    *(
        "web.test_safety",
        "web.test_hidden",
        "web.test_matrix",
        "web.fastpath.test_equality",
        "blobs.test_files",
    ),
    *(
        "web.fastpath.test_freshness",
        "web.test_conformance_auth",
        "catalog.test_sql",
        "web.fastpath.test_push_body",
    ),
    *(
        "catalog.test_shared",
        "blobs.test_s3",
        "rendering.test_render",
        "web.http.test_sendfile",
        "catalog.test_dump",
    ),
    *(
        "web.fastpath.test_open_files",
        "index.local.test_publish",
        "core.test_permissions",
        "access.test_oidc",
    ),
    *(
        "index.store.test_reconcile",
        "access.sql.test_people_contract",
        "access.test_tokens",
        "blobs.test_s3_faults",
    ),
    *("web.http.test_channel", "web.fastpath.test_fast_path"),
)
TOGETHER: Final = (
    "live.test_nodes live.test_s3 live.test_s3_contract live.test_stores",
    "live.test_accounts_postgresql live.test_people_away",
    "live.test_ldap live.test_directory",
)


class _Tests(Protocol):
    def run(self, result: IReporter) -> object: ...


def modules(names: Iterable[str]) -> list[str]:
    """The modules with tests that are, or lie below, `names`. Raises `FileNotFoundError` for a name
    that means none.
    """
    found: list[str] = []
    for name in names:
        place = ROOT.joinpath(*name.split("."))
        files = sorted(place.rglob("test_*.py")) if place.is_dir() else [place.with_suffix(".py")]
        if not files or not files[0].is_file():
            raise FileNotFoundError(f"{name} is no module and no folder with tests")
        found += [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return list(dict.fromkeys(found))


def portions(wanted: list[str]) -> list[str]:
    """What is taken at once, in order; each one a line of names."""
    left = dict.fromkeys(wanted)
    lines = []
    for line in (*FIRST[:2], *TOGETHER, *FIRST[2:]):
        together = [name for name in (f"tests.{short}" for short in line.split()) if name in left]
        if together:
            lines.append(" ".join(together))
        for name in together:
            del left[name]
    return [*lines, *left]


def run(jobs: int, folder: str, wanted: list[str]) -> int:
    """Run them in so many processes, with their temporary folders below `folder`;
    the exit status.
    """
    with TemporaryFile("w+") as times:
        workers = _give_out(jobs, folder, portions(wanted), times.fileno())
        try:
            ends = [worker.wait() for worker in workers]
        except KeyboardInterrupt:  # they were interrupted, too
            ends = [worker.wait() for worker in workers]
        except SystemExit:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
            raise
        print(slowest(times), end="", flush=True)
    for end in ends:
        if end not in (0, 1):
            print(f"FAILED (errors=1)\nA process with tests ended with {end}", flush=True)
    return 1 if any(ends) else 0


def _give_out(
    jobs: int, folder: str, lines: list[str], times: int
) -> list[subprocess.Popen[bytes]]:
    """Start so many processes, which have the portions, or will soon."""
    give, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with give:
        with take:
            ours = (take.fileno(), times)
            command = [
                sys.executable,
                "-m",
                "tests.parallel",
                "--take",
                *map(str, (*ours, os.getpid())),
            ]
            workers = [
                subprocess.Popen(
                    [*command, "--temp-directory", f"{folder}-{number}"], pass_fds=ours, cwd=ROOT
                )
                for number in range(jobs)
            ]
        try:
            for line in lines:
                give.send(line.encode())
        except BrokenPipeError:  # nobody is there any more who would take it
            pass
    return workers


def slowest(times: IO[str], count: int = 10) -> str:
    """So many of the lines in the file that the processes wrote, longest time first."""
    times.seek(0)
    lines = sorted(times, key=lambda line: float(line.split()[0]), reverse=True)
    return "".join([f"The slowest of {len(lines)} modules:\n", *lines[:count]])


class Taking(TestSuite):
    """Takes portions out of the socket, and runs them, until there are none; `told` gets a line for
    each module.
    """

    def __init__(
        self, source: socket.socket, told: Callable[[str], object] = lambda line: None
    ) -> None:
        super().__init__()
        self.source = source
        self.told = told

    def run(self, result: Any) -> Any:
        """Say of each module, when it is through, how long it took."""
        for name in self._names():
            if result.shouldStop:
                break
            begun, before = time.monotonic(), result.testsRun
            tests: _Tests = TestLoader().loadByName(name)
            tests.run(result)
            line = f"{time.monotonic() - begun:6.1f} s {result.testsRun - before:5}  {name}\n"
            print(line, end="", flush=True)
            self.told(line)
        return result

    def _names(self) -> Iterator[str]:
        while line := self.source.recv(65_536).decode():
            yield from line.split()


def work(source: socket.socket, times: int, folder: str) -> int:
    """Be one of the processes, which writes into the file `times` how long its modules took; the
    exit status.
    """
    # Tests make much garbage and many things that stay: to look through all of them again and again
    # was an eighth of the time.
    gc.set_threshold(20_000, 20, 50)
    said = io.StringIO()  # so that what two processes say at their ends does not mix
    try:
        with source:
            result = TrialRunner(Reporter, stream=said, workingDirectory=folder).run(
                Taking(
                    source, lambda line: os.write(times, line.encode())
                )  # one file, one position: lines do not mix
            )
    finally:
        print(said.getvalue(), end="", flush=True)
    return 0 if result.wasSuccessful() else 1


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.parallel", description=__doc__)
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, metavar="JOBS")
    parser.add_argument(
        "--temp-directory",
        metavar="DIR",
        help="with a number behind it for each process; else one that is removed",
    )
    parser.add_argument("--take", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help="modules, or packages of them")
    asked = parser.parse_args(arguments)
    if asked.take is not None:
        taken, times, parent = asked.take
        end_with_parent(parent)
        return work(socket.socket(fileno=taken), times, asked.temp_directory)
    # the processes of a run do not try twice to install what cannot be installed
    # (tests.live.clients)
    os.environ.setdefault("TEST_RUN", f"{os.getpid()}-{time.time_ns()}")  # noqa: TID251
    # hypothesis keeps its tables of characters there: to make them takes each process three seconds
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".hypothesis"))  # noqa: TID251
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if os.environ.get("MAKELEVEL"):  # noqa: TID251 - a make that is killed does not end what it started
        end_with_parent(os.getppid())
    try:
        wanted = modules(asked.names)
        if asked.temp_directory:
            return run(asked.j, asked.temp_directory, wanted)
        with TemporaryDirectory() as folder:
            return run(asked.j, f"{folder}/trial", wanted)
    except FileNotFoundError as error:
        parser.error(str(error))


if __name__ == "__main__":
    # another name, so that what is imported is not what runs: `tests.parallel` is one module in a
    # process
    from tests.parallel import main as begin

    sys.exit(begin(sys.argv[1:]))

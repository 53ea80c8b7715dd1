"""A PostgreSQL of Debian's packages on a free port of 127.0.0.1, in a folder of its own, run by
a user who is not root.
"""

import atexit
import functools
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final
from unittest import SkipTest
from urllib.parse import quote

import psycopg
from attrs import define, field

from tests.children import with_us
from tests.live.clients import Unavailable, in_ci
from tests.live.processes import Running, clean_environ, done, free_port, running, scratch

PASSWORD: Final = "p@ss/w:rd #1%"
"""Of the user ``pypid``: as hard to write into a URL as one can be."""
NOBODY: Final = 65534
STARTS_WITHIN: Final = 30.0
SETTINGS: Final = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
max_connections = 60
# what is proved here is what a crash of the server does, not one of the machine
fsync = off
full_page_writes = off
"""


@define
class Postgresql:
    """One that runs, or is to be started again. Each `database` is a schema of its own, new and
    empty.
    """

    bin: Path
    folder: Path
    port: int
    running: Running | None = None
    _stack: ExitStack = field(factory=ExitStack, repr=False)
    _numbers: Iterator[int] = field(factory=lambda: count(1), repr=False)

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder / "data"

    def database(self) -> str:
        """The URL of a new one, as it stands in `[database] url`."""
        name = f"s{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.url()}?options={quote(f'-csearch_path={name}')}"

    def url(self, password: str = PASSWORD) -> str:
        """Of the database that is there from the beginning."""
        return f"postgresql://pypid:{quote(password, safe='')}@127.0.0.1:{self.port}/postgres"

    def connect(self) -> psycopg.Connection:
        """A connection of the tests' own."""
        return psycopg.connect(self.url(), autocommit=True, connect_timeout=10)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [*as_nobody(), self.bin / "postgres", "-D", self.data]
        log = self.folder / f"log{next(self._numbers)}"
        self.running = self._stack.enter_context(
            running(command, log, cwd=self.folder, environ=clean_environ(LC_ALL="C"))
        )
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline and self.running.process.poll() is None:
            with suppress(psycopg.OperationalError), self.connect():
                return
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL does not answer:\n{self.running.output()}")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, as an administrator does; ``immediate`` is as a crash."""
        self._control("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)
        assert self.running is not None
        self.running.process.wait(30)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections, takes new ones, and answers nothing."""
        assert self.running is not None
        first = self.running.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        pids = [first, *map(int, children)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self._stack.close()

    def _control(self, program: str, *arguments: str) -> str:
        return done([*as_nobody(), self.bin / program, *arguments], cwd=self.folder, timeout=60)


def as_nobody() -> list[str]:
    """What to put before a command that refuses root."""
    if os.geteuid() != 0:
        return with_us()
    ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return ["setpriv", *ids, "--pdeathsig", "KILL", "--"]


def programs() -> Path:
    """The folder of the newest one. Raises `unittest.SkipTest` where there is none, `Unavailable`
    in CI.
    """
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])
    )
    which = shutil.which("initdb")
    if (not found and which is None) or not shutil.which("setpriv"):
        reason = "postgresql: no initdb or setpriv on this machine (Debian: postgresql util-linux)"
        raise Unavailable(reason) if in_ci() else SkipTest(reason)
    return found[-1].parent if found else Path(which or "").resolve().parent


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """A new one, empty, for this test alone, which may stop it. Raises as `programs`."""
    bin = programs()
    with scratch("pypid-pg-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        ways = [
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--username=pypid",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        made = Postgresql(bin, folder, free_port())
        done(
            [*as_nobody(), bin / "initdb", "-D", made.data, "--no-sync", *ways],
            cwd=folder,
            timeout=120,
        )
        with (made.data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS.format(port=made.port, folder=folder))
        try:
            made.start()
            yield made
        finally:
            made.close()


@functools.cache
def shared() -> Postgresql:
    """The one of this process: started on its first use, ended with the process; tests must not stop it.
    Raises as `programs`.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(postgresql())

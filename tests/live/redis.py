"""A Redis of Debian's package on a free port of 127.0.0.1, in a folder of its own."""

import atexit
import functools
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest
from urllib.parse import quote

import hiredis
from attrs import define, field
from twisted.internet import reactor as installed

from pypid.catalog import redis as catalog
from pypid.catalog.engine import Engine
from pypid.flow import World, at_once
from pypid.testing.worlds import BEGINNING
from tests.live.clients import Unavailable, in_ci
from tests.live.processes import Running, clean_environ, free_port, running, scratch

PASSWORD: Final = "p@ss/w:rd #1%"
"""As hard to write into a URL as one can be."""
STARTS_WITHIN: Final = 20.0
reactor: Any = installed


@define
class Redis:
    """One that runs, or is to be started again. Each `catalog` has a prefix of its own, where
    nothing is yet.
    """

    program: str
    folder: Path
    port: int
    options: tuple[str, ...] = ()
    password: str = PASSWORD
    tls: bool = False
    running: Running | None = None
    _stack: ExitStack = field(factory=ExitStack, repr=False)
    _numbers: Iterator[int] = field(factory=lambda: count(1), repr=False)

    @property
    def path(self) -> Path:
        """Of the socket where it listens, too."""
        return self.folder / "redis.sock"

    def catalog(self) -> str:
        """The URL of a new one, as it stands in `[catalog] url`."""
        return self.url(prefix=f"c{next(self._numbers)}")

    def url(
        self,
        password: str | None = None,
        *,
        user: str = "",
        prefix: str = "pypid",
        scheme: str = "redis",
    ) -> str:
        """Of the first database."""
        quoted = quote(self.password if password is None else password, safe="")
        return f"{scheme}://{user}{':' if quoted else ''}{quoted}{'@' if quoted else ''}127.0.0.1:{self.port}/0?prefix={prefix}"

    def connected(self) -> socket.socket:
        """A connection of the tests' own."""
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def ask(self, *words: bytes | str | int) -> Any:
        """What it answers to the tests themselves. Raises `OSError`, and `hiredis.HiredisError` for
        an error.
        """
        reader = hiredis.Reader()
        with self.connected() as connection:
            answers = []
            for command in (("AUTH", self.password), words) if self.password else (words,):
                connection.sendall(hiredis.pack_command(tuple(command)))
                while (answer := reader.gets()) is False:
                    data = connection.recv(1 << 16)
                    if not data:
                        raise ConnectionError("Redis closed the connection")
                    reader.feed(data)
                answers.append(answer)
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers[-1]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        own = (
            ("--port", "0", "--tls-port", str(self.port))
            if self.tls
            else ("--port", str(self.port))
        )
        base = (
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--unixsocket",
            str(self.path),
            "--save",
            "",
        )
        secret = ("--requirepass", self.password) if self.password else ()
        command = [self.program, *own, *base, *secret, *self.options]
        log = self.folder / f"log{next(self._numbers)}"
        self.running = self._stack.enter_context(
            running(command, log, cwd=self.folder, environ=clean_environ(LC_ALL="C"))
        )
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline and self.running.process.poll() is None:
            if "Ready to accept connections" in self.running.output():
                return
            time.sleep(0.02)
        raise AssertionError(f"Redis does not answer:\n{self.running.output()}")

    def kill(self) -> None:
        """As a crash."""
        assert self.running is not None
        self.running.process.send_signal(signal.SIGKILL)
        self.running.process.wait(10)

    def restart(self) -> None:
        """It crashes, and is there again."""
        self.kill()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections, takes new ones, and answers nothing."""
        assert self.running is not None
        pid = self.running.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self._stack.close()


def engine_at(url: str) -> Engine:
    """One with the reactor, which has to run while a test waits for it."""
    world = World(clock=reactor, now=lambda: BEGINNING, blocking=at_once, random=os.urandom)
    return catalog.open(url, world, reactor)


def let_go() -> None:
    """End the reactor's threads (names are looked up in them), so that this process can end."""
    if reactor.threadpool is not None:
        reactor.threadpool.stop()


def program() -> str:
    """The server's. Raises `unittest.SkipTest` where there is none, `Unavailable` in CI."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        reason = "redis: no redis-server on this machine (Debian: redis-server)"
        raise Unavailable(reason) if in_ci() else SkipTest(reason)
    return found


@contextmanager
def redis(*options: str, password: str = PASSWORD, tls: bool = False) -> Iterator[Redis]:
    """A new one, empty, for this test alone, which may stop it. `options` are those of its command.
    Raises as `program`.
    """
    found = program()
    with scratch("pypid-redis-") as folder:
        made = Redis(found, folder, free_port(), options, password, tls)
        try:
            made.start()
            yield made
        finally:
            made.close()


@functools.cache
def shared() -> Redis:
    """The one of this process: started on its first use, ended with the process; tests must not stop it.
    Raises as `program`.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(redis())

"""A Redis of Debian's package on a free port of 127.0.0.1, in a folder of its own."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from unittest import SkipTest
from urllib.parse import quote

from attrs import define

from tests.live.clients import Unavailable, in_ci
from tests.live.processes import Running, clean_environ, free_port, running, scratch

PASSWORD: Final = "p@ss/w:rd #1%"
"""As hard to write into a URL as one can be."""


@define
class Redis:
    """One that runs."""

    port: int
    running: Running

    def url(self, password: str = PASSWORD, number: int = 0) -> str:
        """As it stands in `[signed_urls] url`."""
        return f"redis://:{quote(password, safe='')}@127.0.0.1:{self.port}/{number}"

    def kill(self) -> None:
        """As a crash."""
        self.running.process.kill()
        self.running.process.wait(10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections, takes new ones, and answers nothing."""
        pid = self.running.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def redis() -> Iterator[Redis]:
    """A new one, empty. Raises `unittest.SkipTest` where there is none, `Unavailable` in CI."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        reason = "redis: no redis-server on this machine (Debian: redis-server)"
        raise Unavailable(reason) if in_ci() else SkipTest(reason)
    with scratch("pypid-redis-") as folder:
        port = free_port()
        command = [
            *(program, "--port", str(port), "--bind", "127.0.0.1"),
            *("--dir", str(folder), "--save", "", "--requirepass", PASSWORD),
        ]
        environ = clean_environ(LC_ALL="C")
        with running(command, folder / "log", cwd=folder, environ=environ) as process:
            deadline = time.monotonic() + 20
            while "Ready to accept connections" not in process.output():
                assert time.monotonic() < deadline, process.output()
                time.sleep(0.02)
            yield Redis(port, process)

"""A real pypid whose wall clock is set while it runs: no timer and no age notices."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from shutil import which
from typing import TypeVar

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.distributions import wheel, wheel_filename
from tests.live.asking import ask, basic
from tests.live.daemon import LiveIndex, Settings, configuration, stop, until_ready
from tests.live.nodes import publish
from tests.live.processes import BIN, clean_environ, free_port, running, scratch

T = TypeVar("T")
DAY, HOUR = 86400, 3600
SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    static volatile long *seconds;
    if (!seconds) {
        int descriptor = open(getenv("WALL_CLOCK"), O_RDONLY);
        seconds = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, descriptor, 0);
        close(descriptor);
    }
    return *seconds;
}

int clock_gettime(clockid_t clock, struct timespec *found) {
    int failed = syscall(SYS_clock_gettime, clock, found);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) found->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    found->tv_sec = precise.tv_sec;
    found->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (found) *found = precise.tv_sec;
    return precise.tv_sec;
}
"""


class SetClock:
    """A library that moves the wall clock of a process (`LD_PRELOAD`), by what a file says."""

    def __init__(self, folder: Path) -> None:
        compiler = which("gcc") or which("cc")
        if compiler is None:
            raise SkipTest("there is no C compiler")
        self.library, self._file = folder / "wall.so", folder / "ahead"
        source = folder / "wall.c"
        source.write_text(SHIM)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", self.library, source], check=True
        )
        self._ahead = 0
        self._file.write_bytes(bytes(8))

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs that is to go by it."""
        return clean_environ(LD_PRELOAD=str(self.library), WALL_CLOCK=str(self._file))

    def step(self, seconds: int) -> None:
        """Set the wall clock forward, or back."""
        self._ahead += seconds
        with self._file.open("r+b") as file:
            file.write(self._ahead.to_bytes(8, "little", signed=True))


class ClockSetTests(SynchronousTestCase):
    """One pypid whose clock is set back by a day, back by an hour, and forward by a day."""

    def setUp(self) -> None:
        self.folder = self.entered(scratch())
        self.clock = SetClock(self.folder)
        silent = self.entered(
            socket.create_server(("127.0.0.1", 0))
        )  # connections are made, and nothing is said
        upstream = f"url = http://127.0.0.1:{silent.getsockname()[1]}/simple/\ntimeout = 2"
        port = free_port()
        settings = Settings(upstream=upstream)
        (self.folder / "pypid.ini").write_text(configuration(self.folder, port, settings))
        command = [
            BIN / "twistd",
            "--nodaemon",
            "--pidfile=",
            "pypid",
            "--config",
            self.folder / "pypid.ini",
        ]
        process = self.entered(
            running(command, self.folder / "log", cwd=self.folder, environ=self.clock.environ)
        )
        self.index = LiveIndex(self.folder, port, False, process)
        until_ready(self.index)

    def entered(self, manager: AbstractContextManager[T]) -> T:
        """What `manager` gives, until the test is over."""
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def status(self, path: str, user: str | None = None, password: str | None = None) -> int:
        """The status of the answer to a GET."""
        return ask(self.index.port, path, {} if user is None else basic(user, password)).status

    def test_set_clock_moves_no_timer_and_no_age(self) -> None:
        """A right password is right, a silent upstream is given up, a publish is served, a lost
        storage is noticed; each in time, whatever happens to the time of day.
        """
        for number, step in enumerate((-DAY, -HOUR, DAY)):
            for _ in range(6):
                self.status("/account", "alice", "wrong")
            self.clock.step(step)
            self.until(
                lambda: self.status("/account", "alice") not in (401, 429),
                8,
                "a right password is let in",
            )
            begun = time.monotonic()
            self.assertIn(self.status(f"/simple/unknown-{number}/"), (502, 503, 504))
            self.assertLess(time.monotonic() - begun, 8, "a silent upstream is given up in time")
            self.publish(f"spam-{number}")
            self.lose_storage()
        stop(self.index)

    def publish(self, project: str) -> None:
        """A publish is acknowledged, and listed at once."""
        answer = publish(self.index.port, wheel_filename(project, "1.0"), wheel(project, "1.0"))
        self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual(self.status(f"/simple/{project}/"), 200)

    def lose_storage(self) -> None:
        """A storage that goes away is noticed, and so is its return."""
        aside = self.folder / "aside"
        self.index.storage.rename(aside)
        self.until(lambda: self.status("/ready") == 503, 15, "/ready says that the storage is away")
        aside.rename(self.index.storage)
        self.until(lambda: self.status("/ready") == 200, 15, "/ready says that it is back")

    def until(self, condition: Callable[[], bool], within: float, what: str) -> None:
        """Wait for it."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within} s: {what}\n{self.index.log()}")
            time.sleep(0.2)

"""Starting what a person would start, asking it over a real port, and ending it by its pid."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import frozen

from pypid.core.configuration.keys import PUBLIC_ADVISORIES
from tests.children import kill_group, with_us
from tests.live.clients import ROOT

BIN: Final = Path(sys.executable).parent
SOURCE: Final = (
    "setup.py pyproject.toml constraints.txt MANIFEST.in Makefile pypid.tac README.md README.rst "
    "LICENSE CHANGES.rst CONTRIBUTING.md SECURITY.md SUPPORT.md docs/index.rst etc packages src "
    ".containerignore"
)
"""What is needed to install pypid, without what others have made in the checkout."""


_GIVEN: Final[set[int]] = set()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that is free, and that no outgoing connection will take
    before it is listened on.

    The system gives connections their ports out of its ephemeral range. A port from there was free
    when it was asked for, and the near end of a connection a moment later: then the server
    that was to listen on it could not start.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(lowest, 20_000))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


def files_below(folder: Path) -> list[Path]:
    """All regular files in a folder and its subfolders, in order, while another process may remove
    some of them.
    """
    paths = sorted(Path(place) / name for place, _, files in os.walk(folder) for name in files)
    return [path for path in paths if path.is_file()]


@contextmanager
def scratch(prefix: str = "pypid-", *, within: str | None = None) -> Iterator[Path]:
    """A folder that is removed afterwards, also files of other users in it. Its path is short (sockets may
    lie in it). It is made below the folder `within`, or where the system has temporary files.
    """
    with TemporaryDirectory(prefix=prefix, dir=within) as name:
        yield Path(name)


def memory() -> str | None:
    """A folder in memory with room for installations, in which programs can run; None if there is
    none. To install pypid on a disk takes half as much processor time again.
    """
    folder = "/dev/shm"
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    room = found.f_bavail * found.f_frsize
    executes = not found.f_flag & os.ST_NOEXEC
    return folder if room > 2 << 30 and executes and os.access(folder, os.W_OK) else None


def copy_source(target: Path) -> Path:
    """A clean checkout's worth of pypid in `target`."""
    target.mkdir(parents=True, exist_ok=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dropin.cache")
    for name in SOURCE.split():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=unwanted, symlinks=True)
        elif (ROOT / name).exists():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def configure(folder: Path, listen: str) -> Path:
    """A configuration with its state below `folder`; the first run makes its admin there."""
    path = folder / "pypid.ini"
    path.write_text(f"[server]\nlisten = {listen}\nstate = {folder / 'state'}\n")
    return path


FAST_PATH = "PYPID_SERVER_FAST_PATH"
"""The variable that runs daemons without the fast path (docs/project/developing.rst)."""


def clean_environ(**more: str) -> dict[str, str]:
    """This environment without what would configure pypid (but for `FAST_PATH`), systemd's sockets
    or Python's import path.
    """
    unwanted = (
        "PYPID_",
        "NOTIFY_",
        "LISTEN_",
        "PYTHONPATH",
        "STATE_DIRECTORY",
        "MAKE",
        "MFLAGS",
        "VIRTUAL_ENV",
        "TRIAL_",
    )
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if name == FAST_PATH or not name.startswith(unwanted)
        },
        **more,
    }


def done(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    timeout: float = 300,
    status: int = 0,
) -> str:
    """What `command` printed, both streams in one. Raises `AssertionError` with all of it unless it
    exits with `status`.
    """
    ended = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environ() if environ is None else dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if ended.returncode != status:
        raise AssertionError(
            f"{' '.join(map(str, command))} exited with {ended.returncode}:\n{ended.stdout[-6000:]}"
        )
    return ended.stdout


def until_answers(
    url: str, within: float = 30.0, alive: Callable[[], None] = lambda: None
) -> bytes:
    """The body of the first 200 from `url`; before each try `alive` may raise. Raises
    `AssertionError` when time is up.
    """
    deadline = time.monotonic() + within
    trouble = ""
    while time.monotonic() < deadline:
        alive()
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bytes(response.read())
        except (urllib.error.URLError, OSError) as error:
            trouble = str(error)
        time.sleep(0.05)
    raise AssertionError(f"{url} did not answer within {within} s ({trouble})")


@frozen
class Running:
    """A process in a group of its own, and the file that collects all that it prints."""

    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        """All that it printed so far."""
        return self.log.read_text(errors="replace")

    def until_answers(self, url: str, within: float = 30.0) -> bytes:
        """The body of the first 200 from `url`. Raises `AssertionError` with the log if the process
        ends or time is up.
        """

        def alive() -> None:
            if self.process.poll() is not None:
                raise AssertionError(f"exited with {self.process.returncode} before it answered")

        try:
            return until_answers(url, within, alive)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.output()}") from None

    def stop(self, sign: signal.Signals = signal.SIGTERM, within: float = 30.0) -> int:
        """Send `sign` to the process alone and wait; its exit status."""
        self.process.send_signal(sign)
        return self.process.wait(within)

    def stop_in_order(self, sign: signal.Signals = signal.SIGTERM, within: float = 30.0) -> None:
        """Stop it and raise `AssertionError` unless it ended by itself: with 0, or, as twistd does
        last of all, by `sign`.
        """
        status = self.stop(sign, within)
        said = self.output()
        if status not in (0, -sign) or "pypid has stopped" not in said or "Traceback" in said:
            raise AssertionError(f"ended with {status}:\n{said}")


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    user: int | None = None,
) -> Iterator[Running]:
    """Run `command`; whatever is left of its process group is ended afterwards, also when this
    process is killed.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*with_us(), *command],
            cwd=cwd,
            env=clean_environ() if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    try:
        yield Running(process, log)
    finally:
        for sign in signal.SIGTERM, signal.SIGKILL:
            if process.poll() is None:
                os.killpg(process.pid, sign)
            try:
                process.wait(20)
                break
            except subprocess.TimeoutExpired:
                continue
        kill_group(process.pid)
    asked = PUBLIC_ADVISORIES.encode() in log.read_bytes()
    assert not asked, "a test asked the public archive: set PYPID_ADVISORIES_SOURCE= for it"

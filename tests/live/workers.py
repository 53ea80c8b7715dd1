"""Looking at the workers of a pypid that runs: their processes, and which of them
has a connection.
"""

import http.client
import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.live.daemon import LiveIndex

"""What several workers need."""


def until(condition: Callable[[], object], index: LiveIndex, within: float = 30.0) -> None:
    """Wait for it. Raises `AssertionError` with the log."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s:\n{index.log()}")
        time.sleep(0.02)


def others(index: LiveIndex) -> dict[int, int]:
    """The process of each further worker, by its number: those that the first one has now."""
    first, found = index.running.process.pid, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, words = (
                (folder / "status").read_text(),
                (folder / "cmdline").read_bytes().split(b"\0"),
            )
        except OSError:  # it has just ended
            continue
        if (
            f"\nPPid:\t{first}\n" in status
            and b"pypid.cli.worker" in words
            and "State:\tZ" not in status
        ):
            found[int(words[-2])] = int(folder.name)
    return found


def until_all_answer(index: LiveIndex, workers: int) -> None:
    """Wait until each has said that it does."""
    until(
        lambda: (
            len(set(re.findall(r"worker (\d+) \(process \d+\) is ready", index.log())))
            == workers - 1
        ),
        index,
    )


def is_there(process: int) -> bool:
    """Whether that process is there and has not ended."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def process_of(connection: http.client.HTTPConnection, processes: list[int]) -> int:
    """Which of these has accepted the connection."""
    ours, its = (
        f"0100007F:{address[1]:04X}"
        for address in (connection.sock.getsockname(), connection.sock.getpeername())
    )
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [socket] = [f"socket:[{line[9]}]" for line in lines if line[1:3] == [its, ours]]
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                if str(descriptor.readlink()) == socket:
                    return process
            except OSError:
                continue
    raise AssertionError("no worker has it")


def connections(index: LiveIndex, count: int) -> list[http.client.HTTPConnection]:
    """Connections that are kept, each of which has been answered once."""
    made = [http.client.HTTPConnection("127.0.0.1", index.port, timeout=10) for _ in range(count)]
    for each in made:
        assert answer(each) == 200
    return made


def answer(connection: http.client.HTTPConnection, path: str = "/simple/", **headers: str) -> int:
    """The status of a GET, with all of its body read."""
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    return response.status

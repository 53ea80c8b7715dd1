"""20 clients ask at once for a 100 MB wheel that pypid does not have yet, against the same straight
from the upstream.

``python benchmarks/one_wheel.py [--size 100] [--runs 5] [--delay 50]``   (MB, milliseconds)

The upstream is a small server on this machine. It stands as far off as `--delay` says: that is how
long it waits before each answer. Without any delay a first byte takes a millisecond, and what pypid
adds is more than that; this is shown without a goal. pypid is pinned to one core, clients and
upstream to the other.
"""

from __future__ import annotations

import argparse
import re
import selectors
import socket
import time
from contextlib import ExitStack
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import _rig as rig
from _upstream import Upstream
from _wheels import build

CLIENTS = 20


class Client:
    """One that asks for a path, and notes when the first byte of the body comes. The bytes are
    counted and dropped.
    """

    def __init__(self, port: int, path: str) -> None:
        self.began = time.perf_counter()
        self.first = 0.0
        self.received = 0
        self.length: int | None = None
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: client\r\n\r\n".encode()
        )
        self._head = b""

    def read(self, space: memoryview) -> bool:
        """Take what is there; whether that was all."""
        came = self.socket.recv_into(space)
        if not came:
            raise SystemExit(f"the body is short, or no head came: {self._head[:500]!r}")
        if self.length is None:
            came = self._begin(bytes(space[:came]))
        if came and not self.first:
            self.first = time.perf_counter() - self.began
        self.received += came
        return self.received == self.length

    def _begin(self, data: bytes) -> int:
        """How many bytes of the body came with the end of the head."""
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return 0
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if not head.startswith(b"HTTP/1.1 200") or found is None:
            raise SystemExit(f"{self._head[:500]!r}")
        self.length = int(found[1])
        return len(body)


def all_at_once(port: int, path: str) -> tuple[list[float], float]:
    """When the first byte came to each, in order, and when all had everything; in seconds."""
    begun = time.perf_counter()
    space = memoryview(bytearray(rig.PIECE))
    clients = [Client(port, path) for _ in range(CLIENTS)]
    with selectors.DefaultSelector() as waiting:
        for client in clients:
            waiting.register(client.socket, selectors.EVENT_READ, client)
        while waiting.get_map():
            for key, _ in waiting.select():
                if key.data.read(space):
                    waiting.unregister(key.data.socket)
                    key.data.socket.close()
    return sorted(client.first for client in clients), time.perf_counter() - begun


def page(port: int, name: str) -> str:
    """Where the project's page says that its only file is, without the fragment."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/simple/{name}/", headers={"Accept": "text/html"})
    links = re.findall(rb'href="([^"#]+)', connection.getresponse().read())
    connection.close()
    if len(links) != 1:
        raise SystemExit(f"the page of {name} has {len(links)} links")
    url: str = links[0].decode().replace("../", "/")
    return (
        "/" + url.partition("://")[2].partition("/")[2] if "://" in url else "/" + url.lstrip("/")
    )


def measure(folder: Path, size: int, runs: int, delay: float) -> dict[str, list[float]]:
    """Of each run: first bytes straight and through pypid (middle and last client), all of it,
    fetches, growth of memory.
    """
    wheels = folder / f"wheels-{delay}"
    wheels.mkdir(parents=True)
    digests = {}
    for run in range(runs + 1):  # the first one, which is small, warms up
        path = wheels / f"big{run}-1.0-py3-none-any.whl"
        build(path, f"big{run}", "1.0", size if run else 1 << 20)
        digests[run] = sha256(path.read_bytes()).hexdigest()
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(
            Upstream(wheels, folder / f"upstream-{delay}.log", delay).running()
        )
        more = f"[upstream]\nmode = cache\nurl = {upstream.index}\n"
        server = stack.enter_context(
            rig.Server(folder / f"pypid-{delay}", page="/health", more=more).running()
        )
        for run in range(runs + 1):
            straight, ours = page(upstream.port, f"big{run}"), page(server.port, f"big{run}")
            theirs, their_time = all_at_once(upstream.port, straight)
            server.forget_peak()
            idle = server.rss()
            firsts, our_time = all_at_once(server.port, ours)
            if sha256(server.get(ours, "*/*")).hexdigest() != digests[run]:
                raise SystemExit("pypid gives other bytes")
            if not run:
                continue
            row = {
                "middle": rig.median(firsts) / rig.median(theirs),
                "last": firsts[-1] / theirs[-1],
                "added": (rig.median(firsts) - rig.median(theirs)) * 1000,
                "straight": rig.median(theirs) * 1000,
                "seconds": our_time,
                "seconds_straight": their_time,
                "fetches": upstream.asked(straight),
                "growth": (server.peak() - idle) / (1 << 20),
            }
            for what, figure in row.items():
                found.setdefault(what, []).append(figure)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--size", type=int, default=100, help="MB (100)")
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument(
        "--delay", type=float, default=50, help="milliseconds to the upstream (50)"
    )
    options = arguments.parse_args()
    rig.pin_client()
    with rig.scratch() as folder:
        far = measure(folder, options.size * 1_000_000, options.runs, options.delay / 1000)
        near = measure(folder, options.size * 1_000_000, options.runs, 0.0)
    fetches = max([*far["fetches"], *near["fetches"]])
    rows = [
        ("fetches from the upstream, most", f"{fetches:.0f}", "1"),
        ("first byte, middle client", f"{rig.median(far['middle']):.2f} x", "<= 1.2 x"),
        ("first byte, last client", f"{rig.median(far['last']):.2f} x", "<= 1.2 x"),
        ("... straight from the upstream", f"{rig.median(far['straight']):.1f} ms", ""),
        (
            "... with no delay, pypid adds",
            f"{rig.median(near['added']):.1f} ms to {rig.median(near['straight']):.1f} ms",
            "",
        ),
        ("all bytes to all clients", f"{rig.median(far['seconds']):.2f} s", ""),
        ("... straight from the upstream", f"{rig.median(far['seconds_straight']):.2f} s", ""),
        ("memory growth, most", f"{max(far['growth'] + near['growth']):.0f} MiB", "< 64 MB"),
    ]
    title = f"{CLIENTS} clients, one wheel of {options.size} MB, upstream {options.delay:g} ms away"
    rig.report(title, rows, {"far": far, "near": near})


if __name__ == "__main__":
    main()

"""What one client with the worst texts known does to all others: ``/health`` while each attack goes
on.

``python benchmarks/attacks.py``                 each attack for 10 seconds
``python benchmarks/attacks.py --seconds 3 --only "dotted keys"``

The client repeats one request as fast as it is answered. ``/health`` is asked every 10 ms over a
connection that is kept open. Memory is the highest of pypid itself, above what it had before; its
child processes are bounded by themselves.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _wheels import upload

GOAL = 20
"""Milliseconds (p99)."""
FIELDS = {"Content-Type": "application/json", "Authorization": rig.LOGIN}

Attack = Callable[[], None]


def collecting(server: rig.Server, field: str, text: str) -> Attack:
    """Send it to be collected, and wait for the answer."""
    body = json.dumps({field: text}).encode()

    def attack() -> None:
        connection = server.connect()
        try:
            connection.request("POST", "/requirements.txt", body, FIELDS)
            connection.getresponse().read()
        finally:
            connection.close()

    return attack


def leaving(server: rig.Server, text: str) -> Attack:
    """Send it to be collected, and go away while it is computed; besides, leave
    a body unfinished.
    """
    body = json.dumps({"pylock.toml": text}).encode()
    fields = "".join(f"{name}: {value}\r\n" for name, value in FIELDS.items())
    head = f"POST /requirements.txt HTTP/1.1\r\nHost: localhost\r\n{fields}"

    def attack() -> None:
        with (
            socket.create_connection(("127.0.0.1", server.port)) as slow,
            socket.create_connection(("127.0.0.1", server.port)) as gone,
        ):
            slow.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode() + b'{"requirements": "')
            gone.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            time.sleep(0.2)

    return attack


def bomb(folder: Path, record: bytes, number: int) -> tuple[Path, str]:
    """A wheel with this RECORD, and its SHA-256."""
    path = folder / f"bomb-{number}.0-py3-none-any.whl"
    info = f"bomb-{number}.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: bomb\nVersion: {number}.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", record)
    return path, sha256(path.read_bytes()).hexdigest()


def publishing(server: rig.Server, folder: Path, record: bytes) -> Attack:
    """Publish a wheel with it, which is refused."""
    path, digest = bomb(folder, record, len(record) % 997)

    def attack() -> None:
        with suppress(
            OSError, AssertionError, SystemExit, http.client.HTTPException
        ):  # it is refused
            upload(server, path, digest)

    return attack


def attacks(server: rig.Server, folder: Path) -> dict[str, Attack]:
    """All of them by name."""
    line = 120_000
    rows = (b"a\n", b'"a",,\n', b",")
    return {
        "white space and quotes in requirements": collecting(
            server,
            "requirements",
            "\n".join(["a" + " " * line + "x", 'a -C "' + '\\"' * (line // 2)] * 4),
        ),
        "2,000 requirements of 50 clauses": collecting(
            server,
            "requirements",
            "\n".join(["a" + ",".join(f"!={number}" for number in range(50))] * 2000),
        ),
        "dotted keys in a lock file": collecting(
            server, "pylock.toml", ".".join(["a"] * 16_000) + " = 1"
        ),
        "a lock file of 4 MB": collecting(
            server, "pylock.toml", "a = [" + "1," * ((2 << 20) - 4) + "]"
        ),
        "bodies that trickle, clients that leave": leaving(
            server, "a = [" + "1," * (1 << 20) + "]"
        ),
        **{
            f"RECORD of 48 MB of {row!r}": publishing(
                server, folder, row * ((48 << 20) // len(row))
            )
            for row in rows
        },
    }


def measured(
    server: rig.Server, attack: Attack | None, seconds: float
) -> tuple[list[float], int, int]:
    """Milliseconds of each ``/health``, how often it was attacked, and the more memory in bytes."""
    before, ended, times = server.rss(), time.monotonic() + seconds, 0
    server.forget_peak()
    watch = rig.Watch(server.port, lambda: "/health", 0.01)
    watch.start()

    def repeat() -> None:
        nonlocal times
        while attack is not None and time.monotonic() < ended:
            attack()
            times += 1

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    time.sleep(seconds)
    found = [each * 1000 for each in watch.end()]
    thread.join(60)
    return found, times, server.peak() - before


def main() -> None:
    """Each attack, and nothing for comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", default="", help="those whose name contains this")
    options = parser.parse_args()
    rig.pin_client()
    figures: dict[str, object] = {}
    with (
        rig.scratch() as folder,
        rig.Server(folder, more="[upstream]\nmode = offline\n").running() as server,
    ):
        chosen: dict[str, Attack | None] = {"nothing": None}
        chosen |= {
            name: attack for name, attack in attacks(server, folder).items() if options.only in name
        }
        print(
            f"{'/health, ms':44}{'p50':>8}{'p99':>8}{'worst':>8}{'attacks':>9}{'MiB more':>10}   "
            f"goal: p99 < {GOAL} ms"
        )
        for name, attack in chosen.items():
            found, times, more = measured(server, attack, options.seconds)
            p50, p99, worst = rig.median(found), rig.percentile(found, 0.99), max(found)
            print(
                f"{name:44}{p50:8.1f}{p99:8.1f}{worst:8.1f}{times:9}{more / (1 << 20):10.0f}",
                flush=True,
            )
            figures[name] = {
                "p50, ms": p50,
                "p99, ms": p99,
                "worst, ms": worst,
                "attacks": times,
                "more, MiB": more / (1 << 20),
            }
    print(json.dumps({"benchmark": "attacks", **figures}))


if __name__ == "__main__":
    main()

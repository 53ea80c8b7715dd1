"""Memory for upstream listings: clients request the pages of many upstream projects once, and some
of them again.

``python benchmarks/listings.py [--files 400000] [--projects 1000]``   (``--files 2000000 --projects 5000`` takes minutes)

The upstream index is a process that makes each page as it is requested. How late the reactor comes
is measured inside of pypid (`_ticking`). After that pypid is started again, with its catalog dump.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import _rig as rig
from million import JSON, mib

HEADERS = f"{JSON}\r\nAccept-Encoding: gzip"
TAGS = (
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp312-cp312-macosx_11_0_arm64",
    "cp313-cp313-win_amd64",
)
CLIENTS = 2
AGAIN = 300
"""Pages that are requested again, one after the other."""
INTERVAL = 10
"""Seconds between catalog dumps."""
GOALS = {400_000: 200, 2_000_000: 250}
"""MiB by number of files."""


def page_of(number: int, files: int) -> bytes:
    """Return a project's page as the public index sends it: each file has hashes of its own."""
    hashes = random.Random(number).randbytes(96 * files).hex()
    pieces = []
    for count in range(files):
        sha256, metadata, blake2 = (
            hashes[start : start + 64] for start in range(192 * count, 192 * count + 192, 64)
        )
        version = f"{count // 500}.{count // 5 % 100}.0"
        tag = f"-{TAGS[count % 5]}.whl" if count % 5 < 4 else ".tar.gz"
        filename = f"project_{number}-{version}{tag}"
        told = f'{{"sha256":"{metadata}"}}' if count % 5 < 4 else "false"
        url = f"https://files.example/packages/{blake2[:2]}/{blake2[2:4]}/{blake2[4:]}/{filename}"
        uploaded = f"2025-{count // 900 % 12 + 1:02}-{count // 30 % 28 + 1:02}T12:34:56.{count:06}Z"
        pieces.append(
            f'{{"core-metadata":{told},"data-dist-info-metadata":{told},"filename":"{filename}",'
            f'"hashes":{{"sha256":"{sha256}"}},"provenance":null,"requires-python":">=3.11",'
            f'"size":{1_234_567 + count},"upload-time":"{uploaded}","url":"{url}","yanked":false}}'
        )
    return (
        f'{{"alternate-locations":[],"files":[{",".join(pieces)}],"meta":{{"_last-serial":1,'
        f'"api-version":"1.4"}},"name":"project-{number}"}}'
    ).encode()


def serve(port: int, files: int) -> None:
    """Serve pages of so many files until the process is ended."""

    class Pages(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            page = page_of(int(self.path.strip("/").rpartition("-")[2]), files)
            self.send_response(200)
            self.send_header("Content-Type", JSON)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", port), Pages).serve_forever()


@contextmanager
def upstream(folder: Path, files: int) -> Iterator[str]:
    """Run `serve` in a process of its own; yield the index's URL."""
    port, log = rig.free_port(), folder / "upstream.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(port), "--files", str(files)], stderr=output
        )
    try:
        rig.wait_for(port, log)
        yield f"http://127.0.0.1:{port}/simple/"
    finally:
        process.terminate()
        process.wait(10)


def used(server: rig.Server) -> float:
    """Return the processor time in seconds that all threads of the server have used."""
    tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def requested(server: rig.Server, numbers: Sequence[int], clients: int) -> list[float]:
    """Request the pages; return the milliseconds of each."""
    left, took = list(reversed(numbers)), list[float]()

    def work() -> None:
        kept = rig.Kept(server.port)
        while left:
            took.append(kept.timed(f"/simple/project-{left.pop()}/", HEADERS) * 1000)
        kept.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def measured(server: rig.Ticking, numbers: Sequence[int], clients: int) -> dict[str, float]:
    """Request the pages; return what each cost, and the memory afterwards."""
    before = used(server)
    with server.ticked() as ticks:
        took = requested(server, numbers, clients)
    return {
        "cpu_ms": (used(server) - before) * 1000 / len(numbers),
        "p50_ms": rig.median(took),
        "p99_ms": rig.percentile(took, 0.99),
        "stall_ms": ticks["worst"],
        "rss_mib": mib(server.rss()),
        "peak_mib": mib(server.peak()),
    }


def dumped(server: rig.Ticking) -> dict[str, float]:
    """Return how late the reactor came while the catalog dump was written."""
    with server.ticked() as ticks:
        time.sleep(2 * INTERVAL)
    return {"stall_ms": ticks["worst"], "rss_mib": mib(server.rss())}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=400_000)
    parser.add_argument("--projects", type=int, default=1000)
    parser.add_argument("--memory", default="128M")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.files)
        return
    projects: int = options.projects
    rig.pin_client()
    some = random.Random(1).sample(range(projects // 2), min(AGAIN, projects // 2))
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        index = stack.enter_context(upstream(folder, options.files // projects))
        more = (
            f"[catalog]\ndump_interval = {INTERVAL}s\n"
            f"[upstream]\nurl = {index}\nunknown_names = 0\nttl = 1d\nmemory = {options.memory}\n"
        )
        server = rig.Ticking(folder / "pypid", page="/health", more=more)
        with server.running():
            empty = mib(server.rss())
            first = measured(server, range(projects), CLIENTS)
            again = measured(server, some, 1)
            warm = measured(server, some[-10:] * 10, 1)
            dump = dumped(server)
        with server.running():
            started = {"start_s": server.started, "rss_mib": mib(server.rss())}
            restarted = measured(server, some, 1)
    goal = f"{GOALS[options.files]} MiB" if options.files in GOALS else ""
    rows = [
        ("memory before the first page", f"{empty:.0f} MiB", ""),
        ("first pages: CPU of each", f"{first['cpu_ms']:.1f} ms", ""),
        ("... longest stall of the reactor", f"{first['stall_ms']:.1f} ms", "20 ms"),
        ("... memory, peak", f"{first['rss_mib']:.0f}, {first['peak_mib']:.0f} MiB", goal),
        ("pages again: CPU of each", f"{again['cpu_ms']:.2f} ms", "0.3 ms"),
        ("... p50, p99", f"{again['p50_ms']:.2f}, {again['p99_ms']:.2f} ms", "1 ms"),
        ("... longest stall", f"{again['stall_ms']:.1f} ms", "20 ms"),
        ("pages in memory: p50", f"{warm['p50_ms']:.2f} ms", ""),
        ("while the dump is written: longest stall", f"{dump['stall_ms']:.1f} ms", "20 ms"),
        ("... memory", f"{dump['rss_mib']:.0f} MiB", goal),
        ("restart", f"{started['start_s']:.2f} s", ""),
        ("... memory", f"{started['rss_mib']:.0f} MiB", goal),
        ("... pages: CPU of each", f"{restarted['cpu_ms']:.2f} ms", ""),
        ("... longest stall", f"{restarted['stall_ms']:.1f} ms", "20 ms"),
        ("... memory, peak", f"{restarted['rss_mib']:.0f}, {restarted['peak_mib']:.0f} MiB", goal),
    ]
    rig.report(
        f"{options.files:,} listed files in {projects:,} upstream projects",
        rows,
        {
            "first": first,
            "again": again,
            "warm": warm,
            "dump": dump,
            "start": started,
            "restarted": restarted,
        },
    )


if __name__ == "__main__":
    main()

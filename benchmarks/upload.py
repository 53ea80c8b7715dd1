"""A 1 GiB upload: time against ``cp`` + ``sha256sum`` of the same file on the same disk, memory, and pages meanwhile.

``python benchmarks/upload.py [--size 1024] [--runs 3]``   (MiB)
"""

from __future__ import annotations

import argparse
import base64
import os
import socket
import subprocess
import threading
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import _rig as rig

BOUNDARY = "----------------benchmark"


def build(path: Path, version: str, size: int) -> None:
    """A correct wheel of about `size` bytes, stored, not compressed."""
    info = f"big-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: big\nVersion: {version}\n"
    record = f"big/data,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("big/data", "w", force_zip64=True) as data:
            for _ in range(size >> 20):
                data.write(os.urandom(1 << 20))
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", record)


def upload(server: rig.Server, path: Path, version: str, digest: str) -> float:
    """Seconds from connecting to the answer."""
    fields = {":action": "file_upload", "protocol_version": "1", "name": "big", "version": version, "sha256_digest": digest}
    head = "".join(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
    head += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{path.name}"\r\n\r\n'
    tail = f"\r\n--{BOUNDARY}--\r\n"
    login = base64.b64encode(f"bench:{rig.PASSWORD}".encode()).decode()
    length = len(head) + path.stat().st_size + len(tail)
    request = (
        f"POST /legacy/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {login}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    )
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", server.port)) as connection, path.open("rb") as file:
        connection.sendall((request + head).encode())
        connection.sendfile(file)
        connection.sendall(tail.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(answer.decode())
    return time.perf_counter() - begun


class Pages(threading.Thread):
    """Reads a page again and again, and keeps how long each took."""

    def __init__(self, server: rig.Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._ended = threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        connection = self._server.connect()
        while not self._ended.is_set():
            begun = time.perf_counter()
            connection.request("GET", "/simple/big/")
            connection.getresponse().read()
            self.seconds.append(time.perf_counter() - begun)
            time.sleep(0.002)

    def end(self) -> list[float]:
        self._ended.set()
        self.join()
        return self.seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--size", type=int, default=1024, help="MiB (1024)")
    arguments.add_argument("--runs", type=int, default=3)
    options = arguments.parse_args()
    rig.pin_client()
    times: list[float] = []
    limits: list[float] = []
    growths: list[float] = []
    pages: list[float] = []
    with rig.scratch() as folder, rig.Server(folder).running() as server:
        warm_up(server, folder)
        for run in range(options.runs):
            version = f"{run + 1}.0"
            path = folder / f"big-{version}-py3-none-any.whl"
            build(path, version, options.size << 20)
            digest = sha256(path.read_bytes()).hexdigest()
            begun = time.perf_counter()
            subprocess.run(f"cp {path} {folder}/copy && sha256sum {folder}/copy", shell=True, check=True, capture_output=True)
            limits.append(time.perf_counter() - begun)
            (folder / "copy").unlink()
            server.forget_peak()
            idle = server.rss()
            reader = Pages(server)
            reader.start()
            times.append(upload(server, path, version, digest))
            pages += reader.end()
            growths.append((server.peak() - idle) / (1 << 20))
            path.unlink()
    ratio = rig.median([limit / took for limit, took in zip(limits, times, strict=True)])
    p99 = rig.percentile(pages, 0.99) * 1000
    rig.report(
        f"Upload of {options.size} MiB, median of {options.runs}",
        [
            ("time", f"{rig.median(times):.2f} s", ""),
            ("cp + sha256sum", f"{rig.median(limits):.2f} s", ""),
            ("speed against cp + sha256sum", f"{ratio:.2f} x", ">= 0.5 x"),
            ("peak memory above idle", f"{max(growths):.0f} MiB", "< 64 MiB"),
            ("a page meanwhile, p99", f"{p99:.1f} ms", "< 20 ms"),
        ],
        {"ratio": ratio, "seconds": times, "cp_sha256sum": limits, "growth_mib": growths, "page_p99_ms": p99},
    )


def warm_up(server: rig.Server, folder: Path) -> None:
    """A small upload: the password is remembered, and the page to read meanwhile is there."""
    path = folder / "big-0.1-py3-none-any.whl"
    build(path, "0.1", 1 << 20)
    upload(server, path, "0.1", sha256(path.read_bytes()).hexdigest())
    path.unlink()


if __name__ == "__main__":
    main()

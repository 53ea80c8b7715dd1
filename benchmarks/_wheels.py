"""Wheels for the benchmarks, and a twine that measures."""

from __future__ import annotations

import os
import socket
import time
import zipfile
from pathlib import Path
from typing import Protocol

import _rig as rig

BOUNDARY = "----------------benchmark"


def build(path: Path, name: str, version: str, size: int) -> None:
    """A correct wheel of about `size` bytes (from 1 MiB on), stored, not compressed."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    record = f"{name}/data,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open(f"{name}/data", "w", force_zip64=True) as data:
            for _ in range(size >> 20):
                data.write(os.urandom(1 << 20))
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", record)


class Listens(Protocol):
    """What can be uploaded to."""

    port: int


def upload(server: Listens, path: Path, digest: str, *, to: str = "/legacy/") -> float:
    """Seconds from connecting to the answer."""
    name, version = path.name.split("-")[:2]
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": name,
        "version": version,
        "sha256_digest": digest,
    }
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'
        for k, v in fields.items()
    )
    head += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; '
        f'filename="{path.name}"\r\n\r\n'
    )
    tail = f"\r\n--{BOUNDARY}--\r\n"
    length = len(head) + path.stat().st_size + len(tail)
    request = (
        f"POST {to} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {rig.LOGIN}\r\nConnection: "
        f"close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: "
        f"{length}\r\n\r\n"
    )
    begun = time.perf_counter()
    with (
        socket.create_connection(("127.0.0.1", server.port)) as connection,
        path.open("rb") as file,
    ):
        connection.sendall((request + head).encode())
        connection.sendfile(file)
        connection.sendall(tail.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(answer.decode())
    return time.perf_counter() - begun

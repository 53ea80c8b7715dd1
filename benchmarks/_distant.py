"""An S3 that stands some way off: each answer comes after a delay, each request is counted, and
signatures are not looked at.

``python benchmarks/_distant.py PORT SECONDS PROJECTS FILES`` has so many projects of so many files,
an artifact and a record each. (What the tests have verifies signatures, and takes a millisecond for
an answer: this stands for the network.)
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, quote_plus, unquote

import _rig as rig

from pypid.core.model import StoredFile

BUCKET = "bench"
SIZE = 1000
"""Bytes of each artifact, as the page says; none is fetched."""
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
_STAMP = "2026-01-01T00:00:00.000Z"
_LAST = "Thu, 01 Jan 2026 00:00:00 GMT"


class Distant:
    """It, in a process of its own; `delay` in seconds."""

    def __init__(self, folder: Path, delay: float, projects: int, files: int) -> None:
        self.port = rig.free_port()
        self._log = folder / "distant.log"
        self._command = [sys.executable, __file__, *map(str, (self.port, delay, projects, files))]

    @property
    def lines(self) -> str:
        """What pypid is told."""
        return (
            f"[upstream]\nmode = offline\n[storage]\nbackend = s3\nbucket = {BUCKET}\naccess_key "
            f"= bench\nsecret_key = bench\n"
            f"endpoint_url = http://127.0.0.1:{self.port}\n"
        )

    @contextmanager
    def running(self) -> Iterator[Distant]:
        """Started until it listens, stopped at the end."""
        with self._log.open("w") as log:
            process = subprocess.Popen(
                ["taskset", "-c", str(rig.CLIENT_CORE), *self._command], stdout=log, stderr=log
            )
        try:
            rig.wait_for(self.port, self._log)
            yield self
        finally:
            process.terminate()
            process.wait(10)

    def asked(self) -> dict[str, int]:
        """How many requests there were since the last time, by kind."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/asked") as answer:
            return dict(json.loads(answer.read()))


class Bucket:
    """What it holds. Records are made when they are asked for, all alike."""

    def __init__(self, projects: int, files: int) -> None:
        from pypid.core.packaging.names import project_name
        from pypid.core.records.documents import dump_record
        from pypid.core.records.layout import ObjectKind, key

        self.written: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.keys: list[str] = []
        for number in range(projects):
            for version in range(files):
                name = f"p{number:05d}"
                self.keys += [
                    wheel := f"{name}/{name}-1.{version}-py3-none-any.whl",
                    f"{wheel}{ObjectKind.RECORD.value}",
                ]
        self.keys.sort()
        spam = project_name("p00000")
        filename = "p00000-1.0-py3-none-any.whl"
        file = StoredFile(
            project=spam,
            filename=filename,
            version="1.0",
            sha256="0" * 64,
            size=SIZE,
            uploaded=_WHEN,
            key=key(spam, filename),
        )
        self._record = dump_record(file)

    def data(self, where: str) -> bytes | None:
        """The object's bytes; None where there is none."""
        if where in self.written:
            return self.written[where]
        place = bisect_left(self.keys, where)
        if place == len(self.keys) or self.keys[place] != where:
            return None
        if not where.endswith(".record.json"):
            return b"0" * SIZE
        name, filename = where.removesuffix(".record.json").split("/")
        version = filename.split("-")[1]
        made = self._record.replace(b"p00000-1.0-", f"{name}-{version}-".encode())
        return made.replace(b"p00000", name.encode()).replace(b'"1.0"', f'"{version}"'.encode())

    def put(self, where: str, data: bytes) -> None:
        if self.data(where) is None:
            insort(self.keys, where)
        self.written[where] = data

    def delete(self, where: str) -> None:
        if self.written.pop(where, None) is not None:
            self.keys.remove(where)

    def size(self, where: str) -> int:
        if where in self.written:
            return len(self.written[where])
        return len(self.data(where) or b"") if where.endswith(".json") else SIZE

    def etag(self, where: str) -> str:
        """As the MD5 would be, of what stays the same."""
        return md5(self.written.get(where, where.encode())).hexdigest()

    def listing(self, query: dict[str, str]) -> bytes:
        """A page of it."""
        prefix, delimiter, most = (
            query.get("prefix", ""),
            query.get("delimiter", ""),
            int(query.get("max-keys", "1000")),
        )
        place = bisect_right(
            self.keys, query.get("continuation-token") or query.get("start-after") or ""
        )
        place = max(place, bisect_left(self.keys, prefix))
        parts: list[str] = []
        last = ""
        while len(parts) < most and place < len(self.keys) and self.keys[place].startswith(prefix):
            last = self.keys[place]
            top, found, _ = last[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                last = f"{prefix}{top}{delimiter}\U0010ffff"
                parts.append(
                    f"<CommonPrefixes><Prefix>{quote_plus(prefix + top + delimiter)}</Prefix></CommonPrefixes>"
                )
                place = bisect_left(self.keys, last)
                continue
            parts.append(
                f"<Contents><Key>{quote_plus(last)}</Key><LastModified>{_STAMP}</LastModified><ETag>"
                f"&quot;{self.etag(last)}&quot;</ETag><Size>{self.size(last)}</Size></Contents>"
            )
            place += 1
        more = place < len(self.keys) and self.keys[place].startswith(prefix)
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        truncated = "true" if more else "false"
        head = f"<EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>{token}"
        return f"<ListBucketResult>{head}{''.join(parts)}</ListBucketResult>".encode()

    def answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        path, _, text = target.partition("?")
        query = dict(parse_qsl(text, keep_blank_values=True))
        where = unquote(path.removeprefix(f"/{BUCKET}").removeprefix("/"))
        if "uploads" in query and method == "POST":
            return (
                200,
                {},
                b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
            )
        if "uploadId" in query:
            return (
                (412, {}, _error("PreconditionFailed"))
                if method == "POST"
                else (200, {"ETag": '"1"'}, b"")
            )
        if not where:
            self.asked["LIST"] += 1
            return 200, {}, self.listing(query)
        self.asked[method] += 1
        match method:
            case "PUT":
                if headers.get("if-none-match") and self.data(where) is not None:
                    return 412, {}, _error("PreconditionFailed")
                self.put(where, body)
                return 200, {"ETag": f'"{self.etag(where)}"'}, b""
            case "DELETE":
                self.delete(where)
                return 204, {}, b""
            case _:
                data = self.data(where)
                if data is None:
                    return 404, {}, _error("NoSuchKey") if method == "GET" else b""
                return 200, {"ETag": f'"{self.etag(where)}"', "Last-Modified": _LAST}, data


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code></Error>".encode()


def _serve(port: int, delay: float, projects: int, files: int) -> None:
    from twisted.internet import reactor
    from twisted.internet.interfaces import ITCPTransport
    from twisted.internet.protocol import Factory, Protocol, ServerFactory

    bucket = Bucket(projects, files)

    class Answers(Protocol):
        def connectionMade(self) -> None:
            self._came = b""
            cast(ITCPTransport, self.transport).setTcpNoDelay(True)

        def dataReceived(self, data: bytes) -> None:
            self._came += data
            while (end := self._came.find(b"\r\n\r\n")) >= 0:
                first, *lines = self._came[:end].decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines)
                }
                start = end + 4
                stop = start + int(headers.get("content-length", "0"))
                if len(self._came) < stop:
                    return
                method, target, _ = first.split(" ")
                body, self._came = self._came[start:stop], self._came[stop:]
                if target == "/-/asked":
                    self._say(method, 200, {}, json.dumps(bucket.asked).encode())
                    bucket.asked.clear()
                else:
                    reactor.callLater(
                        delay, self._say, method, *bucket.answer(method, target, headers, body)
                    )

        def _say(self, method: str, status: int, headers: dict[str, str], body: bytes) -> None:
            told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
            transport = cast(ITCPTransport, self.transport)
            transport.write(f"HTTP/1.1 {status} -\r\n{told}{length}\r\n".encode())
            if method != "HEAD":
                transport.write(body)

    factory = cast(ServerFactory, Factory.forProtocol(Answers))
    reactor.listenTCP(port, factory, interface="127.0.0.1", backlog=200)
    reactor.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

"""Packages in S3: a 1 GiB upload against a bare PUT and ``aws s3 cp`` of the same bytes to the same
server, redirects to signed URLs against pages, signing.

``python benchmarks/s3.py [--size 1024] [--runs 3] [--seconds 3]``   (MiB)

The server is Ceph's radosgw (Debian: radosgw ceph-mon ceph-osd), which keeps all in memory; awscli
is installed into a virtual environment of its own on the first run. The redirects need ``wrk``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from hashlib import file_digest, sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from unittest import SkipTest

import _rig as rig
from _wheels import build, upload
from attrs import define, field
from pages import requests_a_second

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.live.clients import client
from tests.live.stores import Store
from tests.live.stores.radosgw import radosgw

from pypid.blobs.s3.signatures import Keys, quoted
from pypid.blobs.s3.signatures import signed as sign

MIB = 1 << 20
SIGNED = 2000
"""URLs that are signed."""


def lines(s3: Store, bucket: str) -> str:
    """What pypid is told."""
    return (
        f"[upstream]\nmode = offline\n[storage]\nbackend = s3\nbucket = {bucket}\nregion = "
        f"{s3.region}\n"
        f"endpoint_url = {s3.endpoint}\naccess_key = {s3.access_key}\nsecret_key = "
        f"{s3.secret_key}\n"
    )


def compared(server: rig.Server) -> None:
    """Wait until the storage is, so that nothing else is under way."""
    while not server.complete():
        time.sleep(0.05)


# --- uploads --------------------------------------------------------------------------------------


class AwsCli:
    """``aws s3 cp`` as it comes, with no settings of anybody's."""

    def __init__(self, s3: Store, folder: Path) -> None:
        self._command = [
            str(client("awscli")),
            "--endpoint-url",
            s3.endpoint,
            "--region",
            s3.region,
            "s3",
            "cp",
            "--quiet",
        ]
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def copy(self, path: Path, bucket: str) -> float:
        """Seconds."""
        begun = time.perf_counter()
        subprocess.run(
            [*self._command, str(path), f"s3://{bucket}/aws/{path.name}"],
            check=True,
            env=self._environ,
        )
        return time.perf_counter() - begun


def bare_put(s3: Store, path: Path, bucket: str) -> float:
    """Seconds of one signed PUT out of the file, and of the hash that it is signed with."""
    target = f"/{bucket}/bare/{path.name}"
    begun = time.perf_counter()
    with path.open("rb") as file:
        hashed = file_digest(file, "sha256").hexdigest()
        headers = sign(
            Keys(s3.access_key, s3.secret_key),
            s3.region,
            datetime.now(UTC),
            "PUT",
            s3.endpoint + quoted(target),
            {"Host": s3.host},
            hashed,
        )
        connection = HTTPConnection(s3.host)
        file.seek(0)
        headers["Content-Length"] = str(path.stat().st_size)
        connection.request("PUT", quoted(target), file, headers)
        answer = connection.getresponse()
        answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"the store answered a PUT with {answer.status}")
    return time.perf_counter() - begun


@define
class Uploads:
    """What each turn took: seconds, seconds of pypid's processor time, and MiB of its memory."""

    bare: list[float] = field(factory=list)
    aws: list[float] = field(factory=list)
    pypid: list[float] = field(factory=list)
    processor: list[float] = field(factory=list)
    growth: list[float] = field(factory=list)


def uploads(s3: Store, folder: Path, size: int, runs: int) -> Uploads:
    """Upload new files by a bare PUT, by aws and by pypid, in turns."""
    bucket = s3.bucket("uploads")
    aws = AwsCli(s3, folder)
    taken = Uploads()
    with rig.Server(folder / "uploads", more=lines(s3, bucket), pinned=False).running() as server:
        compared(server)
        for run in range(-1, runs):
            version = f"{run + 1}.0"
            path = folder / f"big-{version}-py3-none-any.whl"
            build(path, "big", version, size * MIB if run >= 0 else 9 * MIB)
            digest = sha256(path.read_bytes()).hexdigest()
            bare, copied = bare_put(s3, path, bucket), aws.copy(path, bucket)
            server.forget_peak()
            idle, processor = server.rss(), processor_time(server)
            seconds = upload(server, path, digest)
            if run >= 0:  # before: the password is remembered, and everything is imported
                taken.bare.append(bare)
                taken.aws.append(copied)
                taken.pypid.append(seconds)
                taken.processor.append(processor_time(server) - processor)
                taken.growth.append((server.peak() - idle) / MIB)
            for folder_name in "bare", "aws", "big":  # it is all in memory
                s3.ask("DELETE", f"/{bucket}/{folder_name}/{path.name}")
            path.unlink()
    return taken


def processor_time(server: rig.Server) -> float:
    """Seconds that the server has computed since its start."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- redirects ------------------------------------------------------------------------------------


def redirects(s3: Store, folder: Path, seconds: int, runs: int) -> tuple[list[float], list[float]]:
    """Redirects and pages a second, in turns; the page is a project's with one file, the smallest
    there is.
    """
    sent: list[float] = []
    pages: list[float] = []
    with rig.Server(
        folder / "redirects", more=lines(s3, s3.bucket("redirects"))
    ).running() as server:
        compared(server)
        path = folder / "example-1.0-py3-none-any.whl"
        build(path, "example", "1.0", 0)
        upload(server, path, sha256(path.read_bytes()).hexdigest())
        url = f"/packages/example/{path.name}"
        for _ in range(runs):
            sent.append(requests_a_second(server.port, url, {"Accept": "*/*"}, seconds, 302))
            pages.append(
                requests_a_second(
                    server.port, "/simple/example/", {"Accept": "text/html"}, seconds, 200
                )
            )
    return sent, pages


# --- signing --------------------------------------------------------------------------------------


def signings(s3: Store) -> list[float]:
    """Milliseconds that each of many files takes that were never asked for before."""
    from twisted.internet import reactor

    from pypid.blobs.s3.store import S3Settings, open
    from pypid.flow import start
    from pypid.wiring.platform import the_world

    times: list[float] = []
    settings = S3Settings(
        bucket=s3.bucket("signing"),
        region=s3.region,
        endpoint_url=s3.endpoint,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
    )

    async def sign() -> None:
        blobs = await open(settings, the_world(reactor), reactor)
        for number in range(SIGNED):
            begun = time.perf_counter()
            await blobs.link(f"spam/spam-{number}.0-py3-none-any.whl", timedelta(days=1))
            times.append((time.perf_counter() - begun) * 1000)
        await blobs.close()

    failures: list[Any] = []
    running: Any = reactor
    running.callWhenRunning(
        lambda: start(sign()).addErrback(failures.append).addBoth(lambda _: running.stop())
    )
    running.run()
    if failures:
        failures[0].raiseException()
    return times


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--size", type=int, default=1024, help="MiB (1024)")
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=3)
    options = arguments.parse_args()
    rows: list[tuple[str, str, str]] = []
    figures: dict[str, object] = {}
    try:
        client("awscli")
        running = radosgw()
        s3 = running.__enter__()
    except SkipTest as reason:
        print(f"skipped: {reason}")
        return
    try:
        with rig.scratch() as folder:
            taken = uploads(s3, folder, options.size, options.runs)
            bare = rig.compare(taken.pypid, taken.bare)
            turn = rig.compare(taken.pypid, taken.aws)
            rows += [
                (f"{options.size} MiB to S3", f"{bare.ours:.2f} s", ""),
                ("... processor time", f"{rig.median(taken.processor):.2f} s", ""),
                ("bare PUT, with its hash", f"{bare.theirs:.2f} s", ""),
                ("time against a bare PUT", f"{bare.ratio:.2f} x", "<= 1.3 x"),
                ("aws s3 cp", f"{turn.theirs:.2f} s", ""),
                ("time against aws s3 cp", f"{turn.ratio:.2f} x", "<= 1.3 x"),
                ("peak memory above idle", f"{max(taken.growth):.0f} MiB", "< 96 MB"),
            ]
            figures.update(
                ratio=turn.ratio,
                ratio_bare=bare.ratio,
                seconds=taken.pypid,
                processor=taken.processor,
                bare=taken.bare,
                aws=taken.aws,
                growth_mib=taken.growth,
            )
            signed = signings(s3)
            rows.append(("first signing, median", f"{rig.median(signed):.3f} ms", "< 0.2 ms"))
            rows.append(("first signing, p99", f"{rig.percentile(signed, 0.99):.3f} ms", ""))
            figures["signing_ms"] = rig.median(signed)
            if shutil.which("wrk") is None:
                print("redirects skipped: wrk not installed")
            else:
                sent, pages = redirects(s3, folder, options.seconds, options.runs)
                share = rig.compare(sent, pages)
                rows.append(("redirects a second", f"{share.ours:,.0f}", ""))
                rows.append(
                    (
                        "redirects against pages",
                        f"{share.ratio:.2f} x ({share.theirs:,.0f} a second)",
                        ">= 0.8 x",
                    )
                )
                figures.update(redirects=sent, pages=pages)
    finally:
        running.__exit__(None, None, None)
    rig.report(f"Packages in S3 (radosgw), median of {options.runs}", rows, figures)


if __name__ == "__main__":
    main()

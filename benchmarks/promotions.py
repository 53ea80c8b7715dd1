"""A release of one large wheel, promoted from one index to another: time in a folder, and requests
to S3.

``python benchmarks/promotions.py [--size 500] [--runs 3]``   (MB)

The S3 server is Ceph's radosgw, as in ``s3.py``; without it this part is skipped.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from unittest import SkipTest

import _rig as rig
from _wheels import build, upload
from attrs import define, field
from s3 import compared, lines

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.live.stores.radosgw import radosgw

INDEX = "[index:staging]\nbases = none\n"
_REQUESTS = re.compile(r'pypid_s3_requests_total\{operation="(\w+)",status="2\d\d"\} ([\d.e+]+)')


@define
class Promoted:
    """What each promotion took: seconds, seconds of processor time, MiB of memory, and requests to
    S3 by operation.
    """

    seconds: list[float] = field(factory=list)
    processor: list[float] = field(factory=list)
    growth: list[float] = field(factory=list)
    requests: list[Counter[str]] = field(factory=list)


def promotions(folder: Path, size: int, runs: int, more: str) -> Promoted:
    """Publish `runs` releases in the index staging, and promote each to the default index."""
    taken = Promoted()
    with rig.Server(folder / "pypid", more=f"{INDEX}{more}", pinned=False).running() as server:
        compared(server)
        promote(server, publish(server, folder, "0.1", 1))  # imports what promotions need
        for run in range(runs):
            version = publish(server, folder, f"{run + 1}.0", size)
            server.forget_peak()
            idle, processor, before = server.rss(), server.processor_time(), requests(server)
            begun = time.perf_counter()
            promote(server, version)
            taken.seconds.append(time.perf_counter() - begun)
            taken.processor.append(server.processor_time() - processor)
            taken.requests.append(requests(server) - before)
            taken.growth.append((server.peak() - idle) / (1 << 20))
    return taken


def publish(server: rig.Server, folder: Path, version: str, size: int) -> str:
    """Upload a wheel to the index staging; return its version."""
    path = folder / f"big-{version}-py3-none-any.whl"
    build(path, "big", version, size * 10**6)
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    upload(server, path, digest, to="/staging/legacy/")
    path.unlink()
    return version


def promote(server: rig.Server, version: str) -> None:
    """Promote it, which has to list one file."""
    body = json.dumps({"source": "staging", "releases": [f"big=={version}"]}).encode()
    headers = {"Authorization": rig.LOGIN, "Content-Type": "application/json"}
    answer = server.call("POST", "/api/indexes/default/promotions", headers, body)
    if len(json.loads(answer)["files"]["big"]) != 1:
        raise SystemExit(answer.decode())


def requests(server: rig.Server) -> Counter[str]:
    """The successful requests to S3 since the start."""
    text = server.call("GET", "/metrics", {"Authorization": rig.LOGIN}).decode()
    return Counter({name: int(float(number)) for name, number in _REQUESTS.findall(text)})


@contextmanager
def bucket() -> Iterator[str | None]:
    """The configuration of a bucket of an S3 server; None if there is no server."""
    try:
        running = radosgw()
        s3 = running.__enter__()
    except SkipTest as reason:
        print(f"skipped: {reason}")
        yield None
        return
    try:
        yield lines(s3, s3.bucket("promotions"))
    finally:
        running.__exit__(None, None, None)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--size", type=int, default=500, help="MB (500)")
    arguments.add_argument("--runs", type=int, default=3)
    options = arguments.parse_args()
    with rig.scratch() as folder:
        taken = promotions(folder, options.size, options.runs, "[upstream]\nmode = offline\n")
    rows = [
        (f"{options.size} MB in a folder", f"{rig.median(taken.seconds) * 1000:.1f} ms", "< 50 ms"),
        ("... processor time", f"{rig.median(taken.processor) * 1000:.1f} ms", ""),
        ("... peak memory above idle", f"{max(taken.growth):.0f} MiB", "< 10 MiB"),
    ]
    figures: dict[str, object] = {"folder": taken.seconds, "processor": taken.processor}
    with bucket() as settings, rig.scratch() as folder:
        if settings is not None:
            taken = promotions(folder, options.size, options.runs, settings)
            copies = max(each["CopyObject"] for each in taken.requests)
            parts = max(each["UploadPartCopy"] for each in taken.requests)
            uploads = max(each["UploadPart"] for each in taken.requests)
            all_requests = max(each.total() for each in taken.requests)
            rows += [
                (f"{options.size} MB in S3", f"{rig.median(taken.seconds) * 1000:.0f} ms", ""),
                ("... copies in the bucket, wheel and metadata", f"{copies}", "2"),
                ("... copies of parts, uploads of parts", f"{parts}, {uploads}", "0, 0"),
                ("... requests in all", f"{all_requests}", ""),
                ("... peak memory above idle", f"{max(taken.growth):.0f} MiB", "< 10 MiB"),
            ]
            figures |= {"s3": taken.seconds, "requests": [dict(each) for each in taken.requests]}
    rig.report(f"Promotion of one release, median of {options.runs}", rows, figures)


if __name__ == "__main__":
    main()

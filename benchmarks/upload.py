"""A 1 GiB upload: time against ``cp`` + ``sha256sum`` of the same file on the same disk, memory,
and pages meanwhile.

``python benchmarks/upload.py [--size 1024] [--runs 3]``   (MiB)
"""

from __future__ import annotations

import argparse
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _wheels import build, upload


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
            build(path, "big", version, options.size << 20)
            digest = sha256(path.read_bytes()).hexdigest()
            begun = time.perf_counter()
            subprocess.run(
                f"cp {path} {folder}/copy && sha256sum {folder}/copy",
                shell=True,
                check=True,
                capture_output=True,
            )
            limits.append(time.perf_counter() - begun)
            (folder / "copy").unlink()
            server.forget_peak()
            idle = server.rss()
            reader = rig.Watch(server.port, lambda: "/simple/big/", 0.01)
            reader.start()
            times.append(upload(server, path, digest))
            pages += reader.end()
            growths.append((server.peak() - idle) / (1 << 20))
            path.unlink()
    turn = rig.compare(*([1 / took for took in seconds] for seconds in (times, limits)))
    p99 = rig.percentile(pages, 0.99) * 1000
    rig.report(
        f"Upload of {options.size} MiB, median of {options.runs}",
        [
            ("time", f"{1 / turn.ours:.2f} s", ""),
            ("cp + sha256sum", f"{1 / turn.theirs:.2f} s", ""),
            ("speed against cp + sha256sum", f"{turn.ratio:.2f} x", ">= 0.5 x"),
            ("peak memory above idle", f"{max(growths):.0f} MiB", "< 64 MiB"),
            ("a page meanwhile, p99", f"{p99:.1f} ms", "< 20 ms"),
        ],
        {
            "ratio": turn.ratio,
            "seconds": times,
            "cp_sha256sum": limits,
            "growth_mib": growths,
            "page_p99_ms": p99,
        },
    )


def warm_up(server: rig.Server, folder: Path) -> None:
    """A small upload: the password is remembered, and the page to read meanwhile is there."""
    path = folder / "big-0.1-py3-none-any.whl"
    build(path, "big", "0.1", 1 << 20)
    upload(server, path, sha256(path.read_bytes()).hexdigest())
    path.unlink()


if __name__ == "__main__":
    main()

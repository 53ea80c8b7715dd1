"""`pypid export` of many files into a folder: a first time, again, and after one more upload.

``python benchmarks/export.py [--projects 10000]``   (10 files each)

The running pypid writes: pages in HTML and JSON, gzip copies, legacy JSON of projects, feeds. What
dumb-pypi takes for as many files stands in what ``static.py`` measures; an export has no list, it
has an index.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _fabricate import FILES, fabricate
from _wheels import build, upload


def export(server: rig.Server, target: Path) -> float:
    """Seconds of the whole command."""
    begun = time.perf_counter()
    command = [
        str(Path(sys.executable).with_name("pypid")),
        "export",
        "--config",
        str(server.config),
        str(target),
    ]
    subprocess.run([*command, "--no-per-release-json"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--projects", type=int, default=10_000)
    options = parser.parse_args()
    with rig.scratch() as folder:
        server = rig.Server(folder / "node", more="[upstream]\nmode = offline\n", pinned=False)
        with server.running():
            pass
        fabricate(folder / "node", options.projects)
        with server.running():
            while not server.complete():
                time.sleep(0.2)
            target = folder / "tree"
            alive = rig.Watch(server.port, lambda: "/health", 0.005, steady=False)
            alive.start()
            first = export(server, target)
            worst = max(alive.end())
            again = export(server, target)
            wheel = folder / "one-1.0-py3-none-any.whl"
            build(wheel, "one", "1.0", 1000)
            upload(server, wheel, sha256(wheel.read_bytes()).hexdigest())
            more = export(server, target)
            peak = server.peak() / (1 << 20)
    rows = [
        (f"{options.projects * FILES:,} files, all new", f"{first:.1f} s", ""),
        ("... the same again", f"{again:.1f} s", ""),
        ("... one file more, by the command", f"{more:.1f} s", ""),
        ("... longest wait for /health in the first", f"{worst * 1000:.0f} ms", "< 20 ms"),
        ("... peak memory", f"{peak:.0f} MiB", "1.5 GB (1,000,000 files)"),
    ]
    figures: dict[str, object] = {
        "first_s": first,
        "again_s": again,
        "more_s": more,
        "worst_s": worst,
        "peak_mib": peak,
    }
    rig.report("pypid export", rows, figures)


if __name__ == "__main__":
    main()

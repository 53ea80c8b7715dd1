"""`pypid export` of many files into a folder, beside dumb-pypi of as many: a first time, again, and
after one more upload.

``python benchmarks/export.py [--projects 10000] [--alone]``   (10 files each)

The running pypid writes: pages in HTML and JSON, gzip copies, legacy JSON of projects, feeds.
dumb-pypi writes pages in HTML and legacy JSON, from a list. Both write to the same disk.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _dumb_pypi import dumb_pypi, list_of_fabricated, run
from _fabricate import FILES, fabricate
from _wheels import build, upload

STEPS = ("all new", "the same again", "one file more")
GOALS = (0.5, None, None)


def export(server: rig.Server, target: Path) -> float:
    """Return the seconds of the whole command."""
    program = Path(sys.executable).with_name("pypid")
    command: list[str | Path] = [
        program,
        "export",
        "--config",
        server.config,
        target,
        "--no-per-release-json",
    ]
    os.sync()  # an export waits until all of its file system is durable: not for what was before
    return run(command)[0]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--alone", action="store_true", help="without dumb-pypi")
    options = parser.parse_args()
    peer = None if options.alone else dumb_pypi()
    with rig.scratch() as folder:
        server = rig.Server(folder / "node", more="[upstream]\nmode = offline\n", pinned=False)
        with server.running():
            pass
        fabricate(folder / "node", options.projects)
        theirs = [] if peer is None else of_peer(peer, folder, options.projects)
        with server.running():
            while not server.complete():
                time.sleep(0.2)
            ours, worst, busy = of_pypid(server, folder)
            peak = server.peak() / (1 << 20)
    rows, figures = [], dict[str, object](worst_s=worst, busy_s=busy, peak_mib=peak)
    for number, (step, goal) in enumerate(zip(STEPS, GOALS, strict=True)):
        measured, key = f"{ours[number]:.2f} s", step.replace(" ", "_")
        figures[f"{key}_s"] = ours[number]
        if theirs:
            ratio = ours[number] / theirs[number]
            measured += f", {ratio:.2f} x dumb-pypi ({theirs[number]:.2f} s)"
            figures |= {f"{key}_dumb_pypi_s": theirs[number], f"{key}_ratio": ratio}
        wanted = "1 s" if step == STEPS[2] else "" if goal is None else f"{goal} x"
        rows.append((f"{options.projects * FILES:,} files, {step}", measured, wanted))
    rows += [
        ("processor time of pypid itself meanwhile, asked for /health", f"{busy:.1f} s", ""),
        ("longest wait for /health meanwhile", f"{worst * 1000:.0f} ms", "< 20 ms"),
        ("peak memory of pypid itself", f"{peak:.0f} MiB", "1.5 GB (1,000,000 files)"),
    ]
    rig.report("pypid export", rows, figures)


def of_pypid(server: rig.Server, folder: Path) -> tuple[list[float], float, float]:
    """Return the seconds of each step; the longest wait for an answer, and the processor seconds
    of the daemon, during another first one.
    """
    target = folder / "tree"
    seconds = [export(server, target), export(server, target)]
    # once more, since asking for /health takes a part of both cores
    before = server.processor_time()
    alive = rig.Watch(server.port, lambda: "/health", 0.005, steady=False)
    alive.start()
    export(server, folder / "watched")
    worst = max(alive.end())
    busy = server.processor_time() - before
    wheel = folder / "one-1.0-py3-none-any.whl"
    build(wheel, "one", "1.0", 1000)
    upload(server, wheel, sha256(wheel.read_bytes()).hexdigest())
    seconds.append(export(server, target))
    return seconds, worst, busy


def of_peer(program: Path, folder: Path, projects: int) -> list[float]:
    """Return the seconds of each step of dumb-pypi."""
    listed, before = folder / "list", folder / "before"
    list_of_fabricated(listed, projects, FILES)
    command: list[str | Path] = [program, "--package-list-json", listed]
    command += ["--packages-url", "../../packages/", "--output-dir", folder / "dumb"]
    command += ["--no-per-release-json"]
    seconds = [run(command)[0], run(command)[0]]
    before.write_bytes(listed.read_bytes())
    with listed.open("a") as out:
        print(json.dumps({"filename": "one-1.0-py3-none-any.whl"}), file=out)
    return [*seconds, run([*command, "--previous-package-list-json", before])[0]]


if __name__ == "__main__":
    main()

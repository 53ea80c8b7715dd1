"""A second ``make run``: seconds from exec to the first answer, with an empty index.

``python benchmarks/startup.py [--runs 5]``
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import _rig as rig

HERE = Path(__file__).resolve().parent.parent
FLOOR = "twisted.web.server, klein"
"""What no start can do without."""
SETTLED = 1.5
"""Seconds after which all is there that comes after the first page."""


def make_run(server: rig.Server) -> float:
    """Seconds from exec of make to the first page."""
    begun = time.perf_counter()
    with (server.folder / "log").open("ab") as log:
        command = ["make", "--silent", "run", f"CONFIG={server.config}"]
        process = subprocess.Popen(
            command, cwd=HERE, stdout=log, stderr=log, start_new_session=True
        )
    try:
        server.process = process
        server.wait()
        return time.perf_counter() - begun
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def installed() -> bool:
    """Whether ``make run`` would only start: this Python is the checkout's own, and make has
    nothing to install.

    A benchmark must not: an environment that is shared, or linked to from another checkout, would
    be changed for everybody.
    """
    environment = HERE / ".venv"
    if shutil.which("make") is None or environment.is_symlink() or Path(sys.prefix) != environment:
        return False
    return (
        subprocess.run(
            ["make", "--question", ".venv/run.stamp"], cwd=HERE, capture_output=True
        ).returncode
        == 0
    )


class Served(rig.Server):
    """One that ``pypid serve`` starts, as ``make run`` does."""

    def command(self) -> list[str]:
        """As `Server.command`."""
        return [str(Path(sys.executable).with_name("pypid")), "serve", "--config", str(self.config)]


def imports(what: str) -> float:
    """Seconds that a Python takes that only imports this."""
    begun = time.perf_counter()
    subprocess.run([*rig.PINNED, sys.executable, "-c", f"import {what}"], check=True)
    return time.perf_counter() - begun


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # what is installed is compiled; the first start of all here does it
    rig.pin_client()
    with rig.scratch() as folder:
        server, daemon = Served(folder / "serve"), rig.Server(folder / "twistd")
        starts: list[float] = []
        daemons: list[float] = []
        floors: list[float] = []
        imported: list[float] = []
        for _ in range(options.runs + 1):  # in turns, so that a moment of noise is in all of them
            floors.append(imports(FLOOR))
            with server.running():
                starts.append(server.started)
                time.sleep(SETTLED)
                idle = server.rss()
            with daemon.running():
                daemons.append(daemon.started)
            imported.append(imports("pypid.wiring.recipe"))
        makes = [make_run(server) for _ in range(options.runs + 1)] if installed() else []
    start, make = rig.median(starts[1:]), rig.median(makes[1:]) if makes else None
    floor = rig.median(floors[1:])
    rig.report(
        "Start with an empty index",
        [
            (
                "make run, to the first answer",
                "skipped: make has to install first" if make is None else f"{make:.2f} s",
                "< 2 s",
            ),
            (f"importing {FLOOR}", f"{floor:.2f} s", ""),
            ("pypid serve, to the first answer", f"{start:.2f} s", ""),
            ("so many times as long", f"{start / floor:.2f}", "1.3"),
            ("twistd, to the first answer", f"{rig.median(daemons[1:]):.2f} s", ""),
            ("only the imports", f"{rig.median(imported[1:]):.2f} s", ""),
            ("memory then", f"{idle / (1 << 20):.0f} MiB", "60 MiB"),
        ],
        {
            "make_run_s": make,
            "serve_s": start,
            "floor_s": floor,
            "ratio": start / floor,
            "twistd_s": rig.median(daemons[1:]),
            "imports_s": rig.median(imported[1:]),
            "rss_mib": idle / (1 << 20),
        },
    )


if __name__ == "__main__":
    main()

"""Run every kind of the gauntlet and print a table: ``python -m tests.live.gauntlet [kind ...]``.

The exit status is 0 if nothing failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import frozen

from tests.children import kill_group, with_us
from tests.live.processes import ROOT

KINDS: Final = {
    "kills": "tests.live.gauntlet.test_kills",
    "answers": "tests.live.gauntlet.answers",
    "refusals": "tests.live.gauntlet.test_refusals",
    "storms": "tests.live.gauntlet.test_storms",
    "losses": "tests.live.test_nothing_opens",
    "deletions": "tests.live.gauntlet.test_deletions",
}
"""The modules by kind, longest first."""
SHOWN: Final = 20
"""Failures of each kind that are printed."""
WITHIN: Final = 29 * 60
"""Seconds for all of them together."""


@frozen
class Result:
    """What came of one kind."""

    kind: str
    trials: int
    failures: tuple[str, ...]
    seconds: float


def run(kind: str, folder: Path, deadline: float) -> list[Result]:
    """Run one kind to its end, or to the deadline; a process that ends otherwise is a failure of
    the kind.
    """
    results = folder / f"{kind}.jsonl"
    begun = time.monotonic()
    environ = {**os.environ, "GAUNTLET": "full", "GAUNTLET_RESULTS": str(results)}
    command = [
        *with_us(),
        sys.executable,
        "-m",
        "twisted.trial",
        f"--temp-directory={folder / kind}",
        KINDS[kind],
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        late: tuple[str, ...] = ()
        try:
            said, _ = process.communicate(timeout=max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            said, late = "", (f"no end within {WITHIN / 60:.0f} minutes",)
        finally:
            kill_group(process.pid)
    seconds = time.monotonic() - begun
    lines = results.read_text().splitlines() if results.exists() else []
    counts = {each["kind"]: each for each in map(json.loads, lines)}  # the last line of each
    if not counts:
        return [Result(kind, 0, late or (said.strip()[-2000:],), seconds)]
    return [
        Result(each["kind"], each["trials"], (*late, *each["failures"]), seconds)
        for each in counts.values()
    ]


def table(results: list[Result]) -> str:
    """The results, and the first failures of each kind."""
    lines = [f"{'kind':44} {'trials':>8} {'failures':>9} {'seconds':>8}"]
    lines += [
        f"{each.kind:44} {each.trials:8} {len(each.failures):9} {each.seconds:8.0f}"
        for each in results
    ]
    for each in results:
        lines += [f"{each.kind}: {failure}" for failure in each.failures[:SHOWN]]
        if len(each.failures) > SHOWN:
            lines.append(f"{each.kind}: {len(each.failures) - SHOWN} more failures")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.gauntlet", description=__doc__)
    parser.add_argument(
        "-j", type=int, default=2, metavar="JOBS", help="kinds that run at the same time"
    )
    parser.add_argument("kinds", nargs="*", help=f"some of: {' '.join(KINDS)}; default: all")
    options = parser.parse_args(arguments)
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no such kind: {' '.join(sorted(unknown))}")
    deadline = time.monotonic() + WITHIN
    with (
        TemporaryDirectory(prefix="pypid-gauntlet-") as folder,
        ThreadPoolExecutor(options.j) as jobs,
    ):
        runs = [jobs.submit(run, kind, Path(folder), deadline) for kind in options.kinds or KINDS]
        results = [result for each in runs for result in each.result()]
    print(table(results))
    return 1 if any(result.failures for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

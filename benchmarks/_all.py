"""``make bench``: the benchmarks one after the other, in less than 20 minutes, and their figures as
a page of the documents.

``python benchmarks/_all.py [--only SCRIPT ...] [--folder docs]``

Each has a time that it may take. What takes longer is ended, and the page says so. It ends with 1
if any was, or failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from attrs import frozen

from pypid import __version__

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))  # it is there already, but when the tests import this module

import _rig as rig  # noqa: E402
from _figures import Outcome, drawing, page, ratios, read  # noqa: E402

GRACE = 5
"""Seconds that a script has to end its servers, once it has been told to."""
WITHIN = 20 * 60
"""Seconds that all may take."""


@frozen
class Job:
    """A script, options with which it is short and still says something, and the seconds that it
    may take.

    Those that take long run last, and may take what the others have left, too.
    """

    script: str
    options: str
    limit: int


JOBS = (
    Job("frontdoor.py", "--seconds 1 --runs 3", 125),
    Job("pages.py", "--seconds 1 --runs 3", 35),
    Job("cold_install.py", "--runs 3", 130),
    Job("upstream_pages.py", "--millions", 110),
    Job("health.py", "--projects 3000 --listed 300", 110),
    Job("s3.py", "--size 500 --runs 3 --seconds 1", 80),
    Job("export.py", "", 130),
    Job("listed.py", "--runs 10", 10),
    Job("access.py", "--seconds 2 --runs 3", 30),
    Job("startup.py", "--runs 3", 25),
    Job("render.py", "", 10),
    Job("cold.py", "--runs 20", 10),
    Job("upload.py", "--size 256 --runs 3", 30),
    Job("download.py", "--size 100 --runs 3", 35),
    Job("peers.py", "--seconds 1 --runs 3", 70),
    Job("one_wheel.py", "--size 20 --runs 3", 35),
    Job("stalls.py", "--names 100000 --times 3", 40),
    Job("million.py", "--files 100000 --starts 1", 80),
)

LEFT_OUT = {
    "advisories.py": "the others have left no time; docs/guides/advisories.rst has its figures.",
    "attacks.py": "its attacks take a minute, which the others have not left.",
    "many_files.py": "it takes a minute; health.py and million.py measure the same.",
    "named_indexes.py": "it makes 10,000 projects twice, and takes two minutes.",
    "promotions.py": "the others have left no time; docs/operate/performance.rst has its figures.",
    "public_names.py": "docs/operate/performance.rst has its figures, which change with the list only.",
    "proxy.py": "its upstream is on the network; that of cold_install.py is on this machine.",
    "scale.py": "it needs PostgreSQL, and all cores for itself.",
    "search.py": "a hundred thousand projects with their metadata take minutes to make.",
    "site.py": "it makes 100,000 projects, and takes two minutes.",
    "static.py": "it takes minutes; export.py compares with dumb-pypi as well.",
    "s3_rebuild.py": "a store that is far away takes minutes.",
}
"""Scripts that are not run, and why."""


def share(jobs: list[Job], left: float) -> int:
    """What the first may take of the seconds that are `left` for all, so that each of the others
    can have its own.
    """
    return int(left) - GRACE - sum(job.limit + GRACE for job in jobs[1:])


def run(job: Job, scratch: Path, limit: int) -> Outcome:
    """One script, in a session of its own so that nothing of it is left, with its folders in
    `scratch`.
    """
    options = tuple(job.options.split())
    command = [sys.executable, str(HERE / job.script), *options]
    environment = {**os.environ, "TMPDIR": str(scratch), "BENCH_FOLDER": str(scratch)}
    output = scratch / f"{job.script}.out"
    trouble = ""
    begun = time.perf_counter()
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            command, stdout=stdout, env=environment, cwd=HERE.parent, start_new_session=True
        )
    try:
        code = process.wait(limit)
        trouble = f"it ended with code {code}." if code else ""
    except subprocess.TimeoutExpired:
        trouble = f"it was ended after {limit} s, which is all that it may take."
    finally:
        end(process)
    text = (
        output.read_text(errors="replace")
        .replace(str(scratch), "scratch")
        .replace(str(HERE.parent), ".")
    )
    return Outcome(job.script, options, limit, time.perf_counter() - begun, text, trouble)


def end(process: subprocess.Popen[bytes]) -> None:
    """The script if it still runs, and whatever it started."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def machine() -> Iterator[tuple[str, str]]:
    """What the figures depend on: no name and no path of this machine."""
    yield "date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    yield "pypid", f"{__version__}{commit()}"
    model = re.search(
        r"^(?:model name|Model)\s*: *(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    yield (
        "processor",
        f"{model[1] if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
    )
    yield "memory", f"{memory:.1f} GiB"
    yield (
        "load at the start",
        f"{os.getloadavg()[0]:.1f} (the figures want a machine that does nothing else)",
    )
    yield "kernel", f"{platform.system()} {platform.release().partition('-')[0]}"
    yield "Python, Twisted", f"{platform.python_version()}, {version('twisted')}"
    for name, path, option in (
        ("nginx", rig.Nginx.path(), "-v"),
        ("wrk", found("wrk"), "-v"),
        ("uv", found("uv"), "--version"),
    ):
        yield name, said(path, option) if path else "not installed"


def found(name: str) -> str | None:
    """A program of this environment, or of the machine."""
    return shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )


def said(path: str, option: str) -> str:
    """The version that a program says it is."""
    done = subprocess.run([path, option], capture_output=True, text=True)
    number = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return number[0] if number else "unknown"


def commit() -> str:
    """The commit that is measured, where this is a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(
        [git, "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    )
    if done.returncode:
        return ""
    changed = subprocess.run(
        [git, "diff", "--quiet", "HEAD", "--", HERE.parent / "src"], cwd=HERE, capture_output=True
    ).returncode
    return f", commit {done.stdout.strip()}{' and changes to it' if changed else ''}"


def write(folder: Path, about: list[tuple[str, str]], outcomes: list[Outcome]) -> None:
    """The page, and the plot where there is something to draw."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = ratios(outcomes)
    plot = folder / "figures.svg"
    if drawn:
        plot.write_text(drawing(drawn))
    else:
        plot.unlink(missing_ok=True)
    ran = {outcome.script for outcome in outcomes}
    others = {
        job.script: "it was not asked for this time." for job in JOBS if job.script not in ran
    }
    (folder / "figures.rst").write_text(
        page(about, outcomes, {**LEFT_OUT, **others}, drawn=bool(drawn))
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument(
        "--only",
        nargs="+",
        choices=[job.script for job in JOBS],
        help="scripts; the page has only these",
    )
    arguments.add_argument(
        "--folder",
        type=Path,
        default=HERE.parent / "build/figures",
        help="where the page goes (build/figures)",
    )
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    wanted = [job for job in JOBS if options.only is None or job.script in options.only]
    jobs = sorted(wanted, key=lambda job: job.limit)
    about = list(machine())
    outcomes: dict[str, Outcome] = {}
    deadline = time.monotonic() + WITHIN
    with tempfile.TemporaryDirectory(
        prefix="pypid-bench-", dir=os.environ.get("BENCH_FOLDER"), ignore_cleanup_errors=True
    ) as scratch:
        for number, job in enumerate(jobs):
            limit = share(jobs[number:], deadline - time.monotonic())
            print(
                f"== {number + 1} of {len(jobs)}: {job.script} {job.options} (at most {limit} s)",
                flush=True,
            )
            outcome = outcomes[job.script] = run(job, Path(scratch), limit)
            print(
                f"{outcome.text}-- {job.script}: {outcome.seconds:.0f} s {outcome.trouble}\n",
                flush=True,
            )
    told([outcomes[job.script] for job in wanted], about, options.folder)


def told(outcomes: list[Outcome], about: list[tuple[str, str]], folder: Path) -> None:
    """Everything is written down; what has no figures is said by name."""
    write(folder, about, outcomes)
    print(
        f"The page is {folder / 'figures.rst'}; {sum(outcome.seconds for outcome in outcomes):.0f} "
        "s in all."
    )
    for script, why in LEFT_OUT.items():
        print(f"not run: {script}: {why}")
    for outcome in outcomes:
        for reason in read(outcome.text).skipped:
            print(f"skipped: {outcome.script}: {reason}")
    failed = [f"{outcome.script}: {outcome.trouble}" for outcome in outcomes if outcome.trouble]
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()

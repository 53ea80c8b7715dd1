"""`pypid export` and dumb-pypi on one list: the time and the memory of a whole run, of the same
again, and of one more file.

``python benchmarks/static.py [--files 20000] [--projects 2000] [--json-of-releases] [--alone]``

Both run in turns, on any core, and write to the same disk; ours writes pages in JSON besides. The
goal is half of dumb-pypi's time. dumb-pypi is installed below ``.clients/`` if need be; ``--alone``
goes without it. A list of 1,000,000 is what the goal for the memory means (1.5 GB).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import _rig as rig
from _dumb_pypi import dumb_pypi, run

TAGS = ("py3-none-any", "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64")


def fabricate(place: Path, files: int, projects: int) -> None:
    """The list: sdists and wheels, with all that dumb-pypi's keys can say."""
    chance = random.Random(7)
    with place.open("w") as out:
        for project in range(projects):
            name = f"team-{project % 97}-project-{project}"
            for number in range(files // projects):
                version = f"{number // 5}.{number % 5}.{project % 7}"
                wheel = f"{name.replace('-', '_')}-{version}-{TAGS[number % 2]}.whl"
                digest = f"sha256={chance.getrandbits(256):064x}"
                entry = {
                    "filename": wheel if number % 3 else f"{name}-{version}.tar.gz",
                    "hash": digest,
                    "requires_python": ">=3.9",
                    "uploaded_by": f"person-{project % 50}",
                    "upload_timestamp": 1_600_000_000 + chance.randrange(10**8),
                    "core_metadata": digest if number % 3 else None,
                }
                print(json.dumps(entry), file=out)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--files", type=int, default=20_000)
    arguments.add_argument("--projects", type=int, default=2_000)
    arguments.add_argument(
        "--json-of-releases",
        action="store_true",
        help="with /pypi/PROJECT/VERSION/json, most of all files",
    )
    arguments.add_argument("--alone", action="store_true", help="without dumb-pypi")
    options = arguments.parse_args()
    programs: dict[str, list[str | Path]] = {
        "pypid export": [Path(sys.executable).with_name("pypid"), "export"]
    }
    if not options.alone:
        program = dumb_pypi()
        if program is not None:
            programs["dumb-pypi"] = [program]
    print(
        f"{options.files:,} files in {options.projects:,} "
        f"projects{' with JSON of releases' * options.json_of_releases}"
    )
    with rig.scratch() as folder:
        measure(programs, options, folder)


def measure(
    programs: dict[str, list[str | Path]], options: argparse.Namespace, folder: Path
) -> None:
    """A table of both."""
    listed = folder / "list"
    fabricate(listed, options.files, options.projects)
    more = () if options.json_of_releases else ("--no-per-release-json",)
    steps: dict[str, tuple[str | Path, ...]] = {"all new": (), "the same again": ()}
    figures: dict[tuple[str, str], float] = {}
    for step, words in [
        *steps.items(),
        ("one file more", ("--previous-package-list-json", folder / "before")),
    ]:
        if words:
            (folder / "before").write_bytes(listed.read_bytes())
            with listed.open("a") as out:
                print(
                    json.dumps(
                        {
                            "filename": "team-0-project-0-99.0.tar.gz",
                            "upload_timestamp": 1_900_000_000,
                        }
                    ),
                    file=out,
                )
        for name, program in programs.items():
            place = folder / name.replace(" ", "-")
            where = (
                "--packages-url",
                "https://files.example.com/pool/",
                "--output-dir",
                place,
                "--no-generate-timestamp",
            )
            command = [*program, "--package-list-json", listed, *where, *more]
            # pypid knows by itself what has changed
            seconds, busy, memory = run([*command, *(words if name == "dumb-pypi" else ())])
            figures[step, name] = seconds
            print(
                (
                    f"{step:16} {name:14} {seconds:8.2f} s {busy:8.2f} s of processors "
                    f"{memory:8.0f} MiB"
                ),
                flush=True,
            )
        if "dumb-pypi" in programs:
            ratio = figures[step, "pypid export"] / figures[step, "dumb-pypi"]
            print(f"{step:16} ratio          {ratio:8.2f}")


if __name__ == "__main__":
    main()

"""Searching among many projects through the HTTP route; and how long the index takes to make, in
time, memory and on disk.

``python benchmarks/search.py [--projects 100000] [--metadata 100000] [--runs 20]``

Names, summaries, keywords and classifiers are made up, of lengths and in numbers like those of the
public index. Each project has a wheel with its record and its metadata beside it. What is asked are
the worst of questions: what very many projects have (``py``, ``python``, a letter), several words,
filters, and what nothing has; by a user who sees all, and by one who does not see 1,000
projects.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import time
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import _rig as rig
from _fabricate import BATCH, MOMENT, SIZE, Fabricated, fill, put

from pypid.core.model import Project, StoredFile
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.layout import ObjectKind, key, sidecar_key

SYLLABLES = (
    "ba co di fu ga he in jo ka lo mi nu or pa qu re si ta un ve wa xi yo za ed er pro con data "
    "pi ing ner"
)
PURPOSES = (
    "python django flask api client data async http sdk aws json cli utils tools test core web "
    "sql cloud ml plugin library"
)
SMALL = "simple fast framework interface wrapper for a the of and to with in from based"
CLASSIFIERS = (
    "Programming Language :: Python :: 3",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "License :: OSI Approved :: MIT License",
    "Operating System :: OS Independent",
    "Intended Audience :: Developers",
)
QUESTIONS: tuple[dict[str, str], ...] = (
    *(
        {"q": word}
        for word in (
            "p",
            "a",
            "z",
            "py",
            "da",
            "pyt",
            "python",
            "data",
            "django",
            "flask",
            "the",
            "ing",
            "a python",
        )
    ),
    *(
        {"q": word}
        for word in (
            "python data",
            "python client for the api",
            "dat flas htt",
            "nothing-has-this",
            "project-77",
            "",
        )
    ),
    {"q": "python", "source": "ours", "python": "3.12"},
    {"q": "py", "license": "MIT", "classifier": "Programming Language :: Python"},
    {"classifier": "Programming Language :: Python :: 3.12"},
    {"q": "data", "page": "100"},
)
HIDDEN = 1000
_SYLLABLES, _PURPOSES, _TOPICS = SYLLABLES.split(), PURPOSES.split(), f"{PURPOSES} {SMALL}".split()


def words(number: int) -> random.Random:
    """Chance that is the same each time."""
    return random.Random(number)


def name_of(number: int) -> ProjectName:
    """A name: of one to three words, one of which says in two of five what it is for."""
    chance = words(number)
    parts = [
        "".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4)))
        for _ in range(chance.choice((1, 1, 2, 2, 3)))
    ]
    where = chance.random()
    if where < 0.2:
        parts.insert(0, chance.choice(("py", "python", "django")))
    elif where < 0.4:
        parts.append(chance.choice(_PURPOSES))
    return project_name(
        "-".join((*parts, str(number))) if number % 3 == 0 else f"{'-'.join(parts)}{number}"
    )


def _text(chance: random.Random, count: int) -> str:
    made = ("".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(count))
    return " ".join(chance.choice(_TOPICS) if chance.random() < 0.5 else word for word in made)


def _project(storage: bytes, number: int, described: bool) -> Fabricated:
    name, chance = name_of(number), words(-number)
    summary, keywords = (
        _text(chance, chance.randint(4, 14)),
        _text(chance, chance.randint(0, 6)).split(),
    )
    lines = [
        ("Metadata-Version", "2.1"),
        ("Name", name),
        ("Version", "1.0"),
        ("Summary", summary),
        ("Requires-Python", ">=3.9"),
    ]
    lines += [
        ("Keywords", ",".join(keywords)),
        *(("Classifier", each) for each in chance.sample(CLASSIFIERS, 4)),
    ]
    metadata = (
        "".join(f"{field}: {value}\n" for field, value in lines).encode()
        + b"\n"
        + b"A long description.\n" * 100
    )
    filename = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    digest = sha256(filename.encode()).hexdigest()
    file = StoredFile(
        project=name,
        filename=filename,
        version="1.0",
        sha256=digest,
        size=SIZE,
        uploaded=MOMENT.replace(month=1 + number % 12, day=1 + number % 28, second=number % 60),
        requires_python=">=3.9",
        metadata_sha256=sha256(metadata).hexdigest() if described else None,
        key=key(name, filename),
        uploader="ci",
        summary=summary,
    )
    project = Project(name=name, files=(file,))
    return put(
        storage, project, {sidecar_key(file, ObjectKind.METADATA): metadata} if described else {}
    )


def _batch(described: int, storage: bytes, numbers: Sequence[int]) -> list[Fabricated]:
    return [_project(storage, number, number < described) for number in numbers]


def fabricate(folder: Path, projects: int, described: int) -> None:
    """So many in the storage and the catalog below `folder` (see `fill`)."""
    batches = [range(first, min(first + BATCH, projects)) for first in range(0, projects, BATCH)]
    fill(folder, partial(_batch, described), batches)


def ask(
    connection: http.client.HTTPConnection, question: dict[str, str], login: str | None = None
) -> tuple[float, dict[str, int]]:
    """Seconds, and what was answered."""
    begun = time.perf_counter()
    connection.request(
        "GET",
        f"/api/search?{urlencode(question)}",
        headers={"Authorization": login} if login else {},
    )
    answer = connection.getresponse()
    data = answer.read()
    took = time.perf_counter() - begun
    if answer.status != 200:
        raise SystemExit(f"{question}: {answer.status} {data[:300]!r}")
    return took, json.loads(data)


def made(server: rig.Server, projects: int) -> dict[str, float]:
    """Seconds until all names are found, and all metadata was read; mebibytes of memory before, at
    the most, and after.
    """
    server.forget_peak()
    before, begun, connection = server.rss(), time.perf_counter(), server.connect()
    found = {"before": before / (1 << 20)}
    pages: list[float]
    pages, asking = [], server.connect()
    while True:
        answer = ask(connection, {})[1]
        if answer["total"] == projects and "names" not in found:
            found["names"] = time.perf_counter() - begun
        if answer["total"] == projects and not answer["unread"]:
            break
        at = time.perf_counter()
        asking.request("GET", f"/simple/{name_of(len(pages) % projects)}/")
        asking.getresponse().read()
        pages.append(time.perf_counter() - at)
        time.sleep(0.05)
    found["metadata"] = time.perf_counter() - begun
    found["page_p99"] = rig.percentile(pages, 0.99) * 1000
    found["peak"], found["after"] = server.peak() / (1 << 20), server.rss() / (1 << 20)
    found["disk"] = sum(
        path.stat().st_size for path in (server.folder / "var").glob("search.sqlite*")
    ) / (1 << 20)
    return found


def asked(
    server: rig.Server, runs: int, login: str | None = None
) -> tuple[list[float], list[tuple[str, float, int]]]:
    """All times, in ms; and of each question the median, and how many projects were found."""
    connection, everything, each = server.connect(), [], []
    for question in QUESTIONS:
        ask(connection, question, login)
    for question in QUESTIONS:
        answers = [ask(connection, question, login) for _ in range(runs)]
        took = [seconds * 1000 for seconds, _ in answers]
        everything += took
        each.append(
            (urlencode(question) or "(everything)", rig.median(took), answers[0][1]["total"])
        )
    return everything, each


def show(
    projects: int,
    building: dict[str, float],
    restricted: list[float],
    everything: list[float],
    of_restricted: list[tuple[str, float, int]],
    of_all: list[tuple[str, float, int]],
) -> None:
    """The table."""
    rows = [
        ("all names can be found after", f"{building['names']:.1f} s", ""),
        ("all metadata has been read after", f"{building['metadata']:.0f} s", ""),
        ("a page meanwhile, p99", f"{building['page_p99']:.1f} ms", ""),
        (
            "memory before / at the most / after",
            " / ".join(f"{building[w]:.0f}" for w in ("before", "peak", "after")) + " MiB",
            "",
        ),
        ("on disk", f"{building['disk']:.0f} MiB", ""),
    ]
    for title, took in (
        ("a user who sees all", everything),
        (f"anonymous, who does not see {HIDDEN:,}", restricted),
    ):
        said = (
            f"{rig.percentile(took, 0.5):.1f} / {rig.percentile(took, 0.99):.1f} / "
            f"{max(took):.1f} ms"
        )
        rows.append((f"{title}: p50 / p99 / worst", said, "p99 < 50 ms"))
    for (question, one, total), (_, other, _) in zip(of_all, of_restricted, strict=True):
        rows.append((f"... {question}: {total:,}", f"{one:.1f}, {other:.1f} ms", ""))
    figures = {
        "building": building,
        "p99_ms": rig.percentile(everything, 0.99),
        "restricted_ms": rig.percentile(restricted, 0.99),
    }
    rig.report(f"Searching among {projects:,} projects", rows, figures)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--projects", type=int, default=100_000)
    options.add_argument(
        "--metadata", type=int, default=100_000, help="projects that have metadata to be read"
    )
    options.add_argument("--runs", type=int, default=20)
    given = options.parse_args()
    rig.pin_client()
    rules = "".join(f"{name_of(number)}.user.bench = r\n" for number in range(HIDDEN))
    with rig.scratch() as folder:
        more = f"[upstream]\nmode = offline\n[projects]\n{rules}"
        with rig.Server(folder, more=more).running():
            pass
        (folder / "var" / "search.sqlite").unlink(missing_ok=True)
        fabricate(folder, given.projects, given.metadata)
        with rig.Server(folder, more=more).running() as server:
            building = made(server, given.projects - HIDDEN)
            restricted, of_restricted = asked(server, given.runs)
            everything, of_all = asked(server, given.runs, rig.LOGIN)
        show(given.projects, building, restricted, everything, of_restricted, of_all)


if __name__ == "__main__":
    main()

"""The site with 100,000 projects: what its first page and the pages of projects take, and how many
bytes are sent of them.

``python benchmarks/site.py``   100,000 projects of a file, one of 10,000 files, 200 that are described
``python benchmarks/site.py --projects 10000 --described 50``

Seconds are those of one client who asks over a connection that is kept open, and is on another
core: with the answer's way. Described projects have metadata of a hundred lines and a README of 12
kB, which is rendered when a page is first asked for.
"""

from __future__ import annotations

import argparse
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _fabricate import fabricate
from _wheels import upload

FILES, LARGE = 1, 10_000
HTML = "text/html\r\nAccept-Encoding: gzip"
TIMES = 500
GOAL, MOST = 20, 100_000
"""Milliseconds (p99), and bytes."""
WITHIN = 60
"""Seconds that comparing the storage, and reading what is searched for, may take before anything is
measured.
"""
SECTION = """## {title}

Lovely **{one}**, wonderful [{two}](https://example.org/{two}). See `{one}.cook()`. {text}

```python
def {one}(eggs: int = {number}) -> str:
    return f"{{eggs}} eggs and {two}"
```

| dish | {one} |
|------|-------|
| eggs | {two} |

"""


def readme(number: int) -> str:
    """Some 12 kB of words that come again as rarely as in those of people."""
    chance = random.Random(number)
    words = [
        "".join(chance.choices("aaaeeeioubcdfghklmnprsstt", k=chance.randint(2, 10)))
        for _ in range(1500)
    ]
    parts = []
    for _ in range(20):
        title, one, two, *text = chance.choices(words, k=60)
        parts.append(
            SECTION.format(title=title, one=one, two=two, text=" ".join(text), number=number)
        )
    return "".join(parts)


def described(path: Path, number: int) -> None:
    """A wheel of a project with all that a page can show."""
    name, info = f"described{number}", f"described{number}-1.0.dist-info"
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        "Version: 1.0",
        "Summary: A project with a description",
    ]
    lines += [
        "Author-email: Terry <terry@example.org>",
        "License-Expression: MIT",
        "Requires-Python: >=3.9",
    ]
    lines += [f"Keywords: spam,eggs,word{number}", "Description-Content-Type: text/markdown"]
    lines += [f"Classifier: Topic :: Breakfast :: {count}" for count in range(20)]
    lines += [
        f"Project-URL: Link {count}, https://example.org/{number}/{count}" for count in range(6)
    ]
    lines += [
        f"Requires-Dist: project-{number + count}>=1.{count}; python_version < '3.{count + 9}'"
        for count in range(30)
    ]
    lines += [f"Requires-Dist: project-{count}; extra == 'more'" for count in range(30)] + [
        "Provides-Extra: more"
    ]
    metadata = "\n".join(lines) + "\n\n" + readme(number)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )


def publish(server: rig.Server, folder: Path, count: int) -> None:
    """So many of those."""
    for number in range(count):
        path = folder / f"described{number}-1.0-py3-none-any.whl"
        described(path, number)
        upload(server, path, sha256(path.read_bytes()).hexdigest())


def settled(server: rig.Server) -> None:
    """Until the storage has been compared, and the server has nothing more to do (it may read what
    is searched for).
    """
    ends = time.monotonic() + WITHIN
    while not server.complete() and time.monotonic() < ends:
        time.sleep(0.2)
    before = -1.0
    while time.monotonic() < ends:
        used = processor_time(server)
        if used - before < 0.1:
            return
        before = used
        time.sleep(1)


def processor_time(server: rig.Server) -> float:
    """Seconds of the processor that it has used so far."""
    said = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / 100


def measured(server: rig.Server, paths: Iterator[str]) -> dict[str, float]:
    """Milliseconds that the pages took, and that the server itself computed for each; and the bytes
    of the largest.
    """
    kept, computed = rig.Kept(server.port), processor_time(server)
    times, size = [], 0
    for path in paths:
        begun = time.perf_counter()
        size = max(size, kept.fetch(path, HTML))
        times.append((time.perf_counter() - begun) * 1000)
    kept.close()
    own = (processor_time(server) - computed) * 1000 / len(times)
    return {
        "own": own,
        "p50": rig.median(times),
        "p99": rig.percentile(times, 0.99),
        "max": max(times),
        "bytes": size,
    }


def again(path: str, times: int = TIMES) -> Iterator[str]:
    """The same page."""
    return (path for _ in range(times))


def rows(
    server: rig.Server, projects: int, count: int
) -> Iterator[tuple[str, Callable[[], Iterator[str]], bool]]:
    """What is asked for: its name, the paths, and whether the goal holds for it."""
    large = f"/project/project-{projects}/"
    yield "first page, first time", lambda: again("/", 1), False
    yield "first page", lambda: again("/"), True
    yield (
        f"pages of {count} described projects, first time",
        lambda: (f"/project/described{n}/" for n in range(count)),
        False,
    )
    yield (
        "... again",
        lambda: (f"/project/described{random.randrange(count)}/" for _ in range(TIMES)),
        True,
    )
    yield "a described project", lambda: again("/project/described0/"), True
    yield (
        "any project",
        lambda: (f"/project/project-{random.randrange(projects)}/" for _ in range(TIMES)),
        True,
    )
    yield f"{LARGE:,} files, first time", lambda: again(large, 1), False
    yield "... again", lambda: again(large, TIMES // 4), True
    yield (
        "... any release",
        lambda: (f"{large}1.{random.randrange(LARGE // 2)}.0/" for _ in range(40)),
        False,
    )
    yield (
        "... all versions",
        lambda: (f"{large}-/versions?page={n % 50 + 1}" for n in range(TIMES // 4)),
        True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--projects", type=int, default=100_000)
    arguments.add_argument("--described", type=int, default=200)
    options = arguments.parse_args()
    rig.pin_client()
    table: list[tuple[str, str, str]] = []
    figures: dict[str, object] = {"projects": options.projects}
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        with rig.Server(folder).running():
            pass  # it makes the storage its own
        fabricate(folder, options.projects, FILES, LARGE)
        server = stack.enter_context(rig.Server(folder, page="/simple/project-7/").running())
        publish(server, folder, options.described)
        settled(server)
        for name, paths, is_held in rows(server, options.projects, options.described):
            found = measured(server, paths())
            figures[name if name not in figures else f"{name} ({len(figures)})"] = found
            took = (
                f"{found['p50']:.1f} / {found['p99']:.1f} / {found['max']:.1f}; "
                f"{found['own']:.1f} ms"
            )
            table.append((name, took, f"p99 < {GOAL} ms" if is_held else ""))
            table.append(
                ("... bytes, gzip", f"{found['bytes'] / 1000:.1f} kB", f"< {MOST // 1000} kB")
            )
    rig.report(
        f"The site with {options.projects:,} projects: p50 / p99 / max of a page; computing",
        table,
        figures,
    )


if __name__ == "__main__":
    main()

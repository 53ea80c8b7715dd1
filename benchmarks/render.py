"""How long the first request of a page takes: rendering and ETag, without gzip.

Run: ``python benchmarks/render.py``. Prints a table and a JSON line; the best of several runs, in
microseconds.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256

from pypid.core.model import File, Project, RenderedPage, Summary, in_order
from pypid.core.packaging.names import project_name
from pypid.core.simple_api.legacy_json import render_legacy
from pypid.core.simple_api.render import Format, negotiate, render_names, render_project

PIP = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; "
    "q=0.01"
)


def example(files: int) -> Project:
    """A project of which every fourth file belongs to one release."""
    name = project_name("example-project")
    return Project(
        name=name, files=in_order(tuple(example_file(number) for number in range(files))), serial=7
    )


def example_file(number: int) -> File:
    release, kind = divmod(number, 4)
    version = f"{release // 50}.{release % 50}.1"
    tail = (
        ".tar.gz",
        "-cp311-cp311-manylinux_2_17_x86_64.whl",
        "-cp312-cp312-win_amd64.whl",
        "-py3-none-any.whl",
    )[kind]
    digest = sha256(str(number).encode()).hexdigest()
    return File(
        project=project_name("example-project"),
        filename=f"example_project-{version}{tail}",
        version=version,
        sha256=digest,
        size=number * 1009,
        uploaded=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC) + timedelta(hours=number),
        requires_python=">=3.9,<4",
        metadata_sha256=digest if kind else None,
        yanked='broken on "Windows" <10' if number % 97 == 96 else None,
        md5=digest[:32],
        blake2b_256=digest,
    )


def microseconds(render: Callable[[], RenderedPage | Format | None]) -> float:
    """The best mean of seven runs of about 50 ms each."""
    timer = timeit.Timer(render)
    number = max(1, int(0.05 / timer.timeit(1)))
    return min(timer.repeat(7, number)) / number * 1e6


def main() -> None:
    """Measure and print."""
    cases: dict[str, Callable[[], RenderedPage | Format | None]] = {
        "negotiate": lambda: negotiate(PIP)
    }
    for count in (10, 1000):
        project = example(count)
        for format in Format:
            cases[f"{count} files, {format.name}"] = partial(render_project, project, format)
        cases[f"{count} files, legacy JSON"] = partial(
            render_legacy, project, None, None, base_url="https://host"
        )
    names = [Summary(project_name(f"project-{number:06}"), number) for number in range(10_000)]
    for format in (Format.JSON, Format.TEXT_HTML):
        cases[f"10000 names, {format.name}"] = partial(render_names, names, format)
    results = {title: round(microseconds(render), 1) for title, render in cases.items()}
    width = max(map(len, results))
    for title, result in results.items():
        print(f"{title:<{width}} {result:>12,.1f} us")
    print(json.dumps({"benchmark": "render", "unit": "us", "results": results}))


if __name__ == "__main__":
    main()

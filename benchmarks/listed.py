"""What a page of an upstream project costs: from the bytes of the upstream index to the page that a
client receives.

``python benchmarks/listed.py [--runs 20]``

In process, without network and disk: the page is parsed, the listing is compared and written as
a row of the catalog, the rules are applied, and the page is rendered as JSON and gzipped. CPU time of the process,
medians in milliseconds. ``again`` is the same page when its finished form is no longer in memory:
the row is read, and the page is made from it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

import _rig as rig
from attrs import evolve

from pypid.core.configuration.choices import Mode
from pypid.core.model import Listing, Presence, UpstreamEntry
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy, UpstreamState, view
from pypid.core.records.upstream_entry import (
    dump_heading,
    dump_listed,
    load_entry,
    with_listing,
)
from pypid.core.simple_api.listed_files import at_once
from pypid.core.simple_api.parse_html import slices_of_page
from pypid.core.simple_api.render import Format, render_forms
from pypid.web.http.responses import gzipped

T = TypeVar("T")
NAME = project_name("numeric-tower")
URL = "https://index.example/simple/numeric-tower/"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
POLICY = Policy(mode=Mode.CACHE)
GOALS = {("json", 400): 2.0, ("json", 10_000): 40.0}
AGAIN = {("json", 400): 0.3}
"""Milliseconds of a first page, and of one that left memory, by form and number of files."""


def entry(number: int) -> dict[str, object]:
    """An entry as the public index writes it."""
    minor, kind = divmod(number, 20)
    tags = "py3-none-any" if not kind else f"cp3{kind}-cp3{kind}-manylinux_2_17_x86_64"
    filename = f"numeric_tower-1.{minor}.0-{tags}.whl"
    digest = sha256(filename.encode()).hexdigest()
    path = sha256(digest.encode()).hexdigest()
    moment = NOW - timedelta(days=4000) + timedelta(hours=number, microseconds=number * 7919 + 1)
    return {
        "core-metadata": {"sha256": sha256(path.encode()).hexdigest()},
        "data-dist-info-metadata": {"sha256": sha256(path.encode()).hexdigest()},
        "filename": filename,
        "hashes": {"sha256": digest},
        "provenance": f"https://index.example/integrity/{NAME}/1.{minor}.0/{filename}/provenance",
        "requires-python": ">=3.9",
        "size": 15_000_000 + number * 7919,
        "upload-time": moment.isoformat().replace("+00:00", "Z"),
        "url": f"https://files.example/packages/{path[:2]}/{path[2:4]}/{path[4:]}/{filename}",
        "yanked": False,
    }


def page_of(form: str, files: int) -> bytes:
    """A page of an upstream index, with so many files."""
    entries = [entry(number) for number in range(files)]
    if form == "json":
        meta = {"_last-serial": 1, "api-version": "1.4"}
        return json.dumps(
            {"files": entries, "meta": meta, "name": NAME, "project-status": {"status": "active"}}
        ).encode()
    lines = "".join(
        f'<a href="{one["url"]}#sha256={one["hashes"]["sha256"]}" '  # type: ignore[index]
        f'data-requires-python="&gt;=3.9" data-dist-info-metadata="sha256='
        f'{one["core-metadata"]["sha256"]}" data-core-metadata="sha256='  # type: ignore[index]
        f'{one["core-metadata"]["sha256"]}">{one["filename"]}</a><br />\n'  # type: ignore[index]
        for one in entries
    )
    head = '<meta name="pypi:repository-version" content="1.4">'
    return f"<!DOCTYPE html><html><head>{head}</head><body>\n{lines}</body></html>".encode()


class Stopwatch:
    """CPU time by step, in milliseconds."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = {}

    def time(self, step: str, call: Callable[[], T]) -> T:
        """Return the result of the call, and note how long it took."""
        begun = time.process_time()
        result = call()
        self.steps.setdefault(step, []).append((time.process_time() - begun) * 1000)
        return result


def made(watch: Stopwatch, form: str, data: bytes) -> tuple[bytes, bytes]:
    """Make the page once, with all steps; return the row of the catalog: heading and files."""
    content_type = "application/vnd.pypi.simple.v1+json" if form == "json" else "text/html"
    parsed = watch.time("parse", lambda: at_once(slices_of_page(data, content_type, NAME, URL)))
    listing = Listing(name=NAME, files=parsed.files, confirmed=NOW, index=URL, etag='"1"')
    known = UpstreamEntry(name=NAME)
    known = watch.time("remember", lambda: with_listing(known, listing))
    row = watch.time("row", lambda: (dump_heading(known), dump_listed(parsed.files)))
    shown(watch, "render", known)
    watch.time("compare", lambda: with_listing(known, evolve(listing, confirmed=NOW)))
    return row


def shown(watch: Stopwatch, step: str, known: UpstreamEntry) -> None:
    """Apply the rules, and render the page with its gzipped form."""

    def render(format: Format) -> None:
        state = UpstreamState(listing=known.listing, kept=known.kept, serial=7)
        project = view(POLICY, Presence.ABSENT, state, NOW, NAME)
        page, zipped = render_forms(project, format)
        assert (zipped or gzipped(page)).body

    watch.time(step, lambda: render(Format.JSON))
    watch.time(f"{step} HTML", lambda: render(Format.HTML_V1))


def again(watch: Stopwatch, row: tuple[bytes, bytes]) -> None:
    """Make the page from the row of the catalog."""
    known = watch.time("read", lambda: load_entry(*row))
    shown(watch, "render again", known)
    files = known.listing.files if known.listing is not None else None
    assert files
    filename = str(entry(len(files) // 2)["filename"])
    state = UpstreamState(listing=known.listing, serial=7)
    project = view(POLICY, Presence.ABSENT, state, NOW, NAME)
    assert watch.time("look up", lambda: project.file(filename)) is not None


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    for form in "json", "html":
        for files in 400, 10_000:
            data, watch = page_of(form, files), Stopwatch()
            for _ in range(max(3, runs * 400 // files) + 1):
                again(watch, made(watch, form, data))
            medians = {step: rig.median(times[1:]) for step, times in watch.steps.items()}
            first = sum(medians[step] for step in ("parse", "remember", "row", "render"))
            later = medians["read"] + medians["render again"]
            print(
                f"{form}, {files:,} files: first page {first:.2f} ms, again {later:.2f} ms; "
                + ", ".join(f"{step} {value:.2f}" for step, value in medians.items())
            )
            for goals, value in ((GOALS, first), (AGAIN, later)):
                if (form, files) in goals:
                    print(f"  goal {goals[form, files]} ms: {value:.2f} ms")


if __name__ == "__main__":
    main()

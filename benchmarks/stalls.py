"""How long the reactor is held up by a project of 10,000 files of another index, and by the list of
all its names (40 MB).

``python benchmarks/stalls.py``                  10,000 files, 800,000 names, each step 5 times
``python benchmarks/stalls.py --files 30000 --names 100000 --times 3``

A reactor ticks every millisecond while a page is read, remembered, seen through the policy,
rendered, dropped from memory and taken up again from the catalog's file, revalidated, and while a
file of it is kept. Of each step the seconds and the longest stall are given, of all times; its own
is what of it this process used the processor for (a busy machine adds to the rest). Prints a table
and a JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _listings import html_page, json_page
from _reactor import Stalls, forget_peak, new_catalog, peak, rss, world
from attrs import evolve
from tests.index.uploads import an_index
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater, react

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.shared import SharedCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.model import Listing, Presence, Span, as_stored
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy, UpstreamState
from pypid.core.simple_api.parse import ParsedListing
from pypid.core.simple_api.parse_html import slices_of_names, slices_of_page
from pypid.core.simple_api.render import Format
from pypid.daemon.daemon import answer_soon
from pypid.flow import start
from pypid.index import Index
from pypid.index.upstream.cache_store import with_kept
from pypid.index.views import DIRECT, Views
from pypid.ports import Body
from pypid.upstream.indexes import PageReader
from pypid.web.app.page_cache import ProjectPages

CACHE = Policy(mode=Mode.CACHE)
PROJECTS, CLIENTS = 4, 5
NAME = project_name("large-project")
INDEX = "https://upstream.example/simple/"
URL = f"{INDEX}{NAME}/"
LIMIT = 256 << 20
GOAL = 20
UNITS = (1, 1000, 1000, 1)
"""Of seconds, stalls, own stalls, and memory."""


def names_page(count: int) -> bytearray:
    """The list of projects."""
    projects = ",".join(
        f'{{"_last-serial":{number},"name":"A-{number * 7919 % count}.project_x"}}'
        for number in range(count)
    )
    return bytearray(
        f'{{"meta":{{"_last-serial":1,"api-version":"1.4"}},"projects":[{projects}]}}'.encode()
    )


def remembered(listing: ParsedListing) -> Listing:
    """What such a page says, as it is remembered."""
    return Listing(
        name=NAME, files=listing.files, confirmed=datetime.now(UTC), index=INDEX, etag='"one"'
    )


class Told:
    """An upstream that says what it is told to."""

    def __init__(self) -> None:
        self.said: dict[ProjectName, Listing] = {}

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """What it was told."""
        return self.said[name]

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Not used here."""
        raise NotImplementedError

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Not used here."""
        raise NotImplementedError


class Bench:
    """The steps, each of which says what it measured."""

    def __init__(self, files: int, names: int, times: int) -> None:
        self.files = files
        self.names = names
        self.times = times
        self.world = world()
        self.reading = PageReader(self.world.thinking)
        self.found: dict[str, list[tuple[float, float, float, float]]] = {}

    async def measure(self, what: str, job: Callable[[], Awaitable[object]]) -> None:
        """Do the job with a reactor that ticks, and keep how long it took."""
        stalls, before = Stalls(), rss()
        forget_peak()
        took, worst = await stalls.during(job)
        self.found.setdefault(what, []).append((took, worst, stalls.own, peak() - before))

    async def read(self, page: bytearray, name: ProjectName = NAME) -> ParsedListing:
        """The listing in a page."""
        return await self.reading.read(
            page, "", LIMIT, lambda data: slices_of_page(data, "", name, URL)
        )

    @asynccontextmanager
    async def anew(self) -> AsyncIterator[tuple[Index, SharedCatalog, Told]]:
        """An index that knows nothing yet, and its parts."""
        with tempfile.TemporaryDirectory() as folder:
            catalog, told = await new_catalog(Path(folder), self.world), Told()
            blobs = MemoryBlobs(self.world.now)
            try:
                yield (
                    an_index(blobs, catalog, told, CACHE, self.world, ttl=timedelta()),
                    catalog,
                    told,
                )
            finally:
                await catalog.close()

    async def steps_of_json(self) -> None:
        """Read a page."""
        page = json_page(NAME, self.files)
        for _ in range(self.times):
            await self.measure("read JSON", lambda: self.read(page))

    async def steps_of_html(self) -> None:
        """Read a page."""
        page = html_page(NAME, self.files)
        for _ in range(self.times):
            await self.measure("read HTML", lambda: self.read(page))

    async def steps_of_names(self) -> None:
        """Read the list of names, and let it go."""
        page = names_page(self.names)

        async def job() -> None:
            await self.reading.read(page, "", LIMIT, lambda data: slices_of_names(data))

        for _ in range(min(self.times, 2)):
            await self.measure(f"read {len(page) / 1e6:.0f} MB of names", job)

    async def steps_of_catalog(self) -> None:
        """Remember, revalidate, keep, forget."""
        page, without_times = json_page(NAME, self.files), html_page(NAME, self.files)
        for _ in range(self.times):
            await self.life_of(page, without_times)

    async def life_of(self, page: bytearray, without_times: bytearray) -> None:
        """What becomes of a project in the catalog."""
        async with self.anew() as parts:
            await self.life_in(page, without_times, *parts)

    async def life_in(
        self,
        page: bytearray,
        without_times: bytearray,
        index: Index,
        catalog: SharedCatalog,
        told: Told,
    ) -> None:
        """Remember it, change it, and take it up again."""

        async def ask(said: Listing) -> None:
            told.said[NAME] = said
            await index.listings.state(NAME, renewed=True)

        said, again = remembered(await self.read(page)), remembered(await self.read(page))
        await self.measure("remember", lambda: ask(said))
        await self.measure("remember the same again", lambda: ask(again))
        files = said.files or ()
        one = as_stored(files[0], key=".kept/x")
        await self.measure(
            "keep one file",
            lambda: catalog.upstream.edit(NAME, lambda heard: with_kept(heard, one)),
        )
        await self.measure("one file less upstream", lambda: ask(evolve(again, files=files[1:])))
        held = (await catalog.upstream.get(NAME)).listing
        assert held is not None
        await self.measure(
            "revalidate (304)", lambda: ask(evolve(held, confirmed=datetime.now(UTC)))
        )
        catalog.following.replica.upstream._entries.forget(NAME)
        await self.measure("take up again", lambda: catalog.upstream.get(NAME))
        plain, plain_again = (
            remembered(await self.read(without_times)),
            remembered(await self.read(without_times)),
        )
        await self.measure("remember, without times", lambda: ask(plain))
        await self.measure("the same again, without times", lambda: ask(plain_again))

    async def steps_of_view(self) -> None:
        """See it through the policy."""
        files = (await self.read(json_page(NAME, self.files))).files
        said = remembered(ParsedListing(files=files))
        kept = tuple(as_stored(file, key=".kept/x") for file in files[:100])
        now = datetime(2025, 12, 20, tzinfo=UTC)
        cool = evolve(CACHE, cooldown=Cooldown(timedelta(days=7), ()))
        cases = {
            "view": (CACHE, UpstreamState(listing=said)),
            "view, 100 kept": (CACHE, UpstreamState(listing=said, kept=kept)),
            "view, 100 kept, cooldown": (cool, UpstreamState(listing=said, kept=kept)),
            "view, 100 kept, upstream down": (
                cool,
                UpstreamState(listing=said, kept=kept, reachable=False),
            ),
        }
        for _ in range(self.times):
            for what, (policy, theirs) in cases.items():
                views = Views(policy, self.world)
                await self.measure(what, partial(views.of, NAME, Presence.ABSENT, theirs, now))

    async def steps_of_render(self) -> None:
        """Make the pages."""
        async with self.anew() as (index, _, told):
            told.said[NAME] = remembered(await self.read(json_page(NAME, self.files)))
            index.listings.ttl = timedelta(hours=1)
            await index.catalog.complete()
            await index.view(NAME)
            for _ in range(self.times):
                pages = ProjectPages(index, self.world)
                for format in (Format.JSON, Format.HTML_V1):
                    await self.measure(
                        f"render {format.name}, gzip", partial(self.page, pages, NAME, format)
                    )
                await self.measure(
                    "the same, made already", partial(self.page, pages, NAME, Format.JSON)
                )

    async def page(self, pages: ProjectPages, name: ProjectName, format: Format) -> None:
        """As a client gets it."""
        finished, _ = await pages.project(
            name, format, DIRECT, files_url="../../packages/", provenance=lambda: None
        )
        await finished.gzipped()

    async def steps_of_storm(self) -> None:
        """Some projects at once, from upstream's bytes to both pages, each asked for by some
        clients.
        """
        names = [project_name(f"{NAME}-{number}") for number in range(PROJECTS)]
        page = json_page(NAME, self.files)
        spelled = {
            name: page.replace(b"large_project", name.replace("-", "_").encode()) for name in names
        }
        spelled = {
            name: text.replace(NAME.encode() + b'"', name.encode() + b'"')
            for name, text in spelled.items()
        }
        for _ in range(self.times):
            async with self.anew() as (index, _, _):
                index.source.upstream.project = self.answers(spelled)  # type: ignore[method-assign]
                index.listings.ttl = timedelta(hours=1)
                await index.catalog.complete()
                await self.storm(ProjectPages(index, self.world), names)

    async def storm(self, pages: ProjectPages, names: Sequence[ProjectName]) -> None:
        """All clients ask for all pages at once."""
        jobs = [
            (name, format)
            for name in names
            for format in (Format.JSON, Format.HTML_V1)
            for _ in range(CLIENTS)
        ]

        async def job() -> None:
            await gatherResults([start(self.page(pages, name, format)) for name, format in jobs])

        await self.measure(f"{PROJECTS} projects, {len(jobs)} clients at once", job)

    def answers(
        self, pages: dict[ProjectName, bytearray]
    ) -> Callable[..., Coroutine[Any, Any, Listing]]:
        """An upstream that has these pages."""

        async def project(name: ProjectName, known: object, via: object) -> Listing:
            return evolve(remembered(await self.read(pages[name], name)), name=name)

        return project


STEPS = ("json", "html", "catalog", "view", "render", "storm", "names")


def child(step: str, options: argparse.Namespace) -> None:
    """One of the steps in this process; its figures as a line of JSON."""

    async def work() -> None:
        bench = Bench(options.files, options.names, options.times)
        await deferLater(reactor, 0.1)  # the reactor is only starting
        answer_soon()  # as a daemon does
        gc.collect()
        gc.freeze()
        await getattr(bench, f"steps_of_{step}")()
        print(json.dumps(bench.found))

    react(lambda _: start(work()))


def main() -> None:
    """The steps, and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--names", type=int, default=800_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        child(options.step, options)
        return
    figures: dict[str, object] = {"files": options.files, "names": options.names}
    print(
        f"{'':34}{'seconds':>8} |{'longest stall, ms':>18} |{'of it own':>15} | "
        f"{'more memory,':>12}   goal: own < {GOAL} ms"
    )
    print(
        f"{'':34}{'median':>8} |{'median':>9}{'worst':>9} |{'median':>7}{'worst':>8} | "
        f"{'peak, MiB':>12}"
    )
    for step in options.steps:
        command = [sys.executable, __file__, "--step", step]
        command += [
            "--files",
            str(options.files),
            "--names",
            str(options.names),
            "--times",
            str(options.times),
        ]
        said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        for what, times in said.items():
            columns = zip(zip(*times, strict=True), UNITS, strict=True)
            took, stalls, own, more = (
                [round(value * unit, 4) for value in column] for column, unit in columns
            )
            print(
                f"{what:34}{median(took):8.3f} |{median(stalls):9.1f}{max(stalls):9.1f} "
                f"|{median(own):7.1f}{max(own):8.1f} |{max(more):13.0f}",
                flush=True,
            )
            figures[what] = {"s": took, "stalls, ms": stalls, "own, ms": own, "peaks, MiB": more}
    print(json.dumps({"benchmark": "stalls", **figures}))


if __name__ == "__main__":
    main()

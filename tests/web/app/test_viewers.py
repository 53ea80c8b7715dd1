"""The caches of what viewers see: no viewer gets a value that was made for another one."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import permutations
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import (
    ANONYMOUS,
    EVERYTHING,
    Grants,
    Identity,
    Principals,
    Rules,
    Visibility,
    visibility_of,
)
from pypid.core.policy import Policy
from pypid.core.simple_api.render import Format, render_every_file
from pypid.upstream.nothing import Nothing
from pypid.web.app.page_cache import NewsCache, ProjectPages
from pypid.web.app.project_page_cache import ThenPages
from pypid.web.app.visibility import StoredProjects, VisibilityCache
from pypid.web.http.headers import Encoding
from pypid.web.http.responses import FinishedPage
from tests.index.uploads import an_index
from tests.support import BEGINNING, world
from tests.support.catalog import a_project
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting

NAMES = [ProjectName(name) for name in ("open", "secret-a", "secret-b")]
VIEWERS: dict[Visibility, set[ProjectName]] = {
    EVERYTHING: set(NAMES),
    Visibility(usual=True, others=frozenset(NAMES[1:])): set(NAMES[:1]),
    Visibility(usual=True, others=frozenset(NAMES[2:])): set(NAMES[:2]),
    Visibility(usual=True, others=frozenset(NAMES[2:]), within=("secret-*",)): {NAMES[1]},
    Visibility(usual=False, others=frozenset()): set(),
}
Shown = Callable[[Visibility], Awaitable[str]]


async def text_of(finished: FinishedPage) -> str:
    """Return everything that a client gets of a page."""
    page = await finished.in_encoding(Encoding.IDENTITY)
    return f"{page.etag} {page.body.decode()}"


async def every_name(_: Visibility, most: int) -> Sequence[ProjectName]:
    """Return all names, for whatever viewer: the caches must not rely on a filtered list."""
    return NAMES[:most]


class ViewerTests(Awaiting, SynchronousTestCase):
    """Each cache whose values depend on the viewer."""

    def setUp(self) -> None:
        self.world = world()
        self.catalog = a_catalog()
        for name in NAMES:
            self.have(self.catalog.local.edit(name, lambda _, name=name: a_project(name, "1")))
        self.have(self.catalog.complete())
        self.index = an_index(
            MemoryBlobs(self.world.now),
            self.catalog,
            Nothing(),
            Policy(),
            self.world,
            spool=Path(self.mktemp()),
        )

    def check(self, cache: Callable[[], Shown]) -> None:
        """In whatever order viewers come, twice: each gets the names that it may see, and no
        others, as if it were alone.
        """
        alone = {viewer: self.have(cache()(viewer)) for viewer in VIEWERS}
        for order in permutations(VIEWERS, 3):
            shown = cache()
            for viewer in (*order, *order):
                text = self.have(shown(viewer))
                self.assertEqual({name for name in NAMES if name in text}, VIEWERS[viewer])
                self.assertEqual(text, alone[viewer])

    def test_project_list(self) -> None:
        """The list of projects of the Simple API, in each format."""

        def cache() -> Shown:
            pages = ProjectPages(self.index, self.world)

            async def shown(viewer: Visibility) -> str:
                made = [await pages.names(format, viewer) for format in Format]
                return "".join([f"{await text_of(page)} {serial}" for page, serial in made])

            return shown

        self.check(cache)

    def test_project_list_as_of_a_time(self) -> None:
        """The list of projects as of a time."""
        before = BEGINNING + timedelta(days=9000)

        def cache() -> Shown:
            pages = ThenPages(self.index, self.world)

            async def shown(viewer: Visibility) -> str:
                page, serial = await pages.names(before, Format.JSON, viewer, viewer)
                return f"{await text_of(page)} {serial}"

            return shown

        self.check(cache)

    def test_every_file(self) -> None:
        """The projects with their files, and the page of all files."""

        def cache() -> Shown:
            stored = StoredProjects(self.index, self.world)

            async def shown(viewer: Visibility) -> str:
                page = await stored.page("all", viewer, render_every_file)
                names = [project.name for project in await stored.projects(viewer)]
                return f"{await text_of(page)} {names}"

            return shown

        self.check(cache)

    def test_news(self) -> None:
        """The newest releases and projects, whatever the list of names says."""

        def cache() -> Shown:
            news = NewsCache(self.index)

            async def shown(viewer: Visibility) -> str:
                return repr(
                    [
                        await news.releases(viewer, every_name, 9),
                        await news.latest(viewer, every_name, 9),
                        await news.projects(viewer, every_name, 9),
                        [await news.of(name, viewer) for name in NAMES],
                    ]
                )

            return shown

        self.check(cache)

    def test_visibility(self) -> None:
        """What users see by one state of the rules, and by the next one."""
        users = [ANONYMOUS, *(Identity(name) for name in ("alice", "bob"))]
        cache = VisibilityCache(self.world)
        for reader in ("alice", "bob", "alice"):
            grants = Grants(read=Principals(users=frozenset({reader})))
            rules = Rules(projects={NAMES[1]: grants})
            for user in (*users, *users):
                seen = self.have(cache.of(rules, user))
                self.assertEqual(seen, visibility_of(rules, user))
                self.assertEqual(seen.sees(NAMES[1]), user.user == reader)

"""Rendered pages of the index as of a time: only the most recently used are cached, since any
client may ask for any time.

They are cached apart from current pages, and not by the fast path: requests for a million times
evict no current page.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime

from attrs import evolve

from pypid.core.lru import Recent
from pypid.core.model import File, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.as_of_header import AsOfHeader
from pypid.core.simple_api.entries import quoted
from pypid.core.simple_api.negotiation import Format
from pypid.core.simple_api.render import render_names, render_project
from pypid.core.summaries import name_of
from pypid.core.visibility import Visibility
from pypid.flow import World
from pypid.flow.derived import Derived
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.views import UpstreamPermission
from pypid.web.app.page_cache import CachedPage
from pypid.web.app.visibility import seen
from pypid.web.http.responses import FinishedPage

MOST = 512
"""Most cached pages."""
LIMIT = 16 << 20
"""Most bytes of cached pages, in total."""
FEW = 256
"""Most lines of a page that are rendered in the reactor thread."""
FILES_URL, APART_URL = "../../../../packages/", "../../packages/"
"""From ``/at/<moment>/simple/<project>/`` to the files: current ones, and those that are visible at
that time only.
"""


class ThenPages:
    """The as-of pages of one index."""

    def __init__(self, index: Index, world: World) -> None:
        self._index = index
        self._world = world
        self._pages: Derived[Hashable, CachedPage] = Derived(
            "as_of_pages", world, Recent(MOST, LIMIT), weigh=lambda page: page.weight
        )

    async def project(
        self,
        name: ProjectName,
        format: Format,
        permission: UpstreamPermission,
        called: str,
        *,
        absolute: Callable[[str], str],
        provenance: Callable[[], str | None],
    ) -> tuple[FinishedPage, int]:
        """Return the project's page as of `permission.before`, and its serial.

        `called`: how the page names that time. Raises as `Index.view`.

        `absolute`: returns the URL to write for one that is relative to the page.
        """
        history = self._index.history
        looked = await history.look(name, permission)
        provenance_url = provenance() if looked.seen.view.attested else None
        apart_url, files_url = absolute(APART_URL), absolute(FILES_URL)
        key = (name, format, permission.before, called, provenance_url, files_url)

        async def make() -> CachedPage:
            then = await history.resolve(looked)

            def url_of(file: File) -> str:
                base = apart_url if file.filename in then.apart else files_url
                return f"{base}{name}/{quoted(file.filename)}"

            def render() -> CachedPage:
                page = render_project(
                    then.project,
                    format,
                    provenance_url=provenance_url,
                    url_of=url_of,
                    as_of=AsOfHeader(moment=called, since=then.since, gone=then.gone),
                )
                return CachedPage(FinishedPage(page, self._world.blocking), then.project.serial)

            is_long = len(then.project.files) > FEW
            return await self._world.thinking(render) if is_long else render()

        made = await self._pages.get(key, looked.edition, make)
        return made.finished, made.serial

    async def names(
        self, before: datetime, format: Format, by: Visibility, then: Visibility
    ) -> tuple[FinishedPage, int]:
        """Return the list of projects that had a file then, and its serial. `by`: what the viewer
        sees of the list of today; `then`: what the viewer may read in the index and in its bases
        (`RequestContext.visibility_in_bases`), for projects that another index provided then.
        """
        edition, serial = await self._index.edition(), await self._index.list_serial()

        async def make() -> CachedPage:
            names = await self._index.history.names(before, reads_all=not then.bases)
            open_names = await self._had_files(seen(names.open, then), before, then)

            def render() -> CachedPage:
                shown = seen(names.listed, by)
                if open_names:
                    shown = sorted((*shown, *open_names), key=name_of)
                # the catalog's serial would disclose changes of projects that the viewer cannot see
                number = serial if by.sees_all else None
                if number is None:
                    number = max((summary.serial for summary in shown), default=0)
                page = render_names(shown, format, serial=number)
                return CachedPage(FinishedPage(page, self._world.blocking), number)

            is_long = len(names.listed) + len(open_names) > FEW
            return await self._world.thinking(render) if is_long else render()

        made = await self._pages.get((before, format, by, then), edition, make)
        return made.finished, made.serial

    async def _had_files(
        self, names: Iterable[Summary], before: datetime, then: Visibility
    ) -> list[Summary]:
        history, pace, found = self._index.history, Pace(self._world), list[Summary]()
        for summary in names:
            if await history.had_files(summary.name, before, then.check_base):
                found.append(summary)
            await pace.keep()
        return found


def as_of(permission: UpstreamPermission, before: datetime) -> UpstreamPermission:
    """Return the permission for the index as of `before`."""
    return evolve(permission, before=before)

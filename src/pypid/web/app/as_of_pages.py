"""Rendered pages of the index as of a time: only the most recently used are cached, since any
client may ask for any time.

They are cached apart from current pages, and not by the fast path: requests for a million times
evict no current page.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime

from attrs import evolve, frozen

from pypid.core.lru import Recent
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Visibility
from pypid.core.simple_api.as_of_header import AsOfHeader
from pypid.core.simple_api.entries import quoted
from pypid.core.simple_api.negotiation import Format
from pypid.core.simple_api.render import render_names, render_project
from pypid.flow import World
from pypid.flow.single_flight import Flights
from pypid.index import Index
from pypid.index.views import UpstreamPermission
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


@frozen
class _Kept:
    edition: Hashable
    finished: FinishedPage
    serial: int


class ThenPages:
    """The as-of pages of one index."""

    def __init__(self, index: Index, world: World) -> None:
        self._index = index
        self._world = world
        self._kept: Recent[Hashable, _Kept] = Recent(MOST, LIMIT)
        self._flights: Flights[Hashable, _Kept] = Flights()

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
        kept = self._kept.get(key)
        if kept is not None and kept.edition == looked.edition:
            return kept.finished, kept.serial
        then = await history.resolve(looked)

        def url_of(file: File) -> str:
            base = apart_url if file.filename in then.apart else files_url
            return f"{base}{name}/{quoted(file.filename)}"

        def make() -> _Kept:
            page = render_project(
                then.project,
                format,
                provenance_url=provenance_url,
                url_of=url_of,
                as_of=AsOfHeader(moment=called, since=then.since, gone=then.gone),
            )
            return _Kept(
                looked.edition, FinishedPage(page, self._world.blocking), then.project.serial
            )

        return await self._finished(
            key, looked.edition, make, at_once=len(then.project.files) <= FEW
        )

    async def names(
        self, before: datetime, format: Format, by: Visibility
    ) -> tuple[FinishedPage, int]:
        """Return the list of projects that had a file then, as far as `by` sees them, and its
        serial.
        """
        edition, serial = await self._index.edition(), await self._index.catalog.serial()
        key = (before, format, by)
        kept = self._kept.get(key)
        if kept is not None and kept.edition == edition:
            return kept.finished, kept.serial
        names = await self._index.history.names(before)

        def make() -> _Kept:
            shown = seen(names, by)
            # the catalog's serial would disclose changes of projects that the viewer cannot see
            number = (
                serial if by.sees_all else max((summary.serial for summary in shown), default=0)
            )
            page = render_names(shown, format, serial=number)
            return _Kept(edition, FinishedPage(page, self._world.blocking), number)

        return await self._finished(key, edition, make, at_once=len(names) <= FEW)

    async def _finished(
        self, key: Hashable, edition: Hashable, make: Callable[[], _Kept], *, at_once: bool
    ) -> tuple[FinishedPage, int]:
        kept = self._kept.get(key)
        if kept is None or kept.edition != edition:
            if at_once:
                kept = self._keep(key, make())
            else:

                async def job() -> _Kept:
                    return self._keep(key, await self._world.thinking(make))

                kept = await self._flights.single((key, edition), job)
        return kept.finished, kept.serial

    def _keep(self, key: Hashable, kept: _Kept) -> _Kept:
        self._kept.put(key, kept, len(kept.finished.page.body))
        return kept


def as_of(permission: UpstreamPermission, before: datetime) -> UpstreamPermission:
    """Return the permission for the index as of `before`."""
    return evolve(permission, before=before)

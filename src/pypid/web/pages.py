"""Finished pages, kept until their project changes: rendered and gzipped once for each change, not for each request."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from attrs import frozen

from pypid.core.model import Page
from pypid.core.names import ProjectName
from pypid.core.negotiation import Format
from pypid.core.permissions import Sight
from pypid.core.recent import Recent
from pypid.core.simple import render_names, render_project
from pypid.flow import Flights, World
from pypid.index import Index
from pypid.index.asking import Asked
from pypid.web.finished import FinishedPage
from pypid.web.sights import seen, serial_seen

LIMIT = 64 << 20
"""Bytes of page bodies that are kept, least recently used first out."""
MOST = 1 << 16
"""How many are kept, however small."""
FEW_FILES = 256
FEW_NAMES = 4096
"""Lines of a page that are rendered in the reactor thread: in some 2 milliseconds."""


@frozen
class _Kept:
    edition: Hashable
    """Of the project's view, or the catalog's serial: another one, another page."""
    finished: FinishedPage
    serial: int


class Pages:
    """The pages of one index."""

    def __init__(self, index: Index, world: World, limit: int = LIMIT) -> None:
        self._index = index
        self._world = world
        self._kept: Recent[tuple[object, ...], _Kept] = Recent(MOST, limit)
        self._flights: Flights[Hashable, _Kept] = Flights()

    async def project(
        self, name: ProjectName, format: Format, asked: Asked, *, files_url: str, provenance_url: str | None
    ) -> tuple[FinishedPage, int]:
        """The project's page and its serial. Raises as `Index.view`."""
        view = await self._index.view(name, asked)
        project = view.project
        if not view.attested:
            provenance_url = None  # the page is then the same for every host
        key = (name, format, files_url, provenance_url)

        def make() -> tuple[Page, int]:
            return render_project(project, format, files_url=files_url, provenance_url=provenance_url), project.serial

        return await self._finished(key, view.edition, make, at_once=len(project.files) <= FEW_FILES)

    async def names(self, format: Format, by: Sight) -> tuple[FinishedPage, int]:
        """The list of projects of which files are stored, ours and theirs, as far as `by` sees them; and its serial.

        Not what upstream has beside: that is a list of hundreds of thousands, and no installer asks for it.
        """
        serial, complete = await self._index.catalog.serial(), await self._index.catalog.is_complete()
        # what is not known to be ours or not is not shown yet, nor what is theirs under a name that is claimed now
        edition = (serial, complete, self._index.policy.claims.names)
        names = await self._index.stored_names()

        def make() -> tuple[Page, int]:
            of_them = serial_seen(names, by, serial)
            return render_names(seen(names, by), format, serial=of_them), of_them

        return await self._finished((format, by), edition, make, at_once=len(names) <= FEW_NAMES)

    async def _finished(
        self, key: tuple[object, ...], edition: Hashable, make: Callable[[], tuple[Page, int]], *, at_once: bool
    ) -> tuple[FinishedPage, int]:
        """The page and its serial, kept or made; what takes long is made off the reactor thread, once for all who ask."""
        kept = self._kept.get(key)
        if kept is None or kept.edition != edition:
            if at_once:
                kept = self._keep(key, edition, *make())
            else:

                async def job() -> _Kept:
                    return self._keep(key, edition, *await self._world.thinking(make))

                kept = await self._flights.single((key, edition), job)
        return kept.finished, kept.serial

    def _keep(self, key: tuple[object, ...], edition: Hashable, page: Page, serial: int) -> _Kept:
        kept = _Kept(edition, FinishedPage(page, self._world.blocking), serial)
        self._kept.put(key, kept, len(page.body))
        return kept

"""Finished pages, kept until their project changes: rendered and gzipped once for each change, not for each request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from attrs import frozen

from pypid.core.model import Page
from pypid.core.names import ProjectName
from pypid.core.negotiation import Format
from pypid.core.simple import render_names, render_project
from pypid.flow import World
from pypid.index import Index
from pypid.index.asking import Asked
from pypid.web.finished import FinishedPage

LIMIT = 64 << 20
"""Bytes of page bodies that are kept, least recently used first out."""


@frozen
class _Kept:
    edition: Hashable
    """Of the project's view, or the catalog's serial: another one, another page."""
    finished: FinishedPage


class Pages:
    """The pages of one index."""

    def __init__(self, index: Index, world: World, limit: int = LIMIT) -> None:
        self._index = index
        self._world = world
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()

    async def project(
        self, name: ProjectName, format: Format, asked: Asked, *, files_url: str, provenance_url: str | None
    ) -> tuple[FinishedPage, int]:
        """The project's page and its serial. Raises as `Index.view`."""
        view = await self._index.view(name, asked)
        project = view.project
        if not any(file.attested for file in project.files):
            provenance_url = None  # the page is then the same for every host
        key = (name, format, files_url, provenance_url)
        finished = self._finished(
            key,
            view.edition,
            lambda: render_project(project, format, files_url=files_url, provenance_url=provenance_url),
        )
        return finished, project.serial

    async def names(self, format: Format) -> tuple[FinishedPage, int]:
        """The list of projects and the catalog's serial."""
        serial = await self._index.catalog.serial()
        names = await self._index.names()
        return self._finished((format,), serial, lambda: render_names(names, format, serial=serial)), serial

    async def stored_names(self, format: Format) -> tuple[FinishedPage, int]:
        """The list of projects of which files are stored, and the catalog's serial."""
        serial, complete = await self._index.catalog.serial(), await self._index.catalog.is_complete()
        names = await self._index.stored_names()
        edition = (serial, complete)  # what is not known to be ours or not is not shown yet
        return self._finished(("stored", format), edition, lambda: render_names(names, format, serial=serial)), serial

    def _finished(self, key: tuple[object, ...], edition: Hashable, make: Callable[[], Page]) -> FinishedPage:
        kept = self._kept.get(key)
        if kept is not None and kept.edition == edition:
            self._kept.move_to_end(key)
            return kept.finished
        if kept is not None:
            self._forget(key)
        finished = FinishedPage(make(), self._world.blocking)
        self._kept[key] = _Kept(edition, finished)
        self._size += len(finished.page.body)
        while self._size > self._limit and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))
        return finished

    def _forget(self, key: tuple[object, ...]) -> None:
        self._size -= len(self._kept.pop(key).finished.page.body)

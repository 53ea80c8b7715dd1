"""All stored projects that a viewer sees, with their files, gathered once for each change.

For the answers about every file (``/packages/``, a search), so that such a request costs no more
than others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress

from pypid.core.errors import NotYetKnown
from pypid.core.lru import Recent
from pypid.core.model import Project, RenderedPage
from pypid.core.visibility import Visibility
from pypid.flow import World
from pypid.flow.derived import Derived
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.stored_view import stored_project
from pypid.web.app.visibility import seen
from pypid.web.http.responses import FinishedPage

FEW = 256
"""Most projects and files that are rendered in the reactor thread: in some milliseconds."""
SEERS = 16
"""Most viewers who see different things and whose projects are cached; the least recently used are
evicted first.
"""
LIMIT = 64 << 20
"""Most bytes of cached pages, in total."""

Render = Callable[[Sequence[Project]], RenderedPage]


class StoredProjects:
    """The stored projects of one index."""

    def __init__(self, index: Index, world: World) -> None:
        self._index = index
        self._world = world
        self._projects: Derived[Visibility, tuple[Project, ...]] = Derived(
            "stored_projects", world, Recent(SEERS, SEERS)
        )
        self._pages: Derived[Hashable, FinishedPage] = Derived(
            "stored_projects_pages",
            world,
            Recent(SEERS, LIMIT),
            weigh=lambda finished: finished.weight,
        )

    async def projects(self, by: Visibility) -> tuple[Project, ...]:
        """Return the projects that `by` sees, by name, each with its visible stored files; none
        without any.

        Upstream is not asked. Raises `StorageDown`.
        """
        edition = await self._index.edition()
        return await self._projects.get(by, edition, lambda: self._gathered(by))

    async def page(self, what: Hashable, by: Visibility, render: Render) -> FinishedPage:
        """Return the page that `render` makes of the projects, cached under `what`."""

        async def make() -> FinishedPage:
            projects = await self.projects(by)
            many = len(projects) + sum(len(project.files) for project in projects) > FEW
            page = await self._world.thinking(render, projects) if many else render(projects)
            return FinishedPage(page, self._world.blocking)

        return await self._pages.get((what, by), await self._index.edition(), make)

    async def _gathered(self, by: Visibility) -> tuple[Project, ...]:
        names = seen(await self._index.stored_names(), by)
        pace, found = Pace(self._world), []
        for summary in names:
            await pace.keep()
            with suppress(NotYetKnown):
                project = await stored_project(self._index, summary.name, by)
                if project is not None and project.files:
                    found.append(project)
        return tuple(found)

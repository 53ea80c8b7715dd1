"""The newest releases that a viewer sees, gathered once for each change, for the home page and the
feeds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from heapq import nsmallest
from typing import Any

from attrs import define, field

from pypid.core.errors import NoSuchProject, NotYetKnown
from pypid.core.lru import Recent
from pypid.core.packaging.names import ProjectName
from pypid.core.presentation.feeds import News, newest_first, news_of
from pypid.core.visibility import Visibility
from pypid.flow.derived import Derived
from pypid.index import Index
from pypid.index.stored_view import stored_permission
from pypid.web.app.page_cache import FEW_FILES

SEERS = 32
"""How many lists are cached, for viewers who see different things."""
PROJECTS, RELEASES = 1000, 200_000
"""How many projects, and releases in total, have their news cached: a change is of one project, and
the lists need a hundred.
"""

Names = Callable[[Visibility, int], Awaitable[Sequence[ProjectName]]]
"""Returns the projects that a viewer sees, the latest first; so many. It may lag behind."""


@define(eq=False)
class NewsCache:
    """The news of one index, cached. Raises `StorageDown`, `CatalogDown`."""

    index: Index
    _lists: Derived[Hashable, tuple[News, ...]] = field(init=False, repr=False)
    _of: Derived[ProjectName, tuple[News, ...]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        world = self.index.world
        self._lists = Derived("news", world, Recent(SEERS, SEERS))
        self._of = Derived(
            "project_news", world, Recent(PROJECTS, RELEASES), weigh=lambda news: 1 + len(news)
        )

    async def releases(self, by: Visibility, names: Names, most: int) -> tuple[News, ...]:
        """Return the newest releases of all projects that `by` sees; `names` gives the projects by
        their newest upload.

        Exact as far as `names` is: a release among the newest is of a project among the newest.
        """
        found = await names(by, most)

        async def gather() -> tuple[News, ...]:
            every = [news for project in found for news in (await self.of(project, by))[:most]]
            return tuple(nsmallest(most, every, key=newest_first))

        return await self._once(("releases", by, tuple(found), most), gather)

    async def latest(self, by: Visibility, names: Names, most: int) -> tuple[News, ...]:
        """Return the newest release of each of the projects changed last: for people, to whom ten
        releases of one project in a morning would hide the others. `names` as for `releases`.
        """
        found = await names(by, most)

        async def gather() -> tuple[News, ...]:
            last = [news[0] for project in found if (news := await self.of(project, by))]
            return tuple(nsmallest(most, last, key=newest_first))

        return await self._once(("latest", by, tuple(found), most), gather)

    async def projects(self, by: Visibility, names: Names, most: int) -> tuple[News, ...]:
        """Return the first releases of the newest projects; `names` gives the projects by their
        first upload.
        """
        found = await names(by, most)

        async def gather() -> tuple[News, ...]:
            first = [news[-1] for project in found if (news := await self.of(project, by))]
            return tuple(nsmallest(most, first, key=newest_first))

        return await self._once(("projects", by, tuple(found), most), gather)

    async def of(self, name: ProjectName, by: Visibility) -> tuple[News, ...]:
        """Return the releases of one project with stored files, newest first; none if `by` cannot
        see the project, or it does not exist any more.
        """
        if not by.sees(name):
            return ()
        try:
            view = await self.index.view(name, stored_permission(by))
        except (NoSuchProject, NotYetKnown):
            return ()
        project = view.project
        return await self._of.compute(
            name,
            view.edition,
            lambda: news_of(project),
            costly=len(project.files) > FEW_FILES,
        )

    async def _once(
        self, what: Hashable, gather: Callable[[], Coroutine[Any, Any, tuple[News, ...]]]
    ) -> tuple[News, ...]:
        return await self._lists.get(what, await self.index.edition(), gather)

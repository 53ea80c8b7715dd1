"""Rendered pages, cached until their project changes: rendered and gzipped once for each change,
not for each request.

The list of projects is patched: a change costs as much as the piece of the list that it is in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import chain, islice, repeat

from attrs import define, evolve, field, frozen

from pypid.core.caches import BudgetedCache, Recent
from pypid.core.compression import fragment, gzip_of
from pypid.core.errors import NoSuchProject, NotYetKnown
from pypid.core.model import RenderedPage
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Visibility
from pypid.core.presentation.feeds import News, newest_first, news_of
from pypid.core.simple_api.render import (
    Format,
    finished,
    is_joined,
    names_between,
    names_frame,
    names_piece,
    render_forms,
)
from pypid.core.summaries import Run, Summaries
from pypid.flow import World
from pypid.flow.derived import Derived
from pypid.index import Index
from pypid.index.layers import as_readable
from pypid.index.stored_view import stored_permission
from pypid.index.views import UpstreamPermission
from pypid.web.app.visibility import Lists
from pypid.web.http.responses import LARGE, FinishedPage, gzipped, gzipped_etag


@define(eq=False)
class ListPiece:
    """A rendered run of the list; `serial` is the highest in it."""

    serial: int
    text: bytes = field(repr=False)
    _deflated: bytes | None = field(default=None, init=False, repr=False)

    def deflated(self) -> bytes:
        """Return the piece, compressed. Thread-safe: all threads get the same bytes."""
        if self._deflated is None:
            self._deflated = fragment(self.text)
        return self._deflated


@frozen(eq=False)
class Patchwork:
    """The pieces of one list in one format; `serial` is the list's own."""

    format: Format
    serial: int
    pieces: Mapping[int, tuple[Run, ListPiece]] = field(repr=False)
    """The pieces by the identity of their run, in order."""

    def says(self, other: Patchwork) -> bool:
        """Return whether the content is the same as that of `other`. (False also for some lists
        that are equal.)
        """
        return (self.format, self.serial) == (
            other.format,
            other.serial,
        ) and self.pieces.keys() == other.pieces.keys()

    def page(self) -> RenderedPage:
        """Return the whole page, uncompressed."""
        beginning, end = names_frame(self.serial, self.format)
        texts = [piece.text for _, piece in self.pieces.values()]
        return finished(
            b"".join((beginning, *_strung(names_between(self.format), texts), end)),
            self.format.value,
        )

    def gzipped(self, page: RenderedPage) -> RenderedPage:
        """Return the `page`, compressed: the bytes depend on the page alone (a strong tag names
        bytes), not on how it was assembled.
        """
        beginning, end = names_frame(self.serial, self.format)
        pieces = _strung(
            fragment(names_between(self.format)),
            [piece.deflated() for _, piece in self.pieces.values()],
        )
        body = gzip_of((fragment(beginning), *pieces, fragment(end)), page.body)
        return evolve(page, body=body, etag=gzipped_etag(page.etag))


def patched(
    names: Summaries, format: Format, *, serial: int | None = None, last: Patchwork | None = None
) -> Patchwork:
    """Return the list of these names, with those pieces of the `last` one, in the same format, that
    are still valid.

    `serial` is the catalog's last; without it, the highest of the names.
    """
    known: Mapping[int, tuple[Run, ListPiece]] = {} if last is None else last.pieces
    pieces = {id(run): known.get(id(run)) or (run, _piece(run, format)) for run in names.runs}
    if serial is None:
        serial = max((piece.serial for _, piece in pieces.values()), default=0)
    return Patchwork(format, serial, pieces)


def _piece(run: Run, format: Format) -> ListPiece:
    return ListPiece(max(summary.serial for summary in run), names_piece(run, format))


def _strung(between: bytes, pieces: list[bytes]) -> Iterator[bytes]:
    """Return the pieces, with `between` between each two of them."""
    return islice(chain.from_iterable(zip(repeat(between), pieces, strict=False)), 1, None)


FEW_FILES = 256
FEW_NAMES = 4096
"""Most lines of a page that are rendered in the reactor thread: in some 2 milliseconds."""
FEW_JOINED = 1024
"""The same for files whose entries are joined from blocks: in a millisecond."""
BEHIND = 3
"""The weight of a list, in bytes of its body: it has its pieces, and both compressed."""


@frozen
class CachedPage:
    """A page with its serial."""

    finished: FinishedPage
    serial: int
    patchwork: Patchwork | None = None
    """Of a list: the pieces that the next one reuses."""

    @property
    def weight(self) -> int:
        """The bytes that it takes."""
        return self.finished.weight if self.patchwork is None else self.finished.size * BEHIND


class ProjectPages:
    """The cached pages of one index."""

    def __init__(self, index: Index, world: World) -> None:
        self._index = index
        self._world = world
        self._pages: Derived[tuple[object, ...], CachedPage] = Derived(
            "simple_pages", world, BudgetedCache(index.memory), weigh=lambda page: page.weight
        )
        self._lists = Lists()

    async def project(
        self,
        name: ProjectName,
        format: Format,
        permission: UpstreamPermission,
        *,
        files_url: str,
        provenance: Callable[[], str | None],
    ) -> tuple[FinishedPage, int]:
        """Return the project's page and its serial. `provenance`: returns the URL below which
        provenance objects are. Raises as `Index.view`.
        """
        view = await self._index.view(name, permission)
        project = view.project if view.waiting is None else view.waiting
        provenance_url = (
            provenance() if view.attested else None
        )  # the page is then the same for every host
        key = (name, format, files_url, provenance_url)

        def make() -> CachedPage:
            page, zipped = render_forms(
                project,
                format,
                files_url=files_url,
                provenance_url=provenance_url,
            )
            if zipped is None and len(page.body) > LARGE:
                zipped = gzipped(page)  # then only that form takes memory
            finished = FinishedPage(page, self._world.blocking, zipped=zipped)
            return CachedPage(finished, project.serial)

        few = FEW_JOINED if is_joined(project.files, format) else FEW_FILES
        costly = len(project.files) > few
        return await self._finished(key, view.edition, make, costly=costly)

    async def names(self, format: Format, by: Visibility) -> tuple[FinishedPage, int]:
        """Return the list of projects with stored files, local and upstream, as far as `by` sees
        them, and its serial.

        Other projects of upstream are not in it: that is a list of hundreds of thousands, and no
        installer asks for it.
        """
        # not listed yet: projects not known to be local or not, and upstream ones under a name that
        # is claimed now
        edition, serial = await self._index.edition(), await self._index.list_serial()
        names = await self._index.stored_names()
        layers = await self._index.layer_projects() if by.bases else ()
        through, last = self._lists.sieve(by, names), self._pages.latest((format, by))

        def make() -> CachedPage:
            before = None if last is None else last.patchwork
            # the catalog's serial would disclose changes of projects that the viewer cannot see
            shown = as_readable(through(names), layers, by)
            patchwork = patched(shown, format, serial=serial if by.sees_all else None, last=before)
            if last is not None and before is not None and patchwork.says(before):
                finished = last.finished
            else:
                finished = FinishedPage(patchwork.page(), self._world.blocking, patchwork.gzipped)
            return CachedPage(finished, patchwork.serial, patchwork)

        return await self._finished((format, by), edition, make, costly=len(names) > FEW_NAMES)

    async def _finished(
        self,
        key: tuple[object, ...],
        edition: Hashable,
        make: Callable[[], CachedPage],
        *,
        costly: bool,
    ) -> tuple[FinishedPage, int]:
        """Return the page and its serial, cached or rendered; long pages are rendered off the
        reactor thread, once for all requests.
        """
        page = await self._pages.compute(key, edition, make, costly=costly)
        return page.finished, page.serial


# The newest releases that a viewer sees, gathered once for each change, for the home page and the
# feeds.

SEERS = 32
"""How many lists are cached, for viewers who see different things."""
PROJECTS, RELEASES = 1000, 200_000
"""How many projects, and releases in total, have their news cached: a change is of one project, and
the lists need a hundred.
"""

Names = Callable[[Visibility, int], Awaitable[Sequence[ProjectName]]]
"""Returns the projects that a viewer sees, the latest first; so many. It may lag behind."""


class NewsCache:
    """The news of one index, cached. Raises `StorageDown`, `CatalogDown`."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._lists: Derived[Hashable, tuple[News, ...]] = Derived(
            "news", index.context.world, Recent(SEERS, SEERS)
        )
        self._of: Derived[ProjectName, tuple[News, ...]] = Derived(
            "project_news",
            index.context.world,
            Recent(PROJECTS, RELEASES),
            weigh=lambda news: 1 + len(news),
        )

    async def releases(self, by: Visibility, names: Names, most: int) -> tuple[News, ...]:
        """Return the newest releases of all projects that `by` sees; `names` gives the projects by
        their newest upload.

        Exact as far as `names` is: a release among the newest is of a project among the newest.
        """
        return await self._newest("releases", by, names, most, lambda news: news[:most])

    async def latest(self, by: Visibility, names: Names, most: int) -> tuple[News, ...]:
        """Return the newest release of each of the projects changed last: for people, to whom ten
        releases of one project in a morning would hide the others. `names` as for `releases`.
        """
        return await self._newest("latest", by, names, most, lambda news: news[:1])

    async def projects(self, by: Visibility, names: Names, most: int) -> tuple[News, ...]:
        """Return the first releases of the newest projects; `names` gives the projects by their
        first upload.
        """
        return await self._newest("projects", by, names, most, lambda news: news[-1:])

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

    async def _newest(
        self,
        what: str,
        by: Visibility,
        names: Names,
        most: int,
        part: Callable[[tuple[News, ...]], tuple[News, ...]],
    ) -> tuple[News, ...]:
        """Return the newest of the parts of each project's releases, cached under `what`."""
        found = await names(by, most)

        async def gather() -> tuple[News, ...]:
            every = [news for project in found for news in part(await self.of(project, by))]
            return tuple(nsmallest(most, every, key=newest_first))

        key = (what, by, tuple(found), most)
        return await self._lists.get(key, await self.index.edition(), gather)

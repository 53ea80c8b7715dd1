"""A cache of the parts of project pages, computed once for each change: a page from the cache costs
a template.

All parts are made from what the user may see already (`Index.seen`): keyed by the edition of that,
or by the digest of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut

from pypid.core.accounts.rights import counted_name
from pypid.core.accounts.signers import Signer, signers_in
from pypid.core.caches import Recent
from pypid.core.errors import (
    Busy,
    NoSuchFile,
    NoSuchMember,
    Opaque,
    PeopleUnknown,
    PypidError,
    UpstreamDown,
    Withheld,
    WrongBytes,
)
from pypid.core.model import File, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Visibility
from pypid.core.presentation.project_view import (
    NOTHING,
    Facts,
    FileLine,
    ReleaseLines,
    ShownRelease,
    all_lines,
    facts_of,
    is_pkg_info,
    shown,
)
from pypid.core.simple_api.listed_files import quoted
from pypid.core.simple_api.render import AsOfHeader, Format, render_names, render_project
from pypid.core.summaries import name_of
from pypid.database.logs import SqlDownloads
from pypid.flow import World, start
from pypid.flow.derived import Derived
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.explain import count_files, held_releases
from pypid.index.file_contents import Contents
from pypid.index.progress import JobGroup
from pypid.index.views import UpstreamPermission, View, ViewSources
from pypid.web.app.page_cache import FEW_FILES, CachedPage
from pypid.web.app.visibility import seen
from pypid.web.http.responses import FinishedPage

MOST = 1000
"""Maximum number of entries of each kind."""
LINES = 100_000
"""Maximum number of files and releases of all entries."""
FACTS = 32 << 20
"""Maximum bytes of metadata, with READMEs."""
SIGNED = 16
"""Number of files of a release whose provenance is read for its page."""
AT_ONCE = 8
DAYS = 90
FRESH = 60
"""Seconds after which downloads are counted again; all counts change at the same times."""
PATIENCE = 0.5
"""Seconds that a page waits for the count; counting continues, for the next page."""
FEW_LINES = 40
"""Number of files whose list is rendered in the reactor thread: in some 3 milliseconds."""
LISTS = 16 << 20
"""Maximum characters of cached file lists."""


class ProjectPageCache:
    """The cached parts of the project pages of one index."""

    def __init__(self, index: Index, world: World) -> None:
        self.index = index
        self.world = world
        self._shown: Derived[tuple[ProjectName, str | None], ShownRelease | None] = Derived(
            "releases",
            world,
            Recent(MOST, LINES),
            weigh=lambda found: 0 if found is None else 1 + len(found.files),
        )
        self._lines: Derived[ProjectName, ReleaseLines] = Derived(
            "release_lists", world, Recent(MOST, LINES), weigh=lambda found: 1 + len(found.each)
        )
        self._lists: Derived[Hashable, str] = Derived(
            "file_lists", world, Recent(MOST, LISTS), weigh=len
        )
        self._facts: Derived[Hashable, Facts] = Derived(
            "metadata", world, Recent(MOST, FACTS), weigh=lambda facts: facts.weight
        )
        self._signers: Derived[Hashable, tuple[Signer, ...]] = Derived(
            "signers", world, Recent(MOST * 4, MOST * 4)
        )
        self._downloads: Derived[ProjectName, int] = Derived(
            "download_counts", world, Recent(MOST, MOST)
        )

    async def shown(self, view: View, version: str | None) -> ShownRelease | None:
        """Return the release as its page shows it; None if there is none of this version."""
        project = view.project
        return await self._shown.compute(
            (project.name, version),
            view.edition,
            lambda: shown(project, version),
            costly=len(project.files) > FEW_FILES,
        )

    async def lines(self, seen: ViewSources) -> ReleaseLines:
        """Return all releases of the project, with those that are withheld."""
        project, count = seen.view.project, count_files(seen)

        def compute() -> ReleaseLines:
            held = held_releases(self.index, seen)
            return all_lines(project, held, has_hidden=count > len(project.files))

        return await self._lines.compute(
            project.name, seen.view.edition, compute, costly=count > FEW_FILES
        )

    async def listed(
        self, view: View, found: ShownRelease, root: str, write: Callable[[], str]
    ) -> str:
        """Return the list of the release's files as HTML, rendered by `write`, for pages from which
        `root` is the path to the root.
        """
        return await self._lists.compute(
            (found.name, found.line.version, root),
            view.edition,
            write,
            costly=len(found.files) > FEW_LINES,
        )

    async def facts(self, file: File | None, permission: UpstreamPermission) -> Facts | None:
        """Return the facts of the file's metadata; None if unavailable. Raises as `Index.metadata`
        for local files.
        """
        if file is None:
            return None
        # the key includes the project: upstream may name the digest of another project's metadata,
        # which must not be shown
        key = file.project, file.filename
        digests = file.metadata_sha256, file.sha256
        edition = digests if any(digests) else None  # without any it may be another file next time
        kept = self._facts.kept(key, edition)
        if kept is not None:
            return kept
        try:
            data = await self.index.metadata(file, permission)
        except PypidError as error:
            if file.source is None or not (
                error is permission.refusal
                or isinstance(error, (NoSuchFile, UpstreamDown, WrongBytes))
            ):
                raise
            return None
        return await self._facts.compute(key, edition, lambda: facts_of(data), costly=True)

    async def inside(self, file: File, contents: Contents) -> Facts | None:
        """Return the facts of the metadata inside a local file whose metadata is stored nowhere
        else; None if unavailable.
        """

        async def read() -> Facts:
            try:
                members = (await contents.listing(file)).members
                path = next((member.path for member in members if is_pkg_info(member.path)), "")
                data = (await contents.member(file, path)).data
                return await self.world.thinking(facts_of, data)
            except (NoSuchMember, Opaque):
                return NOTHING  # the file will never have any

        try:
            found = await self._facts.get(
                (file.project, file.filename, "inside"), file.sha256, read
            )
        except (NoSuchFile, Busy):
            return None
        return found if found.weight else None

    async def signers(self, files: Sequence[FileLine]) -> Mapping[str, tuple[Signer, ...]]:
        """Return the signers by file name, of the first files that have provenance here."""
        found: dict[str, tuple[Signer, ...]] = {}
        together = JobGroup(AT_ONCE)
        for file in [line.file for line in files if line.file.attested][:SIGNED]:

            async def read(file: File = file) -> None:
                found[file.filename] = await self._signers_of(file)

            await together.add(read)
        await together.ended()
        return found

    async def _signers_of(self, file: File) -> tuple[Signer, ...]:
        async def read() -> tuple[Signer, ...]:
            data, trust = await self.index.provenance(file), self.index.source.trust
            if file.source is None:
                return signers_in(data)
            problem = "this process verifies none"
            if trust is not None:
                problem = (await trust.verdict(file, data)).problem
            return (Signer("", "", problem=problem),) if problem else signers_in(data)

        try:
            return await self._signers.get(
                (file.project, file.filename), (file.sha256, file.uploaded), read
            )
        except Busy as error:
            return (Signer("", "", problem=str(error)),)
        except (NoSuchFile, Withheld):  # it was just deleted, or is held
            return ()

    async def downloads(self, name: ProjectName, log: SqlDownloads, index: str = "") -> int | None:
        """Return the downloads of the last `DAYS` in the index (empty: the default one); None if
        unavailable, or not in time.
        """
        today = self.world.now().date()
        edition = today, self.world.clock.seconds() // FRESH
        counting: Deferred[int] = start(
            self._downloads.get(name, edition, lambda: _count(name, log, index, today))
        )
        counting.addTimeout(PATIENCE, self.world.clock)
        try:
            return await counting
        except (PeopleUnknown, TimedOut):
            return None


async def _count(name: ProjectName, log: SqlDownloads, index: str, until: date) -> int:
    counted = await log.by_day(counted_name(index, name), until - timedelta(days=DAYS - 1))
    return sum(count for _, count in counted)


# Rendered pages of the index as of a time: only the most recently used are cached, since any
# client may ask for any time.
#
# They are cached apart from current pages, and not by the fast path: requests for a million times
# evict no current page.

MOST_PAGES = 512
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
            "as_of_pages", world, Recent(MOST_PAGES, LIMIT), weigh=lambda page: page.weight
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

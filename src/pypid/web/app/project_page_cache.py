"""A cache of the parts of project pages, computed once for each change: a page from the cache costs
a template.

All parts are made from what the user may see already (`Index.seen`): keyed by the edition of that,
or by the digest of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut

from pypid.core.accounts.signers import Signer, signers_in
from pypid.core.errors import (
    Busy,
    NoSuchFile,
    NoSuchMember,
    Opaque,
    PeopleUnknown,
    PypidError,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.lru import Recent
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.presentation.plot import bars
from pypid.core.presentation.project_view import (
    FileLine,
    ReleaseLines,
    ShownRelease,
    all_lines,
    is_pkg_info,
    shown,
)
from pypid.core.presentation.release_facts import NOTHING, Facts, facts_of
from pypid.flow import World, start
from pypid.flow.single_flight import Flights
from pypid.index import Index
from pypid.index.file_contents import Contents
from pypid.index.job_group import JobGroup
from pypid.index.views import UpstreamPermission, View
from pypid.ports import Downloads
from pypid.web.app.page_cache import FEW_FILES

T = TypeVar("T")

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
"""Seconds for which a plot of downloads is reused."""
PATIENCE = 0.5
"""Seconds that a page waits for the plot; drawing continues, for the next page."""
PLOTS = 8 << 20
FEW_LINES = 40
"""Number of files whose list is rendered in the reactor thread: in some 3 milliseconds."""
LISTS = 16 << 20
"""Maximum characters of cached file lists."""


@define(eq=False)
class ProjectPageCache:
    """The cached parts of the project pages of one index."""

    index: Index
    world: World
    _shown: Recent[tuple[ProjectName, str | None], tuple[Hashable, ShownRelease]] = field(
        factory=lambda: Recent(MOST, LINES), init=False, repr=False
    )
    _lines: Recent[ProjectName, tuple[Hashable, ReleaseLines]] = field(
        factory=lambda: Recent(MOST, LINES), init=False, repr=False
    )
    _facts: Recent[Hashable, Facts] = field(
        factory=lambda: Recent(MOST, FACTS), init=False, repr=False
    )
    _signers: Recent[Hashable, tuple[Signer, ...]] = field(
        factory=lambda: Recent(MOST * 4, MOST * 4), init=False, repr=False
    )
    _plots: Recent[ProjectName, tuple[float, str]] = field(
        factory=lambda: Recent(MOST, PLOTS), init=False, repr=False
    )
    _lists: Recent[Hashable, tuple[Hashable, str]] = field(
        factory=lambda: Recent(MOST, LISTS), init=False, repr=False
    )
    _flights: Flights[Hashable, Facts] = field(factory=Flights, init=False, repr=False)
    _drawings: Flights[ProjectName, str] = field(factory=Flights, init=False, repr=False)

    async def shown(self, view: View, version: str | None) -> ShownRelease | None:
        """Return the release as its page shows it; None if there is none of this version."""
        key = view.project.name, version
        kept = self._shown.get(key)
        if kept is not None and kept[0] == view.edition:
            return kept[1]
        found = await self._made(view.project, lambda: shown(view.project, version))
        if found is not None:
            self._shown.put(key, (view.edition, found), 1 + len(found.files) + len(found.lines))
        return found

    async def lines(self, view: View) -> ReleaseLines:
        """Return all releases of the project."""
        kept = self._lines.get(view.project.name)
        if kept is not None and kept[0] == view.edition:
            return kept[1]
        found = await self._made(view.project, lambda: all_lines(view.project))
        self._lines.put(view.project.name, (view.edition, found), 1 + len(found.each))
        return found

    async def _made(self, project: Project, make: Callable[[], T]) -> T:
        return make() if len(project.files) <= FEW_FILES else await self.world.thinking(make)

    async def listed(
        self, view: View, found: ShownRelease, root: str, write: Callable[[], str]
    ) -> str:
        """Return the list of the release's files as HTML, rendered by `write`, for pages from which
        `root` is the path to the root.
        """
        key = found.name, found.line.version, root
        kept = self._lists.get(key)
        if kept is not None and kept[0] == view.edition:
            return kept[1]
        written = write() if len(found.files) <= FEW_LINES else await self.world.thinking(write)
        self._lists.put(key, (view.edition, written), len(written))
        return written

    async def facts(self, file: File | None, permission: UpstreamPermission) -> Facts | None:
        """Return the facts of the file's metadata; None if unavailable. Raises as `Index.metadata`
        for local files.
        """
        if file is None:
            return None
        # the key includes the project: upstream may name the digest of another project's metadata,
        # which must not be shown
        key = file.project, file.filename, file.metadata_sha256, file.sha256
        kept = self._facts.get(key)
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

        async def read() -> Facts:
            made = await self.world.thinking(facts_of, data)
            if file.metadata_sha256 or file.sha256:  # else another file may come under this key
                self._facts.put(key, made, made.weight)
            return made

        return await self._flights.single(key, read)

    async def inside(self, file: File, contents: Contents) -> Facts | None:
        """Return the facts of the metadata inside a local file whose metadata is stored nowhere
        else; None if unavailable.
        """
        key = file.project, file.filename, "inside", file.sha256
        kept = self._facts.get(key)
        if kept is not None:
            return kept if kept.weight else None

        async def read() -> Facts:
            try:
                members = (await contents.listing(file)).members
                path = next((member.path for member in members if is_pkg_info(member.path)), "")
                data = (await contents.member(file, path)).data
                made = await self.world.thinking(facts_of, data)
            except (NoSuchMember, Opaque):
                made = NOTHING  # the file will never have any
            self._facts.put(key, made, made.weight)
            return made

        try:
            found = await self._flights.single(key, read)
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
        key = file.project, file.filename, file.sha256, file.uploaded
        kept = self._signers.get(key)
        if kept is None:
            try:
                kept = signers_in(await self.index.provenance(file))
            except NoSuchFile:  # it was just deleted
                return ()
            self._signers.put(key, kept)
        return kept

    async def plot(self, name: ProjectName, downloads: Downloads) -> str:
        """Return the downloads of the last days as SVG; "" if unavailable, or not in time."""
        now = self.world.clock.seconds()
        kept = self._plots.get(name)
        if kept is not None and kept[0] <= now < kept[0] + FRESH:
            return kept[1]
        drawing: Deferred[str] = start(
            self._drawings.single(name, lambda: self._draw(name, downloads, now))
        )
        drawing.addTimeout(PATIENCE, self.world.clock)
        try:
            return await drawing
        except (PeopleUnknown, TimedOut):
            return ""

    async def _draw(self, name: ProjectName, downloads: Downloads, now: float) -> str:
        until = self.world.now().date()
        since = until - timedelta(days=DAYS - 1)
        counted = await downloads.by_day(name, since)
        title = f"Downloads of {name} by day"
        drawn = bars(counted, since, until, title=title, name="downloads-plot") if counted else ""
        self._plots.put(name, (now, drawn), len(drawn) + 200)
        return drawn

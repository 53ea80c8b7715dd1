"""What project pages are made of, worked out once for each change and kept: a page of what is kept
costs a template.

All of it is made of what somebody may see already (`Index.seen`): by the edition of that, or by the
digest of its bytes.
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
from pypid.flow import Flights, World, start
from pypid.index import Index
from pypid.index.file_contents import Contents
from pypid.index.job_group import JobGroup
from pypid.index.request_context import RequestContext
from pypid.index.views import View
from pypid.ports import Downloads
from pypid.web.installers.page_cache import FEW_FILES

T = TypeVar("T")

MOST = 1000
"""Of each kind that are kept."""
LINES = 100_000
"""Files and releases that are kept together."""
FACTS = 32 << 20
"""Bytes of metadata, READMEs and all."""
SIGNED = 16
"""Files of a release whose provenance is read for its page."""
AT_ONCE = 8
DAYS = 90
FRESH = 60
"""Seconds for which a plot of downloads is shown again."""
PATIENCE = 0.5
"""Seconds that a page waits for it; it is drawn all the same, for the next one."""
PLOTS = 8 << 20
FEW_LINES = 40
"""Files whose list is written in the reactor thread: in some 3 milliseconds."""
LISTS = 16 << 20
"""Characters of lists of files that are kept."""


@define(eq=False)
class ProjectPageCache:
    """The project pages of one index."""

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
        """The release as its page shows it; None where there is none of this version."""
        key = view.project.name, version
        kept = self._shown.get(key)
        if kept is not None and kept[0] == view.edition:
            return kept[1]
        found = await self._made(view.project, lambda: shown(view.project, version))
        if found is not None:
            self._shown.put(key, (view.edition, found), 1 + len(found.files) + len(found.lines))
        return found

    async def lines(self, view: View) -> ReleaseLines:
        """All its releases."""
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
        """The list of the release's files as HTML, written by `write` for pages from where `root`
        leads to the root.
        """
        key = found.name, found.line.version, root
        kept = self._lists.get(key)
        if kept is not None and kept[0] == view.edition:
            return kept[1]
        written = write() if len(found.files) <= FEW_LINES else await self.world.thinking(write)
        self._lists.put(key, (view.edition, written), len(written))
        return written

    async def facts(self, file: File | None, asked: RequestContext) -> Facts | None:
        """What the metadata of the file says; None where it cannot be had. Raises as
        `Index.metadata` for files of ours.
        """
        if file is None:
            return None
        # with its project: of a digest that upstream says nothing is shown that is another
        # project's
        key = file.project, file.filename, file.metadata_sha256, file.sha256
        kept = self._facts.get(key)
        if kept is not None:
            return kept
        try:
            data = await self.index.metadata(file, asked)
        except PypidError as error:
            if file.source is None or not (
                error is asked.refusal or isinstance(error, (NoSuchFile, UpstreamDown, WrongBytes))
            ):
                raise
            return None

        async def read() -> Facts:
            made = await self.world.thinking(facts_of, data)
            if file.metadata_sha256 or file.sha256:  # else it may be another file the next time
                self._facts.put(key, made, made.weight)
            return made

        return await self._flights.single(key, read)

    async def inside(self, file: File, contents: Contents) -> Facts | None:
        """What the metadata inside a file of ours say, whose metadata lie nowhere else; None where
        they cannot be had.
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
                made = NOTHING  # and it never will have any
            self._facts.put(key, made, made.weight)
            return made

        try:
            found = await self._flights.single(key, read)
        except (NoSuchFile, Busy):
            return None
        return found if found.weight else None

    async def signers(self, files: Sequence[FileLine]) -> Mapping[str, tuple[Signer, ...]]:
        """Who signed them, by file name: of the first ones that have a provenance object here."""
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
        """The downloads of the last days as SVG; "" where they cannot be had now, or not soon."""
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

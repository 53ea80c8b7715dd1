"""What helps an administrator to decide about an upstream project: its age, similar names, and what
its newest release contains. Files are read without being cached: a cached file would end the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from attrs import define, evolve, field, frozen

from pypid.core.approvals import ApprovalVerdict, matches
from pypid.core.archives.contents import MemberListing, read_text
from pypid.core.archives.hazards import Hazard, HazardKind, hazards_of, hazards_of_setup, setup_of
from pypid.core.configuration.choices import NewProjects
from pypid.core.errors import PypidError
from pypid.core.layering import absolute
from pypid.core.lru import Recent
from pypid.core.model import File, Presence, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release, choose_release, release_of, releases
from pypid.core.packaging.similar_names import NameIndex, SimilarName, popular_names
from pypid.core.policy import view
from pypid.core.restrictions import RestrictionsInForce
from pypid.flow.derived import Derived, SameObjects
from pypid.index.file_contents import Contents
from pypid.index.index import Index
from pypid.index.release_comparison import Compared, Comparison
from pypid.index.upstream.approvals import Approvals
from pypid.index.upstream.sources import source_of
from pypid.index.views import DIRECT

MOST_FILES = 3
"""Maximum number of files of the newest release that are examined."""


@frozen
class ExaminedFile:
    """A file, and what of it can run code; or, if it cannot be examined, why."""

    filename: str
    size: int | None
    hazards: tuple[Hazard, ...] = ()
    problem: str = ""


@frozen(kw_only=True)
class ApprovalEvidence:
    """What is known of an upstream project. `newest`: the release that installers would choose."""

    releases: int
    files: int
    first: datetime | None
    """When its oldest file was uploaded."""
    newest: str | None
    uploaded: datetime | None
    """When the last file of the newest release was uploaded."""
    summary: str
    similar: tuple[SimilarName, ...]
    examined: tuple[ExaminedFile, ...]
    compared: Compared | None
    """What differs from the last approved release; None without one."""


@define(eq=False)
class EvidenceReader:
    """Gathers the evidence. `contents_of` returns a reader of the files of an upstream's index,
    which must not cache them.
    """

    index: Index
    approvals: Approvals
    contents_of: Callable[[Index], Contents]
    _contents: dict[str, Contents] = field(factory=dict, init=False, repr=False)
    """By the name of the upstream."""
    _similar: Derived[str, NameIndex] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._similar = Derived("similar_names", self.index.world, Recent(1, 1))

    async def of(self, name: ProjectName) -> ApprovalEvidence:
        """Return the evidence from the last upstream listing. Upstream is asked for parts of
        files.
        """
        source = await source_of(self.index, name)
        contents = self._contents.setdefault(source.name, self.contents_of(source))
        project = await self._all_of(source, name)
        known = await self.index.world.thinking(releases, project)
        version = choose_release(project)
        newest = None if version is None else release_of(project, version)
        uploaded = [file.uploaded for file in project.files if file.uploaded is not None]
        return ApprovalEvidence(
            releases=len(known),
            files=len(project.files),
            first=min(uploaded, default=None),
            newest=None if newest is None else newest.version,
            uploaded=_last(newest),
            summary=next((file.summary for file in project.files if file.summary), ""),
            similar=(await self._names()).similar(name),
            examined=() if newest is None else await self._examined(contents, newest),
            compared=await self._compared(contents, project, newest),
        )

    async def _all_of(self, source: Index, name: ProjectName) -> Project:
        """Return the project as the last upstream listing describes it, with no rule applied."""
        policy = evolve(
            source.policy,
            new_projects=NewProjects.OPEN,
            restrictions=RestrictionsInForce(),
        )
        state = evolve(await source.listings.known(name), reachable=True)
        now = self.index.world.now()
        found = await self.index.world.thinking(view, policy, Presence.ABSENT, state, now, name)
        return absolute(found, source.prefix)

    async def _names(self) -> NameIndex:
        local = await self.index.catalog.local.summaries()
        upstream = await self.index.catalog.upstream.summaries()

        def make() -> NameIndex:
            return NameIndex.of(
                (
                    *(summary.name for summary in local),
                    *popular_names(),
                    *(summary.name for summary in upstream if summary.kept),
                )
            )

        return await self._similar.compute("all", SameObjects((local, upstream)), make, costly=True)

    async def _examined(self, contents: Contents, release: Release) -> tuple[ExaminedFile, ...]:
        return tuple([await self._examine(contents, file) for file in _chosen(release.files)])

    async def _examine(self, contents: Contents, file: File) -> ExaminedFile:
        try:
            listing = await contents.listing(file, DIRECT)
            hazards = await self.index.world.thinking(hazards_of, listing)
            return ExaminedFile(
                file.filename, file.size, (*hazards, *await _of_setup(contents, file, listing))
            )
        except PypidError as error:
            return ExaminedFile(file.filename, file.size, problem=str(error))

    async def _compared(
        self, contents: Contents, project: Project, newest: Release | None
    ) -> Compared | None:
        old = self._last_approved(project)
        if old is None or newest is None or old.version == newest.version:
            return None
        return await Comparison(contents, project.name, DIRECT).compare(old, newest)

    def _last_approved(self, project: Project) -> Release | None:
        """Return the newest release that is approved or, without approvals, that is cached."""
        approved = [
            each.specifier
            for each in self.approvals.of(project.name)
            if each.verdict is ApprovalVerdict.APPROVED
        ]
        for release in reversed(releases(project)):
            if any(matches(specifier, release.version) for specifier in approved) or (
                not approved and any(isinstance(file, StoredFile) for file in release.files)
            ):
                return release_of(project, release.version)
        return None


async def _of_setup(contents: Contents, file: File, listing: MemberListing) -> tuple[Hazard, ...]:
    setup = setup_of(listing.members)
    if setup is None:
        return ()
    opened = await contents.member(file, setup.path, DIRECT)
    unseen = (Hazard(HazardKind.UNREADABLE, 1, (setup.path,)),)
    text = read_text(opened.data, cut=opened.is_cut)
    if text is None:
        return unseen
    found = await contents.index.world.thinking(hazards_of_setup, text.text)
    return (*found, *unseen) if opened.is_cut else found


def _last(release: Release | None) -> datetime | None:
    files = () if release is None else release.files
    return max((file.uploaded for file in files if file.uploaded is not None), default=None)


def _chosen(files: Sequence[File]) -> Iterator[File]:
    """Yield the files to look through: the sdist, which may run code, and the first wheels."""
    sdists = [file for file in files if not file.filename.endswith((".whl", ".egg"))]
    wheels = [file for file in files if file.filename.endswith(".whl")]
    yield from (*sdists[:1], *wheels)[:MOST_FILES]

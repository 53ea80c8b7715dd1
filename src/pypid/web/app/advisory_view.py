"""Advisories as a viewer may see them: public ones as they are, private ones (`[advisories] own`)
as far as the viewer may read the projects that they name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from datetime import timedelta

import msgspec
from attrs import field, frozen

from pypid.advisories.database import StoredAdvisory
from pypid.advisories.service import Advisories
from pypid.core.advisories import AdvisorySummary, visible_record
from pypid.core.caches import Recent
from pypid.core.errors import Busy, NoSuchProject
from pypid.core.model import Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import EVERYTHING, Visibility
from pypid.core.policy import may_show_upstream
from pypid.database.logs import SqlDownloads
from pypid.flow.derived import Derived
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.stored_view import stored_permission
from pypid.index.upstream.public_names import entries_of
from pypid.index.views import ViewSources

UNREAD = "The source of advisories has not been read yet."


async def record_for(advisories: Advisories, id: str, by: Visibility) -> bytes | None:
    """Return the OSV record with this id as JSON; None if there is none that the viewer may see.
    Raises `Busy`.
    """
    stored = await advisories.record(id)
    if stored is None or not stored.private or by.sees_all:
        return None if stored is None else stored.document
    return await advisories.world.blocking(_visible, stored, by)


def _visible(stored: StoredAdvisory, by: Visibility) -> bytes | None:
    return visible_record(stored.document, stored.projects, by.sees)


def hits_for(
    advisories: Advisories, name: ProjectName, version: str | None, by: Visibility
) -> tuple[AdvisorySummary, ...]:
    """Return the advisories in force that hit a version (None: any) of a project. Those that are
    private are among them only if the viewer may read the project.
    """
    if not advisories.knows(name):
        return ()
    private = by.sees_all or by.sees(name)
    if version is not None:
        return advisories.hits(name, version, private=private)
    return tuple(
        each for each in advisories.of(name) if not each.withdrawn and (private or not each.private)
    )


async def without_hidden_names(
    advisories: Advisories, found: Iterable[AdvisorySummary], by: Visibility
) -> tuple[AdvisorySummary, ...]:
    """Return the advisories of a readable project, without the text of those private ones that
    also name projects which the viewer may not read.
    """
    shown: list[AdvisorySummary] = []
    for advisory in found:
        if advisory.is_shared and not by.sees_all:
            stored = None
            with suppress(Busy):
                stored = await advisories.record(advisory.id)
            if stored is None or not all(map(by.sees, stored.projects)):
                advisory = msgspec.structs.replace(advisory, summary="", aliases=())
        shown.append(advisory)
    return tuple(shown)


# The advisories that hit files stored here: which files, and how often they were downloaded.
#
# Gathered once for each change of the index or of the advisories. Files that are withheld count
# too.

DAYS = 30
"""Days of downloads that are counted."""
VIEWERS = 100
"""Maximum number of viewers whose part of mixed projects is cached."""


@frozen
class HostedAdvisory:
    """An advisory, and the files of a project here that it hits."""

    project: ProjectName
    advisory: AdvisorySummary
    versions: tuple[str, ...]
    files: tuple[StoredFile, ...] = field(repr=False)

    @property
    def is_local(self) -> bool:
        """Whether a file of it is local."""
        return any(file.source is None for file in self.files)

    @property
    def order(self) -> tuple[object, ...]:
        """The sort key: malware and the most severe first."""
        advisory = self.advisory
        return not advisory.is_malware, -advisory.severity.rank, self.project, advisory.id


@frozen
class _Gathered:
    """The hosted advisories of an index, in order. `mixed`: the projects with files of several
    indexes, of which some viewers may read a part.
    """

    advisories: tuple[HostedAdvisory, ...]
    mixed: Set[ProjectName] = frozenset()


@frozen
class FileDownloads:
    """The downloads of some files: how many, and how many by each user, the most first."""

    count: int
    users: tuple[tuple[str, int], ...]


class HostedAdvisories:
    """The hosted advisories of one index. `advisories` and `downloads` return those in force; the
    latter raises `NotAvailable` if downloads are not recorded.
    """

    def __init__(
        self,
        index: Index,
        advisories: Callable[[], Advisories],
        downloads: Callable[[], SqlDownloads],
    ) -> None:
        self.index = index
        self.advisories = advisories
        self.downloads = downloads
        self._found: Derived[str, _Gathered] = Derived(
            "hosted_advisories", index.context.world, Recent(1, 1)
        )
        self._of_viewers: Derived[Visibility, _Gathered] = Derived(
            "hosted_advisories_in_part", index.context.world, Recent(VIEWERS, VIEWERS)
        )
        """The advisories of mixed projects, for viewers who may not read all bases of the index."""

    async def visible(self, by: Visibility) -> list[HostedAdvisory]:
        """Return those of the projects that the viewer may read, the most severe first."""
        edition = await self._edition()
        whole = await self._found.get("all", edition, self._gathered)
        found: Iterable[HostedAdvisory] = whole.advisories
        if whole.mixed and by.bases:
            part = await self._of_viewers.get(
                by, edition, lambda: self._gathered_of(whole.mixed, by)
            )
            others = (each for each in found if each.project not in whole.mixed)
            found = sorted((*others, *part.advisories), key=lambda each: each.order)
        return [each for each in found if by.sees(each.project)]

    async def shown(self, found: Iterable[HostedAdvisory], by: Visibility) -> list[HostedAdvisory]:
        """Return these without texts that may name projects which the viewer may not read."""
        return [
            HostedAdvisory(each.project, advisory, each.versions, each.files)
            for each in found
            for advisory in await without_hidden_names(self.advisories(), (each.advisory,), by)
        ]

    async def projects(self, by: Visibility) -> frozenset[ProjectName]:
        """Return the projects with an advisory that the viewer may read."""
        return frozenset(each.project for each in await self.visible(by))

    async def counted(self, found: Sequence[HostedAdvisory]) -> list[FileDownloads]:
        """Return the downloads of the last `DAYS` of the files of each. Raises `PeopleUnknown`,
        `NotAvailable`.
        """
        digests = sorted({file.sha256 for each in found for file in each.files})
        since = self.index.context.world.now() - timedelta(days=DAYS)
        by_digest: dict[str, dict[str, int]] = {}
        for digest, user, count in await self.downloads().by_user(digests, since):
            by_digest.setdefault(digest, {})[user] = count
        return [_together(each.files, by_digest) for each in found]

    async def _edition(self) -> Hashable:
        return await self.index.edition(), self.advisories().index

    async def _gathered(self) -> _Gathered:
        names = [summary.name for summary in await self.index.stored_names()]
        return await self._gathered_of(names)

    async def _gathered_of(
        self, names: Iterable[ProjectName], by: Visibility = EVERYTHING
    ) -> _Gathered:
        """Return the advisories of these projects. `by`: of the files that the viewer may read."""
        advisories, pace = self.advisories(), Pace(self.index.context.world)
        found, several = list[HostedAdvisory](), set[ProjectName]()
        for name in names:
            await pace.keep()
            if advisories.knows(name):
                views = await self._views(name, by) if self.index.name else ()
                several |= {name} if len(views) > 1 else set()
                files = _files_of(views) if self.index.name else await self._files(name)
                found += await self._hits(name, files, pace)
        return _Gathered(tuple(sorted(found, key=lambda each: each.order)), frozenset(several))

    async def _views(self, name: ProjectName, by: Visibility) -> Sequence[ViewSources]:
        """Return the views of single indexes that the page of a named index combines."""
        try:
            return (await self.index.seen(name, stored_permission(by))).single_views
        except NoSuchProject:
            return ()

    async def _files(self, name: ProjectName) -> Sequence[StoredFile]:
        """Return the local files and the cached ones, also those that a rule withholds."""
        index = self.index
        ours = await index.context.local_project(name)
        files = ours.files if isinstance(ours, Project) else ()
        if may_show_upstream(index.context.policy, name, ours):
            async for entry in entries_of(index, name):
                files = (*files, *entry.kept)
        return files

    async def _hits(
        self, name: ProjectName, files: Sequence[StoredFile], pace: Pace
    ) -> list[HostedAdvisory]:
        by_version: dict[str, list[StoredFile]] = {}
        for file in files:
            by_version.setdefault(file.version, []).append(file)
        by_id: dict[str, tuple[AdvisorySummary, list[str]]] = {}
        for version in by_version:
            await pace.keep()
            for advisory in self.advisories().hits(name, version):
                by_id.setdefault(advisory.id, (advisory, []))[1].append(version)
        found = []
        for advisory, versions in by_id.values():
            await pace.keep()
            hit = tuple(file for version in versions for file in by_version[version])
            found.append(HostedAdvisory(name, advisory, tuple(versions), hit))
        return found


def _files_of(views: Iterable[ViewSources]) -> list[StoredFile]:
    """Return the local and cached files of the views, also those that a rule withholds. A local
    file takes its name from those of later views.
    """
    found, taken = list[StoredFile](), set[str]()
    for each in views:
        local = [file for project in each.locals for file in project.files]
        cached = () if each.upstream_state is None else each.upstream_state.kept
        stored = (file for file in (*local, *cached) if isinstance(file, StoredFile))
        found += [file for file in stored if file.filename not in taken]
        taken.update(file.filename for file in local)
    return found


def _together(
    files: Iterable[StoredFile], by_digest: Mapping[str, Mapping[str, int]]
) -> FileDownloads:
    users: dict[str, int] = {}
    for digest in {file.sha256 for file in files}:
        for user, count in by_digest.get(digest, {}).items():
            users[user] = users.get(user, 0) + count
    by_count = sorted(users.items(), key=lambda pair: (-pair[1], pair[0]))
    return FileDownloads(sum(users.values()), tuple(by_count))

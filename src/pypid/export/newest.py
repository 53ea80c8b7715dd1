"""The newest files, releases and projects of a view, for the HTML pages and the feeds, without
holding every file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from heapq import nlargest, nsmallest

import msgspec
from attrs import define, field
from msgspec.structs import replace

from pypid.core.cooldown import BEGINNING
from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release
from pypid.core.presentation.feeds import UPDATES, News, newest_first, news_of
from pypid.core.simple_api.entries import plain
from pypid.export.front import ChangelogEntry, Latest, changelog_page
from pypid.export.options import ExportOptions

SHOWN, HELD = 1000, 4000
"""Number of files in the changelog, and the minimum number remembered, so that others move up when
some are removed.
"""


class _Line(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    uploaded: datetime
    filename: str
    project: ProjectName
    uploader: str


class ProjectNews(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the HTML pages and the feeds say of one project."""

    version: str | None = None
    """Its newest version."""
    first: News | None = None
    """Its first release."""
    lines: tuple[_Line, ...] = ()
    """Its newest files."""
    releases: tuple[News, ...] = ()


def news_of_project(project: Project, since: datetime = BEGINNING) -> ProjectNews:
    """Return the news of a project as it is seen; of its files only those uploaded `since` then."""
    news = news_of(project)
    lines = [
        _Line(file.uploaded, plain(file.filename), file.project, file.uploader or "")
        for file in project.files
        if file.uploaded is not None and file.uploaded >= since
    ]
    return ProjectNews(
        choose_release(project),
        news[-1] if news else None,
        tuple(nlargest(HELD, lines)),
        news[:UPDATES],
    )


@define(eq=False)
class NewestProjects:
    """The newest release of each project, and those files and releases that may be among the
    newest.
    """

    made: datetime | None = None
    """When the tree was generated, if the HTML pages are to say so; else None."""
    _known: dict[ProjectName, ProjectNews] = field(factory=dict, init=False, repr=False)
    since: datetime = field(default=BEGINNING, init=False)
    """Files uploaded before this time are not remembered."""
    _held: int = field(default=0, init=False)

    def note(self, name: ProjectName, news: ProjectNews) -> None:
        """Record the news of a project (`news_of_project`)."""
        self.forget(name)
        self._known[name] = self._recent(news)
        self._held += len(self._known[name].lines)
        if self._held > 2 * HELD:
            self._trim()

    def restore(self, since: datetime, known: Mapping[ProjectName, ProjectNews]) -> None:
        """Record the news that an earlier export recorded. `since`: what it had."""
        self.since = since
        self._known |= known
        self._held = sum(len(news.lines) for news in self._known.values())

    def news(self, name: ProjectName) -> ProjectNews | None:
        """Return what is recorded of the project, or None."""
        return self._known.get(name)

    def unread(self, names: Iterable[ProjectName]) -> list[ProjectName]:
        """Return those of the projects that were not recorded yet, in order."""
        return sorted(name for name in names if name not in self._known)

    def forget(self, name: ProjectName) -> None:
        """Forget a project that is no longer seen."""
        known = self._known.pop(name, None)
        if known is not None:
            self._held -= len(known.lines)

    def _trim(self) -> None:
        """Keep the newest files, and the releases that may be among the newest."""
        kept = nlargest(HELD, self._lines())
        self.since = kept[-1].uploaded
        for name, known in self._known.items():
            self._known[name] = self._recent(known)
        self._held = sum(len(known.lines) for known in self._known.values())

    def _recent(self, news: ProjectNews) -> ProjectNews:
        since = self.since
        oldest = [line.uploaded for line in news.lines[-1:]]
        oldest += [release.uploaded for release in news.releases[-1:]]
        if all(uploaded >= since for uploaded in oldest):  # both begin with the newest
            return news
        return replace(
            news,
            lines=tuple(line for line in news.lines if line.uploaded >= since),
            releases=tuple(release for release in news.releases if release.uploaded >= since),
        )

    def _lines(self) -> Iterator[_Line]:
        return (line for known in list(self._known.values()) for line in known.lines)

    def lines(self, names: Iterable[ProjectName]) -> Iterator[Latest]:
        """Return the lines of the HTML start page."""
        for name in names:
            known = self._known.get(name)
            yield Latest(name, None if known is None else known.version)

    def changelog(self, options: ExportOptions) -> bytes:
        """Return the page of the newest files. Each line links to its project's page, which has the
        file's address.
        """
        entries = (
            ChangelogEntry(
                f"../simple/{line.project}/", line.filename, line.uploaded, line.uploader
            )
            for line in nlargest(SHOWN, self._lines())
        )
        return changelog_page(entries, options)

    def releases(self, count: int) -> list[News]:
        """Return the newest releases of all projects."""
        found = (news for known in list(self._known.values()) for news in known.releases)
        return nsmallest(count, found, key=newest_first)

    def projects(self, count: int) -> list[News]:
        """Return the first releases of the newest projects."""
        found = (known.first for known in list(self._known.values()) if known.first is not None)
        return nsmallest(count, found, key=newest_first)

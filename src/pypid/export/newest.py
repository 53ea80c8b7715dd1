"""What came last, of all that somebody sees: for the pages for people and the feeds, without
holding every file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import nlargest, nsmallest
from typing import NamedTuple

from attrs import define, field

from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release
from pypid.core.policy import BEGINNING
from pypid.core.presentation.feeds import UPDATES, News, newest_first, news_of
from pypid.core.simple_api.render import plain
from pypid.export.options import ExportOptions
from pypid.static.front import ChangelogEntry, Latest, changelog_page
from pypid.static.settings import StaticSettings

SHOWN, HELD = 1000, 4000
"""Files of the changelog, and how many are remembered at least, so that others come up where some
go.
"""


class _Line(NamedTuple):
    uploaded: datetime
    filename: str
    project: ProjectName
    uploader: str


class _Known(NamedTuple):
    version: str | None
    first: News | None
    lines: tuple[_Line, ...]
    releases: tuple[News, ...]


@define(eq=False)
class NewestProjects:
    """What is remembered of each project; of files and releases those that may be
    among the newest.
    """

    made: datetime | None = None
    """When the tree was made, if pages for people are to say so."""
    _known: dict[ProjectName, _Known] = field(factory=dict, init=False, repr=False)
    _since: datetime = field(default=BEGINNING, init=False)
    """Older files are not remembered."""
    _held: int = field(default=0, init=False)

    def note(self, project: Project) -> None:
        """This is what is seen of it now."""
        self.forget(project.name)
        news = news_of(project)
        since = self._since
        lines = [
            _Line(file.uploaded, plain(file.filename), file.project, file.uploader or "")
            for file in project.files
            if file.uploaded is not None and file.uploaded >= since
        ]
        kept = tuple(nlargest(HELD, lines))
        first = news[-1] if news else None
        self._known[project.name] = _Known(choose_release(project), first, kept, news[:UPDATES])
        self._held += len(kept)
        if self._held > 2 * HELD:
            self._trim()

    def forget(self, name: ProjectName) -> None:
        """It is not seen any more."""
        known = self._known.pop(name, None)
        if known is not None:
            self._held -= len(known.lines)

    def _trim(self) -> None:
        """Of files keep the newest, and of releases those that may be among them."""
        kept = nlargest(HELD, self._lines())
        self._since = since = kept[-1].uploaded
        for name, known in self._known.items():
            lines = tuple(line for line in known.lines if line.uploaded >= since)
            releases = tuple(news for news in known.releases if news.uploaded >= since)
            self._known[name] = known._replace(lines=lines, releases=releases)
        self._held = sum(len(known.lines) for known in self._known.values())

    def _lines(self) -> Iterator[_Line]:
        return (line for known in list(self._known.values()) for line in known.lines)

    def lines(self, names: Iterable[ProjectName]) -> Iterator[Latest]:
        """The lines of the first page."""
        for name in names:
            known = self._known.get(name)
            yield Latest(name, None if known is None else known.version)

    def changelog(self, settings: StaticSettings) -> bytes:
        """The page of the files that came last. Each line leads to its project's page, which says
        where the file is.
        """
        entries = (
            ChangelogEntry(
                f"../simple/{line.project}/", line.filename, line.uploaded, line.uploader
            )
            for line in nlargest(SHOWN, self._lines())
        )
        return changelog_page(entries, settings)

    def releases(self, count: int) -> list[News]:
        """The newest of all."""
        found = (news for known in list(self._known.values()) for news in known.releases)
        return nsmallest(count, found, key=newest_first)

    def projects(self, count: int) -> list[News]:
        """The first releases of the newest projects."""
        found = (known.first for known in list(self._known.values()) if known.first is not None)
        return nsmallest(count, found, key=newest_first)

    def settings(self, wishes: ExportOptions) -> StaticSettings:
        """How the pages for people look."""
        return StaticSettings(
            packages_url="packages/",
            title=wishes.title,
            site_url=wishes.base_url,
            generated=self.made,
        )

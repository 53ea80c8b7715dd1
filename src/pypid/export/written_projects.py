"""Renders the pages of projects, and writes them into a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from attrs import field, frozen

from pypid.core.packaging.names import ProjectName
from pypid.export.newest import ProjectNews, news_of_project
from pypid.export.options import FOLDERS, ExportOptions, owner_of
from pypid.export.pages import ShownProject, project_pages
from pypid.export.tree import TreeFolder, WrittenPage, put_all


@frozen
class RenderedProject:
    """The pages of a project, and what the pages about all projects say of it."""

    shown: ShownProject
    pages: Sequence[WrittenPage] = field(repr=False)
    news: ProjectNews = field(repr=False)


@frozen
class WrittenProject:
    """What was done for a project: pages written, and pages unchanged."""

    name: ProjectName
    news: ProjectNews
    written: int
    same: int
    stale: list[str]
    """Paths of the project that are no longer needed."""


def render(
    projects: Iterable[ShownProject], options: ExportOptions, since: datetime, *, compressed: bool
) -> list[RenderedProject]:
    """Return the pages of the projects. `since`: see `news_of_project`."""
    rendered = []
    for shown in projects:
        news = news_of_project(shown.project, since)
        pages = project_pages(shown, news, options, compressed=compressed)
        rendered.append(RenderedProject(shown, list(pages), news))
    return rendered


def written(
    rendered: RenderedProject, there: Iterable[str], done: tuple[int, int]
) -> WrittenProject:
    """Return what was done. `there`: the paths of the project before; `done`: the number of pages
    written, and unchanged.
    """
    shown = rendered.shown
    keep = shown.copies.union(page.path for page in rendered.pages)
    stale = [path for path in there if path not in keep]
    return WrittenProject(shown.project.name, rendered.news, *done, stale)


def put_projects(folder: TreeFolder, projects: Iterable[RenderedProject]) -> list[WrittenProject]:
    """Write the pages that differ into the folder. Raises `OSError`."""
    return [
        written(
            project,
            list(paths_of(folder, project.shown.project.name)),
            put_all(folder, project.pages),
        )
        for project in projects
    ]


def paths_of(folder: TreeFolder, name: ProjectName) -> Iterator[str]:
    """Yield the paths in the folder that an export wrote for the project."""
    for pattern in FOLDERS:
        under = pattern.format(name)
        if not folder.is_link(under):  # not made by an export
            yield from (path for path in folder.list(under) if owner_of(path) == name)

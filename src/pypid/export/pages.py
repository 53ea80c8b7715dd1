"""The pages of an exported tree, as paths and bytes: byte for byte what a pypid would answer. Pure
functions, slow for large input: call them in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from attrs import field, frozen
from msgspec.structs import replace

from pypid.core.compression import gzip
from pypid.core.model import File, Project, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release, releases
from pypid.core.presentation.feeds import (
    PROJECTS,
    UPDATES,
    projects,
    releases_of,
    updates,
)
from pypid.core.simple_api.legacy_json import render_legacy
from pypid.core.simple_api.listed_files import FILES_URL
from pypid.core.simple_api.render import Format, render_names, render_project
from pypid.export.tree import JSON_PAGE, PAGE, ExportOptions, WrittenPage, release_path, url_below
from pypid.export.tree_state import (
    FEED,
    FILTER,
    SCRIPT,
    NewestProjects,
    ProjectNews,
    changelog_page,
    first_page,
    news_of_project,
)

FORMATS = ((JSON_PAGE, Format.JSON), (PAGE, Format.TEXT_HTML))
"""Page names and formats; the page that most installers read comes last."""
NEW_PROJECTS = "rss/packages.xml"
CHANGELOG = "changelog/page1.html"


@frozen
class ShownProject:
    """A project as the viewer sees it.

    `metadata`: the core metadata of each release, by version, as far as stored; `urls`: the signed
    URLs of its files, by name; `copies`: the paths of copies of its files, also of those that are
    still missing.
    """

    project: Project
    metadata: Mapping[str, bytes] = field(factory=dict, repr=False)
    urls: Mapping[str, str] | None = field(default=None, repr=False)
    copies: frozenset[str] = field(default=frozenset(), repr=False)


@frozen
class RenderedProject:
    """The pages of a project, and what the pages about all projects say of it."""

    name: ProjectName
    copies: frozenset[str]
    pages: Sequence[WrittenPage] = field(repr=False)
    news: ProjectNews = field(repr=False)

    def stale(self, there: Iterable[str]) -> list[str]:
        """Return those of the project's paths that are no longer needed."""
        keep = self.copies.union(page.path for page in self.pages)
        return [path for path in there if path not in keep]


def render(
    projects: Iterable[ShownProject], options: ExportOptions, since: datetime, *, compressed: bool
) -> list[RenderedProject]:
    """Return the pages of the projects. `since`: see `news_of_project`."""
    rendered = []
    for shown in projects:
        news = news_of_project(shown.project, since)
        pages = list(project_pages(shown, news, options, compressed=compressed))
        rendered.append(RenderedProject(shown.project.name, shown.copies, pages, news))
    return rendered


def project_pages(
    shown: ShownProject, news: ProjectNews, options: ExportOptions, *, compressed: bool
) -> Iterator[WrittenPage]:
    """Yield each page of the project; the one that installers read comes last."""
    project, urls, files_url = shown.project, shown.urls, options.files_url
    if urls is not None:  # a client could derive no URL of a sidecar file from a signed one
        bare = [
            replace(file, metadata_sha256=None, metadata_offered=False) for file in project.files
        ]
        project = Project(
            name=project.name,
            files=tuple(bare),
            status=project.status,
            status_reason=project.status_reason,
            serial=project.serial,
        )
    name = project.name
    provenance = None if options.base_url is None else f"{options.base_url}/integrity/"
    yield from _legacy(shown, project, news.version, options)
    if not options.is_list:  # dumb-pypi has no such feeds
        feed = releases_of(name, news.releases, options.base_url or "../../..")
        yield WrittenPage(f"rss/project/{name}/releases.xml", feed)
    for path, format in FORMATS:
        page = render_project(
            project,
            format,
            files_url=files_url or FILES_URL,
            provenance_url=provenance,
            flat=options.is_list,
            url_of=None if urls is None else lambda file: urls[file.filename],
        )
        yield from both(f"simple/{name}/{path}", page.body, compressed=compressed)


def _legacy(
    shown: ShownProject, project: Project, newest: str | None, options: ExportOptions
) -> Iterator[WrittenPage]:
    name, urls, files_url = project.name, shown.urls, options.files_url

    def signed(file: File) -> str:
        assert urls is not None
        return urls[file.filename]

    def below(file: File) -> str:
        assert files_url is not None
        return url_below(files_url, file, options)

    url_of = signed if urls is not None else below if files_url is not None else None

    def rendered(version: str | None, described: str | None, up: str) -> bytes | None:
        metadata = None if described is None else shown.metadata.get(described)
        page = render_legacy(
            project, version, metadata, base_url=options.base_url or up, url_of=url_of
        )
        return None if page is None else page.body

    if options.releases:
        for release in releases(project):
            path = release_path(name, release.version)
            body = None if path is None else rendered(release.version, release.version, "../../..")
            if path is not None and body is not None:
                yield WrittenPage(path, body)
    body = rendered(None, newest, "../..")
    if body is not None:
        yield WrittenPage(f"pypi/{name}/json", body)


def list_pages(
    names: Sequence[Summary], serial: int | None, options: ExportOptions, *, compressed: bool
) -> Iterator[WrittenPage]:
    """Yield the pages of the project list."""
    page = PAGE if options.is_list else ""
    for path, format in FORMATS:
        body = render_names(names, format, serial=serial, page=page).body
        yield from both(f"simple/{path}", body, compressed=compressed)


def pages_for_people(
    names: Iterable[ProjectName],
    newest: NewestProjects,
    options: ExportOptions,
    *,
    compressed: bool,
) -> Iterator[WrittenPage]:
    """Yield the HTML start page with its filter box and script, the changelog, and the feeds."""
    base_url = options.base_url or ".."
    yield WrittenPage(CHANGELOG, changelog_page(newest, options))
    yield WrittenPage(FEED, updates(newest.releases(UPDATES), base_url))
    yield WrittenPage(NEW_PROJECTS, projects(newest.projects(PROJECTS), base_url))
    yield WrittenPage(SCRIPT, FILTER.encode())
    start = first_page(names, newest, options)
    yield from both(PAGE, start, compressed=compressed)


def both(path: str, body: bytes, *, compressed: bool) -> Iterator[WrittenPage]:
    """Yield a page, and before it a gzip copy for nginx (``gzip_static``), which is the same for
    the same page.
    """
    if compressed:
        yield WrittenPage(f"{path}.gz", gzip(body))
    yield WrittenPage(path, body)


def described_releases(project: Project, *, all: bool) -> Sequence[str]:
    """Return the versions of the releases whose metadata the legacy JSON needs."""
    if all:
        return tuple(release.version for release in releases(project))
    newest = choose_release(project)
    return () if newest is None else (newest,)

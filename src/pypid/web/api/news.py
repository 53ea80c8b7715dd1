"""What is new: the RSS feeds of the public index, ``GET /api/news``, and the lists of the first
page.
"""

from __future__ import annotations

from typing import TypedDict

from pypid.core.errors import BadRequest, NotAvailable
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Identity
from pypid.core.presentation.feeds import CONTENT_TYPE, OF_PROJECT, PAGES, PROJECTS, UPDATES, News
from pypid.core.presentation.feeds import projects as feed_of_projects
from pypid.core.presentation.feeds import releases_of as feed_of_project
from pypid.core.presentation.feeds import updates as feed_of_updates
from pypid.core.simple_api.render import finished, utc_text
from pypid.web.api.news_cache import STORED
from pypid.web.app.app import App, app
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.guard import guarded
from pypid.web.http.finished_page import FinishedPage
from pypid.web.http.query import Parameter, names, number, parameters
from pypid.web.http.redirects import redirect
from pypid.web.http.request import Request
from pypid.web.http.responses import send_page
from pypid.web.http.small_responses import send_json
from pypid.web.installers.legacy import NO_HOST

MOST = 100
FEW = 20
ASKS = (
    Parameter(
        "most",
        "Lines of each list.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": FEW},
    ),
)


class NewsDocument(TypedDict):
    """A release, since its first file was uploaded."""

    project: str
    version: str
    uploaded: Moment
    summary: str


class NewsDocuments(TypedDict):
    """The newest releases of all projects, and the first releases of the newest projects."""

    releases: list[NewsDocument]
    projects: list[NewsDocument]


async def releases(face: App, who: Identity, most: int) -> tuple[News, ...]:
    """The newest releases that they see, the newest first."""
    return await face.newest.releases(await face.sight(who), face.search.updated, most)


async def latest(face: App, who: Identity, most: int) -> tuple[News, ...]:
    """The newest release of each of so many projects, the newest first."""
    return await face.newest.latest(await face.sight(who), face.search.updated, most)


async def projects(face: App, who: Identity, most: int) -> tuple[News, ...]:
    """The newest projects that they see, each with its first release."""
    return await face.newest.projects(await face.sight(who), face.search.created, most)


@guarded(app, "/api/news", may=Action.READ)
@Described(NewsDocuments, asks=ASKS, refuses=(NotAvailable,))
async def news(face: App, request: Request, who: Identity) -> None:
    """What is new, of all that is stored and that they may read."""
    most = number(parameters(request, *names(ASKS)), "most", 1, MOST) or FEW
    document: NewsDocuments = {
        "releases": [_document(one) for one in await releases(face, who, most)],
        "projects": [_document(one) for one in await projects(face, who, most)],
    }
    send_json(request, document)


@guarded(app, "/rss/updates.xml", may=Action.READ)
async def updates(face: App, request: Request, who: Identity) -> None:
    """The feed of releases (C114)."""
    await _send(
        face,
        request,
        feed_of_updates(await releases(face, who, UPDATES), _base(face, request), PAGES),
    )


@guarded(app, "/rss/packages.xml", may=Action.READ)
async def packages(face: App, request: Request, who: Identity) -> None:
    """The feed of projects (C114)."""
    await _send(
        face,
        request,
        feed_of_projects(await projects(face, who, PROJECTS), _base(face, request), PAGES),
    )


@guarded(app, "/rss/project/<project>/releases.xml", may=Action.READ)
async def of_project(face: App, request: Request, who: Identity, project: str) -> None:
    """The feed of a project's releases (C114), of those of which files are stored."""
    name = project_name(project)
    if project != name:
        return redirect(
            request, f"/rss/project/{name}/releases.xml", permanent=True, restricted=face.restricted
        )
    await face.index.project(name, STORED)  # raises what is said of a project that is not there
    found = await face.newest.of(name, await face.sight(who))
    return await _send(
        face, request, feed_of_project(name, found[:OF_PROJECT], _base(face, request), PAGES)
    )


async def _send(face: App, request: Request, feed: bytes) -> None:
    page = FinishedPage(finished(feed, CONTENT_TYPE), face.world.blocking)
    await send_page(request, page, restricted=face.restricted)


def _base(face: App, request: Request) -> str:
    """The links of a feed are absolute: readers know of no others."""
    base = face.base_url(request)
    if base is None:
        raise BadRequest(NO_HOST)
    return base


def _document(news: News) -> NewsDocument:
    return {
        "project": news.project,
        "version": news.version,
        "uploaded": utc_text(news.uploaded),
        "summary": news.summary,
    }

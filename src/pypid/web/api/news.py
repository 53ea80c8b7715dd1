"""New releases and projects: the RSS feeds of the public index, ``GET /api/news``, and the lists of
the home page.
"""

from __future__ import annotations

from typing import TypedDict

from pypid.core.errors import BadRequest, NotAvailable
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.presentation.feeds import CONTENT_TYPE, OF_PROJECT, PAGES, PROJECTS, UPDATES, News
from pypid.core.presentation.feeds import projects as feed_of_projects
from pypid.core.presentation.feeds import releases_of as feed_of_project
from pypid.core.presentation.feeds import updates as feed_of_updates
from pypid.core.simple_api.entries import utc_text
from pypid.core.simple_api.render import finished
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import Parameter, names, number, parameters
from pypid.web.http.redirects import redirect
from pypid.web.http.responses import FinishedPage, send_page
from pypid.web.http.small_responses import send_json
from pypid.web.installers.legacy import NO_HOST

MOST = 100
FEW = 20
ASKS = (
    Parameter(
        "most",
        "The number of entries of each list.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": FEW},
    ),
)


class NewsDocument(TypedDict):
    """A release. `uploaded`: when its first file was uploaded."""

    project: str
    version: str
    uploaded: Moment
    summary: str


class NewsDocuments(TypedDict):
    """The newest releases of all projects, and the first releases of the newest projects."""

    releases: list[NewsDocument]
    projects: list[NewsDocument]


async def releases(ctx: RequestContext, most: int) -> tuple[News, ...]:
    """Return the newest releases that the user may see, newest first."""
    news, names = ctx.app.news, ctx.app.search.updated
    return await ctx.listed(lambda by: news.releases(by, names, most))


async def latest(ctx: RequestContext, most: int) -> tuple[News, ...]:
    """Return the newest release of each of `most` projects, newest first."""
    news, names = ctx.app.news, ctx.app.search.updated
    return await ctx.listed(lambda by: news.latest(by, names, most))


async def projects(ctx: RequestContext, most: int) -> tuple[News, ...]:
    """Return the newest projects that the user may see, each with its first release."""
    news, names = ctx.app.news, ctx.app.search.created
    return await ctx.listed(lambda by: news.projects(by, names, most))


@route(
    "GET",
    "/api/news",
    action=Action.READ,
    describe=Described(NewsDocuments, asks=ASKS, refuses=(NotAvailable,)),
    below_index=True,
)
async def news(ctx: RequestContext) -> None:
    """List the newest releases and projects, of all that is stored and that the user may read."""
    most = number(parameters(ctx.request, *names(ASKS)), "most", 1, MOST) or FEW
    document: NewsDocuments = {
        "releases": [_document(one) for one in await releases(ctx, most)],
        "projects": [_document(one) for one in await projects(ctx, most)],
    }
    send_json(ctx.request, document)


@route("GET", "/rss/updates.xml", action=Action.READ, below_index=True)
async def updates(ctx: RequestContext) -> None:
    """Return the RSS feed of releases (C114)."""
    newest = await releases(ctx, UPDATES)
    await _send(ctx, feed_of_updates(newest, _base(ctx), PAGES, ctx.request.index))


@route("GET", "/rss/packages.xml", action=Action.READ, below_index=True)
async def packages(ctx: RequestContext) -> None:
    """Return the RSS feed of projects (C114)."""
    newest = await projects(ctx, PROJECTS)
    await _send(ctx, feed_of_projects(newest, _base(ctx), PAGES, ctx.request.index))


@route("GET", "/rss/project/<project>/releases.xml", action=Action.READ, below_index=True)
async def of_project(ctx: RequestContext, project: ProjectName) -> None:
    """Return the RSS feed of a project's releases (C114), of those with stored files."""
    if ctx.spelling != project:
        return redirect(
            ctx.request,
            f"/rss/project/{project}/releases.xml",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    await ctx.app.index.project(
        project, ctx.stored_permission
    )  # raises for a project that does not exist
    found = await ctx.app.news.of(project, await ctx.visibility())
    feed = feed_of_project(project, found[:OF_PROJECT], _base(ctx), PAGES, ctx.request.index)
    return await _send(ctx, feed)


async def _send(ctx: RequestContext, feed: bytes) -> None:
    page = FinishedPage(finished(feed, CONTENT_TYPE), ctx.app.world.blocking)
    await send_page(ctx.request, page, restricted=ctx.app.restricted)


def _base(ctx: RequestContext) -> str:
    """Return the base URL for the links of a feed: readers know only absolute ones. Raises
    `BadRequest`.
    """
    base = ctx.base_url
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

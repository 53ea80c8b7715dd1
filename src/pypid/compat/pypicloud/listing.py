"""Pages for installers that pypicloud had in addition to ``/simple/``: all files at ``/packages/``,
a project's page at two more addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from attrs import evolve
from werkzeug.exceptions import MethodNotAllowed, NotFound

from pypid.core.errors import NoSuchProject
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.simple_api.render import render_every_file
from pypid.index.views import UpstreamPermission
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Route, route
from pypid.web.http.redirects import redirect
from pypid.web.http.responses import header_of, send_page
from pypid.web.installers.simple import format_of, send_project

NOT_PROJECTS = frozenset(
    {
        *("admin", "favicon.ico", "robots.txt", "static"),
        *("metrics", "ready", "readyz", "healthz", "livez"),
        *("at", "rss", "snapshots"),
    }
)
"""What browsers, crawlers and monitors look for at the root, where pypicloud had its style sheets,
and what pages of pypid may be called: upstream is not asked for these names, and no monitor takes a
project's page for a healthy answer.
"""

_BROWSERS_TYPE = "application/xhtml+xml"
"""A type that all browsers accept, and no installer."""


@route("GET", "/packages/", action=Action.READ)
async def every_file(ctx: RequestContext) -> None:
    """Send every stored file of every project that the user may read, on one page (``pip install
    --find-links``, buildout).
    """
    if not ctx.request.path.endswith(b"/"):
        return redirect(ctx.request, "/packages/", permanent=True, restricted=ctx.app.restricted)
    page = await ctx.app.stored_projects.page(
        "every file", await ctx.visibility(), render_every_file
    )
    return await send_page(ctx.request, page, restricted=ctx.app.restricted)


@route("GET", "/pypi/<project>/", action=Action.READ)
async def at_pypi(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project's page, as at ``/simple/<project>/``."""
    await _page(ctx, project, "/pypi/", "../../packages/")


@route("GET", "/<project>/", action=Action.READ)
async def at_the_root(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project's page to installers that were given the index's own address; all other routes
    that begin so come first.

    For a browser, which mostly has a mistyped address, no upstream index is asked for the name.
    """
    others = _addresses(ctx.app.routes)
    if methods := others.get(ctx.spelling):
        raise MethodNotAllowed(sorted(methods))
    words = {ctx.spelling.lower(), project}
    if words & NOT_PROJECTS or project in others:  # /SIMPLE/ is a typing error, not a project
        raise NotFound()
    permission = ctx.upstream_permission(project)
    if _BROWSERS_TYPE in (header_of(ctx.request, "accept") or ""):
        permission = evolve(permission, refusal=NoSuchProject(project))
    await _page(ctx, project, "/", "../packages/", permission)


async def _page(
    ctx: RequestContext,
    project: ProjectName,
    below: str,
    files_url: str,
    permission: UpstreamPermission | None = None,
) -> None:
    if ctx.spelling != project or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"{below}{project}/", permanent=True, restricted=ctx.app.restricted
        )
    return await send_project(ctx, project, format_of(ctx.request), files_url, permission)


@cache
def _addresses(routes: Iterable[Route]) -> dict[str, frozenset[str]]:
    """Return the first words of all other addresses, with the methods of those that have no more
    than that.
    """
    found: dict[str, frozenset[str]] = {}
    for each in routes:
        word, _, rest = each.path.removeprefix("/").partition("/")
        if word and not word.startswith("<"):
            methods = frozenset() if rest else each.methods
            found[word] = found.get(word, frozenset()) | methods
    return found

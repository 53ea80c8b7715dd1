"""The index as of a time, ``/at/<moment>/simple/``: docs/guides/as-of-views.rst.

Access is as on ``/simple/``: the same guard and the same rules, those of now. Links lead to the
current files, so that nothing is duplicated; only those to files that upstream has removed since,
and that are cached here, lead below the path of the time.
"""

from __future__ import annotations

from functools import partial

from attrs import frozen

from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action, Visibility
from pypid.core.times import AsOfTime, parse_moment, settled
from pypid.web.app.app import App
from pypid.web.app.project_page_cache import as_of
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.responses import FinishedPage, redirect, send_page
from pypid.web.installers.files import send_named
from pypid.web.installers.simple import format_of

AT = "/at/<moment>/"
NAMES, PROJECT, FILE = "simple/", "simple/<project>/", "packages/<project>/<filename>"


@frozen
class _Where:
    """A time, and the path of the index as of it."""

    moment: AsOfTime
    path: str
    is_canonical: bool = True


def _at(app: App, text: str) -> _Where:
    """Return the time in an address. Raises `BadMoment`."""
    moment = settled(parse_moment(text), app.world.now())
    return _Where(moment, f"/at/{moment.text}/", moment.text == text)


@route("GET", AT + NAMES, action=Action.READ, below_index=True, cross_site=True)
async def names_then(ctx: RequestContext, moment: str) -> None:
    """Send the list of projects that had files at a time."""
    where = _at(ctx.app, moment)
    if not where.is_canonical or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"{where.path}simple/", permanent=True, restricted=ctx.app.restricted
        )
    before, format = where.moment.before, format_of(ctx.request)

    async def pages(by: Visibility) -> tuple[FinishedPage, int]:
        then = await ctx.visibility_in_bases()
        return await ctx.app.as_of_pages.names(before, format, by, then)

    finished, serial = await ctx.listed(pages)
    return await send_page(ctx.request, finished, serial=serial, restricted=ctx.app.restricted)


@route("GET", AT + PROJECT, action=Action.READ, below_index=True, cross_site=True)
async def project_then(ctx: RequestContext, moment: str, project: ProjectName) -> None:
    """Send a project's page as of a time; other spellings of the time or the project are redirected
    to the canonical one.
    """
    where = _at(ctx.app, moment)
    if ctx.spelling != project or not where.is_canonical or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request,
            f"{where.path}simple/{project}/",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    format = format_of(ctx.request)
    finished, serial = await ctx.app.as_of_pages.project(
        project,
        format,
        as_of(ctx.upstream_permission(project), where.moment.before),
        where.moment.text,
        absolute=partial(ctx.url_on_page, format),
        provenance=ctx.provenance_url,
    )
    return await send_page(ctx.request, finished, serial=serial, restricted=ctx.app.restricted)


@route("GET", AT + FILE, action=Action.READ, below_index=True, cross_site=True)
async def file_then(ctx: RequestContext, moment: str, project: ProjectName, filename: str) -> None:
    """Send a file that existed at a time, or a sidecar of it: pages link here for files that
    upstream has removed since.
    """
    before = _at(ctx.app, moment).moment.before
    permission = as_of(ctx.upstream_permission(project), before)
    await send_named(ctx, project, filename, permission)
    ctx.request.depends_on(None)  # rarely requested, so the fast path need not cache it

"""The Simple API: the list of projects and a page for each (PEP 503, 691, 700, 714, 740, 792)."""

from __future__ import annotations

from functools import partial

from pypid.core.configuration.choices import NewProjects
from pypid.core.errors import NotAcceptable
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.simple_api.render import Format, negotiate
from pypid.index.views import UpstreamPermission
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.fastpath.response_cache import OF_LISTS, ResponseDependencies
from pypid.web.http.request import Request
from pypid.web.http.responses import header_of, redirect, send_page


@route("GET", "/simple/", action=Action.READ, below_index=True, cross_site=True)
@route("GET", "/local/", action=Action.READ, below_index=True, cross_site=True)
async def names(ctx: RequestContext) -> None:
    """Send the list of projects; that of ``/local/`` is the same."""
    path = ctx.request.path.decode("ascii")
    if not path.endswith("/"):
        return redirect(ctx.request, f"{path}/", permanent=True, restricted=ctx.app.restricted)
    pages = partial(ctx.app.pages.names, format_of(ctx.request))
    finished, serial = await ctx.listed(pages)
    ctx.request.depends_on(OF_LISTS)
    return await send_page(ctx.request, finished, serial=serial, restricted=ctx.app.restricted)


@route("GET", "/simple/<project>/", action=Action.READ, below_index=True, cross_site=True)
async def project_page(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project's page; other spellings of its name are redirected to the normalised one."""
    if ctx.spelling != project or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"/simple/{project}/", permanent=True, restricted=ctx.app.restricted
        )
    return await send_project(ctx, project, format_of(ctx.request), "../../packages/")


@route("GET", "/simple/<project>/json", action=Action.READ, below_index=True)
async def project_json(ctx: RequestContext, project: ProjectName) -> None:
    """Send the legacy JSON of the project, which pypicloud also had at this address."""
    from pypid.web.installers.services import describe  # here: not needed at startup

    if ctx.spelling != project:
        return redirect(
            ctx.request, f"/simple/{project}/json", permanent=True, restricted=ctx.app.restricted
        )
    return await describe(ctx, project, None)


@route("GET", "/+simple/<project>/", action=Action.READ, below_index=True)
async def plus_simple(ctx: RequestContext, project: ProjectName) -> None:
    """Send the page that hatch reads before it publishes, below the upload URL (C115): always HTML,
    since hatch reads it with a regular expression.
    """
    return await send_project(ctx, project, Format.TEXT_HTML, "../../packages/")


@route("GET", "/simple/+simple/<project>/", action=Action.READ, below_index=True)
@route("GET", "/legacy/+simple/<project>/", action=Action.READ, below_index=True)
async def plus_simple_below(ctx: RequestContext, project: ProjectName) -> None:
    """Send the page that hatch reads before it publishes, below the other upload URLs."""
    return await send_project(ctx, project, Format.TEXT_HTML, "../../../packages/")


@route("GET", "/legacy/<project>/", action=Action.READ, below_index=True)
@route("GET", "/legacy/<project>/<version>/", action=Action.READ, below_index=True)
async def published(ctx: RequestContext, project: ProjectName, version: str = "") -> None:
    """Redirect to the project's page from the one that hatch names after publishing (``<upload
    URL>/<project>/<version>/``).
    """
    redirect(
        ctx.request,
        f"/simple/{project}/",
        permanent=False,
        restricted=ctx.app.restricted,
    )


async def send_project(
    ctx: RequestContext,
    project: ProjectName,
    format: Format,
    files_url: str,
    permission: UpstreamPermission | None = None,
) -> None:
    """Send the project's page; `files_url` leads from it to the files. `permission`: another one
    than the request has.
    """
    permission = permission or ctx.upstream_permission(project)
    files_url = ctx.url_on_page(format, files_url)
    finished, serial = await ctx.app.pages.project(
        project,
        format,
        permission,
        files_url=files_url,
        provenance=ctx.provenance_url,
    )
    if not await _is_requested(ctx, project, permission):
        ctx.request.depends_on(ResponseDependencies(project, permission))
    await send_page(ctx.request, finished, serial=serial, restricted=ctx.app.restricted)


async def _is_requested(
    ctx: RequestContext, project: ProjectName, permission: UpstreamPermission
) -> bool:
    """Return whether the project waits for approval; then this request is recorded."""
    if ctx.app.index.context.policy.new_projects is NewProjects.OPEN:
        return False
    waiting = (await ctx.app.index.view(project, permission)).waiting
    if waiting is None or not waiting.files:
        return waiting is not None
    await ctx.app.approvals.request(project, ctx.identity.user or ctx.address)
    return True


def format_of(request: Request) -> Format:
    """Return the representation to answer with. Raises `NotAcceptable`."""
    wanted = (request.args or {}).get(b"format")
    chosen = negotiate(
        header_of(request, "accept"), wanted[0].decode("latin-1") if wanted else None
    )
    if chosen is None:
        raise NotAcceptable(tuple(format.value for format in Format))
    return chosen

"""The Simple API of stored files only, below ``/local/``, for builds that must not use other
indexes.

It has local files and cached upstream files; upstream is not asked, whatever the mode. Links lead
to files below ``/local/`` too: a client that has this as its only index gets nothing but what the
page listed.
"""

from __future__ import annotations

from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.fastpath.response_cache import ResponseDependencies
from pypid.web.http.responses import redirect, send_page
from pypid.web.installers.files import send_named
from pypid.web.installers.simple import format_of


@route("GET", "/local/<project>/", action=Action.READ, below_index=True, cross_site=True)
async def project_page(ctx: RequestContext, project: ProjectName) -> None:
    """Send the stored files of a project; other spellings of its name are redirected to the
    normalised one.
    """
    if ctx.spelling != project or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"/local/{project}/", permanent=True, restricted=ctx.app.restricted
        )
    provenance = ctx.provenance_url
    format = format_of(ctx.request)
    files_url = ctx.url_on_page(format, "../")
    permission = ctx.stored_permission
    finished, serial = await ctx.app.pages.project(
        project, format, permission, files_url=files_url, provenance=provenance
    )
    ctx.request.depends_on(ResponseDependencies(project, permission))
    return await send_page(ctx.request, finished, serial=serial, restricted=ctx.app.restricted)


@route("GET", "/local/<project>/<filename>", action=Action.READ, below_index=True, cross_site=True)
async def file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Send a stored file; with ``.metadata`` after its name, its core metadata."""
    await send_named(ctx, project, filename, ctx.stored_permission)

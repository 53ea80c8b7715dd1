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
from pypid.web.http.responses import redirect
from pypid.web.installers.files import send_named
from pypid.web.installers.simple import format_of, send_project


@route("GET", "/local/<project>/", action=Action.READ, below_index=True, cross_site=True)
async def project_page(ctx: RequestContext, project: ProjectName) -> None:
    """Send the stored files of a project; other spellings of its name are redirected to the
    normalised one.
    """
    if ctx.spelling != project or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"/local/{project}/", permanent=True, restricted=ctx.app.restricted
        )
    format = format_of(ctx.request)
    return await send_project(ctx, project, format, "../", ctx.stored_permission)


@route("GET", "/local/<project>/<filename>", action=Action.READ, below_index=True, cross_site=True)
async def file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Send a stored file; with ``.metadata`` after its name, its core metadata."""
    await send_named(ctx, project, filename, ctx.stored_permission)

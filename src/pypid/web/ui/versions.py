"""All releases of a project, a hundred per page; two of them can be chosen to compare."""

from __future__ import annotations

from urllib.parse import parse_qs

from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.redirects import redirect
from pypid.web.http.request import Request
from pypid.web.ui.pages import show
from pypid.web.ui.project import project_values

LINES = 100
"""Number of releases on one page."""


@route("GET", "/project/<project>/-/versions", action=Action.READ, page=True)
async def versions(ctx: RequestContext, project: ProjectName) -> None:
    """Show all releases of a project, the newest first."""
    if ctx.spelling != project or ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request,
            f"/project/{project}/-/versions",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    seen = await ctx.app.index.seen(project, ctx.upstream_permission(project))
    found = await ctx.app.project_page_cache.lines(seen.view)
    pages = max(1, -(-len(found.each) // LINES))
    page = page_asked(ctx.request, pages)
    return await show(
        ctx,
        "versions.html",
        **project_values(ctx, seen),
        lines=found.each[(page - 1) * LINES : page * LINES],
        newest=found.newest,
        total=len(found.each),
        page=page,
        pages=pages,
    )


def page_asked(request: Request, pages: int) -> int:
    """Return the requested page number; an invalid one counts as 1, one beyond the last as the
    last.
    """
    query = request.uri.partition(b"?")[2].decode("latin-1")
    try:
        text = parse_qs(query, max_num_fields=50).get("page", ["1"])[-1]
    except ValueError:
        return 1
    return (
        min(max(int(text), 1), pages) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    )

"""The page that explains why a project is shown as it is, and what hides its files: for users who
may read it. Only those who may also publish it see the address of upstream, and its errors.
"""

from __future__ import annotations

from collections import Counter

from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.presentation.explanation import FileWhy
from pypid.web.api.why import breaker_of, found_of
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.redirects import redirect
from pypid.web.ui.pages import show
from pypid.web.ui.pagination import ListSlice, leaf_of


@route("GET", "/project/<project>/-/why", action=Action.READ, page=True, below_index=True)
async def why(ctx: RequestContext, project: ProjectName) -> None:
    """Show the status of the name, the last upstream listing, and each hidden file."""
    if ctx.spelling != project or ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"/project/{project}/-/why", permanent=True, restricted=ctx.app.restricted
        )
    found = await found_of(ctx, project)
    hidden = [file for file in found.files if not file.visible]
    visible = Counter((file.ours, file.kept) for file in found.files if file.visible)
    leaf: ListSlice[FileWhy] = leaf_of(hidden, ctx.request)
    return await show(
        ctx,
        "why.html",
        project=project,
        found=found,
        ours=found.ours if isinstance(found.ours, Project) else None,
        outage=breaker_of(ctx.app, found),
        may_publish_it=ctx.may(Action.WRITE, project),
        leaf=leaf,
        visible={
            "ours": visible[True, False],
            "kept": visible[False, True],
            "upstream": visible[False, False],
        },
    )

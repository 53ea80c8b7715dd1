"""The page of advisories that affect stored files."""

from __future__ import annotations

from pypid.core.errors import BadRequest
from pypid.core.permissions import Action
from pypid.web.api.advisories import MOST_USERS, downloads_of, selected
from pypid.web.app.hosted_advisories import DAYS
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.ui.pages import show
from pypid.web.ui.pagination import leaf_of

SEVERITIES = ("low", "medium", "high", "critical")


@route("GET", "/advisories", action=Action.READ, page=True, below_index=True)
async def advisories(ctx: RequestContext) -> None:
    """Show the advisories that affect stored files, as far as the user may read their projects."""
    fields, by = query_fields(ctx.request), await ctx.advisory_visibility()
    typed = {name: fields.text(name).strip() for name in ("project", "severity")}
    hosted, problems = ctx.app.hosted_advisories, list[str]()
    found = await hosted.visible(by)
    try:
        leaf = leaf_of(selected(found, **typed), ctx.request, *typed)
    except BadRequest as error:
        problems.append(str(error))
        leaf = leaf_of((), ctx.request)
    lines = await hosted.shown(leaf.lines, by)
    await show(
        ctx,
        "advisories.html",
        status=400 if problems else 200,
        problems=problems,
        typed=typed,
        severities=SEVERITIES,
        leaf=leaf,
        lines=list(zip(lines, await downloads_of(ctx.app, lines), strict=True)),
        days=DAYS,
        most_users=MOST_USERS,
        is_configured=ctx.app.advisories.is_configured,
        loaded=ctx.app.advisories.age is not None,
    )

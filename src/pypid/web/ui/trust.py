"""The page of doubted publishers: upstream files without the expected attestation."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import BadName, BadRequest
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action
from pypid.index.trust import DoubtedFile
from pypid.web.api.trust import approved, doubted_files, forgotten, trust_of
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.flash import say
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import ListSlice, leaf_of

say(
    publisher_approved="The file was approved.",
    publishers_reset="The publishers of the project were forgotten.",
)


@route("GET", "/manage/trust", action=Action.ADMIN, page=True)
async def trust(ctx: RequestContext) -> None:
    """Show the doubted files."""
    await _page(ctx)


@route("POST", "/manage/trust", action=Action.ADMIN, page=True, form=True)
async def approve(ctx: RequestContext) -> None:
    """Approve a file."""
    fields = ctx.request.form or Fields()
    try:
        await approved(ctx, project_name(fields.text("project")), [fields.text("filename")])
    except (BadName, BadRequest) as error:
        return await _page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/trust", done="publisher-approved")


@route("POST", "/manage/trust/reset", action=Action.ADMIN, page=True, form=True)
async def reset(ctx: RequestContext) -> None:
    """Forget the publishers of a project."""
    fields = ctx.request.form or Fields()
    try:
        await forgotten(ctx, project_name(fields.text("project")))
    except (BadName, BadRequest) as error:
        return await _page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/trust", done="publishers-reset")


async def _page(ctx: RequestContext, *, problems: Sequence[str] = ()) -> None:
    leaf: ListSlice[DoubtedFile] = leaf_of(await doubted_files(ctx), ctx.request)
    await show(
        ctx,
        "trust.html",
        status=400 if problems else 200,
        problems=problems,
        leaf=leaf,
        rules=trust_of(ctx).rules,
    )

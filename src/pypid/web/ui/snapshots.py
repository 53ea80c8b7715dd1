"""The page of snapshots: create, list and delete them."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import BadMoment, BadRequest, NameTaken, NoSuchSnapshot, shortened
from pypid.core.permissions import Action
from pypid.core.records.documents import SnapshotDocument
from pypid.web.api.snapshots import NewSnapshot, deleted, made
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.flash import say
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import ListSlice, leaf_of

say(
    snapshot_made="The snapshot was created.",
    snapshot_deleted="The snapshot was deleted. Files stay.",
)


@route("GET", "/manage/snapshots", action=Action.ADMIN, page=True)
async def snapshots(ctx: RequestContext) -> None:
    """Show the snapshots."""
    await _page(ctx)


@route("POST", "/manage/snapshots", action=Action.ADMIN, page=True, form=True)
async def make(ctx: RequestContext) -> None:
    """Create a snapshot."""
    fields = ctx.request.form or Fields()
    wish = NewSnapshot(
        fields.text("name").strip(),
        fields.text("moment").strip() or None,
        fields.text("note").strip(),
    )
    try:
        await made(ctx, wish)
    except (BadMoment, BadRequest, NameTaken) as error:
        return await _page(ctx, problems=[str(error)], wish=wish)
    return go(ctx.request, "manage/snapshots", done="snapshot-made")


@route("POST", "/manage/snapshots/delete", action=Action.ADMIN, page=True, form=True)
async def delete(ctx: RequestContext) -> None:
    """Delete a snapshot, whose name was typed."""
    fields = ctx.request.form or Fields()
    name = fields.text("name")
    if fields.text("confirm").strip() != name:
        problem = f"To delete the snapshot {shortened(name)}, type its name. Nothing was deleted."
        return await _page(ctx, problems=[problem])
    try:
        await deleted(ctx, name)
    except NoSuchSnapshot as error:
        return await _page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/snapshots", done="snapshot-deleted")


async def _page(
    ctx: RequestContext,
    *,
    problems: Sequence[str] = (),
    wish: NewSnapshot | None = None,
) -> None:
    found = (await ctx.app.index.history.snapshots.all()).values()
    newest_first = sorted(found, key=lambda each: (each.made, each.name), reverse=True)
    leaf: ListSlice[SnapshotDocument] = leaf_of(newest_first, ctx.request)
    await show(
        ctx,
        "snapshots.html",
        status=400 if problems else 200,
        problems=problems,
        leaf=leaf,
        wish=wish or NewSnapshot(""),
        base=ctx.base_url or "",
    )

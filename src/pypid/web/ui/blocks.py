"""The page of blocks: create, list and delete them."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import BadRequest, NoSuchBlock, shortened
from pypid.core.permissions import Action
from pypid.index.blocks import StoredBlock
from pypid.web.api.blocks import CreatedBlock, NewBlock, created, deleted
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.flash import say
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import ListSlice, leaf_of

say(block_deleted="The block was deleted. Its files are served again.")


@route("GET", "/manage/blocks", action=Action.ADMIN, page=True)
async def blocks(ctx: RequestContext) -> None:
    """Show the blocks."""
    await _page(ctx)


@route("POST", "/manage/blocks", action=Action.ADMIN, page=True, form=True)
async def create(ctx: RequestContext) -> None:
    """Create a block whose name was typed twice, and show its reach."""
    fields = ctx.request.form or Fields()
    wish = NewBlock(
        fields.text("spec").strip(), fields.text("reason").strip(), fields.text("advisory").strip()
    )
    if fields.text("confirm").strip() != wish.spec:
        problem = f"To block {shortened(wish.spec)}, type it twice. Nothing was blocked."
        return await _page(ctx, problems=[problem], wish=wish)
    try:
        made = await created(ctx, wish)
    except BadRequest as error:
        return await _page(ctx, problems=[str(error)], wish=wish)
    return await _page(ctx, made=made)


@route("POST", "/manage/blocks/delete", action=Action.ADMIN, page=True, form=True)
async def delete(ctx: RequestContext) -> None:
    """Delete a block, whose id was typed."""
    fields = ctx.request.form or Fields()
    id = fields.text("id")
    if fields.text("confirm").strip() != id:
        problem = f"To delete the block {shortened(id)}, type its id. Nothing was deleted."
        return await _page(ctx, problems=[problem])
    try:
        await deleted(ctx, id)
    except NoSuchBlock as error:
        return await _page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/blocks", done="block-deleted")


async def _page(
    ctx: RequestContext,
    *,
    problems: Sequence[str] = (),
    wish: NewBlock | None = None,
    made: CreatedBlock | None = None,
) -> None:
    found = sorted(ctx.app.blocks.all.values(), key=lambda block: block.id)
    leaf: ListSlice[StoredBlock] = leaf_of(found, ctx.request)
    await show(
        ctx,
        "blocks.html",
        status=400 if problems else 201 if made else 200,
        problems=problems,
        leaf=leaf,
        wish=wish or NewBlock("", ""),
        made=made,
    )

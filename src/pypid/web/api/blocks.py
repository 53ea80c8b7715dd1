"""Blocks, created, listed and deleted: ``/api/blocks``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import msgspec

from pypid.core.errors import BadRequest, NoSuchBlock, StorageFull
from pypid.core.packaging.block_spec import parse_block_spec
from pypid.core.permissions import Action
from pypid.core.presentation.block_limits import BlockLimit, block_limits
from pypid.core.simple_api.entries import utc_text
from pypid.index.blocks import StoredBlock
from pypid.web.app.app import user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.descriptions import Described, Moment, Removed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json


class NewBlock(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a block. `spec`: ``acme``, ``acme==1.2``, ``acme>=1,<2`` or
    ``sha256:<digest>``.
    """

    spec: str
    reason: str
    advisory: str = ""


class BlockShape(TypedDict):
    """A block. `advisory` is "" without one; `created` is null if its document is unreadable."""

    id: str
    spec: str
    reason: str
    advisory: str
    created: Moment | None
    by: str


class CreatedBlock(BlockShape):
    """A new block, and its reach.

    `links_until`: until when signed URLs work that clients got before; null without such URLs.
    `not_revoked`: what else this index cannot revoke.
    """

    links_until: Moment | None
    not_revoked: list[str]


class BlockList(TypedDict):
    """All blocks, by id."""

    blocks: list[BlockShape]


@route("GET", "/api/blocks", action=Action.ADMIN, describe=Described(BlockList))
async def blocks(ctx: RequestContext) -> None:
    """List the blocks."""
    found = sorted(ctx.app.blocks.all.values(), key=lambda block: block.id)
    document: BlockList = {"blocks": [_shape(each) for each in found]}
    send_json(ctx.request, document)


@route(
    "GET",
    "/api/blocks/<block>",
    action=Action.ADMIN,
    describe=Described(BlockShape, refuses=(NoSuchBlock,)),
)
async def block(ctx: RequestContext, block: str) -> None:
    """Show a block."""
    send_json(ctx.request, _shape(ctx.app.blocks.find(block)))


@route(
    "POST",
    "/api/blocks",
    action=Action.ADMIN,
    describe=Described(CreatedBlock, takes=NewBlock, refuses=(BadRequest, StorageFull)),
)
async def create(ctx: RequestContext) -> None:
    """Withhold files from all clients. The block is in force on this machine when this is
    answered, and on other nodes within a second. What is blocked already keeps its block.
    """
    wish = await read_json(ctx.request, NewBlock)
    send_json(ctx.request, await created(ctx, wish))


async def created(ctx: RequestContext, wish: NewBlock) -> CreatedBlock:
    """Create the block; return it once it is in force."""
    spec = parse_block_spec(wish.spec)
    before = set(ctx.app.blocks.all)
    creating = ctx.app.blocks.create(spec, wish.reason, wish.advisory, user_of(ctx.identity))
    made = await recorded(
        ctx,
        "block create",
        spec.text,
        creating,
        lambda made: None if made.id in before else _details(made),
    )
    links, document = ctx.app.index.links, made.document
    return {
        **_shape(made),
        "links_until": None
        if links is None or document is None
        else utc_text(document.created + links.lifetime),
        "not_revoked": [str(limit) for limit in await _limits(ctx)],
    }


async def _limits(ctx: RequestContext) -> Sequence[BlockLimit]:
    bucket = ctx.app.index.bucket
    versioned = None if bucket is None else await (await bucket()).is_versioned()
    cdn = ctx.app.settings.cdn
    return block_limits(is_bucket=bucket is not None, is_versioned=versioned, cdn=cdn)


@route(
    "DELETE",
    "/api/blocks/<block>",
    action=Action.ADMIN,
    describe=Described(Removed, refuses=(NoSuchBlock, StorageFull)),
)
async def delete(ctx: RequestContext, block: str) -> None:
    """Delete a block: what it withheld is served again, unless another rule withholds it."""
    await deleted(ctx, block)
    document: Removed = {"name": block, "removed": True}
    send_json(ctx.request, document)


async def deleted(ctx: RequestContext, id: str) -> None:
    """Delete the block."""
    found = ctx.app.blocks.find(id)
    await recorded(ctx, "block delete", found.spec.text, ctx.app.blocks.delete(id), _details)


def _details(block: StoredBlock) -> Details:
    advisory = "" if block.document is None else block.document.advisory
    more = {"advisory": advisory} if advisory else {}
    return {"block": block.id, "reason": block.reason, **more}


def _shape(block: StoredBlock) -> BlockShape:
    document = block.document
    return {
        "id": block.id,
        "spec": block.spec.text,
        "reason": block.reason,
        "advisory": "" if document is None else document.advisory,
        "created": None if document is None else utc_text(document.created),
        "by": "" if document is None else document.by,
    }

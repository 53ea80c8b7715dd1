"""Snapshots, created, listed and deleted: ``/api/snapshots``."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import msgspec

from pypid.core.errors import BadMoment, BadRequest, NameTaken, NoSuchSnapshot
from pypid.core.permissions import Action, Identity
from pypid.core.records.as_of_time import moment_of, parse_moment, settled
from pypid.core.records.documents import SnapshotDocument
from pypid.core.simple_api.entries import utc_text
from pypid.index.history.named_snapshots import snapshot_name
from pypid.web.app.app import user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.descriptions import Described, Moment, Removed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json


class NewSnapshot(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a snapshot. `moment` as in ``/at/<moment>/``; without it,
    now.
    """

    name: str
    moment: str | None = None
    note: str = ""


class Snapshot(TypedDict):
    """A snapshot. It contains what happened before `moment`. `index` is its path; `by` is for
    administrators only.
    """

    name: str
    moment: Moment
    made: Moment
    note: str
    index: str
    by: NotRequired[str]


class Snapshots(TypedDict):
    """All snapshots, by name."""

    snapshots: list[Snapshot]


@route("GET", "/api/snapshots", action=Action.READ, describe=Described(Snapshots))
async def snapshots(ctx: RequestContext) -> None:
    """List the snapshots."""
    found = (await ctx.app.index.history.snapshots.all()).values()
    document: Snapshots = {
        "snapshots": [
            _document(each, ctx.identity) for each in sorted(found, key=lambda each: each.name)
        ]
    }
    send_json(ctx.request, document)


@route(
    "POST",
    "/api/snapshots",
    action=Action.ADMIN,
    describe=Described(
        Snapshot, status=201, takes=NewSnapshot, refuses=(BadMoment, BadRequest, NameTaken)
    ),
)
async def make(ctx: RequestContext) -> None:
    """Create a snapshot of now or of a past time. Cached upstream files that it shows are not
    evicted.
    """
    send_json(
        ctx.request,
        _document(await made(ctx, await read_json(ctx.request, NewSnapshot)), ctx.identity),
        201,
    )


async def made(ctx: RequestContext, wish: NewSnapshot) -> SnapshotDocument:
    """Create the snapshot; return its record."""
    now = ctx.app.world.now()
    before = now if wish.moment is None else settled(parse_moment(wish.moment), now).before
    snapshot = SnapshotDocument(
        snapshot_name(wish.name), before, now, user_of(ctx.identity), wish.note
    )
    making = ctx.app.index.history.snapshots.make(snapshot)
    await recorded(ctx, "snapshot create", wish.name, making, lambda _: _details(snapshot))
    return snapshot


@route(
    "DELETE",
    "/api/snapshots/<snapshot>",
    action=Action.ADMIN,
    describe=Described(Removed, refuses=(NoSuchSnapshot,)),
)
async def delete(ctx: RequestContext, snapshot: str) -> None:
    """Delete a snapshot. Files stay, and so does ``/at/`` of its time."""
    await deleted(ctx, snapshot)
    document: Removed = {"name": snapshot, "removed": True}
    send_json(ctx.request, document)


async def deleted(ctx: RequestContext, name: str) -> None:
    """Delete the snapshot of this name."""
    await recorded(
        ctx,
        "snapshot delete",
        name,
        ctx.app.index.history.snapshots.delete(name),
        _details,
    )


def _details(snapshot: SnapshotDocument) -> Details:
    return {"moment": moment_of(snapshot.moment).text}


def _document(snapshot: SnapshotDocument, who: Identity) -> Snapshot:
    document: Snapshot = {
        "name": snapshot.name,
        "moment": moment_of(snapshot.moment).text,
        "made": utc_text(snapshot.made),
        "note": snapshot.note,
        "index": f"/snapshots/{snapshot.name}/simple/",
    }
    if who.admin:
        document["by"] = snapshot.by
    return document

"""Snapshots, created, listed and deleted: ``/api/snapshots``."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import msgspec

from pypid.core.errors import BadMoment, BadRequest, NameTaken, NoSuchSnapshot
from pypid.core.permissions import Action, Identity
from pypid.core.records.as_of_time import moment_of, parse_moment, settled
from pypid.core.records.documents import SnapshotDocument
from pypid.core.simple_api.render import utc_text
from pypid.index.history.named_snapshots import snapshot_name
from pypid.web.app.app import App, routes, user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.descriptions import Described, Moment, Removed
from pypid.web.app.guard import guarded
from pypid.web.http.request import Request
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


@guarded(routes, "/api/snapshots", may=Action.READ)
@Described(Snapshots)
async def snapshots(app: App, request: Request, who: Identity) -> None:
    """List the snapshots."""
    found = (await app.index.moments.snapshots.all()).values()
    document: Snapshots = {
        "snapshots": [_document(each, who) for each in sorted(found, key=lambda each: each.name)]
    }
    send_json(request, document)


@guarded(routes, "/api/snapshots", may=Action.ADMIN, methods=("POST",))
@Described(Snapshot, status=201, takes=NewSnapshot, refuses=(BadMoment, BadRequest, NameTaken))
async def make(app: App, request: Request, who: Identity) -> None:
    """Create a snapshot of now or of a past time. Cached upstream files that it shows are not
    evicted.
    """
    send_json(
        request,
        _document(await made(app, request, who, await read_json(request, NewSnapshot)), who),
        201,
    )


async def made(app: App, request: Request, who: Identity, wish: NewSnapshot) -> SnapshotDocument:
    """Create the snapshot; return its record."""
    now = app.world.now()
    before = now if wish.moment is None else settled(parse_moment(wish.moment), now).before
    snapshot = SnapshotDocument(snapshot_name(wish.name), before, now, user_of(who), wish.note)
    making = app.index.moments.snapshots.make(snapshot)
    await recorded(app, request, who, "make-snapshot", wish.name, making, lambda _: _told(snapshot))
    return snapshot


@guarded(routes, "/api/snapshots/<snapshot>", may=Action.ADMIN, methods=("DELETE",))
@Described(Removed, refuses=(NoSuchSnapshot,))
async def delete(app: App, request: Request, who: Identity, snapshot: str) -> None:
    """Delete a snapshot. Files stay, and so does ``/at/`` of its time."""
    await deleted(app, request, who, snapshot)
    document: Removed = {"name": snapshot, "removed": True}
    send_json(request, document)


async def deleted(app: App, request: Request, who: Identity, name: str) -> None:
    """Delete the snapshot of this name."""
    await recorded(
        app,
        request,
        who,
        "delete-snapshot",
        name,
        app.index.moments.snapshots.delete(name),
        _told,
    )


def _told(snapshot: SnapshotDocument) -> Details:
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

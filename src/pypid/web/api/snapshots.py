"""Snapshots made, listed and deleted: ``/api/snapshots``."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import msgspec

from pypid.core.errors import BadMoment, BadRequest, NameTaken, NoSuchSnapshot
from pypid.core.permissions import Action, Identity
from pypid.core.records.as_of_time import moment_of, parse_moment, settled
from pypid.core.records.documents import SnapshotDocument
from pypid.core.simple_api.render import utc_text
from pypid.index.history.named_snapshots import snapshot_name
from pypid.web.app.app import App, app, user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.descriptions import Described, Moment, Removed
from pypid.web.app.guard import guarded
from pypid.web.http.request import Request
from pypid.web.http.small_responses import read_json, send_json


class NewSnapshot(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a new snapshot. `moment` as in ``/at/<moment>/``; without one it is now."""

    name: str
    moment: str | None = None
    note: str = ""


class Snapshot(TypedDict):
    """A snapshot. What happened before `moment` is in it. `index` is its path; `by` is told to
    administrators.
    """

    name: str
    moment: Moment
    made: Moment
    note: str
    index: str
    by: NotRequired[str]


class Snapshots(TypedDict):
    """All, by name."""

    snapshots: list[Snapshot]


@guarded(app, "/api/snapshots", may=Action.READ)
@Described(Snapshots)
async def snapshots(face: App, request: Request, who: Identity) -> None:
    """The snapshots that were made."""
    found = (await face.index.moments.snapshots.all()).values()
    document: Snapshots = {
        "snapshots": [_document(each, who) for each in sorted(found, key=lambda each: each.name)]
    }
    send_json(request, document)


@guarded(app, "/api/snapshots", may=Action.ADMIN, methods=("POST",))
@Described(Snapshot, status=201, takes=NewSnapshot, refuses=(BadMoment, BadRequest, NameTaken))
async def make(face: App, request: Request, who: Identity) -> None:
    """A new snapshot, of now or of a moment that is over; kept files of upstream's that it shows
    are not evicted.
    """
    send_json(
        request,
        _document(await made(face, request, who, await read_json(request, NewSnapshot)), who),
        201,
    )


async def made(face: App, request: Request, who: Identity, wish: NewSnapshot) -> SnapshotDocument:
    """Make it."""
    now = face.world.now()
    before = now if wish.moment is None else settled(parse_moment(wish.moment), now).before
    snapshot = SnapshotDocument(snapshot_name(wish.name), before, now, user_of(who), wish.note)
    making = face.index.moments.snapshots.make(snapshot)
    await recorded(
        face, request, who, "make-snapshot", wish.name, making, lambda _: _told(snapshot)
    )
    return snapshot


@guarded(app, "/api/snapshots/<snapshot>", may=Action.ADMIN, methods=("DELETE",))
@Described(Removed, refuses=(NoSuchSnapshot,))
async def delete(face: App, request: Request, who: Identity, snapshot: str) -> None:
    """Take the snapshot away; files stay, and so does ``/at/`` of its moment."""
    await deleted(face, request, who, snapshot)
    document: Removed = {"name": snapshot, "removed": True}
    send_json(request, document)


async def deleted(face: App, request: Request, who: Identity, name: str) -> None:
    """Take it away."""
    await recorded(
        face,
        request,
        who,
        "delete-snapshot",
        name,
        face.index.moments.snapshots.delete(name),
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

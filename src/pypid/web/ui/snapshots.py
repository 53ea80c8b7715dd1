"""The page of snapshots: create, list and delete them."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import BadMoment, BadRequest, NameTaken, NoSuchSnapshot, shortened
from pypid.core.permissions import Action, Identity
from pypid.core.records.documents import SnapshotDocument
from pypid.web.api.snapshots import NewSnapshot, deleted, made
from pypid.web.app.app import App, routes
from pypid.web.app.guard import guarded
from pypid.web.http.form_fields import Fields
from pypid.web.http.request import Request
from pypid.web.ui.flash import say
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import ListSlice, leaf_of

say(
    snapshot_made="The snapshot was created.",
    snapshot_deleted="The snapshot was deleted. Files stay.",
)


@guarded(routes, "/manage/snapshots", may=Action.ADMIN, page=True)
async def snapshots(app: App, request: Request, who: Identity) -> None:
    """Show the snapshots."""
    await _page(app, request, who)


@guarded(routes, "/manage/snapshots", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def make(app: App, request: Request, who: Identity) -> None:
    """Create a snapshot."""
    fields = request.form or Fields()
    wish = NewSnapshot(
        fields.text("name").strip(),
        fields.text("moment").strip() or None,
        fields.text("note").strip(),
    )
    try:
        await made(app, request, who, wish)
    except (BadMoment, BadRequest, NameTaken) as error:
        return await _page(app, request, who, problems=[str(error)], wish=wish)
    return go(request, "manage/snapshots", done="snapshot-made")


@guarded(
    routes, "/manage/snapshots/delete", may=Action.ADMIN, methods=("POST",), page=True, form=True
)
async def delete(app: App, request: Request, who: Identity) -> None:
    """Delete a snapshot, whose name was typed."""
    fields = request.form or Fields()
    name = fields.text("name")
    if fields.text("confirm").strip() != name:
        problem = f"To delete the snapshot {shortened(name)}, type its name. Nothing was deleted."
        return await _page(app, request, who, problems=[problem])
    try:
        await deleted(app, request, who, name)
    except NoSuchSnapshot as error:
        return await _page(app, request, who, problems=[str(error)])
    return go(request, "manage/snapshots", done="snapshot-deleted")


async def _page(
    app: App,
    request: Request,
    who: Identity,
    *,
    problems: Sequence[str] = (),
    wish: NewSnapshot | None = None,
) -> None:
    found = (await app.index.moments.snapshots.all()).values()
    newest_first = sorted(found, key=lambda each: (each.made, each.name), reverse=True)
    leaf: ListSlice[SnapshotDocument] = leaf_of(newest_first, request)
    await show(
        app,
        request,
        who,
        "snapshots.html",
        status=400 if problems else 200,
        problems=problems,
        leaf=leaf,
        wish=wish or NewSnapshot(""),
        base=app.base_url(request) or "",
    )

"""The pages of groups: their members and rights."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.accounts.rights import Whom
from pypid.core.errors import NoSuchGroup, PypidError
from pypid.core.permissions import Action, Identity
from pypid.web.api.groups import IN_THE_FILE, added, joined, left, removed
from pypid.web.api.rights import listed
from pypid.web.app.app import App, routes
from pypid.web.app.guard import guarded
from pypid.web.http.form_fields import Fields, asked
from pypid.web.http.request import Request
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import MISTAKES, demand_typed, has_no_accounts, refused, sent
from pypid.web.ui.pages import go, part, show
from pypid.web.ui.pagination import leaf_of

GROUPS, GROUP = "/manage/groups", "/manage/groups/<name>"
MOST = 200
"""Number of rights of a group that are shown; another page has all."""

say(
    group_added="The group was created.",
    group_removed="The group was removed, with its rights.",
    joined="The member was added.",
    left="The member was removed.",
)


@guarded(routes, GROUPS, may=Action.ADMIN, page=True)
async def groups(app: App, request: Request, who: Identity) -> None:
    """Show all groups but those of a directory, which cannot be listed."""
    if not await has_no_accounts(app, request, who):
        await _list(app, request, who)


async def _list(
    app: App,
    request: Request,
    who: Identity,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    name: str = "",
) -> None:
    configured, kept = app.known.configured(), await app.accounts.memberships()
    found = [(group, len(members), "database") for group, members in kept.items()]
    found += [
        (group, len(configured.members.get(group, ())), "configuration")
        for group in configured.groups
    ]
    wanted = asked(request).text("q").strip()
    found = sorted(group for group in found if wanted.casefold() in group[0].casefold())
    values = {
        "groups": leaf_of(found, request, "q"),
        "wanted": wanted,
        "name": name,
        "problems": problems,
    }
    await show(app, request, who, "groups.html", status=status, **values)


@guarded(routes, GROUPS, may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def add(app: App, request: Request, who: Identity) -> None:
    """Create a group."""
    text = sent(request).text("name").strip()
    try:
        name = await added(app, request, who, text)
    except MISTAKES as error:
        status, problems = refused(request, error)
        return await _list(app, request, who, status=status, problems=problems, name=text)
    return go(request, f"manage/groups/{part(name)}", done="group-added")


@guarded(routes, GROUP, may=Action.ADMIN, page=True)
async def group(app: App, request: Request, who: Identity, name: str) -> None:
    """Show a group with its members and rights."""
    if not await has_no_accounts(app, request, who):
        await _one(app, request, who, name)


async def _one(
    app: App,
    request: Request,
    who: Identity,
    name: str,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    warnings: Sequence[str] = (),
    said: Fields | None = None,
) -> None:
    configured, kept = app.known.configured(), await app.accounts.memberships()
    if name not in kept and name not in configured.groups:
        raise NoSuchGroup(name)
    members = configured.members.get(name, frozenset()) if name in configured.groups else kept[name]
    rights = (await listed(app))["rights"]
    await show(
        app,
        request,
        who,
        "group.html",
        status=status,
        problems=problems,
        warnings=warnings,
        name=name,
        user=(said or Fields()).text("user"),
        members=leaf_of(sorted(members), request),
        changed_where=f"It is changed elsewhere: {IN_THE_FILE}."
        if name in configured.groups
        else None,
        rights=[right for right in rights if right["kind"] is Whom.GROUP and right["name"] == name][
            :MOST
        ],
    )


@guarded(routes, GROUP + "/join", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def join(app: App, request: Request, who: Identity, name: str) -> None:
    """Add a user to the group."""
    said = sent(request)
    try:
        warnings = await joined(app, request, who, name, said.text("user").strip())
    except MISTAKES as error:
        return await _again(app, request, who, name, error, said)
    if warnings:
        return await _one(app, request, who, name, warnings=warnings)
    return go(request, f"manage/groups/{part(name)}", done="joined")


@guarded(routes, GROUP + "/leave", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def leave(app: App, request: Request, who: Identity, name: str) -> None:
    """Remove a user from the group."""
    try:
        await left(app, request, who, name, sent(request).text("user"))
    except MISTAKES as error:
        return await _again(app, request, who, name, error)
    return go(request, f"manage/groups/{part(name)}", done="left")


@guarded(routes, GROUP + "/remove", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def remove(app: App, request: Request, who: Identity, name: str) -> None:
    """Remove the group."""
    try:
        demand_typed(sent(request), name)
        await removed(app, request, who, name)
    except MISTAKES as error:
        return await _again(app, request, who, name, error)
    return go(request, "manage/groups", done="group-removed")


async def _again(
    app: App,
    request: Request,
    who: Identity,
    name: str,
    error: PypidError,
    said: Fields | None = None,
) -> None:
    """Show the group's page again, with the error. Raises the error if there is no such group."""
    if isinstance(error, NoSuchGroup):
        raise error
    status, problems = refused(request, error)
    await _one(app, request, who, name, status=status, problems=problems, said=said)

"""The pages of groups: their members and rights."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.accounts.rights import Whom
from pypid.core.errors import NoSuchGroup, PypidError
from pypid.core.permissions import Action
from pypid.web.api.groups import IN_THE_FILE, added, joined, left, removed
from pypid.web.api.rights import listed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields, query_fields
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


@route("GET", GROUPS, action=Action.ADMIN, page=True)
async def groups(ctx: RequestContext) -> None:
    """Show all groups but those of a directory, which cannot be listed."""
    if not await has_no_accounts(ctx):
        await _list(ctx)


async def _list(
    ctx: RequestContext,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    name: str = "",
) -> None:
    configured, kept = ctx.app.known.configured(), await ctx.app.accounts.memberships()
    found = [(group, len(members), "database") for group, members in kept.items()]
    found += [
        (group, len(configured.members.get(group, ())), "configuration")
        for group in configured.groups
    ]
    wanted = query_fields(ctx.request).text("q").strip()
    found = sorted(group for group in found if wanted.casefold() in group[0].casefold())
    values = {
        "groups": leaf_of(found, ctx.request, "q"),
        "wanted": wanted,
        "name": name,
        "problems": problems,
    }
    await show(ctx, "groups.html", status=status, **values)


@route("POST", GROUPS, action=Action.ADMIN, page=True, form=True)
async def add(ctx: RequestContext) -> None:
    """Create a group."""
    text = sent(ctx.request).text("name").strip()
    try:
        name = await added(ctx, text)
    except MISTAKES as error:
        status, problems = refused(ctx.request, error)
        return await _list(ctx, status=status, problems=problems, name=text)
    return go(ctx.request, f"manage/groups/{part(name)}", done="group-added")


@route("GET", GROUP, action=Action.ADMIN, page=True)
async def group(ctx: RequestContext, name: str) -> None:
    """Show a group with its members and rights."""
    if not await has_no_accounts(ctx):
        await _one(ctx, name)


async def _one(
    ctx: RequestContext,
    name: str,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    form: Fields | None = None,
) -> None:
    configured, kept = ctx.app.known.configured(), await ctx.app.accounts.memberships()
    if name not in kept and name not in configured.groups:
        raise NoSuchGroup(name)
    members = configured.members.get(name, frozenset()) if name in configured.groups else kept[name]
    rights = (await listed(ctx.app))["rights"]
    await show(
        ctx,
        "group.html",
        status=status,
        problems=problems,
        name=name,
        user=(form or Fields()).text("user"),
        members=leaf_of(sorted(members), ctx.request),
        changed_where=f"It is changed elsewhere: {IN_THE_FILE}."
        if name in configured.groups
        else None,
        rights=[right for right in rights if right["kind"] is Whom.GROUP and right["name"] == name][
            :MOST
        ],
    )


@route("POST", GROUP + "/join", action=Action.ADMIN, page=True, form=True)
async def join(ctx: RequestContext, name: str) -> None:
    """Add a user to the group."""
    form = sent(ctx.request)
    try:
        new_name = form.text("do") == "add-new"
        await joined(ctx, name, form.text("user").strip(), new_name=new_name)
    except MISTAKES as error:
        return await _again(ctx, name, error, form)
    return go(ctx.request, f"manage/groups/{part(name)}", done="joined")


@route("POST", GROUP + "/leave", action=Action.ADMIN, page=True, form=True)
async def leave(ctx: RequestContext, name: str) -> None:
    """Remove a user from the group."""
    try:
        await left(ctx, name, sent(ctx.request).text("user"))
    except MISTAKES as error:
        return await _again(ctx, name, error)
    return go(ctx.request, f"manage/groups/{part(name)}", done="left")


@route("POST", GROUP + "/remove", action=Action.ADMIN, page=True, form=True)
async def remove(ctx: RequestContext, name: str) -> None:
    """Remove the group."""
    try:
        demand_typed(sent(ctx.request), name)
        await removed(ctx, name)
    except MISTAKES as error:
        return await _again(ctx, name, error)
    return go(ctx.request, "manage/groups", done="group-removed")


async def _again(
    ctx: RequestContext,
    name: str,
    error: PypidError,
    form: Fields | None = None,
) -> None:
    """Show the group's page again, with the error. Raises the error if there is no such group."""
    if isinstance(error, NoSuchGroup):
        raise error
    status, problems = refused(ctx.request, error)
    await _one(ctx, name, status=status, problems=problems, form=form)

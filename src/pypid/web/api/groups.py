"""Groups, below ``/api/groups``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict

import msgspec

from pypid.core.configuration.checks import nearest
from pypid.core.errors import BadRequest, ChangedElsewhere, NameTaken, NoSuchGroup, NotAvailable
from pypid.core.permissions import Action, Principals, account_name
from pypid.web.app.account_names import NewName, new_name, unknown_names
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described, Removed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json

GROUP = "/api/groups/<name>"
MEMBER = GROUP + "/members/<user>"
IN_THE_FILE = (
    "[groups] of the configuration is where it stands; change it there and reload pypid (SIGHUP)"
)


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a group."""

    name: NewName


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to add a member: with `new_name`, also a user who does not exist."""

    new_name: bool = False


class GroupDocument(TypedDict):
    """A group. `members`: null for a group of the configuration."""

    name: str
    members: list[str] | None
    source: Literal["configuration", "database"]


class Groups(TypedDict):
    """The list of groups."""

    groups: list[GroupDocument]


NO_GROUP = (NoSuchGroup, ChangedElsewhere, NotAvailable)


@route(
    "GET", "/api/groups", action=Action.ADMIN, describe=Described(Groups, refuses=(NotAvailable,))
)
async def groups(ctx: RequestContext) -> None:
    """List the groups with their members. Groups of the configuration are listed by name only,
    those of a directory not at all.
    """
    found = [
        _document(name, members) for name, members in (await ctx.app.accounts.memberships()).items()
    ]
    found += [
        {"name": name, "members": None, "source": "configuration"}
        for name in ctx.app.known.configured().groups
    ]
    document: Groups = {"groups": sorted(found, key=lambda group: group["name"])}
    send_json(ctx.request, document)


@route("GET", GROUP, action=Action.ADMIN, describe=Described(GroupDocument, refuses=NO_GROUP))
async def group(ctx: RequestContext, name: str) -> None:
    """Return a group with its members."""
    send_json(ctx.request, _document(name, await members_of(ctx.app, name)))


@route(
    "POST",
    "/api/groups",
    action=Action.ADMIN,
    describe=Described(
        GroupDocument,
        status=201,
        takes=NewGroup,
        refuses=(NameTaken, ChangedElsewhere, NotAvailable),
    ),
)
async def add(ctx: RequestContext) -> None:
    """Create an empty group. Rights given to its name before are its own."""
    name = await added(ctx, (await read_json(ctx.request, NewGroup)).name)
    send_json(ctx.request, _document(name, ()), 201)


@route("DELETE", GROUP, action=Action.ADMIN, describe=Described(Removed, refuses=NO_GROUP))
async def remove(ctx: RequestContext, name: str) -> None:
    """Delete a group and its rights."""
    await removed(ctx, name)
    document: Removed = {"name": name, "removed": True}
    send_json(ctx.request, document)


@route(
    "PUT",
    MEMBER,
    action=Action.ADMIN,
    describe=Described(GroupDocument, takes=NewMember, refuses=(*NO_GROUP, BadRequest)),
)
async def join(ctx: RequestContext, name: str, user: str) -> None:
    """Add a user to a group."""
    wanted = await read_json(ctx.request, NewMember)
    await joined(ctx, name, user, new_name=wanted.new_name)
    send_json(ctx.request, _document(name, await members_of(ctx.app, name)))


@route(
    "DELETE",
    MEMBER,
    action=Action.ADMIN,
    describe=Described(GroupDocument, refuses=(*NO_GROUP, BadRequest)),
)
async def leave(ctx: RequestContext, name: str, user: str) -> None:
    """Remove a user from a group."""
    await left(ctx, name, user)
    send_json(ctx.request, _document(name, await members_of(ctx.app, name)))


# --- shared with the pages ------------------------------------------------------------------------


async def added(ctx: RequestContext, text: str) -> str:
    """Create the group; return its name. Raises `BadRequest`, `NameTaken`, `ChangedElsewhere`."""
    name = new_name(text)
    demand_changeable(ctx.app, name)
    await recorded(ctx, "group create", name, ctx.app.accounts.add_group(name))
    return name


async def removed(ctx: RequestContext, name: str) -> None:
    """Delete the group and its rights. Raises `NoSuchGroup`, `ChangedElsewhere`."""
    members = await members_of(ctx.app, name)
    removing = ctx.app.accounts.remove_group(name)
    await recorded(ctx, "group delete", name, removing, lambda _: {"members": str(len(members))})


async def joined(ctx: RequestContext, name: str, user: str, *, new_name: bool) -> None:
    """Add the user to the group. Raises `NoSuchGroup`, `ChangedElsewhere`, and `BadRequest`, unless
    `new_name` also for a user who does not exist.
    """
    before = await members_of(ctx.app, name)
    try:
        account_name(user)
    except ValueError as error:
        raise BadRequest(f"This cannot be a user: {error}.") from None
    one = Principals(users=frozenset({user}))
    if user not in before and not new_name and (unknown := await unknown_names(ctx.app, one)):
        raise BadRequest(
            f"Nothing was changed. {unknown[0]} To add the member before the name exists, use "
            "`pypid group add-user --new-name`, or `new_name` in the API."
        )
    joining = ctx.app.accounts.join(name, user)
    await recorded(
        ctx,
        "group add-user",
        f"{name}/{user}",
        joining,
        lambda _: None if user in before else {},
    )


async def left(ctx: RequestContext, name: str, user: str) -> None:
    """Remove the user from the group. Raises `NoSuchGroup`, `ChangedElsewhere`, and `BadRequest`
    for a user who is not a member.
    """
    before = await members_of(ctx.app, name)
    if user not in before:
        raise BadRequest(f"{user} is not a member of the group {name}{nearest(user, before)}.")
    leaving = ctx.app.accounts.leave(name, user)
    await recorded(ctx, "group remove-user", f"{name}/{user}", leaving)


async def members_of(app: App, name: str) -> frozenset[str]:
    """Return the members of the group. Raises `NoSuchGroup`, and `ChangedElsewhere` for a group of
    the configuration.
    """
    found = (await app.accounts.memberships()).get(name)
    if found is None:
        demand_changeable(app, name)
        raise NoSuchGroup(name)
    return found


def demand_changeable(app: App, name: str) -> None:
    if name in app.known.configured().groups:
        raise ChangedElsewhere(f"the group {name!r}", IN_THE_FILE)


def _document(name: str, members: Iterable[str]) -> GroupDocument:
    return {"name": name, "members": sorted(members), "source": "database"}

"""The JSON API of the owner of a project, ``/api/projects/<project>/owner``, and of the rules that
decide what a user may do with it, ``/api/projects/<project>/access/<user>``.
"""

from __future__ import annotations

from typing import TypedDict

import msgspec

from pypid.core.accounts.owners import ProjectOwner
from pypid.core.errors import BadRequest, NotAvailable, shortened
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import ANONYMOUS, Action, Identity
from pypid.core.simple_api.entries import utc_text
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.ownership import explain_access
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json

OWNER = "/api/projects/<project>/owner"
NO_USER = "anonymous"
"""The user name that stands for a client that has not logged in."""


class OwnerOfProject(TypedDict):
    """The user who owns a project, and the source of that account."""

    user: str
    source: str
    since: Moment


class OwnerDocument(TypedDict):
    """The owner of a project; null if it has none. `index` is empty for the default index;
    `in_force` is false while ``[access] owners`` of the index is ``none``.
    """

    project: str
    index: str
    owner: OwnerOfProject | None
    in_force: bool


class NewOwner(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change of the owner: the name of a user."""

    user: str


class ActionExplained(TypedDict):
    """Whether the user may do the action, and the rule that decides it, as text."""

    action: str
    allowed: bool
    because: str


class AccessExplained(TypedDict):
    """What a user may do with a project. `groups` are the groups of the user; `rule` is the name or
    the glob whose rights apply to the project, null if only the defaults do. `owner_in_force`:
    whether owners have an effect in the index (`owners`).
    """

    project: str
    index: str
    user: str
    admin: bool
    groups: list[str]
    rule: str | None
    owner: str | None
    owner_in_force: bool
    actions: list[ActionExplained]


# --- the owner ------------------------------------------------------------------------------------


@route(
    "GET",
    OWNER,
    action=Action.MANAGE,
    below_index=True,
    describe=Described(OwnerDocument, refuses=(NotAvailable,)),
)
async def owner(ctx: RequestContext, project: ProjectName) -> None:
    """Return the owner of a project, to the owner and to administrators."""
    send_json(ctx.request, await owner_document(ctx.app, project))


@route(
    "PUT",
    OWNER,
    action=Action.ADMIN,
    below_index=True,
    describe=Described(OwnerDocument, takes=NewOwner, refuses=(BadRequest, NotAvailable)),
)
async def set_owner(ctx: RequestContext, project: ProjectName) -> None:
    """Make a user the owner of a project, which may not exist yet."""
    wanted = await read_json(ctx.request, NewOwner)
    await give(ctx, project, wanted.user)
    send_json(ctx.request, await owner_document(ctx.app, project))


@route(
    "DELETE",
    OWNER,
    action=Action.ADMIN,
    below_index=True,
    describe=Described(OwnerDocument, refuses=(NotAvailable,)),
)
async def remove_owner(ctx: RequestContext, project: ProjectName) -> None:
    """Remove the owner of a project: users with the default right to publish may change it then."""
    await give(ctx, project, None)
    send_json(ctx.request, await owner_document(ctx.app, project))


async def owner_document(app: App, name: ProjectName) -> OwnerDocument:
    """Return the owner of a project as the API sends it."""
    found = (await app.accounts.owners()).get((app.index.name, name))
    return {
        "project": name,
        "index": app.index.name,
        "owner": None if found is None else _document(found),
        "in_force": app.has_owners,
    }


def _document(owner: ProjectOwner) -> OwnerOfProject:
    source = owner.account.partition(":")[0]
    return {"user": owner.user, "source": source, "since": utc_text(owner.since)}


async def give(ctx: RequestContext, name: ProjectName, user: str | None) -> None:
    """Make the user the owner of the project; None: remove its owner. Raises `BadRequest`."""
    key, account = (ctx.app.index.name, name), None
    if user is not None:
        account = (await known_user(ctx.app, user)).account
        if not account:
            raise BadRequest(f"The user {user!r} has no account that can own a project.")
    before = (await ctx.app.accounts.owners()).get(key)

    def details_of(_: None) -> dict[str, str] | None:
        if account == (None if before is None else before.account):
            return None
        was = "" if before is None else before.user
        return {"user": user or "", "was": was}

    setting = ctx.app.accounts.set_owner(key, account)
    await recorded(ctx, "project set-owner", name, setting, details_of)


async def known_user(app: App, user: str) -> Identity:
    """Return the user as whom a client can log in. Raises `BadRequest`."""
    found = await app.known.find(user)
    if found is None:
        raise BadRequest(f"No user can log in as {shortened(user)!r}: is it spelled right?")
    return found


# --- which rule decides ---------------------------------------------------------------------------


@route(
    "GET",
    "/api/projects/<project>/access/<user>",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(AccessExplained, refuses=(BadRequest, NotAvailable)),
)
async def access(ctx: RequestContext, project: ProjectName, user: str) -> None:
    """Explain which rule decides what a user may do with a project; ``anonymous`` stands for a
    client that has not logged in.
    """
    send_json(ctx.request, await access_document(ctx.app, project, user))


async def access_document(app: App, name: ProjectName, user: str) -> AccessExplained:
    """Return what the user may do with the project, and why. Raises `BadRequest`."""
    who = ANONYMOUS if user == NO_USER else await known_user(app, user)
    rule, has_owners, actions = await explain_access(app, name, who)
    found = (await app.accounts.owners()).get((app.index.name, name))
    return {
        "project": name,
        "index": app.index.name,
        "user": user,
        "admin": who.admin,
        "groups": sorted(who.groups),
        "rule": rule,
        "owner": None if found is None else found.user,
        "owner_in_force": has_owners,
        "actions": [
            {"action": each.action.name.lower(), "allowed": each.allowed, "because": each.because}
            for each in actions
        ],
    }

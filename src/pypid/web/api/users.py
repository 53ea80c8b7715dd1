"""Accounts, below ``/api/users``; and ``/api/me``, which returns the identity of the client."""

from __future__ import annotations

from typing import cast

from pypid.core.errors import (
    ChangedElsewhere,
    Forbidden,
    LastAdmin,
    NameTaken,
    NoSuchUser,
    NotAvailable,
    NotByToken,
)
from pypid.core.permissions import Action, Identity
from pypid.web.api.tokens import ACTIONS, words_of
from pypid.web.app.accounts import (
    Change,
    NewPassword,
    NewUser,
    added,
    changed,
    demand_may_set_password,
    listed,
    password_set,
    removed,
    user_document,
)
from pypid.web.app.descriptions import Described, Removed
from pypid.web.app.people_documents import (
    MadeUser,
    Me,
    NewSecret,
    Powers,
    TokenUsed,
    Users,
    WholeUser,
)
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, route
from pypid.web.http.small_responses import read_json, send_json

USER = "/api/users/<name>"
NO_ACCOUNT = (NoSuchUser, ChangedElsewhere, NotAvailable)

# --- who am I -------------------------------------------------------------------------------------


@route("GET", "/api/me", action=ANYBODY, describe=Described(Me))
async def me(ctx: RequestContext) -> None:
    """Return the identity of the client, and what it may do in at least one project."""
    document: Me = {
        "user": ctx.identity.user,
        "groups": sorted(ctx.identity.groups),
        "admin": ctx.is_admin,
        "token": _token(ctx.identity),
        "may": cast(
            Powers,
            {word: ctx.may_some(action) for word, action in ACTIONS.items()},
        ),
    }
    send_json(ctx.request, document)


def _token(who: Identity) -> TokenUsed | None:
    if who.scope is None:
        return None
    return {
        "id": who.token,
        "actions": words_of(who.scope.actions),
        "projects": list(who.scope.projects),
        "publisher": who.publisher,
    }


# --- reading --------------------------------------------------------------------------------------


@route("GET", "/api/users", action=Action.ADMIN, describe=Described(Users, refuses=(NotAvailable,)))
async def users(ctx: RequestContext) -> None:
    """List the accounts, and the users of the configuration. Users of a directory are not
    listed.
    """
    send_json(ctx.request, await listed(ctx.app))


@route(
    "GET",
    USER,
    action=Action.ADMIN,
    describe=Described(WholeUser, refuses=(NoSuchUser, NotAvailable)),
)
async def user(ctx: RequestContext, name: str) -> None:
    """Return one user, from any source, with their groups."""
    send_json(ctx.request, await user_document(ctx.app, name))


# --- creating and changing ------------------------------------------------------------------------


@route(
    "POST",
    "/api/users",
    action=Action.ADMIN,
    describe=Described(MadeUser, status=201, takes=NewUser, refuses=(NameTaken, NotAvailable)),
)
async def add(ctx: RequestContext) -> None:
    """Create an account."""
    wanted = await read_json(ctx.request, NewUser)
    password = await added(ctx, wanted)
    document = cast(MadeUser, await user_document(ctx.app, wanted.name))
    if password is not None:
        document["password"] = password
    send_json(ctx.request, document, 201)


@route(
    "PATCH",
    USER,
    action=Action.ADMIN,
    describe=Described(WholeUser, takes=Change, refuses=(*NO_ACCOUNT, LastAdmin)),
)
async def change(ctx: RequestContext, name: str) -> None:
    """Change an account: make the user an administrator, or no longer; disable the account, or
    enable it (also for the first time).
    """
    await changed(ctx, name, await read_json(ctx.request, Change))
    send_json(ctx.request, await user_document(ctx.app, name))


@route(
    "DELETE",
    USER,
    action=Action.ADMIN,
    describe=Described(Removed, refuses=(*NO_ACCOUNT, LastAdmin)),
)
async def remove(ctx: RequestContext, name: str) -> None:
    """Delete an account, with its tokens, sessions, rights and memberships."""
    await removed(ctx, name)
    document: Removed = {"name": name, "removed": True}
    send_json(ctx.request, document)


@route(
    "PUT",
    USER + "/password",
    action=SOMEBODY,
    describe=Described(NewSecret, takes=NewPassword, refuses=(*NO_ACCOUNT, Forbidden, NotByToken)),
)
async def set_password(ctx: RequestContext, name: str) -> None:
    """Set a new password: one's own, or as an administrator that of another user."""
    demand_may_set_password(ctx, name)
    password = await password_set(ctx, name, await read_json(ctx.request, NewPassword))
    document: NewSecret = {"name": name}
    if password is not None:
        document["password"] = password
    send_json(ctx.request, document)

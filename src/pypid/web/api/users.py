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
from pypid.core.permissions import Action, Identity, may
from pypid.web.api.people_documents import (
    MadeUser,
    Me,
    NewSecret,
    Powers,
    TokenUsed,
    Users,
    WholeUser,
)
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
    told,
)
from pypid.web.app.app import App, routes
from pypid.web.app.descriptions import Described, Removed
from pypid.web.app.guard import ANYBODY, SOMEBODY, guarded
from pypid.web.http.request import Request
from pypid.web.http.small_responses import read_json, send_json

USER = "/api/users/<name>"
NO_ACCOUNT = (NoSuchUser, ChangedElsewhere, NotAvailable)

# --- who am I -------------------------------------------------------------------------------------


@guarded(routes, "/api/me", may=ANYBODY)
@Described(Me)
async def me(app: App, request: Request, who: Identity) -> None:
    """Return the identity of the client, and what it may do in at least one project."""
    document: Me = {
        "user": who.user,
        "groups": sorted(who.groups),
        "admin": may(app.rules, who, Action.ADMIN),
        "token": _token(who),
        "may": cast(
            Powers, {word: may(app.rules, who, action) for word, action in ACTIONS.items()}
        ),
    }
    send_json(request, document)


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


@guarded(routes, "/api/users", may=Action.ADMIN)
@Described(Users, refuses=(NotAvailable,))
async def users(app: App, request: Request, who: Identity) -> None:
    """List the accounts, and the users of the configuration. Users of a directory are not
    listed.
    """
    send_json(request, await listed(app))


@guarded(routes, USER, may=Action.ADMIN)
@Described(WholeUser, refuses=(NoSuchUser, NotAvailable))
async def user(app: App, request: Request, who: Identity, name: str) -> None:
    """Return one user, from any source, with their groups."""
    send_json(request, await told(app, name))


# --- creating and changing ------------------------------------------------------------------------


@guarded(routes, "/api/users", may=Action.ADMIN, methods=("POST",))
@Described(MadeUser, status=201, takes=NewUser, refuses=(NameTaken, NotAvailable))
async def add(app: App, request: Request, who: Identity) -> None:
    """Create an account."""
    wanted = await read_json(request, NewUser)
    password = await added(app, request, who, wanted)
    document = cast(MadeUser, await told(app, wanted.name))
    if password is not None:
        document["password"] = password
    send_json(request, document, 201)


@guarded(routes, USER, may=Action.ADMIN, methods=("PATCH",))
@Described(WholeUser, takes=Change, refuses=(*NO_ACCOUNT, LastAdmin))
async def change(app: App, request: Request, who: Identity, name: str) -> None:
    """Change an account: make the user an administrator, or no longer; disable the account, or
    enable it (also for the first time).
    """
    await changed(app, request, who, name, await read_json(request, Change))
    send_json(request, await told(app, name))


@guarded(routes, USER, may=Action.ADMIN, methods=("DELETE",))
@Described(Removed, refuses=(*NO_ACCOUNT, LastAdmin))
async def remove(app: App, request: Request, who: Identity, name: str) -> None:
    """Delete an account, with its tokens, sessions, rights and memberships."""
    await removed(app, request, who, name)
    document: Removed = {"name": name, "removed": True}
    send_json(request, document)


@guarded(routes, USER + "/password", may=SOMEBODY, methods=("PUT",))
@Described(NewSecret, takes=NewPassword, refuses=(*NO_ACCOUNT, Forbidden, NotByToken))
async def set_password(app: App, request: Request, who: Identity, name: str) -> None:
    """Set a new password: one's own, or as an administrator that of another user."""
    demand_may_set_password(app, who, name)
    password = await password_set(app, request, who, name, await read_json(request, NewPassword))
    document: NewSecret = {"name": name}
    if password is not None:
        document["password"] = password
    send_json(request, document)

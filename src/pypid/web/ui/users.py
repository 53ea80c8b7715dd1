"""The administration of users: the list, pending registrations, and changes to an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from pypid.core.accounts.entries import AccountStatus
from pypid.core.accounts.rights import Whom
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, NoSuchUser
from pypid.core.permissions import Action, Identity, may
from pypid.web.api.people_documents import WholeUser
from pypid.web.api.rights import listed as listed_rights
from pypid.web.api.tokens import ACTIONS
from pypid.web.app.accounts import (
    ELSEWHERE,
    IN_THE_FILE,
    Change,
    NewPassword,
    NewUser,
    added,
    changed,
    listed,
    password_set,
    removed,
    told,
)
from pypid.web.app.app import App, routes
from pypid.web.app.guard import guarded
from pypid.web.http.form_fields import Fields, asked
from pypid.web.http.request import Request
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import MISTAKES, demand_typed, has_no_accounts, refused, sent
from pypid.web.ui.invitations import EXPIRES, open_invitations
from pypid.web.ui.pages import go, part, show
from pypid.web.ui.pagination import leaf_of
from pypid.web.ui.token_forms import MEANS, lines_of

USERS, USER = "/manage/users", "/manage/users/<name>"
MOST = 200
"""Number of rights and tokens of one user that are shown; other pages have all."""

say(
    user_added="The account was created.",
    user_changed="The account was changed.",
    user_removed="The account was removed, with its tokens, sessions, rights and memberships.",
    user_approved="The account was approved.",
    user_refused="The registration was rejected and the account removed.",
    password_set="The password was set. The sessions of the user have ended.",
)


@guarded(routes, USERS, may=Action.ADMIN, page=True)
async def users(app: App, request: Request, who: Identity) -> None:
    """Show all users that can be listed, and above them those that wait for approval."""
    if not await has_no_accounts(app, request, who):
        await _list(app, request, who)


async def _list(
    app: App,
    request: Request,
    who: Identity,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    said: Fields | None = None,
) -> None:
    found, wanted = await listed(app), asked(request).text("q").strip()
    pending = [user for user in found["users"] if user["standing"] is AccountStatus.PENDING]
    matching = [user for user in found["users"] if wanted.casefold() in user["name"].casefold()]
    by_invitation = app.settings.people.registration is Registration.TOKEN
    await show(
        app,
        request,
        who,
        "users.html",
        status=status,
        problems=problems,
        said_before=said or Fields(),
        warnings=found["warnings"],
        pending=pending[:MOST],
        waiting=len(pending),
        users=leaf_of(matching, request, "q"),
        wanted=wanted,
        by_invitation=by_invitation,
        invitations=await open_invitations(app) if by_invitation else [],
        lifetimes=EXPIRES,
    )


@guarded(routes, USERS, may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def add(app: App, request: Request, who: Identity) -> None:
    """Create an account; a generated password is shown in this response only."""
    said = sent(request)
    name = said.text("name").strip()
    wanted = NewUser(
        name=name,
        password=said.text("password") or None,
        admin=said.flag("admin"),
        inherit=said.flag("inherit"),
    )
    try:
        password = await added(app, request, who, wanted)
    except MISTAKES as error:
        status, problems = refused(request, error)
        return await _list(app, request, who, status=status, problems=problems, said=said)
    if password is not None:
        return await show(
            app, request, who, "password_made.html", status=201, name=name, password=password
        )
    return go(request, f"manage/users/{part(name)}", done="user-added")


@guarded(routes, USER, may=Action.ADMIN, page=True)
async def user(app: App, request: Request, who: Identity, name: str) -> None:
    """Show one user, and the forms to change the account."""
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
) -> None:
    them = await told(app, name)
    tokens = lines_of(await app.accounts.tokens(name), app.world.now())[::-1]
    usable = [token for token in tokens if token.state == "usable"]
    await show(
        app,
        request,
        who,
        "user.html",
        status=status,
        problems=problems,
        them=them,
        changed_where=_where(them),
        configured_admin=name in app.known.configured().admins,
        powers=await _powers(app, name),
        rights=await _rights(app, them),
        tokens=usable[:MOST],
        all_tokens=len(tokens),
    )


def _where(them: WholeUser) -> str | None:
    """Return where that user is changed, if not here, or None."""
    match them["from"]:
        case "configuration":
            return f"The user {them['name']!r} is changed elsewhere: {IN_THE_FILE}."
        case "elsewhere":
            return f"The user {them['name']!r} is changed elsewhere: {ELSEWHERE}."
        case _:
            return None


async def _powers(app: App, name: str) -> list[tuple[str, bool]]:
    """Return what the user may do, on at least one project; empty if the user cannot log in."""
    found = await app.known.find(name)
    if found is None:
        return []
    return [(MEANS[word], may(app.rules, found, action)) for word, action in ACTIONS.items()]


async def _rights(app: App, them: WholeUser) -> Sequence[Any]:
    """Return the rights that name the user, or a group of the user."""

    def is_theirs(kind: Whom, name: str) -> bool:
        return (kind is Whom.USER and name == them["name"]) or (
            kind is Whom.GROUP and name in them["groups"]
        )

    found = (await listed_rights(app))["rights"]
    return [right for right in found if is_theirs(right["kind"], right["name"])][:MOST]


@guarded(routes, USER + "/change", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def change(app: App, request: Request, who: Identity, name: str) -> None:
    """Disable or enable the account; grant or revoke administration."""
    said = sent(request)
    wanted = Change()
    if said.flag("admin"):
        wanted.admin = said.text("admin") == "yes"
    if said.flag("standing"):
        wanted.standing = cast(Literal["active", "disabled"], said.text("standing"))
    try:
        if said.flag("standing") and said.text("standing") not in ("active", "disabled"):
            raise BadRequest("The status must be active or disabled.")
        await changed(app, request, who, name, wanted)
    except MISTAKES as error:
        return await _again(app, request, who, name, error)
    if said.flag("waiting"):
        return go(request, "manage/users", done="user-approved")
    return go(request, f"manage/users/{part(name)}", done="user-changed")


@guarded(routes, USER + "/password", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def set_password(app: App, request: Request, who: Identity, name: str) -> None:
    """Set a user's password: the one that was typed, or a generated one, shown in this response
    only.
    """
    wanted = NewPassword(password=sent(request).text("password") or None)
    try:
        password = await password_set(app, request, who, name, wanted)
    except MISTAKES as error:
        return await _again(app, request, who, name, error)
    if password is not None:
        return await show(app, request, who, "password_made.html", name=name, password=password)
    return go(request, f"manage/users/{part(name)}", done="password-set")


@guarded(routes, USER + "/remove", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def remove(app: App, request: Request, who: Identity, name: str) -> None:
    """Remove the account; refusing a pending registration takes no confirmation."""
    said = sent(request)
    try:
        waits = (
            said.flag("waiting")
            and (await app.accounts.user(name)).standing is AccountStatus.PENDING
        )
        if not waits:
            demand_typed(said, name)
        await removed(app, request, who, name)
    except MISTAKES as error:
        return await _again(app, request, who, name, error)
    return go(request, "manage/users", done="user-refused" if waits else "user-removed")


async def _again(app: App, request: Request, who: Identity, name: str, error: Any) -> None:
    """Show the user's page again, with the error. Raises the error if there is no such user."""
    if isinstance(error, NoSuchUser):
        raise error
    status, problems = refused(request, error)
    await _one(app, request, who, name, status=status, problems=problems)

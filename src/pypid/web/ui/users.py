"""The administration of users: the list, pending registrations, changes to an account, and
invitations, whose link is shown once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec

from pypid.core.accounts.entries import AccountStatus
from pypid.core.accounts.rights import Whom
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, NoSuchUser
from pypid.core.permissions import Action
from pypid.web.api.invitations import made, open_invitations, withdrawn
from pypid.web.api.rights import listed as listed_rights
from pypid.web.api.tokens import ACTIONS
from pypid.web.app.accounts import (
    ELSEWHERE,
    Change,
    NewPassword,
    NewUser,
    added,
    changed,
    configured_where,
    listed,
    password_set,
    removed,
    user_document,
)
from pypid.web.app.app import App
from pypid.web.app.people_documents import WholeUser
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import MISTAKES, demand_typed, has_no_accounts, refused, sent
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


@route("GET", USERS, action=Action.ADMIN, page=True)
async def users(ctx: RequestContext) -> None:
    """Show all users that can be listed, and above them those that wait for approval."""
    if not await has_no_accounts(ctx):
        await _list(ctx)


async def _list(
    ctx: RequestContext,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    form: Fields | None = None,
) -> None:
    found, wanted = await listed(ctx.app), query_fields(ctx.request).text("q").strip()
    pending = [user for user in found["users"] if user["status"] is AccountStatus.PENDING]
    matching = [user for user in found["users"] if wanted.casefold() in user["name"].casefold()]
    by_invitation = ctx.app.settings.people.registration is Registration.TOKEN
    await show(
        ctx,
        "users.html",
        status=status,
        problems=problems,
        said_before=form or Fields(),
        warnings=found["warnings"],
        pending=pending[:MOST],
        waiting=len(pending),
        users=leaf_of(matching, ctx.request, "q"),
        wanted=wanted,
        by_invitation=by_invitation,
        invitations=await open_invitations(ctx.app) if by_invitation else [],
        lifetimes=EXPIRES,
    )


@route("POST", USERS, action=Action.ADMIN, page=True, form=True)
async def add(ctx: RequestContext) -> None:
    """Create an account; a generated password is shown in this response only."""
    form = sent(ctx.request)
    name = form.text("name").strip()
    wanted = NewUser(
        name=name,
        password=form.text("password") or None,
        admin=form.flag("admin"),
        inherit=form.flag("inherit"),
    )
    try:
        password = await added(ctx, wanted)
    except MISTAKES as error:
        status, problems = refused(ctx.request, error)
        return await _list(ctx, status=status, problems=problems, form=form)
    if password is not None:
        return await show(ctx, "password_made.html", status=201, name=name, password=password)
    return go(ctx.request, f"manage/users/{part(name)}", done="user-added")


@route("GET", USER, action=Action.ADMIN, page=True)
async def user(ctx: RequestContext, name: str) -> None:
    """Show one user, and the forms to change the account."""
    if not await has_no_accounts(ctx):
        await _one(ctx, name)


async def _one(
    ctx: RequestContext,
    name: str,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
) -> None:
    them = await user_document(ctx.app, name)
    tokens = lines_of(await ctx.app.accounts.tokens(name), ctx.app.world.now())[::-1]
    usable = [token for token in tokens if token.state == "usable"]
    configured = ctx.app.known.configured()
    is_first = configured.first_admin is not None and configured.first_admin.name == name
    await show(
        ctx,
        "user.html",
        status=status,
        problems=problems,
        them=them,
        changed_where=_where(ctx.app, them),
        configured_admin=name in configured.admins and not is_first,
        powers=await _powers(ctx.app, name),
        rights=await _rights(ctx.app, them),
        tokens=usable[:MOST],
        all_tokens=len(tokens),
    )


def _where(app: App, them: WholeUser) -> str | None:
    """Return where that user is changed, if not here, or None."""
    where = ELSEWHERE if them["source"] == "elsewhere" else configured_where(app, them["name"])
    return where and f"The user {them['name']!r} is changed elsewhere: {where}."


async def _powers(app: App, name: str) -> list[tuple[str, bool]]:
    """Return what the user may do, to at least one project of any index; empty if the user cannot
    log in.
    """
    found = await app.known.find(name)
    if found is None:
        return []
    return [(MEANS[word], app.may_somewhere(found, action)) for word, action in ACTIONS.items()]


async def _rights(app: App, them: WholeUser) -> Sequence[Any]:
    """Return the rights that name the user, or a group of the user."""

    def is_theirs(kind: Whom, name: str) -> bool:
        return (kind is Whom.USER and name == them["name"]) or (
            kind is Whom.GROUP and name in them["groups"]
        )

    found = (await listed_rights(app))["rights"]
    return [right for right in found if is_theirs(right["kind"], right["name"])][:MOST]


@route("POST", USER + "/change", action=Action.ADMIN, page=True, form=True)
async def change(ctx: RequestContext, name: str) -> None:
    """Disable or enable the account; grant or revoke administration."""
    form = sent(ctx.request)
    status = form.text("status")
    wanted = Change(
        admin=form.text("admin") == "yes" if form.flag("admin") else msgspec.UNSET,
        status=cast(Literal["active", "disabled"], status)
        if form.flag("status")
        else msgspec.UNSET,
    )
    try:
        if form.flag("status") and status not in ("active", "disabled"):
            raise BadRequest("The status must be active or disabled.")
        await changed(ctx, name, wanted)
    except MISTAKES as error:
        return await _again(ctx, name, error)
    if form.flag("waiting"):
        return go(ctx.request, "manage/users", done="user-approved")
    return go(ctx.request, f"manage/users/{part(name)}", done="user-changed")


@route("POST", USER + "/password", action=Action.ADMIN, page=True, form=True)
async def set_password(ctx: RequestContext, name: str) -> None:
    """Set a user's password: the one that was typed, or a generated one, shown in this response
    only.
    """
    wanted = NewPassword(password=sent(ctx.request).text("password") or None)
    try:
        password = await password_set(ctx, name, wanted)
    except MISTAKES as error:
        return await _again(ctx, name, error)
    if password is not None:
        return await show(ctx, "password_made.html", name=name, password=password)
    return go(ctx.request, f"manage/users/{part(name)}", done="password-set")


@route("POST", USER + "/remove", action=Action.ADMIN, page=True, form=True)
async def remove(ctx: RequestContext, name: str) -> None:
    """Remove the account; refusing a pending registration takes no confirmation."""
    form = sent(ctx.request)
    try:
        waits = (
            form.flag("waiting")
            and (await ctx.app.accounts.user(name)).status is AccountStatus.PENDING
        )
        if not waits:
            demand_typed(form, name)
        await removed(ctx, name)
    except MISTAKES as error:
        return await _again(ctx, name, error)
    return go(ctx.request, "manage/users", done="user-refused" if waits else "user-removed")


async def _again(ctx: RequestContext, name: str, error: Any) -> None:
    """Show the user's page again, with the error. Raises the error if there is no such user."""
    if isinstance(error, NoSuchUser):
        raise error
    status, problems = refused(ctx.request, error)
    await _one(ctx, name, status=status, problems=problems)


EXPIRES = {"1d": "a day", "7d": "a week", "30d": "30 days"}
"""The lifetimes of a new invitation."""

say(
    invitation_withdrawn="The invitation was withdrawn. It can no longer be used.",
    invitation_used=(
        "The invitation cannot be withdrawn: it was already used, or it was withdrawn before."
    ),
)


@route("POST", "/manage/invitations", action=Action.ADMIN, page=True, form=True)
async def invite(ctx: RequestContext) -> None:
    """Create an invitation, shown in this response only."""
    expires = sent(ctx.request).text("expires", "7d")
    if expires not in EXPIRES:
        raise BadRequest(f"The lifetime must be one of: {', '.join(EXPIRES)}.")
    new = await made(ctx, expires)
    base = ctx.base_url
    # in the fragment, which no browser sends: so it is in no log, here or on the way
    link = None if base is None else f"{base}/account/register#invitation={new.secret}"
    await show(ctx, "invitation_made.html", status=201, invitation=new, link=link)


@route("POST", "/manage/invitations/withdraw", action=Action.ADMIN, page=True, form=True)
async def withdraw(ctx: RequestContext) -> None:
    """Withdraw an invitation."""
    done = await withdrawn(ctx, sent(ctx.request).text("id").strip())
    go(ctx.request, "manage/users", done="invitation-withdrawn" if done else "invitation-used")

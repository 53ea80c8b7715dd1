"""pypicloud's ``/admin/``: users, groups, registration tokens, and whether users may register.
(Rights: `compat.pypicloud.permissions`.)

As in pypicloud, asking for a state that exists already is no error (200). What cannot be done is
refused with the reason, where pypicloud answered 200 and did nothing, or failed with 500.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypedDict

import msgspec
from attrs import evolve

from pypid.compat.pypicloud.accounts import demand_changing
from pypid.compat.pypicloud.arguments import arguments, parse_flag
from pypid.compat.pypicloud.inviting import token_for
from pypid.core.accounts.entries import Account, AccountStatus, AuditAction
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, ChangedElsewhere, NoSuchGroup, NoSuchUser
from pypid.core.permissions import Action, account_name
from pypid.core.simple_api.entries import utc_text
from pypid.web.api.groups import demand_changeable
from pypid.web.api.storage import rebuild
from pypid.web.app.account_names import demand_free, new_name
from pypid.web.app.accounts import changeable_account
from pypid.web.app.app import App
from pypid.web.app.audit import note, recorded
from pypid.web.app.last_admin import keeping_an_admin
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import set_head
from pypid.web.http.small_responses import send_json

USERS = "/admin/user"
USER = "/admin/user/<name>"
GROUP = "/admin/group/<name>"
MANY = frozenset({"everyone", "authenticated"})
"""Groups that pypicloud has built in."""


class ListedUser(TypedDict):
    """A user in a list."""

    username: str
    admin: bool


class Whole(ListedUser):
    """A user, with their groups."""

    groups: list[str]


class NewUserArguments(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a request to create a user."""

    password: str


class AdminFlag(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a request to make a user an administrator, or no longer."""

    admin: str | bool


class Allow(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a request to open or close registration."""

    allow: str | bool


class SignupToken(TypedDict):
    """A token to register by, valid for one name and one account. `token_url`: where pypicloud had
    its page for that.
    """

    token: str
    token_url: str


def done(request: Request) -> None:
    """Send 200 without a body, as pypicloud does."""
    set_head(request, 200, ((b"Content-Length", b"0"), (b"Cache-Control", b"no-store")))
    request.responseHeaders.removeHeader(b"Content-Type")
    write(request, b"")


@route("POST", "/admin/rebuild", action=Action.ADMIN)
async def rebuild_catalog(ctx: RequestContext) -> None:
    """Bring the catalog in line with the storage, as ``POST /api/storage/reconcile`` does."""
    await rebuild(ctx)


# --- users ----------------------------------------------------------------------------------------


async def people(app: App) -> dict[str, bool]:
    """Return all users who can log in and can be listed, and whether they are administrators;
    sorted.
    """
    configured = app.known.configured()
    found = {name: name in configured.admins for name in configured.users}
    for account in await app.accounts.users() if configured.accounts_log_in else ():
        if account.status is AccountStatus.ACTIVE:
            found.setdefault(account.name, account.admin or account.name in configured.admins)
    return dict(sorted(found.items()))


@route("GET", USERS, action=Action.ADMIN)
async def users(ctx: RequestContext) -> None:
    """List the users who can log in, except those of a directory."""
    document: list[ListedUser] = [
        {"username": name, "admin": admin} for name, admin in (await people(ctx.app)).items()
    ]
    send_json(ctx.request, document)


@route("GET", USER, action=Action.ADMIN)
async def user(ctx: RequestContext, name: str) -> None:
    """Send one user; null if there is none, or they cannot log in (yet)."""
    found = await ctx.app.known.find(name)
    document: Whole | None = None
    if found is not None:
        document = {"username": name, "admin": found.admin, "groups": sorted(found.groups)}
    send_json(ctx.request, document)


@route("GET", "/admin/pending_users", action=Action.ADMIN)
async def pending_users(ctx: RequestContext) -> None:
    """List the users who have registered and wait for approval."""
    send_json(
        ctx.request,
        [
            account.name
            for account in await ctx.app.accounts.users()
            if account.status is AccountStatus.PENDING
        ],
    )


@route("PUT", USER, action=Action.ADMIN)
async def add_user(ctx: RequestContext, name: str) -> None:
    """Create an account, which can be used at once."""
    demand_changing(ctx.app)
    password = (await arguments(ctx.request, NewUserArguments)).password
    await demand_free(ctx.app, name)
    now, hashed = ctx.app.world.now(), await ctx.app.known.hash_password(password)
    adding = ctx.app.accounts.add_user(Account(name=name, hash=hashed, created=now, changed=now))
    await recorded(ctx, "user create", name, adding, lambda _: {"admin": "no"})
    done(ctx.request)


@route("DELETE", USER, action=Action.ADMIN)
async def remove_user(ctx: RequestContext, name: str) -> None:
    """Delete an account, with its tokens, sessions, rights and memberships."""
    demand_changing(ctx.app)
    with suppress(NoSuchUser):
        await changeable_account(ctx.app, name)
        removing = keeping_an_admin(ctx.app, name, ctx.app.accounts.remove_user(name))
        await recorded(ctx, "user delete", name, removing)
    done(ctx.request)


@route("POST", USER + "/approve", action=Action.ADMIN)
async def approve(ctx: RequestContext, name: str) -> None:
    """Approve a user who has registered."""
    demand_changing(ctx.app)
    account = await changeable_account(ctx.app, name)
    if account.status is AccountStatus.DISABLED:
        raise BadRequest(
            f"The account {name!r} was disabled, and does not wait: open it with `pypid user "
            f"enable`."
        )

    def approved(account: Account) -> Account:
        if account.status is not AccountStatus.PENDING:
            return account
        return evolve(account, status=AccountStatus.ACTIVE, changed=ctx.app.world.now())

    if account.status is AccountStatus.PENDING:
        details = {"admin": "yes" if account.admin else "no", "status": "active"}
        await recorded(
            ctx,
            "user enable",
            name,
            ctx.app.accounts.edit_user(name, approved),
            lambda _: details,
        )
    done(ctx.request)


@route("POST", USER + "/admin", action=Action.ADMIN)
async def set_admin(ctx: RequestContext, name: str) -> None:
    """Make a user an administrator, or no longer."""
    demand_changing(ctx.app)
    admin = parse_flag("admin", (await arguments(ctx.request, AdminFlag)).admin)
    account = await changeable_account(ctx.app, name)
    if not admin and name in ctx.app.known.configured().admins:
        raise ChangedElsewhere(
            f"that {name!r} is an administrator", "[access] admins of the configuration says so"
        )

    def changed(account: Account) -> Account:
        return (
            account
            if account.admin is admin
            else evolve(account, admin=admin, changed=ctx.app.world.now())
        )

    editing = keeping_an_admin(
        ctx.app, None if admin else name, ctx.app.accounts.edit_user(name, changed)
    )
    details = {"admin": "yes" if admin else "no", "status": account.status.value}
    await recorded(
        ctx,
        "user set-admin",
        name,
        editing,
        lambda _: None if account.admin is admin else details,
    )
    done(ctx.request)


# --- registration ---------------------------------------------------------------------------------


@route("POST", "/admin/register", action=Action.ADMIN)
async def allow_register(ctx: RequestContext) -> None:
    """Confirm whether users may register; only the configuration can change it."""
    demand_changing(ctx.app)
    allow = parse_flag("allow", (await arguments(ctx.request, Allow)).allow)
    mode = ctx.app.settings.people.registration
    if allow != (mode in (Registration.APPROVAL, Registration.OPEN)):
        wanted = "approval" if allow else "closed"
        where = (
            f"write [access] registration = {wanted} into the configuration, and reload pypid "
            f"(SIGHUP)"
        )
        raise ChangedElsewhere("whether people may register", where)
    done(ctx.request)


@route("GET", "/admin/token/<name>", action=Action.ADMIN)
async def token(ctx: RequestContext, name: str) -> None:
    """Create a token by which one account of this name can be registered. Nothing is stored before
    it is used; the audit log records it.
    """
    demand_changing(ctx.app)
    if ctx.app.settings.people.registration is not Registration.TOKEN:
        raise BadRequest(
            "Registration by token is off. To turn it on, set [access] registration = token, "
            "and reload."
        )
    secret, made = token_for(ctx.app, name)
    await note(
        ctx,
        "invitation create",
        made.id,
        {"expires": utc_text(made.expires), "user": name},
    )
    document: SignupToken = {
        "token": secret,
        "token_url": f"{ctx.base_url or ''}/acct/login#/?token={secret}",
    }
    send_json(ctx.request, document)


# --- groups ---------------------------------------------------------------------------------------


@route("GET", "/admin/group", action=Action.ADMIN)
async def groups(ctx: RequestContext) -> None:
    """List the names of the groups, except those of a directory."""
    send_json(
        ctx.request,
        sorted({*await ctx.app.accounts.memberships(), *ctx.app.known.configured().groups}),
    )


@route("PUT", GROUP, action=Action.ADMIN)
async def add_group(ctx: RequestContext, name: str) -> None:
    """Create an empty group."""
    demand_changing(ctx.app)
    if name in MANY:
        raise BadRequest(f"'{name}' is a reserved name")
    demand_changeable(ctx.app, new_name(name))
    await recorded(ctx, "group create", name, ctx.app.accounts.add_group(name))
    done(ctx.request)


@route("DELETE", GROUP, action=Action.ADMIN)
async def remove_group(ctx: RequestContext, name: str) -> None:
    """Delete a group and its rights."""
    demand_changing(ctx.app)
    members = (await ctx.app.accounts.memberships()).get(name)
    if members is None:
        demand_changeable(ctx.app, name)
        return done(ctx.request)
    details = {"members": str(len(members))}
    with suppress(NoSuchGroup):
        await recorded(
            ctx,
            "group delete",
            name,
            ctx.app.accounts.remove_group(name),
            lambda _: details,
        )
    return done(ctx.request)


@route("PUT", USER + "/group/<group>", action=Action.ADMIN)
async def join(ctx: RequestContext, name: str, group: str) -> None:
    """Add a user to a group."""
    demand_changing(ctx.app)
    try:
        account_name(name)
    except ValueError as error:
        raise BadRequest(f"This cannot be a user: {error}.") from None
    await _member(ctx, group, name, joins=True)


@route("DELETE", USER + "/group/<group>", action=Action.ADMIN)
async def leave(ctx: RequestContext, name: str, group: str) -> None:
    """Remove a user from a group."""
    demand_changing(ctx.app)
    await _member(ctx, group, name, joins=False)


async def _member(ctx: RequestContext, group: str, user: str, *, joins: bool) -> None:
    members = (await ctx.app.accounts.memberships()).get(group)
    if members is None:
        demand_changeable(ctx.app, group)
        if joins:
            raise NoSuchGroup(group)
        return done(ctx.request)
    changing: Any = (
        ctx.app.accounts.join(group, user) if joins else ctx.app.accounts.leave(group, user)
    )
    action: AuditAction = "group add-user" if joins else "group remove-user"
    changes = (user in members) is not joins
    await recorded(ctx, action, f"{group}/{user}", changing, lambda _: {} if changes else None)
    return done(ctx.request)

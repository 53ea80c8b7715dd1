"""pypicloud's ``/admin/``: users, groups, registration tokens, and whether users may register.
(Rights: `web.pypicloud.permissions`.)

As in pypicloud, asking for a state that exists already is no error (200). What cannot be done is
refused with the reason, where pypicloud answered 200 and did nothing, or failed with 500.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypedDict

import msgspec
from attrs import evolve

from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, ChangedElsewhere, NoSuchGroup, NoSuchUser
from pypid.core.permissions import Action, Identity, account_name
from pypid.core.simple_api.render import utc_text
from pypid.web.api.groups import demand_changeable
from pypid.web.api.storage import rebuild
from pypid.web.app.account_names import demand_free, new_name
from pypid.web.app.accounts import changeable_account
from pypid.web.app.app import App, routes
from pypid.web.app.audit import note, recorded
from pypid.web.app.guard import guarded
from pypid.web.app.last_admin import keeping_an_admin
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import set_head
from pypid.web.http.small_responses import send_json
from pypid.web.pypicloud.accounts import demand_changing
from pypid.web.pypicloud.arguments import arguments, truth
from pypid.web.pypicloud.inviting import token_for

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


guarded(routes, "/admin/rebuild", may=Action.ADMIN, methods=("POST",))(rebuild)

# --- users ----------------------------------------------------------------------------------------


async def people(app: App) -> dict[str, bool]:
    """Return all users who can log in and can be listed, and whether they are administrators;
    sorted.
    """
    configured = app.known.configured()
    found = {name: name in configured.admins for name in configured.users}
    for account in await app.accounts.users() if configured.accounts_log_in else ():
        if account.standing is AccountStatus.ACTIVE:
            found.setdefault(account.name, account.admin or account.name in configured.admins)
    return dict(sorted(found.items()))


@guarded(routes, USERS, may=Action.ADMIN)
async def users(app: App, request: Request, who: Identity) -> None:
    """List the users who can log in, except those of a directory."""
    document: list[ListedUser] = [
        {"username": name, "admin": admin} for name, admin in (await people(app)).items()
    ]
    send_json(request, document)


@guarded(routes, USER, may=Action.ADMIN)
async def user(app: App, request: Request, who: Identity, name: str) -> None:
    """Send one user; null if there is none, or they cannot log in (yet)."""
    found = await app.known.find(name)
    document: Whole | None = None
    if found is not None:
        document = {"username": name, "admin": found.admin, "groups": sorted(found.groups)}
    send_json(request, document)


@guarded(routes, "/admin/pending_users", may=Action.ADMIN)
async def pending_users(app: App, request: Request, who: Identity) -> None:
    """List the users who have registered and wait for approval."""
    send_json(
        request,
        [
            account.name
            for account in await app.accounts.users()
            if account.standing is AccountStatus.PENDING
        ],
    )


@guarded(routes, USER, may=Action.ADMIN, methods=("PUT",))
async def add_user(app: App, request: Request, who: Identity, name: str) -> None:
    """Create an account, which can be used at once."""
    demand_changing(app)
    password = (await arguments(request, NewUserArguments)).password
    await demand_free(app, name)
    now, hashed = app.world.now(), await app.known.hash_password(password)
    adding = app.accounts.add_user(Account(name=name, hash=hashed, created=now, changed=now))
    await recorded(app, request, who, "add-user", name, adding, lambda _: {"admin": "no"})
    done(request)


@guarded(routes, USER, may=Action.ADMIN, methods=("DELETE",))
async def remove_user(app: App, request: Request, who: Identity, name: str) -> None:
    """Delete an account, with its tokens, sessions, rights and memberships."""
    demand_changing(app)
    with suppress(NoSuchUser):
        await changeable_account(app, name)
        removing = keeping_an_admin(app, name, app.accounts.remove_user(name))
        await recorded(app, request, who, "remove-user", name, removing)
    done(request)


@guarded(routes, USER + "/approve", may=Action.ADMIN, methods=("POST",))
async def approve(app: App, request: Request, who: Identity, name: str) -> None:
    """Approve a user who has registered."""
    demand_changing(app)
    account = await changeable_account(app, name)
    if account.standing is AccountStatus.DISABLED:
        raise BadRequest(
            f"The account {name!r} was disabled, and does not wait: open it with `pypid user "
            f"enable`."
        )

    def approved(account: Account) -> Account:
        if account.standing is not AccountStatus.PENDING:
            return account
        return evolve(account, standing=AccountStatus.ACTIVE, changed=app.world.now())

    if account.standing is AccountStatus.PENDING:
        said = {"admin": "yes" if account.admin else "no", "standing": "active"}
        await recorded(
            app,
            request,
            who,
            "change-user",
            name,
            app.accounts.edit_user(name, approved),
            lambda _: said,
        )
    done(request)


@guarded(routes, USER + "/admin", may=Action.ADMIN, methods=("POST",))
async def set_admin(app: App, request: Request, who: Identity, name: str) -> None:
    """Make a user an administrator, or no longer."""
    demand_changing(app)
    admin = truth("admin", (await arguments(request, AdminFlag)).admin)
    account = await changeable_account(app, name)
    if not admin and name in app.known.configured().admins:
        raise ChangedElsewhere(
            f"that {name!r} is an administrator", "[access] admins of the configuration says so"
        )

    def changed(account: Account) -> Account:
        return (
            account
            if account.admin is admin
            else evolve(account, admin=admin, changed=app.world.now())
        )

    editing = keeping_an_admin(app, None if admin else name, app.accounts.edit_user(name, changed))
    said = {"admin": "yes" if admin else "no", "standing": account.standing.value}
    await recorded(
        app,
        request,
        who,
        "change-user",
        name,
        editing,
        lambda _: None if account.admin is admin else said,
    )
    done(request)


# --- registration ---------------------------------------------------------------------------------


@guarded(routes, "/admin/register", may=Action.ADMIN, methods=("POST",))
async def allow_register(app: App, request: Request, who: Identity) -> None:
    """Confirm whether users may register; only the configuration can change it."""
    demand_changing(app)
    allow = truth("allow", (await arguments(request, Allow)).allow)
    mode = app.settings.people.registration
    if allow != (mode in (Registration.APPROVAL, Registration.OPEN)):
        wanted = "approval" if allow else "closed"
        where = (
            f"write [access] registration = {wanted} into the configuration, and reload pypid "
            f"(SIGHUP)"
        )
        raise ChangedElsewhere("whether people may register", where)
    done(request)


@guarded(routes, "/admin/token/<name>", may=Action.ADMIN)
async def token(app: App, request: Request, who: Identity, name: str) -> None:
    """Create a token by which one account of this name can be registered. Nothing is stored before
    it is used; the audit log records it.
    """
    demand_changing(app)
    if app.settings.people.registration is not Registration.TOKEN:
        raise BadRequest(
            "Registration by token is off. To turn it on, set [access] registration = token, "
            "and reload."
        )
    secret, made = token_for(app, name)
    await note(
        app,
        request,
        who,
        "make-invitation",
        made.id,
        {"expires": utc_text(made.expires), "user": name},
    )
    document: SignupToken = {
        "token": secret,
        "token_url": f"{app.base_url(request) or ''}/acct/login#/?token={secret}",
    }
    send_json(request, document)


# --- groups ---------------------------------------------------------------------------------------


@guarded(routes, "/admin/group", may=Action.ADMIN)
async def groups(app: App, request: Request, who: Identity) -> None:
    """List the names of the groups, except those of a directory."""
    send_json(request, sorted({*await app.accounts.memberships(), *app.known.configured().groups}))


@guarded(routes, GROUP, may=Action.ADMIN, methods=("PUT",))
async def add_group(app: App, request: Request, who: Identity, name: str) -> None:
    """Create an empty group."""
    demand_changing(app)
    if name in MANY:
        raise BadRequest(f"'{name}' is a reserved name")
    demand_changeable(app, new_name(name))
    await recorded(app, request, who, "add-group", name, app.accounts.add_group(name))
    done(request)


@guarded(routes, GROUP, may=Action.ADMIN, methods=("DELETE",))
async def remove_group(app: App, request: Request, who: Identity, name: str) -> None:
    """Delete a group and its rights."""
    demand_changing(app)
    members = (await app.accounts.memberships()).get(name)
    if members is None:
        demand_changeable(app, name)
        return done(request)
    said = {"members": str(len(members))}
    with suppress(NoSuchGroup):
        await recorded(
            app,
            request,
            who,
            "remove-group",
            name,
            app.accounts.remove_group(name),
            lambda _: said,
        )
    return done(request)


@guarded(routes, USER + "/group/<group>", may=Action.ADMIN, methods=("PUT",))
async def join(app: App, request: Request, who: Identity, name: str, group: str) -> None:
    """Add a user to a group."""
    demand_changing(app)
    try:
        account_name(name)
    except ValueError as error:
        raise BadRequest(f"This cannot be a user: {error}.") from None
    await _member(app, request, who, group, name, joins=True)


@guarded(routes, USER + "/group/<group>", may=Action.ADMIN, methods=("DELETE",))
async def leave(app: App, request: Request, who: Identity, name: str, group: str) -> None:
    """Remove a user from a group."""
    demand_changing(app)
    await _member(app, request, who, group, name, joins=False)


async def _member(
    app: App, request: Request, who: Identity, group: str, user: str, *, joins: bool
) -> None:
    members = (await app.accounts.memberships()).get(group)
    if members is None:
        demand_changeable(app, group)
        if joins:
            raise NoSuchGroup(group)
        return done(request)
    changing: Any = app.accounts.join(group, user) if joins else app.accounts.leave(group, user)
    what, changes = ("join-group" if joins else "leave-group"), (user in members) is not joins
    await recorded(
        app, request, who, what, f"{group}/{user}", changing, lambda _: {} if changes else None
    )
    return done(request)

"""Operations on accounts: list, create, change and remove them, for the JSON API and the web
pages.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Literal

import msgspec
from attrs import evolve

from pypid.core.accounts.entries import Account, AccountStatus, AuditAction
from pypid.core.accounts.registration import proper_password
from pypid.core.errors import (
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    NoSuchUser,
    NotByToken,
    StorageDown,
    Unauthenticated,
)
from pypid.core.permissions import Credential
from pypid.core.simple_api.entries import utc_text
from pypid.web.app.account_names import NewName, demand_free
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.last_admin import keeping_an_admin
from pypid.web.app.people_documents import UserDocument, Users, WholeUser
from pypid.web.app.request_context import RequestContext

NOT_CURRENT = "The field 'current' does not hold your current password: nothing was changed."
SECRET = 18
"""Random bytes in a generated password."""
ELSEWHERE = "a directory or another service knows that user, and is where it is changed"
_CANNOT_LOG_IN = (
    "Users of the accounts database cannot log in yet: write sql into [access] backend "
    "(backend = config sql), and restart pypid."
)
_IN_THE_FILE = (
    "it is defined in [users] of the configuration; change it there, and reload pypid (SIGHUP)"
)
_CANNOT_MOVE = (
    "it is the administrator of the first run, and users of the accounts database cannot log in; "
    "write sql into [access] backend (backend = config sql), and restart pypid"
)


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """The request body for a new account. Without a `password` one is generated; with `no_password`
    there is none, and the user logs in with tokens alone. `inherit`: take over rights that were
    already granted to the name. `must_log_in`: refuse if users of the accounts database cannot log
    in.
    """

    name: NewName
    password: str | None = None
    no_password: bool = False
    admin: bool = False
    inherit: bool = False
    must_log_in: bool = False


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The request body for a change; omitted fields stay unchanged."""

    admin: bool | msgspec.UnsetType = msgspec.UNSET
    status: Literal["active", "disabled"] | msgspec.UnsetType = msgspec.UNSET


class NewPassword(msgspec.Struct, forbid_unknown_fields=True):
    """The request body for a new password. Without a `password` one is generated. `current`: the
    current password, which users send to change their own.
    """

    password: str | None = None
    current: str | None = None


# --- reading --------------------------------------------------------------------------------------


async def listed(app: App) -> Users:
    """Return the accounts and the users of the configuration, sorted by name. Users of a directory
    are not listed. Raises `StorageDown` while a start reads the accounts: none are known yet.
    """
    if isinstance(app.closed, StorageDown):
        raise app.closed
    configured = app.known.configured()
    accounts = [_document(app, account) for account in await app.accounts.users()]
    others = [_configured(name, name in configured.admins) for name in sorted(configured.users)]
    users = sorted([*accounts, *others], key=lambda user: user["name"])
    return {"users": users, "warnings": _warnings(app) if accounts else []}


def _warnings(app: App) -> list[str]:
    return [] if app.known.configured().accounts_log_in else [_CANNOT_LOG_IN]


async def user_document(app: App, name: str) -> WholeUser:
    """Return one user from any source, with their groups. Raises `NoSuchUser`."""
    found = await app.known.find(name)
    configured = app.known.configured()
    if name in configured.users:
        document = _configured(name, name in configured.admins)
    else:
        try:
            document = _document(app, await app.accounts.user(name))
        except NoSuchUser:
            if found is None:
                raise
            document = {
                "name": name,
                "admin": found.admin,
                "status": AccountStatus.ACTIVE,
                "source": "elsewhere",
            }
    if found is not None:
        groups = found.groups
    else:
        groups = frozenset(
            group
            for group, members in (await app.accounts.memberships()).items()
            if name in members
        )
    in_vain = (
        document["source"] == "database"
        and document["status"] is AccountStatus.ACTIVE
        and found is None
    )
    warnings = _warnings(app) if in_vain else []
    return {
        **document,
        "groups": sorted(groups),
        "can_log_in": found is not None,
        "warnings": warnings,
    }


def _document(app: App, account: Account) -> UserDocument:
    configured = app.known.configured()
    return {
        "name": account.name,
        "admin": account.admin or account.name in configured.admins,
        "status": account.status,
        "created": utc_text(account.created),
        "changed": utc_text(account.changed),
        "source": "database",
        "hidden": account.name
        in configured.users,  # the configuration has a user of that name, and is asked first
    }


def _configured(name: str, admin: bool) -> UserDocument:
    return {"name": name, "admin": admin, "status": AccountStatus.ACTIVE, "source": "configuration"}


# --- creating and changing ------------------------------------------------------------------------


async def added(ctx: RequestContext, wanted: NewUser) -> str | None:
    """Create the account; return the password if it was generated. Raises `BadRequest`,
    `NameTaken`.
    """
    if wanted.no_password and wanted.password is not None:
        raise BadRequest("Send either password or no_password, not both.")
    if wanted.must_log_in and not ctx.app.known.configured().accounts_log_in:
        raise BadRequest(f"No account was created. {_CANNOT_LOG_IN}")
    await demand_free(ctx.app, wanted.name, inherit=wanted.inherit)
    password, hashed, details = wanted.password or "", "", {"admin": _yes(wanted.admin)}
    if wanted.no_password:
        details["password"] = _yes(False)
    else:
        password = made_password(ctx.app) if wanted.password is None else wanted.password
        proper_password(password)
        hashed = await ctx.app.known.hash_password(password)
    now = ctx.app.world.now()
    account = Account(name=wanted.name, hash=hashed, admin=wanted.admin, created=now, changed=now)
    adding = ctx.app.accounts.add_user(account)
    await recorded(
        ctx,
        "user create",
        account.name,
        adding,
        lambda _: details,
    )
    return password if hashed and wanted.password is None else None


async def changed(ctx: RequestContext, name: str, wanted: Change) -> None:
    """Grant or remove administrator rights of a user; disable or enable an account.

    Raises `BadRequest`, `LastAdmin`, `ChangedElsewhere`.
    """
    if wanted.admin is msgspec.UNSET and wanted.status is msgspec.UNSET:
        raise BadRequest(
            "Say what to change: admin (true or false), status (active or disabled), or both."
        )
    account = await changeable_account(ctx.app, name)
    if wanted.admin is False and name in ctx.app.known.configured().admins:
        raise ChangedElsewhere(
            f"that {name!r} is an administrator", "[access] admins of the configuration says so"
        )

    def edited(account: Account) -> Account:
        admin = account.admin if wanted.admin is msgspec.UNSET else wanted.admin
        status = account.status if wanted.status is msgspec.UNSET else AccountStatus(wanted.status)
        return evolve(account, admin=admin, status=status, changed=ctx.app.world.now())

    after = edited(account)
    harmless = wanted.admin is not False and wanted.status != AccountStatus.DISABLED.value
    editing = keeping_an_admin(
        ctx.app, None if harmless else name, ctx.app.accounts.edit_user(name, edited)
    )
    details = {"admin": _yes(after.admin), "status": after.status.value}
    await recorded(ctx, _action_of(wanted), name, editing, lambda _: details)


def _action_of(wanted: Change) -> AuditAction:
    """Return the command that makes the change; ``user change`` if there are two."""
    if wanted.status is msgspec.UNSET:
        return "user set-admin"
    if wanted.admin is not msgspec.UNSET:
        return "user change"
    return "user disable" if wanted.status == AccountStatus.DISABLED.value else "user enable"


async def removed(ctx: RequestContext, name: str) -> None:
    """Remove an account with its tokens, sessions, rights and memberships. Raises `LastAdmin`,
    `ChangedElsewhere`.
    """
    await changeable_account(ctx.app, name)
    removing = keeping_an_admin(ctx.app, name, ctx.app.accounts.remove_user(name))
    await recorded(ctx, "user delete", name, removing)


def demand_may_set_password(ctx: RequestContext, name: str) -> bool:
    """Return whether the caller sets this user's password as an administrator. Raises `NotByToken`
    or `Forbidden` if they may not set it.
    """
    is_admin = ctx.is_admin
    if not is_admin and ctx.identity.scope is not None:
        raise NotByToken()
    if not is_admin and ctx.identity.user != name:
        raise Forbidden(str(ctx.identity.user), "set the password of another user")
    return is_admin


async def password_set(ctx: RequestContext, name: str, wanted: NewPassword) -> str | None:
    """Set a user's password; return it if it was generated. Raises `BadRequest`, and the errors of
    `demand_may_set_password`.
    """
    is_admin = demand_may_set_password(ctx, name)
    before = await changeable_account(ctx.app, name)
    if not is_admin:
        await demand_current(ctx, name, wanted.current)
    password = made_password(ctx.app) if wanted.password is None else wanted.password
    proper_password(password)
    hashed = await ctx.app.known.hash_password(password)

    def edited(account: Account) -> Account:
        if (
            not is_admin and account.changed != before.changed
        ):  # a client that knows only the old password must not undo a new one
            raise BadRequest(NOT_CURRENT)
        return evolve(account, hash=hashed, changed=ctx.app.world.now())

    editing = ctx.app.accounts.edit_user(name, edited)
    await recorded(ctx, "user set-password", name, editing)
    return password if wanted.password is None else None


async def set_own_password(ctx: RequestContext, before: Account, password: str) -> None:
    """Set the password of a user who has just proved the current password of the account `before`.
    Raises `BadRequest`, also if the account has changed since.
    """
    proper_password(password)
    hashed = await ctx.app.known.hash_password(password)

    def edited(account: Account) -> Account:
        if account.changed != before.changed:
            raise BadRequest(NOT_CURRENT)
        return evolve(account, hash=hashed, changed=ctx.app.world.now())

    editing = ctx.app.accounts.edit_user(before.name, edited)
    await recorded(ctx, "user set-password", before.name, editing)


async def demand_current(ctx: RequestContext, name: str, current: str | None) -> None:
    """Raise `BadRequest` unless `current` is the password of this user."""
    if current is None:
        raise BadRequest("Say your current password too, in the field 'current'.")
    try:
        found = await ctx.app.access.identify(Credential(name, current, ctx.address))
    except Unauthenticated:  # a 401 would make a browser ask for another login
        found = None
    if found is None or found.user != name:
        raise BadRequest(NOT_CURRENT)


def configured_where(app: App, name: str) -> str | None:
    """Return where a user of the configuration is changed, or None: also for the administrator of
    the first run, whom a change moves into the accounts database.
    """
    configured = app.known.configured()
    if name not in configured.users:
        return None
    if configured.first_admin is None or configured.first_admin.name != name:
        return _IN_THE_FILE
    return None if configured.accounts_log_in else _CANNOT_MOVE


async def changeable_account(app: App, name: str) -> Account:
    """Return the account; the administrator of the first run moves into the accounts database.

    Raises `ChangedElsewhere` if another source holds the user, `NoSuchUser` if the user is unknown.
    """
    first, where = app.known.configured().first_admin, configured_where(app, name)
    if first is not None and first.name == name and where is None:
        await app.accounts.take_over(first)
    try:
        return await app.accounts.user(name)
    except NoSuchUser:
        if where is not None:
            raise ChangedElsewhere(f"the user {name!r}", where) from None
        if await app.known.find(name) is not None:
            raise ChangedElsewhere(f"the user {name!r}", ELSEWHERE) from None
        raise


def made_password(app: App) -> str:
    """Return a new random password."""
    return urlsafe_b64encode(app.world.random(SECRET)).decode("ascii")


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"

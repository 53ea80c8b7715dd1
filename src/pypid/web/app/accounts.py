"""Operations on accounts: list, create, change and remove them, for the JSON API and the web
pages.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Coroutine, Set
from shlex import quote
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar
from unicodedata import normalize

import msgspec
from attrs import evolve
from msgspec import Meta

from pypid.core.accounts.rights import Account, AccountStatus, AuditAction, Whom
from pypid.core.accounts.sessions import proper_password
from pypid.core.configuration.checks import nearest
from pypid.core.errors import (
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    LastAdmin,
    NameTaken,
    NoSuchUser,
    NotByToken,
    PeopleUnknown,
    StorageDown,
    Unauthenticated,
)
from pypid.core.permissions import Credential, Principals, account_name
from pypid.core.simple_api.listed_files import utc_text
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Moment

# Names of accounts: a new one is refused if it is in use, or has already been granted something;
# warnings are about names that do not exist.

LONGEST = 100
"""Maximum length of a new name in characters; names in a directory may be longer."""
NewName = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": LONGEST})]
"""A name in a request body, not yet checked by `new_name`, which also refuses other names."""
OPERATOR = "operator/"
"""Prefix of the names of administrators on the server, such as ``operator/root``. They have no
account.
"""
TAKEN = frozenset({"anonymous", "operator"})
"""Names that the log uses for other actors."""


def new_name(text: str) -> str:
    """Return `text` if a new account or group can have this name. Raises `BadRequest` with the
    reason.

    Stricter than the rules for names from other sources: a new name becomes part of URLs and log
    lines.
    """
    try:
        name = account_name(text)
    except ValueError as error:
        raise BadRequest(f"Invalid name: {error}.") from None
    if len(name) > LONGEST:
        raise BadRequest(f"Invalid name: it has more than {LONGEST} characters.")
    if "/" in name or "\\" in name or name in (".", ".."):
        raise BadRequest("Invalid name: it cannot contain / or \\, and cannot be . or ..")
    if name.startswith("__"):
        raise BadRequest("Invalid name: names of tokens and sessions begin with __.")
    if name != normalize("NFC", name):
        raise BadRequest("Invalid name: write it with composed characters (Unicode NFC).")
    return name


async def demand_free(app: App, text: str, *, inherit: bool = False) -> None:
    """Raise `BadRequest` or `NameTaken` unless an account can be created under this name.

    A name that has rights, or is in a group, counts as taken, so that self-registration cannot take
    it over; an administrator may create an account with all that (`inherit`). Raises
    `PeopleUnknown` if a source of users is unavailable.
    """
    name = new_name(text)
    known = await user_names(app)
    alike = [other for other in known | TAKEN if _folded(other) == _folded(name)]
    if alike:
        raise NameTaken(name, "" if name in known else f"it looks like {alike[0]!r}")
    if await app.known.find(name) is not None:
        raise NameTaken(name, "another source of users has a user of that name")
    where = None if inherit else await _mentioned(app, name)
    if where is not None:
        advice = (
            "to create an account with these rights, an administrator uses `pypid user create "
            "--inherit`, or `inherit` in the API"
        )
        raise NameTaken(name, f"{where} gives it rights; {advice}")


async def _mentioned(app: App, name: str) -> str | None:
    """Return where the name is granted something although no account has it, or None."""
    if name in app.known.configured().mentioned:
        return "the configuration"
    if any(right.whom is Whom.USER and right.name == name for right in await app.accounts.rights()):
        return "a right of a project"
    group = next(
        (group for group, members in (await app.accounts.memberships()).items() if name in members),
        None,
    )
    return None if group is None else f"the group {group!r}"


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold()


# --- names that do not exist ----------------------------------------------------------------------


async def user_names(app: App) -> Set[str]:
    """Return the users of the configuration and of the database; a directory may have others."""
    return app.known.configured().users | {each.name for each in await app.accounts.users()}


async def unknown_names(app: App, principals: Principals) -> list[str]:
    """Return a warning for each of these users and groups that does not exist now. It may exist
    later, and a directory does not list its groups. Raises `PeopleUnknown`.
    """
    users = [
        user
        for user in sorted(principals.users)
        if not user.startswith(OPERATOR) and await app.known.find(user) is None
    ]
    known = users and await user_names(app)
    warnings = [
        f"No user can log in as {user!r} now{nearest(user, known) or ': is it spelled right?'}"
        for user in users
    ]
    if principals.groups:
        groups = {*app.known.configured().groups, *await app.accounts.memberships()}
        warnings += [
            f"There is no group {group!r} in the configuration or the database"
            f"{nearest(group, groups) or '.'} Create it, unless a directory has it: pypid group "
            f"create {quote(group)}"
            for group in sorted(principals.groups - groups)
        ]
    return warnings


async def warnings_for(ctx: RequestContext, principals: Principals) -> list[str]:
    """Return warnings about users and groups to whom the client gives access to an index. A client
    that may not administer, such as a token for uploads, does not learn which ones exist, only of
    which groups it is no member.
    """
    if not ctx.is_admin:
        others = sorted(principals.groups - ctx.identity.groups)
        return [f"You are not in the group {group!r}: is it spelled right?" for group in others]
    try:
        return [] if ctx.app.registry is None else await unknown_names(ctx.app, principals)
    except PeopleUnknown as error:
        return [f"The names of users and groups were not checked: {error}"]


# Protection of the last administrator: at least one must remain when users are removed, disabled
# or lose administrator rights.

T = TypeVar("T")


async def keeping_an_admin(app: App, without: str | None, change: Coroutine[Any, Any, T]) -> T:
    """Run the change after which `without` is no longer an administrator (None: no administrator is
    removed).

    One such change runs at a time, so that two administrators cannot remove each other. Raises
    `LastAdmin`, and `PeopleUnknown` if the remaining administrators cannot be determined; then
    nothing is changed.
    """
    try:
        async with app.known.turns:
            if (
                without is not None
                and await _is_admin(app, without)
                and not await _others(app, without)
            ):
                raise LastAdmin(without)
            return await change
    finally:
        change.close()


async def _is_admin(app: App, user: str) -> bool:
    """Return whether a user of this name can log in and is an administrator."""
    found = await app.known.find(user)
    return found is not None and found.admin


async def _others(app: App, without: str) -> bool:
    accounts = {
        account.name
        for account in await app.accounts.users()
        if account.admin and account.hash and account.status is AccountStatus.ACTIVE
    }
    away: PeopleUnknown | None = None
    for user in sorted((app.known.configured().admins | accounts) - {without}):
        try:
            if await _is_admin(app, user):
                return True
        except PeopleUnknown as error:
            away = error
    if away is not None:
        raise away
    return False


# Documents of the JSON API about users.


class Powers(TypedDict):
    """What is allowed, for at least one project."""

    read: bool
    publish: bool
    overwrite: bool
    delete: bool
    fetch: bool
    admin: bool
    metrics: bool


class TokenUsed(TypedDict):
    """The token that was used. `publisher`: whether it was made for a workflow."""

    id: str | None
    actions: list[str]
    projects: list[str]
    publisher: bool


class Me(TypedDict):
    """The identity of the client. `token`: the one that was used."""

    user: str | None
    groups: list[str]
    admin: bool
    token: TokenUsed | None
    may: Powers


class UserDocument(TypedDict):
    """A user. `hidden`: the configuration has another user of that name, which takes precedence."""

    name: str
    admin: bool
    status: AccountStatus
    source: Literal["database", "configuration", "elsewhere"]
    created: NotRequired[Moment]
    changed: NotRequired[Moment]
    hidden: NotRequired[bool]


class WholeUser(UserDocument):
    """One user. `warnings`: why the user cannot log in, if so."""

    groups: list[str]
    can_log_in: bool
    warnings: list[str]


class MadeUser(WholeUser):
    """A new user. `password`: one that pypid generated, which is in no other answer."""

    password: NotRequired[str]


class Users(TypedDict):
    """All users that can be listed."""

    users: list[UserDocument]
    warnings: list[str]


class NewSecret(msgspec.Struct, omit_defaults=True):
    """The result of a password change. `password`: the new one, if pypid generated it."""

    name: str
    password: str | None = None


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
    await store_password(ctx, before, password, by_admin=is_admin)
    return password if wanted.password is None else None


async def store_password(
    ctx: RequestContext, before: Account, password: str, *, by_admin: bool = False
) -> None:
    """Set the password of a user who has just proved the current password of the account `before`,
    or by an administrator. Raises `BadRequest`, also if the account has changed since: a client
    that knows only the old password must not undo a new one.
    """
    proper_password(password)
    hashed = await ctx.app.known.hash_password(password)

    def edited(account: Account) -> Account:
        if not by_admin and account.changed != before.changed:
            raise BadRequest(NOT_CURRENT)
        return evolve(account, hash=hashed, changed=ctx.app.world.now())

    editing = ctx.app.accounts.edit_user(before.name, edited)
    await recorded(ctx, "user set-password", before.name, editing)


async def demand_current(ctx: RequestContext, name: str, current: str | None) -> None:
    """Raise `BadRequest` unless `current` is the password of this user."""
    if current is None:
        raise BadRequest("Say your current password too, in the field 'current'.")
    if not await is_password(ctx, name, current):
        raise BadRequest(NOT_CURRENT)


async def is_password(ctx: RequestContext, name: str, password: str) -> bool:
    """Return whether this is the password of the user. (A 401 would make a browser ask for another
    login.)
    """
    try:
        found = await ctx.app.access.identify(Credential(name, password, ctx.address))
    except Unauthenticated:
        return False
    return found.user == name


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

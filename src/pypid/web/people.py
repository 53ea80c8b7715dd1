"""Accounts, below ``/api/users``; and ``/api/me``, which tells somebody who they are."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Literal, cast

import msgspec
from attrs import evolve

from pypid.core.errors import (
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    LastAdmin,
    NameTaken,
    NoSuchUser,
    NotAvailable,
    NotByToken,
    Unauthenticated,
)
from pypid.core.people import Account, Standing
from pypid.core.permissions import Action, Credential, Identity, may
from pypid.core.registration import proper_password
from pypid.core.simple import utc_text
from pypid.web.admins import keeping_an_admin
from pypid.web.deeds import recorded
from pypid.web.describing import Described, Removed
from pypid.web.describing_people import MadeUser, Me, NewSecret, Powers, TokenUsed, UserDocument, Users, WholeUser
from pypid.web.documents import read_json, send_json
from pypid.web.face import Face, app
from pypid.web.guard import ANYBODY, SOMEBODY, UNIX, guarded
from pypid.web.newnames import NewName, demand_free
from pypid.web.request import Request
from pypid.web.tokens import ACTIONS, words_of

USER = "/api/users/<name>"
NOT_CURRENT = "The field 'current' does not hold your current password: nothing was changed."
SECRET = 18
"""Bytes of chance in a password that pypid makes."""
ELSEWHERE = "a directory or another service knows that user, and is where it is changed"
IN_THE_FILE = (
    "it stands in [users] of the configuration, or is the administrator of the first run (admin.json); change it there, and "
    "reload pypid (SIGHUP)"
)


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a new account. Without a `password` pypid makes one. `inherit`: take over rights that the name has."""

    name: NewName
    password: str | None = None
    admin: bool = False
    inherit: bool = False


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change: what is left out stays as it is."""

    admin: bool | msgspec.UnsetType = msgspec.UNSET
    standing: Literal["active", "disabled"] | msgspec.UnsetType = msgspec.UNSET


class NewPassword(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a new password. Without a `password` pypid makes one. `current` is what people say to change their own."""

    password: str | None = None
    current: str | None = None


NO_ACCOUNT = (NoSuchUser, ChangedElsewhere, NotAvailable)

# --- who am I -------------------------------------------------------------------------------------------------


@guarded(app, "/api/me", may=ANYBODY)
@Described(Me)
async def me(face: Face, request: Request, who: Identity) -> None:
    """Who asks, and what they may do to some project at least."""
    document: Me = {
        "user": who.user,
        "groups": sorted(who.groups),
        "admin": may(face.rules, who, Action.ADMIN),
        "token": _token(who),
        "may": cast(Powers, {word: may(face.rules, who, action) for word, action in ACTIONS.items()}),
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


# --- looking --------------------------------------------------------------------------------------------------


@guarded(app, "/api/users", may=Action.ADMIN)
@Described(Users, refuses=(NotAvailable,))
async def users(face: Face, request: Request, who: Identity) -> None:
    """The accounts, and the users of the configuration. (Nobody lists those of a directory.)"""
    configured = face.known.configured()
    accounts = [_document(face, account) for account in await face.accounts.users()]
    others = [_configured(name, name in configured.admins) for name in sorted(configured.users)]
    listed = sorted([*accounts, *others], key=lambda user: user["name"])
    document: Users = {"users": listed, "warnings": _warnings(face) if accounts else []}
    send_json(request, document)


@guarded(app, USER, may=Action.ADMIN)
@Described(WholeUser, refuses=(NoSuchUser, NotAvailable))
async def user(face: Face, request: Request, who: Identity, name: str) -> None:
    """One user, whoever knows them, with their groups."""
    send_json(request, await _told(face, name))


def _warnings(face: Face) -> list[str]:
    if face.known.configured().accounts_log_in:
        return []
    return [
        "Nobody can log in with an account of the accounts database yet: write sql into [access] backend (backend = config "
        "sql), and start pypid again."
    ]


async def _told(face: Face, name: str) -> WholeUser:
    found = await face.known.find(name)
    configured = face.known.configured()
    if name in configured.users:
        document = _configured(name, name in configured.admins)
    else:
        try:
            document = _document(face, await face.accounts.user(name))
        except NoSuchUser:
            if found is None:
                raise
            document = {"name": name, "admin": found.admin, "standing": Standing.ACTIVE, "from": "elsewhere"}
    if found is not None:
        groups = found.groups
    else:
        groups = frozenset(group for group, members in (await face.accounts.memberships()).items() if name in members)
    in_vain = document["from"] == "database" and document["standing"] is Standing.ACTIVE and found is None
    warnings = _warnings(face) if in_vain else []
    return {**document, "groups": sorted(groups), "can_log_in": found is not None, "warnings": warnings}


def _document(face: Face, account: Account) -> UserDocument:
    configured = face.known.configured()
    return {
        "name": account.name,
        "admin": account.admin or account.name in configured.admins,
        "standing": account.standing,
        "created": utc_text(account.created),
        "changed": utc_text(account.changed),
        "from": "database",
        "hidden": account.name in configured.users,  # the configuration has somebody of that name, and is asked first
    }


def _configured(name: str, admin: bool) -> UserDocument:
    return {"name": name, "admin": admin, "standing": Standing.ACTIVE, "from": "configuration"}


# --- making and changing --------------------------------------------------------------------------------------


@guarded(app, "/api/users", may=Action.ADMIN, methods=("POST",))
@Described(MadeUser, status=201, takes=NewUser, refuses=(NameTaken, NotAvailable))
async def add(face: Face, request: Request, who: Identity) -> None:
    """A new account."""
    wanted = await read_json(request, NewUser)
    await demand_free(face, wanted.name, inherit=wanted.inherit)
    password = wanted.password if wanted.password is not None else made_password(face)
    now = face.world.now()
    hashed = await face.known.hash_password(password)
    account = Account(name=wanted.name, hash=hashed, admin=wanted.admin, created=now, changed=now)
    adding = face.accounts.add_user(account)
    await recorded(face, request, who, "add-user", account.name, adding, lambda _: {"admin": _yes(account.admin)})
    document = cast(MadeUser, await _told(face, account.name))
    if wanted.password is None:
        document["password"] = password
    send_json(request, document, 201)


@guarded(app, USER, may=Action.ADMIN, methods=("PATCH",))
@Described(WholeUser, takes=Change, refuses=(*NO_ACCOUNT, LastAdmin))
async def change(face: Face, request: Request, who: Identity, name: str) -> None:
    """Make somebody an administrator, or no longer; disable an account, or open it again (or for the first time)."""
    wanted = await read_json(request, Change)
    if wanted.admin is msgspec.UNSET and wanted.standing is msgspec.UNSET:
        raise BadRequest("Say what to change: admin (true or false), standing (active or disabled), or both.")
    account = await changeable_account(face, name)
    if wanted.admin is False and name in face.known.configured().admins:
        raise ChangedElsewhere(f"that {name!r} is an administrator", "[access] admins of the configuration says so")

    def changed(account: Account) -> Account:
        admin = account.admin if wanted.admin is msgspec.UNSET else wanted.admin
        standing = account.standing if wanted.standing is msgspec.UNSET else Standing(wanted.standing)
        return evolve(account, admin=admin, standing=standing, changed=face.world.now())

    after = changed(account)
    harmless = wanted.admin is not False and wanted.standing != Standing.DISABLED.value
    editing = keeping_an_admin(face, None if harmless else name, face.accounts.edit_user(name, changed))
    said = {"admin": _yes(after.admin), "standing": after.standing.value}
    await recorded(face, request, who, "change-user", name, editing, lambda _: said)
    send_json(request, await _told(face, name))


@guarded(app, USER, may=Action.ADMIN, methods=("DELETE",))
@Described(Removed, refuses=(*NO_ACCOUNT, LastAdmin))
async def remove(face: Face, request: Request, who: Identity, name: str) -> None:
    """Take an account away, with its tokens, sessions, rights and memberships."""
    await changeable_account(face, name)
    removing = keeping_an_admin(face, name, face.accounts.remove_user(name))
    await recorded(face, request, who, "remove-user", name, removing)
    document: Removed = {"name": name, "removed": True}
    send_json(request, document)


@guarded(app, USER + "/password", may=SOMEBODY, methods=("PUT",))
@Described(NewSecret, takes=NewPassword, refuses=(*NO_ACCOUNT, Forbidden, NotByToken))
async def set_password(face: Face, request: Request, who: Identity, name: str) -> None:
    """A new password: somebody's own, or by an administrator."""
    is_admin = may(face.rules, who, Action.ADMIN)
    if not is_admin and who.scope is not None:
        raise NotByToken()
    if not is_admin and who.user != name:
        raise Forbidden(str(who.user), "set the password of somebody else")
    wanted = await read_json(request, NewPassword)
    before = await changeable_account(face, name)
    if not is_admin:
        await _demand_current(face, request, name, wanted.current)
    password = made_password(face) if wanted.password is None else wanted.password
    if not is_admin:
        proper_password(password)
    hashed = await face.known.hash_password(password)

    def changed(account: Account) -> Account:
        if not is_admin and account.changed != before.changed:  # who has only the old one must not undo a new one
            raise BadRequest(NOT_CURRENT)
        return evolve(account, hash=hashed, changed=face.world.now())

    editing = face.accounts.edit_user(name, changed)
    await recorded(face, request, who, "set-password", name, editing)
    document: NewSecret = {"name": name}
    if wanted.password is None:
        document["password"] = password
    send_json(request, document)


async def set_own_password(face: Face, request: Request, who: Identity, before: Account, password: str) -> None:
    """The same for whoever has just shown the password that the account `before` has. Raises `BadRequest`."""
    proper_password(password)
    hashed = await face.known.hash_password(password)

    def changed(account: Account) -> Account:
        if account.changed != before.changed:
            raise BadRequest(NOT_CURRENT)
        return evolve(account, hash=hashed, changed=face.world.now())

    editing = face.accounts.edit_user(before.name, changed)
    await recorded(face, request, who, "set-password", before.name, editing)


async def _demand_current(face: Face, request: Request, name: str, current: str | None) -> None:
    if current is None:
        raise BadRequest("Say your current password too, in the field 'current'.")
    try:
        found = await face.access.identify(Credential(name, current, request.client_address() or UNIX))
    except Unauthenticated:  # 401 would make a browser ask for another login
        found = None
    if found is None or found.user != name:
        raise BadRequest(NOT_CURRENT)


async def changeable_account(face: Face, name: str) -> Account:
    """The account. Raises `ChangedElsewhere` for somebody who has none here, `NoSuchUser` for nobody."""
    try:
        return await face.accounts.user(name)
    except NoSuchUser:
        if name in face.known.configured().users:
            raise ChangedElsewhere(f"the user {name!r}", IN_THE_FILE) from None
        if await face.known.find(name) is not None:
            raise ChangedElsewhere(f"the user {name!r}", ELSEWHERE) from None
        raise


def made_password(face: Face) -> str:
    """A password that nobody guesses."""
    return urlsafe_b64encode(face.world.random(SECRET)).decode("ascii")


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"

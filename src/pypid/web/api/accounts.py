"""The JSON API of accounts: users, groups, invitations, registration and sessions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Literal, TypedDict, cast

import msgspec
from attrs import evolve, frozen

from pypid.core.accounts.rights import (
    SESSION_USER,
    TOKEN_USER,
    Account,
    AccountStatus,
    AuditAction,
    Session,
    Whom,
)
from pypid.core.accounts.sessions import (
    LONGEST_INVITATION,
    SHORTEST_PASSWORD,
    USUAL_INVITATION,
    Invitation,
    csrf_token,
    digest_of,
    invite,
    new_secret,
    proper_password,
    read_invitation,
    refuse_taken,
    registrable,
    standing_of,
    used_up,
)
from pypid.core.configuration.checks import nearest
from pypid.core.configuration.choices import Registration
from pypid.core.errors import (
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    LastAdmin,
    LoginRefused,
    NameTaken,
    NoSuchGroup,
    NoSuchResource,
    NoSuchUser,
    NotAvailable,
    NotByToken,
    RegistrationClosed,
    Unauthenticated,
)
from pypid.core.permissions import Action, Credential, Identity, Principals, account_name
from pypid.core.simple_api.listed_files import utc_text
from pypid.web.api.tokens import ACTIONS, words_of
from pypid.web.app.accounts import (
    Change,
    MadeUser,
    Me,
    NewName,
    NewPassword,
    NewSecret,
    NewUser,
    Powers,
    TokenUsed,
    Users,
    WholeUser,
    added,
    changed,
    demand_free,
    demand_may_set_password,
    listed,
    new_name,
    password_set,
    removed,
    unknown_names,
    user_document,
)
from pypid.web.app.app import App
from pypid.web.app.audit import note, recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import (
    ANYBODY,
    SOMEBODY,
    Described,
    Duration,
    Moment,
    Removed,
    UtcTime,
    route,
)
from pypid.web.http.cookies import begin_session, credential_of_cookie, end_session
from pypid.web.http.headers import LONGEST_USER
from pypid.web.http.request import duration_of
from pypid.web.http.small_responses import read_json, send_json

USER = "/api/users/<name>"
NO_ACCOUNT = (NoSuchUser, ChangedElsewhere, NotAvailable)

# --- who am I -------------------------------------------------------------------------------------


@route("GET", "/api/me", action=ANYBODY, describe=Described(Me))
async def me(ctx: RequestContext) -> None:
    """Return the identity of the client, and what it may do in at least one project."""
    send_json(
        ctx.request,
        Me(
            user=ctx.identity.user,
            groups=sorted(ctx.identity.groups),
            admin=ctx.is_admin,
            token=_token(ctx.identity),
            may=cast(
                Powers,
                {word: ctx.may_some(action) for word, action in ACTIONS.items()},
            ),
        ),
    )


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
    send_json(ctx.request, Removed(name=name, removed=True))


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
    send_json(ctx.request, NewSecret(name, password))


# Groups, below ``/api/groups``.

GROUP = "/api/groups/<name>"
MEMBER = GROUP + "/members/<user>"
IN_THE_FILE = (
    "[groups] of the configuration is where it stands; change it there and reload pypid (SIGHUP)"
)


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a group."""

    name: NewName


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to add a member: with `new_name`, also a user who does not exist."""

    new_name: bool = False


class GroupDocument(TypedDict):
    """A group. `members`: null for a group of the configuration."""

    name: str
    members: list[str] | None
    source: Literal["configuration", "database"]


class Groups(TypedDict):
    """The list of groups."""

    groups: list[GroupDocument]


NO_GROUP = (NoSuchGroup, ChangedElsewhere, NotAvailable)


@route(
    "GET", "/api/groups", action=Action.ADMIN, describe=Described(Groups, refuses=(NotAvailable,))
)
async def groups(ctx: RequestContext) -> None:
    """List the groups with their members. Groups of the configuration are listed by name only,
    those of a directory not at all.
    """
    found = [
        _group_document(name, members)
        for name, members in (await ctx.app.accounts.memberships()).items()
    ]
    found += [
        {"name": name, "members": None, "source": "configuration"}
        for name in ctx.app.known.configured().groups
    ]
    send_json(ctx.request, Groups(groups=sorted(found, key=lambda group: group["name"])))


@route("GET", GROUP, action=Action.ADMIN, describe=Described(GroupDocument, refuses=NO_GROUP))
async def group(ctx: RequestContext, name: str) -> None:
    """Return a group with its members."""
    send_json(ctx.request, _group_document(name, await members_of(ctx.app, name)))


@route(
    "POST",
    "/api/groups",
    action=Action.ADMIN,
    describe=Described(
        GroupDocument,
        status=201,
        takes=NewGroup,
        refuses=(NameTaken, ChangedElsewhere, NotAvailable),
    ),
)
async def add_group(ctx: RequestContext) -> None:
    """Create an empty group. Rights given to its name before are its own."""
    name = await added_group(ctx, (await read_json(ctx.request, NewGroup)).name)
    send_json(ctx.request, _group_document(name, ()), 201)


@route("DELETE", GROUP, action=Action.ADMIN, describe=Described(Removed, refuses=NO_GROUP))
async def remove_group(ctx: RequestContext, name: str) -> None:
    """Delete a group and its rights."""
    await removed_group(ctx, name)
    send_json(ctx.request, Removed(name=name, removed=True))


@route(
    "PUT",
    MEMBER,
    action=Action.ADMIN,
    describe=Described(GroupDocument, takes=NewMember, refuses=(*NO_GROUP, BadRequest)),
)
async def join(ctx: RequestContext, name: str, user: str) -> None:
    """Add a user to a group."""
    wanted = await read_json(ctx.request, NewMember)
    await joined(ctx, name, user, new_name=wanted.new_name)
    send_json(ctx.request, _group_document(name, await members_of(ctx.app, name)))


@route(
    "DELETE",
    MEMBER,
    action=Action.ADMIN,
    describe=Described(GroupDocument, refuses=(*NO_GROUP, BadRequest)),
)
async def leave(ctx: RequestContext, name: str, user: str) -> None:
    """Remove a user from a group."""
    await left(ctx, name, user)
    send_json(ctx.request, _group_document(name, await members_of(ctx.app, name)))


# --- shared with the pages ------------------------------------------------------------------------


async def added_group(ctx: RequestContext, text: str) -> str:
    """Create the group; return its name. Raises `BadRequest`, `NameTaken`, `ChangedElsewhere`."""
    name = new_name(text)
    demand_changeable(ctx.app, name)
    await recorded(ctx, "group create", name, ctx.app.accounts.add_group(name))
    return name


async def removed_group(ctx: RequestContext, name: str) -> None:
    """Delete the group and its rights. Raises `NoSuchGroup`, `ChangedElsewhere`."""
    members = await members_of(ctx.app, name)
    removing = ctx.app.accounts.remove_group(name)
    await recorded(ctx, "group delete", name, removing, lambda _: {"members": str(len(members))})


async def joined(ctx: RequestContext, name: str, user: str, *, new_name: bool) -> None:
    """Add the user to the group. Raises `NoSuchGroup`, `ChangedElsewhere`, and `BadRequest`, unless
    `new_name` also for a user who does not exist.
    """
    before = await members_of(ctx.app, name)
    try:
        account_name(user)
    except ValueError as error:
        raise BadRequest(f"This cannot be a user: {error}.") from None
    one = Principals(users=frozenset({user}))
    if user not in before and not new_name and (unknown := await unknown_names(ctx.app, one)):
        raise BadRequest(
            f"Nothing was changed. {unknown[0]} To add the member before the name exists, use "
            "`pypid group add-user --new-name`, or `new_name` in the API."
        )
    joining = ctx.app.accounts.join(name, user)
    await recorded(
        ctx,
        "group add-user",
        f"{name}/{user}",
        joining,
        lambda _: None if user in before else {},
    )


async def left(ctx: RequestContext, name: str, user: str) -> None:
    """Remove the user from the group. Raises `NoSuchGroup`, `ChangedElsewhere`, and `BadRequest`
    for a user who is not a member.
    """
    before = await members_of(ctx.app, name)
    if user not in before:
        raise BadRequest(f"{user} is not a member of the group {name}{nearest(user, before)}.")
    leaving = ctx.app.accounts.leave(name, user)
    await recorded(ctx, "group remove-user", f"{name}/{user}", leaving)


async def members_of(app: App, name: str) -> frozenset[str]:
    """Return the members of the group. Raises `NoSuchGroup`, and `ChangedElsewhere` for a group of
    the configuration.
    """
    found = (await app.accounts.memberships()).get(name)
    if found is None:
        demand_changeable(app, name)
        raise NoSuchGroup(name)
    return found


def demand_changeable(app: App, name: str) -> None:
    if name in app.known.configured().groups:
        raise ChangedElsewhere(f"the group {name!r}", IN_THE_FILE)


def _group_document(name: str, members: Iterable[str]) -> GroupDocument:
    return {"name": name, "members": sorted(members), "source": "database"}


# Invitations to register, below ``/api/invitations``. The secret is in one answer only: the one to
# the request that created it.

MOST_LISTED = 1000
"""Number of entries of the audit log of each kind that are read."""
_ID = re.compile(r"[0-9a-f]{24}\Z")


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create an invitation. `expires`: a duration (7d), at most 30
    days.
    """

    expires: Duration | None = None


class InvitationDocument(msgspec.Struct):
    """A new invitation. `secret`: what the applicant must send to register."""

    id: str
    secret: str
    expires: UtcTime


class OpenInvitation(msgspec.Struct):
    """An invitation that can still be used, without its secret. `by`: the administrator who created
    it.
    """

    id: str
    by: str
    created: UtcTime
    expires: UtcTime


class OpenInvitations(TypedDict):
    """The invitations that can still be used, newest first."""

    invitations: list[OpenInvitation]


class Withdrawn(TypedDict):
    """The result of a withdrawal. `withdrawn`: false if the invitation was used or withdrawn
    before.
    """

    id: str
    withdrawn: bool


@route(
    "POST",
    "/api/invitations",
    action=Action.ADMIN,
    describe=Described(
        InvitationDocument, status=201, takes=NewInvitation, refuses=(NotAvailable,)
    ),
)
async def make(ctx: RequestContext) -> None:
    """Create an invitation for one account."""
    wanted = await read_json(ctx.request, NewInvitation)
    new = await made(ctx, wanted.expires)
    send_json(ctx.request, msgspec.convert(new, InvitationDocument, from_attributes=True), 201)


def demand_invitations(app: App) -> None:
    """Raise `NotAvailable`, or `BadRequest` if registration is not by invitation."""
    _, mode = app.known, app.settings.people.registration
    if mode is not Registration.TOKEN:
        raise BadRequest(
            "Registration by invitation is off. To turn it on, set [access] registration = "
            "token, and reload."
        )


async def made(ctx: RequestContext, expires: str | None) -> Invitation:
    """Create an invitation that is valid for this long (``7d``). Raises `BadRequest`,
    `NotAvailable`.
    """
    demand_invitations(ctx.app)
    lifetime = USUAL_INVITATION if expires is None else duration_of("expires", expires)
    new = invite(ctx.app.known.session_key, ctx.app.world.now(), lifetime, ctx.app.world.random)
    await note(ctx, "invitation create", new.id, {"expires": utc_text(new.expires)})
    return new


@route(
    "GET",
    "/api/invitations",
    action=Action.ADMIN,
    describe=Described(OpenInvitations, refuses=(BadRequest, NotAvailable)),
)
async def list_invitations(ctx: RequestContext) -> None:
    """List the invitations that can still be used."""
    demand_invitations(ctx.app)
    send_json(ctx.request, OpenInvitations(invitations=await open_invitations(ctx.app)))


async def open_invitations(app: App) -> list[OpenInvitation]:
    """Return the open invitations, the newest first, from the audit log: an unused invitation is
    stored nowhere else.
    """
    actions: list[AuditAction] = ["invitation create", "invitation delete", "user register"]
    made, taken, used = [
        await app.journal.entries(what=action, most=MOST_LISTED) for action in actions
    ]
    over = {deed.subject for deed in taken} | {deed.details.get("invitation") for deed in used}
    found = [
        OpenInvitation(
            deed.subject, deed.who, deed.when, _moment(deed.details.get("expires", ""), deed.when)
        )
        for deed in made
    ]
    return [each for each in found if each.id not in over and each.expires > app.world.now()]


def _moment(text: str, instead: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return instead


@route(
    "DELETE",
    "/api/invitations/<id>",
    action=Action.ADMIN,
    describe=Described(Withdrawn, refuses=(BadRequest, NotAvailable)),
)
async def withdraw(ctx: RequestContext, id: str) -> None:
    """Withdraw an invitation, which can then no longer be used. The answer tells whether it was
    used or withdrawn before.
    """
    send_json(ctx.request, Withdrawn(id=id, withdrawn=await withdrawn_invitation(ctx, id)))


async def withdrawn_invitation(ctx: RequestContext, id: str) -> bool:
    """Withdraw the invitation; return False if it was used or withdrawn before. Raises
    `BadRequest`.
    """
    if not _ID.match(id):
        raise BadRequest(
            "An invitation's id has 24 hexadecimal digits: the answer that made it told it, and "
            "the audit log has it."
        )
    until = ctx.app.world.now() + LONGEST_INVITATION  # it has expired by then, if it exists
    withdrawing = ctx.app.accounts.once("invitation", id, until)
    return await recorded(
        ctx,
        "invitation delete",
        id,
        withdrawing,
        lambda done: {} if done else None,
    )


# Self-registration, if ``[access] registration`` allows it: the captcha, the invitation, the
# account.
#
# Captchas are ALTCHA's proof of work, version 2, which its widget solves in the browser. No third
# party is contacted, and nothing is stored of a captcha before it is solved: it is signed, and
# expires by itself.

LIFETIME = timedelta(minutes=10)
ALGORITHM = "PBKDF2/SHA-256"
COST = 1000
"""Iterations of one try. Creating a captcha takes one try, and so does verifying a solution: 0.35
ms on the reactor thread.
"""
FEWEST, MOST = 2000, 4000
"""Tries until a captcha is solved: a second of one core, which a widget spreads over several."""
LONGEST = 4096
"""Maximum length of a solution in characters; the widget's have some 700."""

_WRONG = (
    "The captcha is not solved. Fetch a new one (GET /api/captcha), solve it, and send the "
    "solution as captcha."
)


class RiddleParameters(TypedDict):
    """The captcha's parameters, in ALTCHA's terms. `expiresAt`: seconds since 1970."""

    algorithm: str
    cost: int
    keyLength: int
    keyPrefix: str
    nonce: str
    salt: str
    expiresAt: int


class Captcha(TypedDict):
    """A captcha of ALTCHA's proof of work, version 2, as its widget takes it."""

    parameters: RiddleParameters
    signature: str


@frozen
class Solved:
    """A solved captcha. The caller must ensure that each `nonce` is accepted only once."""

    nonce: str
    expires: datetime


def riddle(key: bytes, now: datetime, random: Callable[[int], bytes]) -> Captcha:
    """Return a new captcha, as ALTCHA's widget takes it from its URL: ``parameters`` and
    ``signature``. `key`: 32 bytes.
    """
    from altcha import (
        create_challenge,
    )  # takes a while to import; only servers that use captchas pay for it

    tries = FEWEST + int.from_bytes(random(8)) % (MOST - FEWEST)
    made = create_challenge(
        ALGORITHM, COST, counter=tries, expires_at=now + LIFETIME, hmac_secret=_secret(key)
    )
    return cast(Captcha, made.to_dict())


def solved(key: bytes, solution: str | None) -> Solved:
    """Return the solved captcha in the widget's answer: JSON in base64 that contains the captcha.
    Raises `BadRequest`, with advice.
    """
    from altcha import Payload, verify_solution

    if not solution:
        raise BadRequest(
            "A captcha has to be solved first: fetch one (GET /api/captcha), and send its "
            "solution as captcha."
        )
    if len(solution) > LONGEST or not solution.isascii():
        raise BadRequest(_WRONG)
    result = verify_solution(solution, _secret(key))
    if result.expired:
        raise BadRequest(
            "The captcha has expired. Fetch a new one (GET /api/captcha), and send its solution "
            "as captcha."
        )
    if not result.verified:
        raise BadRequest(_WRONG)
    puzzle = Payload.from_base64(solution).challenge.parameters
    return Solved(puzzle.nonce, datetime.fromtimestamp(puzzle.expires_at or 0, UTC))


def _secret(key: bytes) -> bytes:
    return blake2b(digest_size=32, key=key, person=b"pypid riddle").digest()


WELCOME = {
    AccountStatus.ACTIVE: "The account can be used now.",
    AccountStatus.PENDING: "The account can be used once an administrator has approved it.",
}


class Applicant(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a registration. `captcha`: a solved captcha, as the widget gives it; `token`: an
    invitation.
    """

    user: Annotated[
        str, msgspec.Meta(extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"})
    ]
    password: Annotated[str, msgspec.Meta(extra_json_schema={"minLength": SHORTEST_PASSWORD})]
    captcha: str | None = None
    token: str | None = None


class Welcome(TypedDict):
    """A new account. `message`: when it can be used."""

    user: str
    status: AccountStatus
    message: str


@route(
    "GET",
    "/api/captcha",
    action=ANYBODY,
    describe=Described(Captcha, refuses=(NoSuchResource, NotAvailable)),
)
async def captcha(ctx: RequestContext) -> None:
    """Return a captcha for ALTCHA's widget."""
    if not ctx.app.settings.people.captcha:
        raise NoSuchResource("This index does not use a captcha: register without one.")
    send_json(
        ctx.request, riddle(ctx.app.known.session_key, ctx.app.world.now(), ctx.app.world.random)
    )


@route(
    "POST",
    "/api/register",
    action=ANYBODY,
    entrance=True,
    describe=Described(
        Welcome,
        status=201,
        takes=Applicant,
        refuses=(RegistrationClosed, NameTaken, NotAvailable),
    ),
)
async def register(ctx: RequestContext) -> None:
    """Register an account. The cheap checks come first, and a typing error uses nothing up."""
    mode_of(ctx.app)
    wanted = await read_json(ctx.request, Applicant)
    account = await enrolled(ctx, wanted, invitation_of(ctx.app, wanted.token))
    send_json(
        ctx.request,
        Welcome(user=account.name, status=account.status, message=WELCOME[account.status]),
        201,
    )


def mode_of(app: App) -> Registration:
    """Return the mode of registration. Raises `RegistrationClosed`, and `NotAvailable` if there are
    no accounts.
    """
    _, mode = app.known, app.settings.people.registration
    if mode is Registration.CLOSED:
        raise RegistrationClosed()
    return mode


async def enrolled(
    ctx: RequestContext, wanted: Applicant, invitation: Invitation | None
) -> Account:
    """Create the account of an applicant who may register; return it. Raises as `register`."""
    name, password = registrable(wanted.user), proper_password(wanted.password)
    ctx.app.registration_limit.let_in(ctx.address, ctx.app.world.clock.seconds())
    await _use_up_riddle(ctx.app, wanted.captcha)
    await _demand_free(ctx.app, name)
    hashed = await ctx.app.known.hash_password(password)
    now = ctx.app.world.now()
    mode = ctx.app.settings.people.registration
    account = Account(name=name, hash=hashed, status=standing_of(mode), created=now, changed=now)
    details = {"registration": mode.value, "status": account.status.value}
    if invitation is not None:
        details["invitation"] = invitation.id
    adding = _add(ctx.app, account, invitation)
    await recorded(ctx, "user register", name, adding, lambda _: details)
    return account


async def _add(app: App, account: Account, invitation: Invitation | None) -> None:
    """Add the account, one at a time: two applicants who want names that look alike at the same
    time do not both get them.
    """
    async with app.registration_limit.turn:
        await _demand_free(app, account.name)
        if invitation is not None and not await app.accounts.once(
            "invitation", invitation.id, invitation.expires
        ):
            raise used_up()
        await app.accounts.add_user(account)


async def _demand_free(app: App, name: str) -> None:
    # inherit: the error would disclose to strangers what is granted to the name, and where; such
    # names are refused below
    await demand_free(app, name, inherit=True)
    rights = {right.name for right in await app.accounts.rights() if right.whom is Whom.USER}
    members = frozenset[str]().union(*(await app.accounts.memberships()).values())
    owners = {token.user for token in await app.accounts.tokens()}
    refuse_taken(name, app.known.configured().mentioned | rights | members | owners)


def invitation_of(app: App, token: str | None) -> Invitation | None:
    """Return the invitation that the applicant uses; None if none is needed. Raises
    `RegistrationClosed`, `BadRequest`.
    """
    if app.settings.people.registration is not Registration.TOKEN:
        return None
    if token is None:
        raise RegistrationClosed(
            "Here one registers by invitation: ask an administrator for one, and send it as token."
        )
    return read_invitation(token, app.known.session_key, app.world.now())


async def _use_up_riddle(app: App, solution: str | None) -> None:
    if not app.settings.people.captcha:
        return
    found = solved(app.known.session_key, solution)
    if not await app.accounts.once("riddle", found.nonce, found.expires):
        raise BadRequest(
            "This captcha was used already. Fetch a new one (GET /api/captcha), and send its "
            "solution as captcha."
        )


# Sessions for browsers, below ``/api/session``: a login returns a cookie, and a CSRF token to send
# with it.

NOT_PEOPLE = frozenset({"", TOKEN_USER, SESSION_USER})
"""Names that cannot log in: a session may do all that its user may, and a token perhaps far
less.
"""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a login."""

    user: str
    password: str


class SessionDocument(TypedDict):
    """The user who is logged in; of a session its end, and the value to send with its cookie in
    ``X-CSRF-Token``.
    """

    user: str | None
    admin: bool
    csrf_token: str | None
    expires: Moment | None


class LoggedOut(TypedDict):
    """The answer to a logout: `user` is null."""

    user: None


@route(
    "GET",
    "/api/session",
    action=ANYBODY,
    describe=Described(SessionDocument, refuses=(NotAvailable,)),
)
async def session(ctx: RequestContext) -> None:
    """Return the user who is logged in, by any credentials. Of a session, also its CSRF token and
    its end.
    """
    found = None
    if ctx.request.session is not None:
        found = await ctx.app.accounts.session(
            digest_of(ctx.request.session, ctx.app.known.session_key)
        )
    send_json(ctx.request, _document(ctx.identity, ctx.request.session, found))


@route(
    "POST",
    "/api/session",
    action=ANYBODY,
    entrance=True,
    describe=Described(SessionDocument, takes=Login, refuses=(LoginRefused, NotAvailable)),
)
async def log_in(ctx: RequestContext) -> None:
    """Begin a session. It is always a new one, whatever cookie the client sent, so that no user is
    led into the session of another.
    """
    user, secret, begun = await begin(ctx, await read_json(ctx.request, Login))
    send_json(ctx.request, _document(user, secret, begun))


async def begin(ctx: RequestContext, login: Login) -> tuple[Identity, str, Session]:
    """Log in, and set the cookie of a new session; return the user, the cookie's secret, and the
    session.

    Raises `LoginRefused`, `TooManyAttempts`, and what `Access.identify` raises.
    """
    key, lifetime = ctx.app.known.session_key, ctx.app.settings.people.session_lifetime
    user = await _proven(ctx, login)
    ctx.request.authenticate(user)
    ctx.app.registration_limit.log_in(str(user.user), ctx.app.world.clock.seconds())
    now, secret = ctx.app.world.now(), new_secret(ctx.app.world.random)
    begun = Session(
        digest=digest_of(secret, key),
        user=str(user.user),
        created=now,
        expires=now + lifetime,
        address=ctx.request.client_address() or "",
    )
    await recorded(evolve(ctx, identity=user), "user log-in", begun.user, _begun(ctx, login, begun))
    before = credential_of_cookie(ctx.request)
    if before is not None:  # the browser forgets its secret now, so this is the last chance
        await ctx.app.accounts.end_session(digest_of(before.password, key))
    begin_session(ctx.request, secret, int(lifetime.total_seconds()))
    return user, secret, begun


@route(
    "DELETE", "/api/session", action=ANYBODY, describe=Described(LoggedOut, refuses=(NotAvailable,))
)
async def log_out(ctx: RequestContext) -> None:
    """End the session, at once and permanently. Ending it again is no error."""
    await end(ctx)
    end_session(ctx.request)
    send_json(ctx.request, LoggedOut(user=None))


async def end(ctx: RequestContext) -> None:
    """End the session whose cookie the client sent, if any."""
    if ctx.request.session is not None:
        ending = ctx.app.accounts.end_session(
            digest_of(ctx.request.session, ctx.app.known.session_key)
        )
        await recorded(ctx, "user log-out", str(ctx.identity.user), ending)


async def _begun(ctx: RequestContext, login: Login, begun: Session) -> None:
    """Store the session, unless the password has changed meanwhile: that change ended only the
    sessions that existed then.
    """
    await ctx.app.accounts.add_session(begun)
    try:
        await _proven(ctx, login)
    except BaseException:
        await ctx.app.accounts.end_session(begun.digest)
        raise


async def _proven(ctx: RequestContext, login: Login) -> Identity:
    """Return the user whom the name and the password prove. Raises `LoginRefused`, and all else
    that `Access.identify` does.
    """
    if (
        login.user in NOT_PEOPLE
        or len(login.user) > LONGEST_USER
        or _UNPRINTABLE.search(login.user)
    ):
        raise LoginRefused()
    try:
        found = await ctx.app.access.identify(Credential(login.user, login.password, ctx.address))
    except Unauthenticated as error:  # wrong, or right and the account cannot be used
        raise LoginRefused(error.text()) from None
    if found.user is None or found.scope is not None:
        raise LoginRefused()
    return found


def _document(who: Identity, secret: str | None, found: Session | None) -> SessionDocument:
    return {
        "user": who.user,
        "admin": who.admin and who.scope is None,
        "csrf_token": None if secret is None else csrf_token(secret),
        "expires": None if found is None else utc_text(found.expires),
    }

"""Self-registration, if ``[access] registration`` allows it: the captcha, the invitation, the
account.

Captchas are ALTCHA's proof of work, version 2, which its widget solves in the browser. No third
party is contacted, and nothing is stored of a captcha before it is solved: it is signed, and
expires by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, TypedDict, cast

import msgspec
from attrs import frozen

from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.accounts.registration import (
    SHORTEST_PASSWORD,
    Invitation,
    proper_password,
    read_invitation,
    refuse_taken,
    registrable,
    standing_of,
    used_up,
)
from pypid.core.accounts.rights import Whom
from pypid.core.configuration.choices import Registration
from pypid.core.errors import (
    BadRequest,
    NameTaken,
    NoRiddles,
    NotAvailable,
    RegistrationClosed,
    TooManyRegistrations,
)
from pypid.web.app.account_names import demand_free
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.small_responses import read_json, send_json

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
    describe=Described(Captcha, refuses=(NoRiddles, NotAvailable)),
)
async def captcha(ctx: RequestContext) -> None:
    """Return a captcha for ALTCHA's widget."""
    if not ctx.app.settings.people.captcha:
        raise NoRiddles()
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
        refuses=(RegistrationClosed, NameTaken, TooManyRegistrations, NotAvailable),
    ),
)
async def register(ctx: RequestContext) -> None:
    """Register an account. The cheap checks come first, and a typing error uses nothing up."""
    mode_of(ctx.app)
    wanted = await read_json(ctx.request, Applicant)
    account = await enrolled(ctx, wanted, invitation_of(ctx.app, wanted.token))
    document: Welcome = {
        "user": account.name,
        "status": account.status,
        "message": WELCOME[account.status],
    }
    send_json(ctx.request, document, 201)


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

"""pypicloud's ``/api/user/`` and ``/acct/``: registration, login, logout, and one's own
password.
"""

from __future__ import annotations

from typing import TypedDict

import msgspec

from pypid.compat.pypicloud.arguments import arguments
from pypid.core.accounts.registration import Invitation
from pypid.core.accounts.sessions import csrf_token
from pypid.core.errors import (
    BadRequest,
    ChangedElsewhere,
    LoginRefused,
    NameTaken,
    NoSuchUser,
    NotAvailable,
    NotByToken,
    PeopleFixed,
    RegistrationClosed,
    TooManyRegistrations,
    Unauthenticated,
)
from pypid.core.permissions import Credential
from pypid.web.api.registration import WELCOME, Applicant, Welcome, enrolled, invitation_of, mode_of
from pypid.web.api.sessions import Login, begin, end
from pypid.web.app.accounts import changeable_account, set_own_password
from pypid.web.app.app import App
from pypid.web.app.descriptions import Described
from pypid.web.app.login_redirect import LOGIN
from pypid.web.app.people_documents import NewSecret
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, route
from pypid.web.http.cookies import credential_of_cookie, end_session
from pypid.web.http.negotiation import ErrorFormat, choose_error_format
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import header_of, set_head
from pypid.web.http.small_responses import send_json

LONGEST = 100
"""Most characters of a password in a registration, as in pypicloud."""


class NewAccount(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a registration. `captcha` and `token`: if this index requires a captcha, or
    an invitation.
    """

    password: str
    captcha: str | None = None
    token: str | None = None


class NamedAccount(NewAccount, kw_only=True, forbid_unknown_fields=True):
    """The arguments of a registration at an address without the user's name."""

    username: str


class OwnPassword(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a password change."""

    old_password: str
    new_password: str


class PypicloudLogin(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a login."""

    username: str
    password: str


class LoggedIn(TypedDict):
    """Where to go next, and the value to send in ``X-CSRF-Token`` with the cookie, in all requests
    that change something.
    """

    next: str
    csrf_token: str


# --- registration ---------------------------------------------------------------------------------


REGISTER_DESCRIPTION = Described(
    Welcome, takes=NewAccount, refuses=(RegistrationClosed, TooManyRegistrations, NotAvailable)
)


@route("PUT", "/api/user/<name>", action=ANYBODY, entrance=True, describe=REGISTER_DESCRIPTION)
@route(
    "PUT", "/api/user/password", action=ANYBODY, entrance=True, describe=REGISTER_DESCRIPTION
)  # a user may have this name
async def register(ctx: RequestContext, name: str = "password") -> None:
    """Register an account, if ``[access] registration`` allows it."""
    mode_of(ctx.app)
    wanted = await arguments(ctx.request, NewAccount)
    await _register(ctx, name, wanted)


@route("PUT", "/acct/login", action=ANYBODY, entrance=True)
async def register_by_form(ctx: RequestContext) -> None:
    """Register an account, with the name among the arguments."""
    mode_of(ctx.app)
    wanted = await arguments(ctx.request, NamedAccount)
    await _register(ctx, wanted.username, wanted)


async def _register(ctx: RequestContext, name: str, wanted: NewAccount) -> None:
    applicant = Applicant(
        user=name.strip(), password=wanted.password, captcha=wanted.captcha, token=wanted.token
    )
    invitation = invitation_of(ctx.app, wanted.token)
    await _enrol(ctx, applicant, invitation)


async def _enrol(ctx: RequestContext, wanted: Applicant, invitation: Invitation | None) -> None:
    """Register the account. As in pypicloud, a name that is taken is answered with 400."""
    if len(wanted.password) > LONGEST:
        raise BadRequest(f"Password cannot exceed {LONGEST} characters")
    try:
        account = await enrolled(ctx, wanted, invitation)
    except NameTaken as error:
        raise BadRequest(str(error)) from None
    document: Welcome = {
        "user": account.name,
        "status": account.status,
        "message": WELCOME[account.status],
    }
    send_json(ctx.request, document)


# --- one's own password ---------------------------------------------------------------------------


@route(
    "POST",
    "/api/user/password",
    action=SOMEBODY,
    describe=Described(
        NewSecret,
        takes=OwnPassword,
        refuses=(LoginRefused, NotByToken, NoSuchUser, ChangedElsewhere, PeopleFixed, NotAvailable),
    ),
)
async def set_password(ctx: RequestContext) -> None:
    """Change one's own password. The old one is required."""
    if ctx.identity.scope is not None or ctx.identity.user is None:
        raise NotByToken()
    wanted = await arguments(ctx.request, OwnPassword)
    try:
        found = await ctx.app.access.identify(
            Credential(ctx.identity.user, wanted.old_password, ctx.address)
        )
    except Unauthenticated:
        found = None
    if found is None or found.user != ctx.identity.user:
        raise LoginRefused("old_password is not your current password: nothing was changed.")
    demand_changing(ctx.app)
    await set_own_password(
        ctx, await changeable_account(ctx.app, ctx.identity.user), wanted.new_password
    )
    document: NewSecret = {"name": ctx.identity.user}
    send_json(ctx.request, document)


def demand_changing(app: App) -> None:
    """Raise `PeopleFixed` if users are in the configuration alone, where pypicloud failed (500)."""
    if not app.known.configured().accounts_log_in:
        raise PeopleFixed()


# --- login and logout -----------------------------------------------------------------------------


@route("GET", "/acct/login", action=ANYBODY)
async def login_page(ctx: RequestContext) -> None:
    """Redirect to the login page, which has another address now."""
    _go(ctx.request, _home(ctx.request) + LOGIN.encode())


@route("POST", "/acct/login", action=ANYBODY, entrance=True)
async def log_in(ctx: RequestContext) -> None:
    """Begin a session."""
    wanted = await arguments(ctx.request, PypicloudLogin)
    await _log_in(ctx, wanted.username, wanted.password)


async def _log_in(ctx: RequestContext, name: str, password: str) -> None:
    _, secret, _ = await begin(ctx, Login(user=name, password=password))
    if choose_error_format(header_of(ctx.request, "accept")) is ErrorFormat.HTML:
        return _go_home(ctx.request)
    document: LoggedIn = {
        "next": f"{ctx.base_url or ''}/",
        "csrf_token": csrf_token(secret),
    }
    return send_json(ctx.request, document)


@route("POST", "/acct/logout", action=ANYBODY)
async def log_out(ctx: RequestContext) -> None:
    """End the session, at once and permanently. A form of another site comes without the cookie,
    and ends none.
    """
    await end(ctx)
    if credential_of_cookie(ctx.request) is not None:
        end_session(ctx.request)
    _go_home(ctx.request)


def _go_home(request: Request) -> None:
    _go(request, _home(request))


def _home(request: Request) -> bytes:
    return b"../../" if request.path.endswith(b"/") else b"../"


def _go(request: Request, where: bytes) -> None:
    """Send 302, which browsers and scripts follow by GET, whatever method they used."""
    head = ((b"Location", where), (b"Cache-Control", b"no-store"), (b"Content-Length", b"0"))
    set_head(request, 302, head)
    write(request, b"")

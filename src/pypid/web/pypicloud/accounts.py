"""pypicloud's ``/api/user/`` and ``/acct/``: registration, login, logout, and one's own
password.
"""

from __future__ import annotations

from typing import TypedDict

import msgspec

from pypid.core.accounts.registration import Invitation
from pypid.core.accounts.sessions import csrf_token
from pypid.core.configuration.choices import Registration
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
from pypid.core.permissions import Credential, Identity
from pypid.web.api.people_documents import NewSecret
from pypid.web.api.registration import WELCOME, Applicant, Welcome, enrolled, invitation_of, mode_of
from pypid.web.api.sessions import Login, begin, end
from pypid.web.app.accounts import changeable_account, set_own_password
from pypid.web.app.app import App, routes
from pypid.web.app.descriptions import Described
from pypid.web.app.guard import ANYBODY, SOMEBODY, UNIX, guarded
from pypid.web.http.cookies import credential_of_cookie, end_session
from pypid.web.http.negotiation import ErrorFormat, choose_error_format
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import header_of, set_head
from pypid.web.http.small_responses import send_json
from pypid.web.pypicloud.arguments import arguments
from pypid.web.pypicloud.inviting import read_token
from pypid.web.ui.login_redirect import LOGIN

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


class TokenAccount(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a registration by a token."""

    token: str
    password: str


class LoggedIn(TypedDict):
    """Where to go next, and the value to send in ``X-CSRF-Token`` with the cookie, in all requests
    that change something.
    """

    next: str
    csrf_token: str


# --- registration ---------------------------------------------------------------------------------


@guarded(routes, "/api/user/<name>", may=ANYBODY, methods=("PUT",), entrance=True)
@guarded(
    routes, "/api/user/password", may=ANYBODY, methods=("PUT",), entrance=True
)  # a user may have this name
@Described(
    Welcome, takes=NewAccount, refuses=(RegistrationClosed, TooManyRegistrations, NotAvailable)
)
async def register(app: App, request: Request, who: Identity, name: str = "password") -> None:
    """Register an account, if ``[access] registration`` allows it."""
    mode_of(app)
    wanted = await arguments(request, NewAccount)
    await _register(app, request, who, name, wanted)


@guarded(routes, "/acct/login", may=ANYBODY, methods=("PUT",), entrance=True)
async def register_by_form(app: App, request: Request, who: Identity) -> None:
    """Register an account, with the name among the arguments."""
    mode_of(app)
    wanted = await arguments(request, NamedAccount)
    await _register(app, request, who, wanted.username, wanted)


async def _register(
    app: App, request: Request, who: Identity, name: str, wanted: NewAccount
) -> None:
    applicant = Applicant(
        user=name.strip(), password=wanted.password, captcha=wanted.captcha, token=wanted.token
    )
    invitation = invitation_of(app, wanted.token)
    await _enrol(app, request, who, applicant, invitation)


async def _enrol(
    app: App, request: Request, who: Identity, wanted: Applicant, invitation: Invitation | None
) -> None:
    """Register the account. As in pypicloud, a name that is taken is answered with 400."""
    if len(wanted.password) > LONGEST:
        raise BadRequest(f"Password cannot exceed {LONGEST} characters")
    try:
        account = await enrolled(app, request, who, wanted, invitation)
    except NameTaken as error:
        raise BadRequest(str(error)) from None
    document: Welcome = {
        "user": account.name,
        "standing": account.standing,
        "message": WELCOME[account.standing],
    }
    send_json(request, document)


@guarded(routes, "/acct/tokenRegister", may=ANYBODY, methods=("PUT",), entrance=True)
async def register_by_token(app: App, request: Request, who: Identity) -> None:
    """Register an account by a token that an administrator has created for this name (``GET
    /admin/token/NAME``), and log in.
    """
    known = app.known
    if app.settings.people.registration is not Registration.TOKEN:
        raise RegistrationClosed(
            "Registration by token is off. To turn it on, set [access] registration = token, "
            "and reload."
        )
    wanted = await arguments(request, TokenAccount)
    name, invitation = read_token(wanted.token, known.session_key, app.world.now())
    if len(wanted.password) > LONGEST:
        raise BadRequest(f"Password cannot exceed {LONGEST} characters")
    try:
        await enrolled(
            app, request, who, Applicant(user=name, password=wanted.password), invitation
        )
    except NameTaken as error:
        raise BadRequest(str(error)) from None
    await _log_in(app, request, name, wanted.password)


# --- one's own password ---------------------------------------------------------------------------


@guarded(routes, "/api/user/password", may=SOMEBODY, methods=("POST",))
@Described(
    NewSecret,
    takes=OwnPassword,
    refuses=(LoginRefused, NotByToken, NoSuchUser, ChangedElsewhere, PeopleFixed, NotAvailable),
)
async def set_password(app: App, request: Request, who: Identity) -> None:
    """Change one's own password. The old one is required."""
    if who.scope is not None or who.user is None:
        raise NotByToken()
    wanted = await arguments(request, OwnPassword)
    try:
        found = await app.access.identify(
            Credential(who.user, wanted.old_password, request.client_address() or UNIX)
        )
    except Unauthenticated:
        found = None
    if found is None or found.user != who.user:
        raise LoginRefused("old_password is not your current password: nothing was changed.")
    demand_changing(app)
    await set_own_password(
        app, request, who, await changeable_account(app, who.user), wanted.new_password
    )
    document: NewSecret = {"name": who.user}
    send_json(request, document)


def demand_changing(app: App) -> None:
    """Raise `PeopleFixed` if users are in the configuration alone, where pypicloud failed (500)."""
    if not app.known.configured().accounts_log_in:
        raise PeopleFixed()


# --- login and logout -----------------------------------------------------------------------------


@guarded(routes, "/acct/login", may=ANYBODY)
async def login_page(app: App, request: Request, who: Identity) -> None:
    """Redirect to the login page, which has another address now."""
    _go(request, _home(request) + LOGIN.encode())


@guarded(routes, "/acct/login", may=ANYBODY, methods=("POST",), entrance=True)
async def log_in(app: App, request: Request, who: Identity) -> None:
    """Begin a session."""
    wanted = await arguments(request, PypicloudLogin)
    await _log_in(app, request, wanted.username, wanted.password)


async def _log_in(app: App, request: Request, name: str, password: str) -> None:
    _, secret, _ = await begin(app, request, Login(user=name, password=password))
    if choose_error_format(header_of(request, "accept")) is ErrorFormat.HTML:
        return _go_home(request)
    document: LoggedIn = {
        "next": f"{app.base_url(request) or ''}/",
        "csrf_token": csrf_token(secret),
    }
    return send_json(request, document)


@guarded(routes, "/acct/logout", may=ANYBODY, methods=("POST",))
async def log_out(app: App, request: Request, who: Identity) -> None:
    """End the session, at once and permanently. A form of another site comes without the cookie,
    and ends none.
    """
    await end(app, request, who)
    if credential_of_cookie(request) is not None:
        end_session(request)
    _go_home(request)


def _go_home(request: Request) -> None:
    _go(request, _home(request))


def _home(request: Request) -> bytes:
    return b"../../" if request.path.endswith(b"/") else b"../"


def _go(request: Request, where: bytes) -> None:
    """Send 302, which browsers and scripts follow by GET, whatever method they used."""
    head = ((b"Location", where), (b"Cache-Control", b"no-store"), (b"Content-Length", b"0"))
    set_head(request, 302, head)
    write(request, b"")

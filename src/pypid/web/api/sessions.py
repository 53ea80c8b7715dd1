"""Sessions for browsers, below ``/api/session``: a login returns a cookie, and a CSRF token to send
with it.
"""

from __future__ import annotations

import re
from typing import TypedDict

import msgspec

from pypid.core.accounts.entries import SESSION_USER, TOKEN_USER, Session
from pypid.core.accounts.sessions import csrf_token, digest_of, new_secret
from pypid.core.errors import LoginRefused, NotAvailable, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.core.simple_api.render import utc_text
from pypid.web.app.app import App, routes
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.guard import ANYBODY, UNIX, guarded
from pypid.web.app.rate_limit import TooManyLogins
from pypid.web.http.cookies import begin_session, credential_of_cookie, end_session
from pypid.web.http.credentials import LONGEST_USER
from pypid.web.http.request import Request
from pypid.web.http.small_responses import read_json, send_json

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


@guarded(routes, "/api/session", may=ANYBODY)
@Described(SessionDocument, refuses=(NotAvailable,))
async def session(app: App, request: Request, who: Identity) -> None:
    """Return the user who is logged in, by any credentials. Of a session, also its CSRF token and
    its end.
    """
    found = None
    if request.session is not None:
        found = await app.accounts.session(digest_of(request.session, app.known.session_key))
    send_json(request, _document(who, request.session, found))


@guarded(routes, "/api/session", may=ANYBODY, methods=("POST",), entrance=True)
@Described(SessionDocument, takes=Login, refuses=(LoginRefused, TooManyLogins, NotAvailable))
async def log_in(app: App, request: Request, who: Identity) -> None:
    """Begin a session. It is always a new one, whatever cookie the client sent, so that no user is
    led into the session of another.
    """
    user, secret, begun = await begin(app, request, await read_json(request, Login))
    send_json(request, _document(user, secret, begun))


async def begin(app: App, request: Request, login: Login) -> tuple[Identity, str, Session]:
    """Log in, and set the cookie of a new session; return the user, the cookie's secret, and the
    session.

    Raises `LoginRefused`, `TooManyLogins`, and what `Access.identify` raises.
    """
    key, lifetime = app.known.session_key, app.settings.people.session_lifetime
    user = await _proven(app, request, login)
    request.identity = user
    app.turnstile.log_in(str(user.user), app.world.clock.seconds())
    now, secret = app.world.now(), new_secret(app.world.random)
    begun = Session(
        digest=digest_of(secret, key),
        user=str(user.user),
        created=now,
        expires=now + lifetime,
        address=request.client_address() or "",
    )
    await recorded(
        app, request, user, "begin-session", begun.user, _begun(app, request, login, begun)
    )
    before = credential_of_cookie(request)
    if before is not None:  # the browser forgets its secret now, so this is the last chance
        await app.accounts.end_session(digest_of(before.password, key))
    begin_session(request, secret, int(lifetime.total_seconds()))
    return user, secret, begun


@guarded(routes, "/api/session", may=ANYBODY, methods=("DELETE",))
@Described(LoggedOut, refuses=(NotAvailable,))
async def log_out(app: App, request: Request, who: Identity) -> None:
    """End the session, at once and permanently. Ending it again is no error."""
    await end(app, request, who)
    end_session(request)
    document: LoggedOut = {"user": None}
    send_json(request, document)


async def end(app: App, request: Request, who: Identity) -> None:
    """End the session whose cookie the client sent, if any."""
    if request.session is not None:
        ending = app.accounts.end_session(digest_of(request.session, app.known.session_key))
        await recorded(app, request, who, "end-session", str(who.user), ending)


async def _begun(app: App, request: Request, login: Login, begun: Session) -> None:
    """Store the session, unless the password has changed meanwhile: that change ended only the
    sessions that existed then.
    """
    await app.accounts.add_session(begun)
    try:
        await _proven(app, request, login)
    except BaseException:
        await app.accounts.end_session(begun.digest)
        raise


async def _proven(app: App, request: Request, login: Login) -> Identity:
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
        found = await app.access.identify(
            Credential(login.user, login.password, request.client_address() or UNIX)
        )
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

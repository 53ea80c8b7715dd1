"""Sessions for browsers, below ``/api/session``: a login returns a cookie, and a CSRF token to send
with it.
"""

from __future__ import annotations

import re
from typing import TypedDict

import msgspec
from attrs import evolve

from pypid.core.accounts.entries import SESSION_USER, TOKEN_USER, Session
from pypid.core.accounts.sessions import csrf_token, digest_of, new_secret
from pypid.core.errors import LoginRefused, NotAvailable, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.core.simple_api.entries import utc_text
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.rate_limit import TooManyLogins
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.cookies import begin_session, credential_of_cookie, end_session
from pypid.web.http.credentials import LONGEST_USER
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
    describe=Described(
        SessionDocument, takes=Login, refuses=(LoginRefused, TooManyLogins, NotAvailable)
    ),
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

    Raises `LoginRefused`, `TooManyLogins`, and what `Access.identify` raises.
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
    document: LoggedOut = {"user": None}
    send_json(ctx.request, document)


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

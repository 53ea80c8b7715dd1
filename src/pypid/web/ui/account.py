"""Pages of one's own account: login, password, tokens; and all tokens, for administrators."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import msgspec
from attrs import frozen

from pypid.core.accounts.rights import TOKEN_USER, AccountStatus, Token
from pypid.core.accounts.sessions import LONGEST_NAME, SHORTEST_PASSWORD, proper_password
from pypid.core.configuration.choices import Registration
from pypid.core.errors import (
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    LoginRefused,
    NoSuchUser,
    PypidError,
    TooManyAttempts,
)
from pypid.core.permissions import ANONYMOUS, Action
from pypid.web.api.accounts import Applicant, Login, begin, end, enrolled, invitation_of, mode_of
from pypid.web.api.tokens import (
    ACTIONS,
    ALL,
    NewToken,
    demand_no_token,
    document_of,
    made,
    revoked,
)
from pypid.web.app.accounts import (
    NOT_CURRENT,
    NewPassword,
    changeable_account,
    configured_where,
    demand_current,
    password_set,
)
from pypid.web.app.app import App
from pypid.web.app.login_redirect import LOGIN, way_back
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, route
from pypid.web.http.cookies import credential_of_cookie, end_session
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.ui.pages import MISTAKES, go, leaf_of, needs_accounts, say, sent, show

# Tokens on pages: the form for a new one, how to use it, and the lines of a list.

MEANS = {
    "read": "install from here",
    "publish": "upload files",
    "overwrite": "replace published files",
    "delete": "delete files and releases",
    "fetch": "fetch packages from upstream",
    "admin": "administer this index",
    "metrics": "read the metrics",
}
"""The meaning of a token's actions."""
EXPIRES = {
    "30d": "in 30 days",
    "90d": "in 90 days",
    "365d": "in a year",
    "never": "never",
    "own": "on a custom date",
}
"""When a new token expires, by the value of the form."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_NOWHERE = "https://INDEX"


@frozen
class TokenUse:
    """How to configure a program with the token."""

    program: str
    words: str
    text: str


def wanted_token(form: Fields) -> NewToken:
    """Return the token that the form requests. Raises `BadRequest`."""
    if not form.text("name").strip():
        raise BadRequest("Give the token a name: what it is for or where it is used.")
    if not form.all("actions"):
        raise BadRequest("Tick at least one permission for the token.")
    document = {
        "name": form.text("name").strip(),
        "actions": list(form.all("actions")),
        "projects": form.text("projects").replace(",", " ").split() or list(ALL),
        "expires": _expiry(form),
    }
    try:
        return msgspec.convert(document, NewToken)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The token is not valid: {error}.") from None


def _expiry(form: Fields) -> str | None:
    chosen = form.text("expires")
    if chosen not in EXPIRES:
        raise BadRequest("Choose when the token expires.")
    if chosen != "own":
        return None if chosen == "never" else chosen
    day = form.text("until").strip()
    if not day:
        raise BadRequest("The token needs an expiry date: choose a date.")
    return f"{day}T23:59:59Z" if _DAY.match(day) else day


def uses_of(base: str | None, secret: str, actions: Collection[Action]) -> list[TokenUse]:
    """Return how to use the token with twine, uv and pip, as far as its actions allow. `base`: the
    index's URL.
    """
    index = base or _NOWHERE
    machine = urlsplit(index).hostname or index
    found = []
    if Action.WRITE in actions:
        pypirc = f"[distutils]\nindex-servers = pypid\n\n[pypid]\nrepository = {index}/legacy/\n"
        pypirc += f"username = {TOKEN_USER}\npassword = {secret}"
        found.append(
            TokenUse(
                "twine", "In ~/.pypirc (chmod 600); then: twine upload -r pypid dist/*", pypirc
            )
        )
        uv = f"export UV_PUBLISH_URL={index}/legacy/\nexport UV_PUBLISH_TOKEN={secret}\nuv publish"
        found.append(
            TokenUse("uv publish", "In the environment; in CI, use a secret variable.", uv)
        )
    if Action.READ in actions:
        netrc = f"machine {machine}\nlogin {TOKEN_USER}\npassword {secret}"
        words = (
            f"In ~/.netrc (chmod 600), which both use; then: pip install --index-url "
            f"{index}/simple/ PROJECT"
        )
        found.append(TokenUse("pip and uv", words, netrc))
    return found


SESSIONS_END = "You were logged out everywhere."
NOT_YOURS = "The current password is wrong; nothing was changed."

say(
    password_changed=f"Your password was changed. {SESSIONS_END} Log in with the new one.",
    token_revoked="The token was revoked. It no longer works.",
)


@route("GET", "/account/", action=SOMEBODY, page=True)
@needs_accounts
async def account(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show the user's identity, permissions and tokens."""
    now = ctx.app.world.now()
    tokens = leaf_of([document_of(each, now) for each in await _tokens(ctx)], ctx.request)
    await show(
        ctx,
        "account.html",
        error=error,
        powers=[
            (word, MEANS[word], ctx.app.may_somewhere(ctx.identity, action))
            for word, action in ACTIONS.items()
        ],
        tokens=tokens,
        fixed=await _fixed(ctx),
        expires=EXPIRES,
        shortest=SHORTEST_PASSWORD,
        is_administrator=ctx.is_admin,
    )


async def _tokens(ctx: RequestContext) -> Sequence[Token]:
    """Return the user's tokens, the newest first; a client that logs in by a token sees only that
    one.
    """
    found = await ctx.app.accounts.tokens(ctx.identity.user)
    if ctx.identity.scope is not None:
        return [token for token in found if token.id == ctx.identity.token]
    return [token for token in found[::-1] if not token.publisher]


async def _fixed(ctx: RequestContext) -> str | None:
    """Return why the password cannot be changed here, or None."""
    name = str(ctx.identity.user)
    if ctx.identity.scope is not None:
        return "You are logged in with a token, which cannot change the password."
    try:
        if name not in ctx.app.known.configured().users:
            await changeable_account(ctx.app, name)
        elif (where := configured_where(ctx.app, name)) is not None:
            raise ChangedElsewhere(f"the password of {name!r}", where)
    except (ChangedElsewhere, NoSuchUser) as error:
        return error.text()
    return None


@route("POST", "/account/password", action=SOMEBODY, page=True, form=True)
async def set_password(ctx: RequestContext) -> None:
    """Change the user's own password; the current one is required, also of administrators."""
    name, form = demand_no_token(ctx.identity), sent(ctx.request)
    try:
        fixed = await _fixed(ctx)
        if fixed is not None:
            raise BadRequest(fixed)
        if form.text("password") != form.text("again"):
            raise BadRequest(DIFFERENT)
        proper_password(form.text("password"))
        if ctx.is_admin:
            await demand_current(ctx, name, form.text("current"))
        wanted = NewPassword(password=form.text("password"), current=form.text("current"))
        await password_set(ctx, name, wanted)
    except MISTAKES as error:
        wrong = BadRequest(NOT_YOURS) if str(error) == NOT_CURRENT else error
        return await account(ctx, error=wrong)
    end_session(ctx.request)
    return go(ctx.request, LOGIN, done="password-changed")


@route("POST", "/account/tokens", action=SOMEBODY, page=True, form=True)
async def make_token(ctx: RequestContext) -> None:
    """Create a token, and show its secret in this response only; or revoke the own one with the
    ``id``.
    """
    form = sent(ctx.request)
    if form.flag("id"):
        await revoked(ctx, form.text("id"))
        return go(ctx.request, "account/", done="token-revoked")
    demand_no_token(ctx.identity)
    try:
        secret, token = await made(ctx, wanted_token(form))
    except (*MISTAKES, Forbidden) as error:
        return await account(ctx, error=error)
    uses = uses_of(ctx.base_url, secret, token.scope.actions)
    shown = document_of(token, ctx.app.world.now())
    return await show(ctx, "token_made.html", status=201, token=shown, secret=secret, uses=uses)


UNREAD = (
    "The check against bots failed, expired or was used already: send the form again, and your "
    "browser runs a new one."
)
DIFFERENT = "The two passwords are not the same. Enter the new password twice."
UNSOLVED = (
    "Your browser has not run the check that keeps bots out, which needs JavaScript. Without "
    "JavaScript, ask an administrator for an account."
)

say(
    registered="Your account was created. Log in with it.",
    registered_waiting=(
        "Your account was created. You can log in once an administrator has approved it."
    ),
)


@route("GET", "/account/register", action=ANYBODY, page=True)
@needs_accounts
async def register_page(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show the form, or why there is none."""
    people = ctx.app.settings.people
    await show(
        ctx,
        "register.html",
        error=error,
        mode=people.registration.value,
        is_open=people.registration is not Registration.CLOSED,
        captcha=people.captcha,
        token=query_fields(ctx.request).text("token"),
        shortest=SHORTEST_PASSWORD,
        longest_name=LONGEST_NAME,
    )


@route("POST", "/account/register", action=ANYBODY, page=True, form=True, entrance=True)
async def register(ctx: RequestContext) -> None:
    """Create the account, and redirect to the login page with what comes next."""
    form = sent(ctx.request)
    try:
        mode_of(ctx.app)
        wanted = _wanted(ctx.app, form)
        account = await enrolled(ctx, wanted, invitation_of(ctx.app, wanted.token))
    except MISTAKES as error:
        wrong = BadRequest(UNREAD) if "/api/captcha" in str(error) else error
        return await register_page(ctx, error=wrong)
    return go(
        ctx.request,
        LOGIN,
        done="registered" if account.status is AccountStatus.ACTIVE else "registered-waiting",
    )


def _wanted(app: App, form: Fields) -> Applicant:
    if form.text("password") != form.text("again"):
        raise BadRequest(DIFFERENT)
    if app.settings.people.captcha and not form.text("captcha"):
        raise BadRequest(UNSOLVED)
    return Applicant(
        user=form.text("user").strip(),
        password=form.text("password"),
        captcha=form.text("captcha") or None,
        token=form.text("token").strip() or None,
    )


# The forms to log in and out.


@route("GET", "/account/login", action=ANYBODY, page=True)
@needs_accounts
async def login_page(ctx: RequestContext) -> None:
    """Show the login form; a logged-in user is redirected."""
    back = way_back(query_fields(ctx.request).text("next"))
    if ctx.identity.user is not None:
        return go(ctx.request, back)
    return await _login_form(ctx, back)


@route("POST", "/account/login", action=ANYBODY, page=True, form=True, entrance=True)
async def log_in(ctx: RequestContext) -> None:
    """Begin a session, and redirect to the page that the user came from."""
    form = sent(ctx.request)
    user, back = form.text("user").strip(), way_back(form.text("next"))
    try:
        await begin(ctx, Login(user=user, password=form.text("password")))
    except (LoginRefused, TooManyAttempts) as error:
        return await _login_form(ctx, back, error=error)
    return go(ctx.request, back)


@route("POST", "/account/logout", action=ANYBODY, page=True, form=True)
async def log_out(ctx: RequestContext) -> None:
    """End the session, at once and for good."""
    await end(ctx)
    if credential_of_cookie(ctx.request) is not None:
        end_session(ctx.request)
    is_open = ctx.app.closed is None and ctx.app.may(ANONYMOUS, Action.READ, None)
    go(ctx.request, "" if is_open else LOGIN, done="logged-out")


async def _login_form(ctx: RequestContext, back: str, *, error: PypidError | None = None) -> None:
    registration = ctx.app.settings.people.registration.value
    await show(ctx, "login.html", error=error, back=back, registration=registration)


# The page of all tokens, for administrators.

STATES = ("usable", "expired", "revoked", "all")
"""The states to filter by; the first is the default."""


@route("GET", "/manage/tokens", action=Action.ADMIN, page=True)
@needs_accounts
async def tokens(ctx: RequestContext) -> None:
    """Show the tokens of all users, the newest first."""
    query = query_fields(ctx.request)
    wanted, state = query.text("q").strip(), query.text("state", STATES[0])
    folded, now = wanted.casefold(), ctx.app.world.now()
    matching = [
        token
        for token in [document_of(each, now) for each in await ctx.app.accounts.tokens()][::-1]
        if state in ("all", token.state)
        and (
            folded in token.user.casefold() or folded in token.name.casefold() or folded == token.id
        )
    ]
    leaf = leaf_of(matching, ctx.request, "q", "state")
    await show(ctx, "tokens.html", tokens=leaf, wanted=wanted, state=state, states=STATES)


@route("POST", "/manage/tokens/revoke", action=Action.ADMIN, page=True, form=True)
async def revoke(ctx: RequestContext) -> None:
    """Revoke the token of any user."""
    await revoked(ctx, sent(ctx.request).text("id"))
    go(ctx.request, "manage/tokens", done="token-revoked")

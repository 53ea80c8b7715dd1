"""The account page of a user: identity and permissions, the password, and tokens; and the
registration form, as ``[access] registration`` allows it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.accounts.entries import AccountStatus, Token
from pypid.core.accounts.registration import LONGEST_NAME, SHORTEST_PASSWORD, proper_password
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, ChangedElsewhere, Forbidden, NoSuchUser
from pypid.web.api.registration import Applicant, enrolled, invitation_of, mode_of
from pypid.web.api.tokens import ACTIONS, demand_no_token, made, revoked
from pypid.web.app.accounts import (
    NOT_CURRENT,
    NewPassword,
    changeable_account,
    configured_where,
    demand_current,
    password_set,
)
from pypid.web.app.app import App
from pypid.web.app.login_redirect import LOGIN
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, route
from pypid.web.http.cookies import end_session
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import MISTAKES, has_no_accounts, refused, sent
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import leaf_of
from pypid.web.ui.token_forms import EXPIRES, MEANS, lines_of, uses_of, wanted_token

SESSIONS_END = "You were logged out everywhere."
NOT_YOURS = "The current password is wrong; nothing was changed."

say(
    password_changed=f"Your password was changed. {SESSIONS_END} Log in with the new one.",
    token_revoked="The token was revoked. It no longer works.",
)


@route("GET", "/account/", action=SOMEBODY, page=True)
async def account(ctx: RequestContext) -> None:
    """Show the user's identity, permissions and tokens."""
    if not await has_no_accounts(ctx):
        await _page(ctx)


async def _page(
    ctx: RequestContext,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    form: Fields | None = None,
) -> None:
    now = ctx.app.world.now()
    tokens = leaf_of(lines_of(await _tokens(ctx), now), ctx.request)
    await show(
        ctx,
        "account.html",
        status=status,
        problems=problems,
        said_before=form or Fields(),
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
        status, problems = refused(ctx.request, error)
        problems = [NOT_YOURS if line == NOT_CURRENT else line for line in problems]
        return await _page(ctx, status=status, problems=problems)
    end_session(ctx.request)
    return go(ctx.request, LOGIN, done="password-changed")


@route("POST", "/account/tokens", action=SOMEBODY, page=True, form=True)
async def make_token(ctx: RequestContext) -> None:
    """Create a token, and show its secret in this response only."""
    demand_no_token(ctx.identity)
    form = sent(ctx.request)
    try:
        secret, token = await made(ctx, wanted_token(form))
    except (*MISTAKES, Forbidden) as error:
        status, problems = refused(ctx.request, error)
        return await _page(ctx, status=status, problems=problems, form=form)
    uses = uses_of(ctx.base_url, secret, token.scope.actions)
    [line] = lines_of([token], ctx.app.world.now())
    return await show(ctx, "token_made.html", status=201, token=line, secret=secret, uses=uses)


@route("POST", "/account/tokens/revoke", action=SOMEBODY, page=True, form=True)
async def revoke_token(ctx: RequestContext) -> None:
    """Revoke one of the user's own tokens."""
    await revoked(ctx, sent(ctx.request).text("id"))
    go(ctx.request, "account/", done="token-revoked")


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
async def register_page(ctx: RequestContext) -> None:
    """Show the form, or why there is none."""
    if not await has_no_accounts(ctx):
        await _form(ctx, Fields({"token": query_fields(ctx.request).all("token")}))


@route("POST", "/account/register", action=ANYBODY, page=True, form=True, entrance=True)
async def register(ctx: RequestContext) -> None:
    """Create the account, and redirect to the login page with what comes next."""
    form = sent(ctx.request)
    try:
        mode_of(ctx.app)
        wanted = _wanted(ctx.app, form)
        account = await enrolled(ctx, wanted, invitation_of(ctx.app, wanted.token))
    except MISTAKES as error:
        status, problems = refused(ctx.request, error)
        problems = [UNREAD if "/api/captcha" in line else line for line in problems]
        return await _form(ctx, form, status=status, problems=problems)
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


async def _form(
    ctx: RequestContext,
    form: Fields,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
) -> None:
    people = ctx.app.settings.people
    values = {
        "mode": people.registration.value,
        "is_open": people.registration is not Registration.CLOSED,
        "captcha": people.captcha,
        "user": form.text("user"),
        "token": form.text("token"),
        "problems": problems,
        "shortest": SHORTEST_PASSWORD,
        "longest_name": LONGEST_NAME,
    }
    await show(ctx, "register.html", status=status, **values)

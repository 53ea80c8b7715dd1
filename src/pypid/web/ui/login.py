"""The forms to log in and out."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import LoginRefused, TooManyAttempts
from pypid.core.permissions import ANONYMOUS, Action
from pypid.web.api.sessions import Login, begin, end
from pypid.web.app.login_redirect import LOGIN, way_back
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.cookies import credential_of_cookie, end_session
from pypid.web.http.form_fields import query_fields
from pypid.web.ui.form_helpers import has_no_accounts, refused, sent
from pypid.web.ui.pages import go, show


@route("GET", "/account/login", action=ANYBODY, page=True)
async def login_page(ctx: RequestContext) -> None:
    """Show the login form; a logged-in user is redirected."""
    back = way_back(query_fields(ctx.request).text("next"))
    if ctx.identity.user is not None:
        return go(ctx.request, back)
    if await has_no_accounts(ctx):
        return None
    return await _form(ctx, back)


@route("POST", "/account/login", action=ANYBODY, page=True, form=True, entrance=True)
async def log_in(ctx: RequestContext) -> None:
    """Begin a session, and redirect to the page that the user came from."""
    form = sent(ctx.request)
    user, back = form.text("user").strip(), way_back(form.text("next"))
    try:
        await begin(ctx, Login(user=user, password=form.text("password")))
    except (LoginRefused, TooManyAttempts) as error:
        status, problems = refused(ctx.request, error)
        return await _form(ctx, back, user=user, status=status, problems=problems)
    return go(ctx.request, back)


@route("POST", "/account/logout", action=ANYBODY, page=True, form=True)
async def log_out(ctx: RequestContext) -> None:
    """End the session, at once and for good."""
    await end(ctx)
    if credential_of_cookie(ctx.request) is not None:
        end_session(ctx.request)
    is_open = ctx.app.closed is None and ctx.app.may(ANONYMOUS, Action.READ, None)
    go(ctx.request, "" if is_open else LOGIN, done="logged-out")


async def _form(
    ctx: RequestContext,
    back: str,
    *,
    user: str = "",
    status: int = 200,
    problems: Sequence[str] = (),
) -> None:
    values = {
        "back": back,
        "user": user,
        "problems": problems,
        "registration": ctx.app.settings.people.registration.value,
    }
    await show(ctx, "login.html", status=status, **values)

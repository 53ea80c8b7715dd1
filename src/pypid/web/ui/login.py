"""The forms to log in and out."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import LoginRefused, TooManyAttempts
from pypid.core.permissions import ANONYMOUS, Action, Identity, may
from pypid.web.api.sessions import Login, begin, end
from pypid.web.app.app import App, routes
from pypid.web.app.guard import ANYBODY, guarded
from pypid.web.http.cookies import credential_of_cookie, end_session
from pypid.web.http.form_fields import asked
from pypid.web.http.request import Request
from pypid.web.ui.form_helpers import has_no_accounts, refused, sent
from pypid.web.ui.login_redirect import LOGIN, way_back
from pypid.web.ui.pages import go, show


@guarded(routes, "/account/login", may=ANYBODY, page=True)
async def login_page(app: App, request: Request, who: Identity) -> None:
    """Show the login form; a logged-in user is redirected."""
    back = way_back(asked(request).text("next"))
    if who.user is not None:
        return go(request, back)
    if await has_no_accounts(app, request, who):
        return None
    return await _form(app, request, who, back)


@guarded(
    routes, "/account/login", may=ANYBODY, methods=("POST",), entrance=True, page=True, form=True
)
async def log_in(app: App, request: Request, who: Identity) -> None:
    """Begin a session, and redirect to the page that the user came from."""
    said = sent(request)
    user, back = said.text("user").strip(), way_back(said.text("next"))
    try:
        await begin(app, request, Login(user=user, password=said.text("password")))
    except (LoginRefused, TooManyAttempts) as error:
        status, problems = refused(request, error)
        return await _form(app, request, who, back, user=user, status=status, problems=problems)
    return go(request, back)


@guarded(routes, "/account/logout", may=ANYBODY, methods=("POST",), page=True, form=True)
async def log_out(app: App, request: Request, who: Identity) -> None:
    """End the session, at once and for good."""
    await end(app, request, who)
    if credential_of_cookie(request) is not None:
        end_session(request)
    is_open = app.closed is None and may(app.rules, ANONYMOUS, Action.READ)
    go(request, "" if is_open else LOGIN, done="logged-out")


async def _form(
    app: App,
    request: Request,
    who: Identity,
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
        "registration": app.settings.people.registration.value,
    }
    await show(app, request, who, "login.html", status=status, **values)

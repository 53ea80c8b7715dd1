"""The registration form, as ``[access] registration`` allows it."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.accounts.entries import AccountStatus
from pypid.core.accounts.registration import LONGEST_NAME, SHORTEST_PASSWORD
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest
from pypid.web.api.registration import Applicant, enrolled, invitation_of, mode_of
from pypid.web.app.app import App
from pypid.web.app.login_redirect import LOGIN
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import MISTAKES, has_no_accounts, refused, sent
from pypid.web.ui.pages import go, show

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

"""The pages of invitations: a new one, which is shown once, and those still open."""

from __future__ import annotations

from pypid.core.errors import BadRequest
from pypid.core.permissions import Action
from pypid.web.api.invitations import made, withdrawn
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import sent
from pypid.web.ui.pages import go, show

EXPIRES = {"1d": "a day", "7d": "a week", "30d": "30 days"}
"""The lifetimes of a new invitation."""

say(
    invitation_withdrawn="The invitation was withdrawn. It can no longer be used.",
    invitation_used=(
        "The invitation cannot be withdrawn: it was already used, or it was withdrawn before."
    ),
)


@route("POST", "/manage/invitations", action=Action.ADMIN, page=True, form=True)
async def invite(ctx: RequestContext) -> None:
    """Create an invitation, shown in this response only."""
    expires = sent(ctx.request).text("expires", "7d")
    if expires not in EXPIRES:
        raise BadRequest(f"The lifetime must be one of: {', '.join(EXPIRES)}.")
    new = await made(ctx, expires)
    base = ctx.base_url
    # in the fragment, which no browser sends: so it is in no log, here or on the way
    link = None if base is None else f"{base}/account/register#invitation={new.secret}"
    await show(ctx, "invitation_made.html", status=201, invitation=new, link=link)


@route("POST", "/manage/invitations/withdraw", action=Action.ADMIN, page=True, form=True)
async def withdraw(ctx: RequestContext) -> None:
    """Withdraw an invitation."""
    done = await withdrawn(ctx, sent(ctx.request).text("id").strip())
    go(ctx.request, "manage/users", done="invitation-withdrawn" if done else "invitation-used")

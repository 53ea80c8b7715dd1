"""The audit log page: who changed what, when, from where."""

from __future__ import annotations

from urllib.parse import quote

from pypid.core.accounts.entries import AUDIT_ACTIONS
from pypid.core.permissions import Action
from pypid.web.app.audit import audit_action
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.http.query import LARGEST_SERIAL
from pypid.web.ui.form_helpers import has_no_accounts
from pypid.web.ui.pages import show

MOST = 100
"""Number of lines on a page."""
FILTERS = ("who", "action", "subject", "index")


@route("GET", "/manage/audit", action=Action.ADMIN, page=True)
async def audit(ctx: RequestContext) -> None:
    """Show the matching entries, the newest first, before a given serial if there is one."""
    if await has_no_accounts(ctx):
        return
    query = query_fields(ctx.request)
    wanted = {name: query.text(name).strip() for name in FILTERS}
    text = query.text("before")
    before = (
        int(text)
        if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_SERIAL
        else None
    )
    narrowed = {name: value for name, value in wanted.items() if value}
    found = await ctx.app.journal.entries(
        before=before,
        most=MOST + 1,
        who=narrowed.get("who"),
        what=audit_action(narrowed.get("action")),
        subject=narrowed.get("subject"),
        index=narrowed.get("index"),
    )
    entries = found[:MOST]
    link = "?" + "".join(f"{name}={quote(value, safe='')}&" for name, value in narrowed.items())
    older = f"{link}before={entries[-1].serial}" if len(found) > MOST else None
    await show(
        ctx,
        "audit.html",
        actions=AUDIT_ACTIONS,
        deeds=entries,
        wanted=wanted,
        older=older,
        newest=link if before else None,
    )

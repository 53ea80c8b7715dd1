"""The audit log: ``GET /api/audit``."""

from __future__ import annotations

from typing import TypedDict

from pypid.core.accounts.entries import AuditEntry
from pypid.core.errors import NotAvailable
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.web.app.audit import audit_action
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import LARGEST_SERIAL, Parameter, names, number, parameters
from pypid.web.http.small_responses import send_json

MOST = 1000
"""Most entries in one answer."""
USUAL = 100
ASKS = (
    Parameter("who", "Only actions of this user."),
    Parameter("action", "Only this action, for example ``project publish``."),
    Parameter("subject", "Only actions on this subject."),
    Parameter("index", "Only changes of this named index."),
    Parameter("before", "Only entries before this serial.", {"type": "integer", "minimum": 0}),
    Parameter(
        "most",
        "The number of entries.",
        {"type": "integer", "minimum": 1, "maximum": MOST},
    ),
)


class AuditEntryDocument(TypedDict):
    """An audit entry. `address`: the client's address; `token`: the id of the token that was used;
    `index`: the named index that was changed, null for the default index and for changes that
    belong to no index.
    """

    serial: int
    when: Moment
    user: str
    action: str
    subject: str
    address: str | None
    token: str | None
    index: str | None
    details: dict[str, str]


class AuditPage(TypedDict):
    """A page of the audit log. `before`: the value to send for the next page, null if there is
    none.
    """

    entries: list[AuditEntryDocument]
    before: int | None


@route(
    "GET",
    "/api/audit",
    action=Action.ADMIN,
    describe=Described(AuditPage, asks=ASKS, refuses=(NotAvailable,)),
)
async def audit(ctx: RequestContext) -> None:
    """List the entries of the audit log, newest first."""
    query = parameters(ctx.request, *names(ASKS))
    most = number(query, "most", 1, MOST) or USUAL
    before = number(query, "before", 0, LARGEST_SERIAL)
    entries = await ctx.app.journal.entries(
        before=before,
        most=most,
        who=query.get("who"),
        what=audit_action(query.get("action")),
        subject=query.get("subject"),
        index=query.get("index"),
    )
    older = entries[-1].serial if len(entries) == most else None
    document: AuditPage = {"entries": [_document(entry) for entry in entries], "before": older}
    send_json(ctx.request, document)


def _document(entry: AuditEntry) -> AuditEntryDocument:
    return {
        "serial": entry.serial,
        "when": utc_text(entry.when),
        "user": entry.who,
        "action": entry.what,
        "subject": entry.subject,
        "address": entry.where or None,
        "token": entry.token,
        "index": entry.index or None,
        "details": dict(entry.details),
    }

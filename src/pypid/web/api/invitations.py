"""Invitations to register, below ``/api/invitations``. The secret is in one answer only: the one to
the request that created it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict

import msgspec
from attrs import frozen

from pypid.core.accounts.entries import AuditAction
from pypid.core.accounts.registration import (
    LONGEST_INVITATION,
    USUAL_INVITATION,
    Invitation,
    invite,
)
from pypid.core.configuration.choices import Registration
from pypid.core.configuration.value_kinds import parse_duration
from pypid.core.errors import BadRequest, NotAvailable
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.web.app.app import App
from pypid.web.app.audit import note, recorded
from pypid.web.app.descriptions import Described, Duration, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json

MOST = 1000
"""Number of entries of the audit log of each kind that are read."""
_ID = re.compile(r"[0-9a-f]{24}\Z")


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create an invitation. `expires`: a duration (7d), at most 30
    days.
    """

    expires: Duration | None = None


class InvitationDocument(TypedDict):
    """A new invitation. `secret`: what the applicant must send to register."""

    id: str
    secret: str
    expires: Moment


class OpenInvitationDocument(TypedDict):
    """An invitation that can still be used, without its secret. `by`: the administrator who created
    it.
    """

    id: str
    by: str
    created: Moment
    expires: Moment


class OpenInvitations(TypedDict):
    """The invitations that can still be used, newest first."""

    invitations: list[OpenInvitationDocument]


class Withdrawn(TypedDict):
    """The result of a withdrawal. `withdrawn`: false if the invitation was used or withdrawn
    before.
    """

    id: str
    withdrawn: bool


@route(
    "POST",
    "/api/invitations",
    action=Action.ADMIN,
    describe=Described(
        InvitationDocument, status=201, takes=NewInvitation, refuses=(NotAvailable,)
    ),
)
async def make(ctx: RequestContext) -> None:
    """Create an invitation for one account."""
    demand_invitations(ctx.app)
    new = await made(ctx, (await read_json(ctx.request, NewInvitation)).expires)
    document: InvitationDocument = {
        "id": new.id,
        "secret": new.secret,
        "expires": utc_text(new.expires),
    }
    send_json(ctx.request, document, 201)


def demand_invitations(app: App) -> None:
    """Raise `NotAvailable`, or `BadRequest` if registration is not by invitation."""
    _, mode = app.known, app.settings.people.registration
    if mode is not Registration.TOKEN:
        raise BadRequest(
            "Registration by invitation is off. To turn it on, set [access] registration = "
            "token, and reload."
        )


async def made(ctx: RequestContext, expires: str | None) -> Invitation:
    """Create an invitation that is valid for this long (``7d``). Raises `BadRequest`,
    `NotAvailable`.
    """
    demand_invitations(ctx.app)
    new = invite(
        ctx.app.known.session_key, ctx.app.world.now(), _lifetime(expires), ctx.app.world.random
    )
    await note(ctx, "invitation create", new.id, {"expires": utc_text(new.expires)})
    return new


@route(
    "GET",
    "/api/invitations",
    action=Action.ADMIN,
    describe=Described(OpenInvitations, refuses=(BadRequest, NotAvailable)),
)
async def listed(ctx: RequestContext) -> None:
    """List the invitations that can still be used."""
    demand_invitations(ctx.app)
    document: OpenInvitations = {
        "invitations": [
            {
                "id": each.id,
                "by": each.by,
                "created": utc_text(each.made),
                "expires": utc_text(each.expires),
            }
            for each in await open_invitations(ctx.app)
        ]
    }
    send_json(ctx.request, document)


@frozen
class OpenInvitation:
    """An invitation that can still be used, from its entry in the audit log."""

    id: str
    by: str
    made: datetime
    expires: datetime


async def open_invitations(app: App) -> Sequence[OpenInvitation]:
    """Return the open invitations, the newest first, from the audit log: an unused invitation is
    stored nowhere else.
    """
    actions: list[AuditAction] = ["invitation create", "invitation delete", "user register"]
    made, taken, used = [await app.journal.entries(what=action, most=MOST) for action in actions]
    over = {deed.subject for deed in taken} | {deed.details.get("invitation") for deed in used}
    found = [
        OpenInvitation(
            deed.subject, deed.who, deed.when, _moment(deed.details.get("expires", ""), deed.when)
        )
        for deed in made
    ]
    return [each for each in found if each.id not in over and each.expires > app.world.now()]


def _moment(text: str, instead: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return instead


@route(
    "DELETE",
    "/api/invitations/<id>",
    action=Action.ADMIN,
    describe=Described(Withdrawn, refuses=(BadRequest, NotAvailable)),
)
async def withdraw(ctx: RequestContext, id: str) -> None:
    """Withdraw an invitation, which can then no longer be used. The answer tells whether it was
    used or withdrawn before.
    """
    document: Withdrawn = {"id": id, "withdrawn": await withdrawn(ctx, id)}
    send_json(ctx.request, document)


async def withdrawn(ctx: RequestContext, id: str) -> bool:
    """Withdraw the invitation; return False if it was used or withdrawn before. Raises
    `BadRequest`.
    """
    if not _ID.match(id):
        raise BadRequest(
            "An invitation's id has 24 hexadecimal digits: the answer that made it told it, and "
            "the audit log has it."
        )
    until = ctx.app.world.now() + LONGEST_INVITATION  # it has expired by then, if it exists
    withdrawing = ctx.app.accounts.once("invitation", id, until)
    return await recorded(
        ctx,
        "invitation delete",
        id,
        withdrawing,
        lambda done: {} if done else None,
    )


def _lifetime(text: str | None) -> timedelta:
    if text is None:
        return USUAL_INVITATION
    try:
        return parse_duration(text)
    except ValueError:
        raise BadRequest("expires is a duration: 7d, or 12h, for example.") from None

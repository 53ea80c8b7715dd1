"""Approvals of upstream projects, and the requests for them: ``/api/approvals``, for
administrators.
"""

from __future__ import annotations

from typing import TypedDict

import msgspec

from pypid.core.accounts.entries import AuditAction
from pypid.core.approvals import ApprovalDocument, ApprovalVerdict, approval_id, parse_spec
from pypid.core.errors import BadName, BadRequest, NoSuchApproval, NotAvailable
from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.index.upstream.approvals import WaitingProject, undecided, upstream_facts
from pypid.index.views import UpstreamPermission
from pypid.web.app.app import user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json


class NewDecision(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an approval or a denial. `spec`: a project, and the versions: ``name``,
    ``name==1.2`` or ``name>=1,<2``.
    """

    spec: str
    verdict: ApprovalVerdict = ApprovalVerdict.APPROVED
    reason: str = ""


class DecisionDocument(TypedDict):
    """A decision. `specifier` (PEP 440) is empty for all versions."""

    id: str
    project: str
    specifier: str
    verdict: str
    reason: str
    by: str
    decided: Moment


class WaitingDocument(TypedDict):
    """A project that waits for approval. `by`: users who requested it, or addresses of clients
    without a user. `count`: how often it was requested, approximately. `releases`: how many
    upstream lists; `uploaded`: when its oldest file was uploaded there.
    """

    project: str
    by: list[str]
    first: Moment
    last: Moment
    count: int
    releases: int
    uploaded: Moment | None


class ApprovalsDocument(TypedDict):
    """The queue and the decisions. `asks`: whether new projects need an approval. A project leaves
    the queue 30 days after the last request for it.
    """

    asks: bool
    waiting: list[WaitingDocument]
    decisions: list[DecisionDocument]


class DeletedDecision(TypedDict):
    """The deleted decision or request."""

    id: str
    removed: bool


@route(
    "GET",
    "/api/approvals",
    action=Action.ADMIN,
    describe=Described(ApprovalsDocument, refuses=(NotAvailable,)),
)
async def approvals(ctx: RequestContext) -> None:
    """List the projects that wait for approval, and the decisions."""
    found = ctx.app.approvals
    decisions = sorted(found.decisions.all.items())
    document: ApprovalsDocument = {
        "asks": found.asks,
        "waiting": [await _waiting(ctx, each) for each in found.waiting()],
        "decisions": [_decision(id, each) for id, each in decisions],
    }
    send_json(ctx.request, document)


@route(
    "POST",
    "/api/approvals",
    action=Action.ADMIN,
    describe=Described(
        DecisionDocument,
        status=201,
        takes=NewDecision,
        refuses=(BadRequest, BadName, NotAvailable),
    ),
)
async def decide(ctx: RequestContext) -> None:
    """Approve or deny an upstream project, or some of its versions. Denials win. A project with an
    approval offers only approved versions.
    """
    document = await decided(ctx, await read_json(ctx.request, NewDecision))
    id = approval_id(ProjectName(document.project), document.specifier)
    send_json(ctx.request, _decision(id, document), 201)


async def decided(ctx: RequestContext, wish: NewDecision) -> ApprovalDocument:
    """Put the decision in force; return it."""
    name, specifier = parse_spec(wish.spec)
    deciding = ctx.app.approvals.decide(
        name, specifier, wish.verdict, wish.reason, user_of(ctx.identity)
    )
    action: AuditAction = (
        "approval approve" if wish.verdict is ApprovalVerdict.APPROVED else "approval deny"
    )
    return await recorded(ctx, action, f"{name}{specifier}", deciding, lambda _: _details(wish))


@route(
    "DELETE",
    "/api/approvals/<approval>",
    action=Action.ADMIN,
    describe=Described(DeletedDecision, refuses=(NoSuchApproval, NotAvailable)),
)
async def delete(ctx: RequestContext, approval: str) -> None:
    """Delete a decision by its id, or a request by the name of its project."""
    await deleted(ctx, approval)
    document: DeletedDecision = {"id": approval, "removed": True}
    send_json(ctx.request, document)


async def deleted(ctx: RequestContext, id: str) -> None:
    """Delete the decision or request of this id."""
    await recorded(ctx, "approval delete", id, ctx.app.approvals.delete(id))


async def judged_project(
    ctx: RequestContext, project: ProjectName, permission: UpstreamPermission
) -> Project | None:
    """Return an upstream project with the releases that are not approved, for an administrator who
    looks into them; None for other users, for local projects, and if no approval is needed.
    """
    decided = ctx.app.decided
    if decided is None or not decided.approvals.asks or not ctx.may_some(Action.ADMIN, ""):
        return None
    if (await ctx.app.index.seen(project, permission)).locals:
        return None
    return await undecided(ctx.app.index, project)


def _details(wish: NewDecision) -> Details:
    return {"reason": wish.reason} if wish.reason else {}


def _decision(id: str, document: ApprovalDocument) -> DecisionDocument:
    return {
        "id": id,
        "project": document.project,
        "specifier": document.specifier,
        "verdict": document.verdict.value,
        "reason": document.reason,
        "by": document.by,
        "decided": utc_text(document.decided),
    }


async def _waiting(ctx: RequestContext, waiting: WaitingProject) -> WaitingDocument:
    request, facts = waiting.request, await upstream_facts(ctx.app.index, waiting.name)
    return {
        "project": waiting.name,
        "by": list(request.by),
        "first": utc_text(request.first),
        "last": utc_text(request.last),
        "count": request.count,
        "releases": facts.releases,
        "uploaded": None if facts.first is None else utc_text(facts.first),
    }

"""Approvals of upstream projects, and the requests for them: ``/api/approvals`` and
``/api/projects/<project>/approval``, for administrators.
"""

from __future__ import annotations

from typing import TypedDict

import msgspec

from pypid.core.accounts.entries import AuditAction
from pypid.core.approvals import ApprovalDocument, ApprovalVerdict, approval_id, parse_spec
from pypid.core.errors import BadName, BadRequest, NoSuchApproval, NotAvailable, UpstreamDown
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.index.upstream.approval_evidence import ApprovalEvidence, ExaminedFile
from pypid.index.upstream.approvals import WaitingProject
from pypid.web.api.compare import ComparedDocument, compared_document
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
    without a user. `count`: how often it was requested, approximately.
    """

    project: str
    by: list[str]
    first: Moment
    last: Moment
    count: int


class ApprovalsDocument(TypedDict):
    """The queue and the decisions. `asks`: whether new projects need an approval. A project leaves
    the queue 30 days after the last request for it.
    """

    asks: bool
    waiting: list[WaitingDocument]
    decisions: list[DecisionDocument]


class SimilarDocument(TypedDict):
    """A known project with a similar name."""

    name: str
    why: str


class HazardDocument(TypedDict):
    """Something that can run code: how often, and the first names."""

    what: str
    count: int
    names: list[str]


class ExaminedDocument(TypedDict):
    """A file that was examined; `problem` says why it could not be."""

    filename: str
    size: int | None
    hazards: list[HazardDocument]
    problem: str | None


class AdvisoryLine(TypedDict):
    """An advisory about the newest release."""

    id: str
    summary: str
    severity: str


class EvidenceDocument(TypedDict):
    """What is known of the upstream project; `compared`: the newest release with the last approved
    one.
    """

    releases: int
    files: int
    first: Moment | None
    newest: str | None
    uploaded: Moment | None
    similar: list[SimilarDocument]
    examined: list[ExaminedDocument]
    advisories: list[AdvisoryLine]
    compared: ComparedDocument | None


class ProjectApproval(TypedDict):
    """The request, the decisions, and the evidence about one project."""

    project: str
    waiting: WaitingDocument | None
    decisions: list[DecisionDocument]
    evidence: EvidenceDocument


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
        "waiting": [_waiting(each) for each in found.waiting()],
        "decisions": [_decision(id, each) for id, each in decisions],
    }
    send_json(ctx.request, document)


@route(
    "GET",
    "/api/projects/<project>/approval",
    action=Action.ADMIN,
    describe=Described(ProjectApproval, refuses=(NotAvailable, UpstreamDown)),
)
async def approval(ctx: RequestContext, project: ProjectName) -> None:
    """Return what helps to decide about an upstream project.

    Its age, similar names, contents, advisories, and what has changed since the last approved
    release.
    """
    found = ctx.app.approvals
    evidence = await ctx.app.approval_evidence.of(project)
    document: ProjectApproval = {
        "project": project,
        "waiting": next((_waiting(each) for each in found.waiting() if each.name == project), None),
        "decisions": [
            _decision(approval_id(project, each.specifier), each) for each in found.of(project)
        ],
        "evidence": await ctx.app.world.blocking(
            _evidence, project, evidence, advisories_of(ctx, project, evidence)
        ),
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


def advisories_of(
    ctx: RequestContext, name: ProjectName, evidence: ApprovalEvidence
) -> list[AdvisoryLine]:
    """Return the advisories about the newest release."""
    if evidence.newest is None:
        return []
    return [
        {"id": each.id, "summary": each.summary, "severity": each.severity.value}
        for each in ctx.app.advisories.hits(name, evidence.newest)
    ]


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


def _waiting(waiting: WaitingProject) -> WaitingDocument:
    request = waiting.request
    return {
        "project": waiting.name,
        "by": list(request.by),
        "first": utc_text(request.first),
        "last": utc_text(request.last),
        "count": request.count,
    }


def _evidence(
    name: ProjectName, found: ApprovalEvidence, advisories: list[AdvisoryLine]
) -> EvidenceDocument:
    return {
        "releases": found.releases,
        "files": found.files,
        "first": None if found.first is None else utc_text(found.first),
        "newest": found.newest,
        "uploaded": None if found.uploaded is None else utc_text(found.uploaded),
        "similar": [{"name": each.name, "why": each.likeness.value} for each in found.similar],
        "examined": [_examined(each) for each in found.examined],
        "advisories": advisories,
        "compared": None
        if found.compared is None
        else compared_document(name, found.compared, None),
    }


def _examined(file: ExaminedFile) -> ExaminedDocument:
    return {
        "filename": file.filename,
        "size": file.size,
        "hazards": [
            {"what": each.kind.value, "count": each.count, "names": list(each.names)}
            for each in file.hazards
        ],
        "problem": file.problem or None,
    }

"""The page of approvals: the projects that wait, and the decisions."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.approvals import ApprovalDocument, ApprovalVerdict
from pypid.core.errors import BadName, BadRequest, NoSuchApproval
from pypid.core.permissions import Action
from pypid.index.upstream.approvals import WaitingProject, upstream_facts
from pypid.web.api.approvals import NewDecision, decided, deleted
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.flash import say
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import ListSlice, leaf_of

say(
    approved="Approved.",
    denied="Denied.",
    approval_deleted="Deleted.",
)


@route("GET", "/manage/approvals", action=Action.ADMIN, page=True)
async def approvals(ctx: RequestContext) -> None:
    """Show the projects that wait, and the decisions."""
    await _page(ctx)


@route("POST", "/manage/approvals", action=Action.ADMIN, page=True, form=True)
async def decide(ctx: RequestContext) -> None:
    """Approve or deny what the form names."""
    fields = ctx.request.form or Fields()
    try:
        verdict = ApprovalVerdict(fields.text("verdict"))
    except ValueError:
        return await _page(ctx, problems=["Choose to approve or to deny."])
    wish = NewDecision(fields.text("spec").strip(), verdict, fields.text("reason").strip())
    try:
        await decided(ctx, wish)
    except (BadName, BadRequest) as error:
        return await _page(ctx, problems=[str(error)], wish=wish)
    return go(ctx.request, "manage/approvals", done=verdict.value)


@route("POST", "/manage/approvals/delete", action=Action.ADMIN, page=True, form=True)
async def delete(ctx: RequestContext) -> None:
    """Delete a decision or a request."""
    fields = ctx.request.form or Fields()
    try:
        await deleted(ctx, fields.text("id"))
    except NoSuchApproval as error:
        return await _page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/approvals", done="approval-deleted")


async def _page(
    ctx: RequestContext,
    *,
    problems: Sequence[str] = (),
    wish: NewDecision | None = None,
) -> None:
    found = ctx.app.approvals
    leaf: ListSlice[WaitingProject] = leaf_of(found.waiting(), ctx.request)
    decisions: list[tuple[str, ApprovalDocument]] = sorted(found.decisions.all.items())
    await show(
        ctx,
        "approvals.html",
        status=400 if problems else 200,
        problems=problems,
        asks=found.asks,
        leaf=leaf,
        facts={each.name: await upstream_facts(ctx.app.index, each.name) for each in leaf.lines},
        decisions=decisions,
        wish=wish or NewDecision(""),
    )

"""Pages of what hides files: publishers, approvals, blocks, advisories, and why."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from pypid.core.advisories import OsvRecord, OsvReferences, parse_record, range_text, summaries_of
from pypid.core.errors import (
    BadRequest,
    NoSuchAdvisory,
    PypidError,
    shortened,
)
from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action
from pypid.core.presentation.explanation import FileWhy
from pypid.core.presentation.project_view import safe_url
from pypid.core.restrictions import ApprovalDocument, ApprovalVerdict
from pypid.index.decisions import StoredBlock
from pypid.index.trust import DoubtedFile
from pypid.index.upstream.approvals import WaitingProject, upstream_facts
from pypid.web.api.advisories import (
    MOST_USERS,
    CreatedBlock,
    NewBlock,
    breaker_of,
    created,
    deleted_block,
    downloads_of,
    found_of,
    selected,
    visible_of,
)
from pypid.web.api.upstream import (
    NewDecision,
    approved,
    decided,
    deleted,
    doubted_files,
    forgotten,
    trust_of,
)
from pypid.web.app.advisory_view import DAYS, record_for
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.ui.pages import (
    MISTAKES,
    ListSlice,
    canonical,
    go,
    leaf_of,
    marked_up,
    say,
    sent,
    show,
)

say(
    publisher_approved="The file was approved.",
    publishers_reset="The publishers of the project were forgotten.",
)


@route("GET", "/manage/trust", action=Action.ADMIN, page=True)
async def trust(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show the doubted files."""
    leaf: ListSlice[DoubtedFile] = leaf_of(await doubted_files(ctx), ctx.request)
    await show(ctx, "trust.html", error=error, leaf=leaf, rules=trust_of(ctx).rules)


@route("POST", "/manage/trust", action=Action.ADMIN, page=True, form=True)
async def change_trust(ctx: RequestContext) -> None:
    """Approve a file, or forget the publishers of a project (``do=reset``)."""
    form = sent(ctx.request)
    try:
        project = project_name(form.text("project"))
        if form.text("do") == "reset":
            await forgotten(ctx, project)
            done = "publishers-reset"
        else:
            await approved(ctx, project, [form.text("filename")])
            done = "publisher-approved"
    except MISTAKES as error:
        return await trust(ctx, error=error)
    return go(ctx.request, "manage/trust", done=done)


# The page of approvals: the projects that wait, and the decisions.

say(
    approved="Approved.",
    denied="Denied.",
    approval_deleted="Deleted.",
)


@route("GET", "/manage/approvals", action=Action.ADMIN, page=True)
async def approvals(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show the projects that wait, and the decisions."""
    found = ctx.app.approvals
    leaf: ListSlice[WaitingProject] = leaf_of(found.waiting(), ctx.request)
    decisions: list[tuple[str, ApprovalDocument]] = sorted(found.decisions.all.items())
    await show(
        ctx,
        "approvals.html",
        error=error,
        asks=found.asks,
        leaf=leaf,
        facts={each.name: await upstream_facts(ctx.app.index, each.name) for each in leaf.lines},
        decisions=decisions,
    )


@route("POST", "/manage/approvals", action=Action.ADMIN, page=True, form=True)
async def decide(ctx: RequestContext) -> None:
    """Approve or deny what the form names, or delete the decision or request with the ``id``."""
    form = sent(ctx.request)
    try:
        if form.flag("id"):
            await deleted(ctx, form.text("id"))
            done = "approval-deleted"
        else:
            done = form.text("verdict")
            if done not in {verdict.value for verdict in ApprovalVerdict}:
                raise BadRequest("Choose to approve or to deny.")
            spec, reason = form.text("spec").strip(), form.text("reason").strip()
            await decided(ctx, NewDecision(spec, ApprovalVerdict(done), reason))
    except MISTAKES as error:
        return await approvals(ctx, error=error)
    return go(ctx.request, "manage/approvals", done=done)


# The page of blocks: create, list and delete them.

say(block_deleted="The block was deleted. Its files are served again.")


@route("GET", "/manage/blocks", action=Action.ADMIN, page=True)
async def blocks(
    ctx: RequestContext, *, error: PypidError | None = None, made: CreatedBlock | None = None
) -> None:
    """Show the blocks."""
    found = sorted(ctx.app.blocks.all.values(), key=lambda block: block.id)
    leaf: ListSlice[StoredBlock] = leaf_of(found, ctx.request)
    await show(ctx, "blocks.html", status=201 if made else 200, error=error, leaf=leaf, made=made)


@route("POST", "/manage/blocks", action=Action.ADMIN, page=True, form=True)
async def change_blocks(ctx: RequestContext) -> None:
    """Create a block whose name was typed twice, and show its reach; or delete the one with the
    ``id``, which was typed.
    """
    form = sent(ctx.request)
    spec, id = form.text("spec").strip(), form.text("id")
    typed = form.text("confirm").strip()
    try:
        if id:
            if typed != id:
                problem = f"To delete the block {shortened(id)}, type its id. Nothing was deleted."
                raise BadRequest(problem)
            await deleted_block(ctx, id)
            return go(ctx.request, "manage/blocks", done="block-deleted")
        if typed != spec:
            raise BadRequest(f"To block {shortened(spec)}, type it twice. Nothing was blocked.")
        reason, advisory = form.text("reason").strip(), form.text("advisory").strip()
        made = await created(ctx, NewBlock(spec, reason, advisory))
    except MISTAKES as error:
        return await blocks(ctx, error=error)
    return await blocks(ctx, made=made)


# The pages of advisories: the list of those that affect stored files, and one advisory.

SEVERITIES = ("low", "medium", "high", "critical")
MOST = 50
"""Projects, ranges, versions and references on the page of an advisory; the JSON record has all."""


@route("GET", "/advisories", action=Action.READ, page=True, below_index=True)
async def advisories(ctx: RequestContext) -> None:
    """Show the advisories that affect stored files, as far as the user may read their projects."""
    fields, by = query_fields(ctx.request), await ctx.advisory_visibility()
    typed = {name: fields.text(name).strip() for name in ("project", "severity")}
    hosted, wrong = ctx.app.hosted_advisories, None
    found = await hosted.visible(by)
    try:
        leaf = leaf_of(selected(found, **typed), ctx.request, *typed)
    except BadRequest as error:
        wrong = error
        leaf = leaf_of((), ctx.request)
    lines = await hosted.shown(leaf.lines, by)
    await show(
        ctx,
        "advisories.html",
        error=wrong,
        typed=typed,
        severities=SEVERITIES,
        leaf=leaf,
        lines=list(zip(lines, await downloads_of(ctx.app, lines), strict=True)),
        days=DAYS,
        most_users=MOST_USERS,
        is_configured=ctx.app.advisories.is_configured,
        loaded=ctx.app.advisories.age is not None,
    )


@route("GET", "/advisories/<advisory>", action=Action.READ, page=True, below_index=True)
async def one_advisory(ctx: RequestContext, advisory: str) -> None:
    """Show an advisory, and the stored files that it affects, as far as the user may read their
    projects.
    """
    by, hosted = await ctx.advisory_visibility(), ctx.app.hosted_advisories
    document = await record_for(ctx.app.advisories, advisory, by)
    if document is None:
        raise NoSuchAdvisory(advisory)
    values = await ctx.app.world.thinking(_parsed, document)
    record: OsvRecord = values["record"]
    known = [each for name, _ in values["summaries"] for each in ctx.app.advisories.of(name)]
    found = [each for each in await hosted.visible(by) if each.advisory.id == record.id]
    digest = sha256(document).hexdigest()
    text = record.details or ""
    readme = await ctx.app.readmes.html(text, "text/markdown", digest, record.id)
    await show(
        ctx,
        "advisory.html",
        **values,
        is_private=any(each.id == record.id and each.private for each in known),
        details=marked_up(readme.html) if text.strip() else "",
        lines=list(zip(found, await downloads_of(ctx.app, found), strict=True)),
        range_text=range_text,
        most=MOST,
        days=DAYS,
        most_users=MOST_USERS,
    )


def _parsed(document: bytes) -> dict[str, Any]:
    """Return what the page shows of an OSV record."""
    from pypid.advisories.database import time_of  # imported here: not needed at start-up

    record = parse_record(document)
    try:
        links = msgspec.json.decode(document, type=OsvReferences).references or ()
    except msgspec.ValidationError:
        links = ()
    urls = (safe_url(each.url) for each in links)
    return {
        "record": record,
        "summaries": list(summaries_of(record).items()),
        "references": list(dict.fromkeys(filter(None, urls)))[:MOST],
        "published": time_of(record.published),
        "modified": time_of(record.modified),
    }


# The page that explains why a project is shown as it is, and what hides its files: for users who
# may read it. Only those who may also publish it see the address of upstream, and its errors.


@route("GET", "/project/<project>/-/why", action=Action.READ, page=True, below_index=True)
@canonical("/project/{project}/-/why")
async def why(ctx: RequestContext, project: ProjectName) -> None:
    """Show the status of the name, the last upstream listing, and each hidden file."""
    found = await found_of(ctx, project)
    hidden = [file for file in found.files if not file.visible]
    leaf: ListSlice[FileWhy] = leaf_of(hidden, ctx.request)
    return await show(
        ctx,
        "why.html",
        project=project,
        found=found,
        ours=found.ours if isinstance(found.ours, Project) else None,
        outage=breaker_of(ctx.app, found),
        may_publish_it=ctx.may(Action.WRITE, project),
        leaf=leaf,
        visible=visible_of(found),
    )

"""Pages of what hides files: publishers, approvals, blocks, advisories, and why.

The page of doubted publishers: upstream files without the expected attestation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from pypid.core.advisories import OsvRecord, OsvReferences, parse_record, range_text, summaries_of
from pypid.core.errors import (
    BadName,
    BadRequest,
    NoSuchAdvisory,
    NoSuchResource,
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
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.http.responses import redirect
from pypid.web.ui.pages import ListSlice, go, leaf_of, marked_up, say, show

say(
    publisher_approved="The file was approved.",
    publishers_reset="The publishers of the project were forgotten.",
)


@route("GET", "/manage/trust", action=Action.ADMIN, page=True)
async def trust(ctx: RequestContext) -> None:
    """Show the doubted files."""
    await _page(ctx)


@route("POST", "/manage/trust", action=Action.ADMIN, page=True, form=True)
async def approve(ctx: RequestContext) -> None:
    """Approve a file."""
    fields = ctx.request.form or Fields()
    try:
        await approved(ctx, project_name(fields.text("project")), [fields.text("filename")])
    except (BadName, BadRequest) as error:
        return await _page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/trust", done="publisher-approved")


@route("POST", "/manage/trust/reset", action=Action.ADMIN, page=True, form=True)
async def reset(ctx: RequestContext) -> None:
    """Forget the publishers of a project."""
    fields = ctx.request.form or Fields()
    try:
        await forgotten(ctx, project_name(fields.text("project")))
    except (BadName, BadRequest) as error:
        return await _page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/trust", done="publishers-reset")


async def _page(ctx: RequestContext, *, problems: Sequence[str] = ()) -> None:
    leaf: ListSlice[DoubtedFile] = leaf_of(await doubted_files(ctx), ctx.request)
    await show(
        ctx,
        "trust.html",
        status=400 if problems else 200,
        problems=problems,
        leaf=leaf,
        rules=trust_of(ctx).rules,
    )


# The page of approvals: the projects that wait, and the decisions.

say(
    approved="Approved.",
    denied="Denied.",
    approval_deleted="Deleted.",
)


@route("GET", "/manage/approvals", action=Action.ADMIN, page=True)
async def approvals(ctx: RequestContext) -> None:
    """Show the projects that wait, and the decisions."""
    await _approvals_page(ctx)


@route("POST", "/manage/approvals", action=Action.ADMIN, page=True, form=True)
async def decide(ctx: RequestContext) -> None:
    """Approve or deny what the form names."""
    fields = ctx.request.form or Fields()
    try:
        verdict = ApprovalVerdict(fields.text("verdict"))
    except ValueError:
        return await _approvals_page(ctx, problems=["Choose to approve or to deny."])
    wish = NewDecision(fields.text("spec").strip(), verdict, fields.text("reason").strip())
    try:
        await decided(ctx, wish)
    except (BadName, BadRequest) as error:
        return await _approvals_page(ctx, problems=[str(error)], wish=wish)
    return go(ctx.request, "manage/approvals", done=verdict.value)


@route("POST", "/manage/approvals/delete", action=Action.ADMIN, page=True, form=True)
async def delete(ctx: RequestContext) -> None:
    """Delete a decision or a request."""
    fields = ctx.request.form or Fields()
    try:
        await deleted(ctx, fields.text("id"))
    except NoSuchResource as error:
        return await _approvals_page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/approvals", done="approval-deleted")


async def _approvals_page(
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


# The page of blocks: create, list and delete them.

say(block_deleted="The block was deleted. Its files are served again.")


@route("GET", "/manage/blocks", action=Action.ADMIN, page=True)
async def blocks(ctx: RequestContext) -> None:
    """Show the blocks."""
    await _blocks_page(ctx)


@route("POST", "/manage/blocks", action=Action.ADMIN, page=True, form=True)
async def create(ctx: RequestContext) -> None:
    """Create a block whose name was typed twice, and show its reach."""
    fields = ctx.request.form or Fields()
    wish = NewBlock(
        fields.text("spec").strip(), fields.text("reason").strip(), fields.text("advisory").strip()
    )
    if fields.text("confirm").strip() != wish.spec:
        problem = f"To block {shortened(wish.spec)}, type it twice. Nothing was blocked."
        return await _blocks_page(ctx, problems=[problem], wish=wish)
    try:
        made = await created(ctx, wish)
    except BadRequest as error:
        return await _blocks_page(ctx, problems=[str(error)], wish=wish)
    return await _blocks_page(ctx, made=made)


@route("POST", "/manage/blocks/delete", action=Action.ADMIN, page=True, form=True)
async def delete_block(ctx: RequestContext) -> None:
    """Delete a block, whose id was typed."""
    fields = ctx.request.form or Fields()
    id = fields.text("id")
    if fields.text("confirm").strip() != id:
        problem = f"To delete the block {shortened(id)}, type its id. Nothing was deleted."
        return await _blocks_page(ctx, problems=[problem])
    try:
        await deleted_block(ctx, id)
    except NoSuchResource as error:
        return await _blocks_page(ctx, problems=[str(error)])
    return go(ctx.request, "manage/blocks", done="block-deleted")


async def _blocks_page(
    ctx: RequestContext,
    *,
    problems: Sequence[str] = (),
    wish: NewBlock | None = None,
    made: CreatedBlock | None = None,
) -> None:
    found = sorted(ctx.app.blocks.all.values(), key=lambda block: block.id)
    leaf: ListSlice[StoredBlock] = leaf_of(found, ctx.request)
    await show(
        ctx,
        "blocks.html",
        status=400 if problems else 201 if made else 200,
        problems=problems,
        leaf=leaf,
        wish=wish or NewBlock("", ""),
        made=made,
    )


# The pages of advisories: the list of those that affect stored files, and one advisory.

SEVERITIES = ("low", "medium", "high", "critical")
MOST = 50
"""Projects, ranges, versions and references on the page of an advisory; the JSON record has all."""


@route("GET", "/advisories", action=Action.READ, page=True, below_index=True)
async def advisories(ctx: RequestContext) -> None:
    """Show the advisories that affect stored files, as far as the user may read their projects."""
    fields, by = query_fields(ctx.request), await ctx.advisory_visibility()
    typed = {name: fields.text(name).strip() for name in ("project", "severity")}
    hosted, problems = ctx.app.hosted_advisories, list[str]()
    found = await hosted.visible(by)
    try:
        leaf = leaf_of(selected(found, **typed), ctx.request, *typed)
    except BadRequest as error:
        problems.append(str(error))
        leaf = leaf_of((), ctx.request)
    lines = await hosted.shown(leaf.lines, by)
    await show(
        ctx,
        "advisories.html",
        status=400 if problems else 200,
        problems=problems,
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
    from pypid.advisories.index import time_of  # imported here: not needed at start-up

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
async def why(ctx: RequestContext, project: ProjectName) -> None:
    """Show the status of the name, the last upstream listing, and each hidden file."""
    if ctx.spelling != project or ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"/project/{project}/-/why", permanent=True, restricted=ctx.app.restricted
        )
    found = await found_of(ctx, project)
    hidden = [file for file in found.files if not file.visible]
    visible = Counter((file.ours, file.kept) for file in found.files if file.visible)
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
        visible={
            "ours": visible[True, False],
            "kept": visible[False, True],
            "upstream": visible[False, False],
        },
    )

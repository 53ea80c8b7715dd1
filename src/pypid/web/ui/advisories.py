"""The pages of advisories: the list of those that affect stored files, and one advisory."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from pypid.core.advisories.osv import (
    OsvRecord,
    OsvReferences,
    parse_record,
    range_text,
    summaries_of,
)
from pypid.core.errors import BadRequest, NoSuchAdvisory
from pypid.core.permissions import Action
from pypid.core.presentation.release_facts import safe_url
from pypid.web.api.advisories import MOST_USERS, downloads_of, selected
from pypid.web.app.advisory_view import record_for
from pypid.web.app.hosted_advisories import DAYS
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.ui.pages import marked_up, show
from pypid.web.ui.pagination import leaf_of

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

"""The OSV API for ``pip-audit -s osv --osv-url URL/osv/v1/query`` and ``uv audit --service-url
URL/osv/``.

It answers from the index's own advisories and asks no other server. All clients who may read this
index get the public advisories. Private ones exist only for clients who may read their projects.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.advisories.osv_api import (
    MOST_FOUND,
    MOST_QUERIES,
    OsvBatch,
    OsvQuery,
    OsvTarget,
    target_of,
    token_of,
)
from pypid.core.errors import BadRequest, Busy, NoSuchAdvisory
from pypid.core.permissions import Action
from pypid.core.visibility import Visibility
from pypid.index.context import Pace
from pypid.web.app.advisory_view import UNREAD, hits_for, record_for
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.request_body import read_small
from pypid.web.http.small_responses import send, send_json

LARGEST_QUERY, LARGEST_BATCH = 16 << 10, 1 << 20
"""Bytes of a query, and of a batch."""
LARGEST_ANSWER = 8 << 20
"""Bytes of records in one answer, about; a page token leads to the others."""
MOST_COMPARED = 20_000
"""Advisories that one batch compares with versions; queries beyond get only a page token."""

T = TypeVar("T")


@route("POST", "/osv/v1/query", action=Action.READ, below_index=True)
async def query(ctx: RequestContext) -> None:
    """Return the advisories that affect a version of a package, as OSV records."""
    _check_read(ctx)
    target = target_of(await _read(ctx, OsvQuery, LARGEST_QUERY))
    by = await ctx.advisory_visibility()
    found, records, size = _found(ctx, target, by), list[bytes](), 0
    taken = 0
    for advisory in found[:MOST_FOUND]:
        if size > LARGEST_ANSWER:
            break
        record = await record_for(ctx.app.advisories, advisory.id, by)
        taken += 1
        if record is not None:
            records.append(record)
            size += len(record)
    fields = [b'"vulns":[' + b",".join(records) + b"]"] if records else []
    if taken < len(found):
        fields.append(b'"next_page_token":"%s"' % token_of(target.skip + taken).encode())
    send(ctx.request, 200, "application/json", b"{" + b",".join(fields) + b"}")


@route("POST", "/osv/v1/querybatch", action=Action.READ, below_index=True)
async def query_batch(ctx: RequestContext) -> None:
    """Return the ids of the advisories for up to 1000 queries, in their order."""
    _check_read(ctx)
    queries = (await _read(ctx, OsvBatch, LARGEST_BATCH)).queries
    if len(queries) > MOST_QUERIES:
        raise BadRequest(f"A batch has at most {MOST_QUERIES} queries: divide it.")
    each, by, pace = (
        [target_of(one) for one in queries],
        await ctx.advisory_visibility(),
        Pace(ctx.app.world),
    )
    results: list[dict[str, Any]] = []
    compared = 0
    for target in each:
        await pace.keep()
        if compared >= MOST_COMPARED:
            results.append({"next_page_token": token_of(target.skip)})
            continue
        if target.project is not None:
            # only those that the client may see: their number shows
            compared += len(hits_for(ctx.app.advisories, target.project, None, by))
        results.append(_result(target, _found(ctx, target, by)))
    send_json(ctx.request, {"results": results})


def _check_read(ctx: RequestContext) -> None:
    if ctx.app.advisories.is_unread:  # an audit would take all releases for safe
        raise Busy(UNREAD, 30)


def _result(target: OsvTarget, found: tuple[AdvisorySummary, ...]) -> dict[str, Any]:
    """Return the answer to one query of a batch; without advisories it is empty."""
    if not found:
        return {}
    result: dict[str, Any] = {
        "vulns": [{"id": each.id, "modified": each.modified} for each in found[:MOST_FOUND]]
    }
    if len(found) > MOST_FOUND:
        result["next_page_token"] = token_of(target.skip + MOST_FOUND)
    return result


@route("GET", "/osv/v1/vulns/<advisory>", action=Action.READ, below_index=True)
async def vulnerability(ctx: RequestContext, advisory: str) -> None:
    """Return an advisory as an OSV record."""
    record = await record_for(ctx.app.advisories, advisory, await ctx.advisory_visibility())
    if record is None:
        raise NoSuchAdvisory(advisory)
    send(ctx.request, 200, "application/json", record)


def _found(ctx: RequestContext, target: OsvTarget, by: Visibility) -> tuple[AdvisorySummary, ...]:
    if target.project is None:
        return ()
    return hits_for(ctx.app.advisories, target.project, target.version, by)[target.skip :]


async def _read(ctx: RequestContext, kind: type[T], most: int) -> T:
    """Return the JSON document in the request, whatever type it declares: pip-audit declares none.
    Raises `BadRequest`, `TooLarge`.
    """
    data = await read_small(ctx.request.body, most)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The JSON document is not what is expected here: {error}") from None

"""``POST /api/tier``: moving old files into a cheaper storage class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypedDict

import msgspec

from pypid.core.configuration.value_kinds import parse_duration
from pypid.core.errors import BadRequest, Busy, NotAvailable, PypidError
from pypid.core.permissions import Action
from pypid.core.tiering_rules import Moved, Tiered, TieringOutcome, TieringRule
from pypid.index.local.tiering import Tierer, ignored, tierer
from pypid.web.app.app import App
from pypid.web.app.audit import Details, attempted, listed
from pypid.web.app.descriptions import Described, Duration
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.event_stream import EventStream, stream_of
from pypid.web.http.small_responses import read_json, send_json


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a tiering request. ``older_than`` is a duration (180d)."""

    older_than: Duration
    keep: int
    storage_class: str = msgspec.field(name="class")
    dry_run: bool = False


FileMoved = TypedDict(
    "FileMoved",
    {
        "project": str,
        "filename": str,
        "size": int,
        "class": str,
        "outcome": TieringOutcome,
        "reason": str | None,
    },
)
"""The outcome for a file. `class`: its storage class before."""


class TieredFiles(TypedDict):
    """The outcome for all files. `outcomes` counts them; `size`: bytes that are moved, in total."""

    projects: int
    seen: int
    due: int
    outcomes: dict[str, int]
    size: int
    files: list[FileMoved]


@route(
    "POST",
    "/api/tier",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(TieredFiles, takes=Wanted, refuses=(Busy, NotAvailable), streams=True),
)
async def tier(ctx: RequestContext) -> None:
    """Move old local files into a cheaper storage class, and report the outcome of each.

    The files are those of the default index, or of the named one below which the request is sent.
    """
    wanted = await read_json(ctx.request, Wanted)
    rule = _rule(wanted)
    kind = stream_of(ctx.request)
    if kind is None:
        return send_json(
            ctx.request, _document(await _tiered(ctx, wanted, rule, await _tierer(ctx.app)))
        )
    stream = EventStream(ctx.request, kind)
    run = await _tierer(
        ctx.app,
        lambda line: stream.say("progress", {"said": line}),
        lambda moved: stream.say("file", _file(moved)),
    )
    stream.begin()
    try:
        found = await _tiered(ctx, wanted, rule, run)
    except PypidError as error:
        return stream.say("error", {"error": True, "message": str(error)})
    return stream.say("result", _document(found))


async def _tiered(ctx: RequestContext, wanted: Wanted, rule: TieringRule, run: Tierer) -> Tiered:
    moving = run.tier(rule, dry=wanted.dry_run)
    if wanted.dry_run:
        return await moving
    return await attempted(ctx, "storage tier", rule.storage_class, moving, _moved)


def _moved(found: Tiered) -> Details:
    return {
        "files": listed(
            {
                f"{moved.project}/{moved.filename}"
                for moved in found.moved
                if moved.outcome is TieringOutcome.MOVED
            }
        )
    }


async def _tierer(
    app: App,
    tell: Callable[[str], None] | None = None,
    of_file: Callable[[Moved], object] = ignored,
) -> Tierer:
    return await tierer(app.index.context, app.index.bucket, tell, of_file)


def _rule(wanted: Wanted) -> TieringRule:
    try:
        age = parse_duration(wanted.older_than)
    except ValueError:
        raise BadRequest(
            "older_than is a whole number of s, m, h or d (one unit): 180d, for example."
        ) from None
    return TieringRule(age, wanted.keep, wanted.storage_class)


def _document(found: Tiered) -> TieredFiles:
    counts = Counter(moved.outcome for moved in found.moved)
    size = sum(
        moved.size
        for moved in found.moved
        if moved.outcome in (TieringOutcome.MOVED, TieringOutcome.WOULD_MOVE)
    )
    return {
        "projects": found.projects,
        "seen": found.files,
        "due": len(found.moved),
        "outcomes": {outcome.value: counts[outcome] for outcome in TieringOutcome},
        "size": size,
        "files": [
            _file(moved)
            for moved in sorted(found.moved, key=lambda moved: (moved.project, moved.filename))
        ],
    }


def _file(moved: Moved) -> FileMoved:
    return {
        "project": moved.project,
        "filename": moved.filename,
        "size": moved.size,
        "class": moved.before,
        "outcome": moved.outcome,
        "reason": moved.reason,
    }

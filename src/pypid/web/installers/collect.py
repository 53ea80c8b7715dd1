"""``POST /requirements.txt``: pypicache's way to cache all files that requirements need, with
progress reports added by pypid.

A form or a JSON document with the fields ``requirements`` and ``pylock.toml`` (texts, each
any number of times), ``platform`` and ``python``. The answer is JSON; a client that accepts an
event stream or newline JSON receives the progress.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

import msgspec

from pypid.core.errors import BadRequest, Busy, NotConfigured
from pypid.core.packaging.requirements import (
    EXPORTS,
    FIELDS,
    JSON,
    LARGEST_REQUEST,
    MOST_TEXTS,
    NO_RESOLVER,
    Collected,
    CollectOptions,
    CollectOutcome,
    Event,
    FileDone,
    FileReport,
    InstallTarget,
    Problem,
    RequestFields,
    Resolved,
    Resolving,
    parse_collection,
)
from pypid.core.permissions import Action
from pypid.flow import shielded
from pypid.index.collect import Collector
from pypid.ports import Body
from pypid.web.app.app import App
from pypid.web.app.audit import listed, note
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.event_stream import Say, run_with_events
from pypid.web.http.request_body import in_time, read_small, refuse_early
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import send_json
from pypid.web.http.upload_form import Limits, read_form

LIMITS = Limits(
    content=LARGEST_REQUEST, text=LARGEST_REQUEST, total=LARGEST_REQUEST, fields=MOST_TEXTS
)
"""Limits of the form. No field is a file; `content` is what the refusal of a body that is too large
names.
"""
WITH_FIELDS = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
MISSING = "Missing requirements data."
READING = 60.0
"""Seconds within which the body must arrive."""
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


class MissingRequirements(msgspec.Struct, frozen=True):
    """pypicache's answer to a form without requirements."""

    error: bool = True
    message: str = MISSING


@route("POST", "/requirements.txt", action=Action.COLLECT, below_index=True)
async def collect(ctx: RequestContext) -> None:
    """Cache all files that are needed, and report the outcome for each."""
    ctx.authorize(Action.READ, None)
    _refuse_if_busy(ctx.app)
    content_type = header_of(ctx.request, "content-type") or ""
    if content_type.partition(";")[0].strip().lower() not in WITH_FIELDS:
        # such a body has no requirements, as pypicache says
        return send_json(ctx.request, MissingRequirements(), 400)
    form = await _read_in_time(ctx)
    _refuse_if_busy(ctx.app)
    # Acquired only now: a client that sends slowly does not keep others waiting.
    await ctx.app.collections.acquire()
    try:
        options = await ctx.app.world.thinking(parse_collection, form, RUNNING)
        if options is None:
            return send_json(ctx.request, MissingRequirements(), 400)
        await _answer(ctx, options)
    finally:
        ctx.app.collections.release()


def _refuse_if_busy(app: App) -> None:
    if app.collections.tokens == 0:
        raise Busy("Others are being collected for.", 30)


# --- request --------------------------------------------------------------------------------------


async def _read_in_time(ctx: RequestContext) -> RequestFields:
    """Read the body within `READING` seconds. Raises `TooSlow`, `Busy`, `TooLarge`,
    `BadRequest`.
    """
    with ctx.app.collection_bodies.counted(ctx.request.body) as body:
        reading = _read(body, header_of(ctx.request, "content-type") or "")
        return await in_time(reading, READING, ctx.app.world.clock)


async def _read(body: Body, content_type: str) -> RequestFields:
    """Return the fields of the form, or the JSON document, as received."""
    refuse_early(body.size, LARGEST_REQUEST)
    if content_type.partition(";")[0].strip().lower() == "application/json":
        return [(JSON, await read_small(body, LARGEST_REQUEST))]
    form = await read_form(body, content_type, limits=LIMITS, spool=None)
    if any(form.fields.get("content", ())):
        raise BadRequest("Send the text of the file in the field 'requirements' or 'pylock.toml'.")
    return [
        (name, text.encode())
        for name, texts in form.fields.items()
        if name in FIELDS or name in EXPORTS
        for text in texts
    ]


# --- collection -----------------------------------------------------------------------------------


async def _answer(ctx: RequestContext, options: CollectOptions) -> None:
    def run(say: Say | None) -> Awaitable[Collected]:
        def tell(event: Event) -> None:
            if say is not None:
                say(*_event_document(event))

        return _collected(ctx, options, tell)

    await run_with_events(ctx.request, run, _document)


async def _collected(ctx: RequestContext, options: CollectOptions, tell: Any) -> Collected:
    if not options.requirements.wanted:
        return await _kept(
            ctx, Collector(ctx.app.index, None, ctx.permission_to_read, tell).collect(options)
        )
    if ctx.app.resolvers is None:
        raise NotConfigured(NO_RESOLVER)
    async with ctx.app.resolvers(ctx.app, ctx.identity) as resolver:
        return await _kept(
            ctx, Collector(ctx.app.index, resolver, ctx.permission_to_read, tell).collect(options)
        )


async def _kept(ctx: RequestContext, collecting: Coroutine[Any, Any, Collected]) -> Collected:
    """Record the collection in the audit log if it completed; otherwise the files are cached as by
    any download.
    """
    collected = await collecting
    kept = {
        f"{report.project}/{report.filename}"
        for report in collected.files
        if report.outcome is CollectOutcome.KEPT
    }
    if kept:
        await shielded(note(ctx, "cache fetch", "requirements", {"files": listed(kept)}))
    return collected


# --- in JSON --------------------------------------------------------------------------------------


def _event_document(event: Event) -> tuple[str, dict[str, Any]]:
    match event:
        case Resolving(target, seconds):
            return "resolving", {**_target(target), "seconds": round(seconds, 1)}
        case Resolved(target, pins):
            return "resolved", {**_target(target), "releases": len(pins)}
        case FileDone(report, done, of):
            return "file", {**_file(report), "done": done, "of": of}


def _document(collected: Collected) -> dict[str, Any]:
    requirements = collected.requirements
    problems = [
        *(Problem(remark.line, remark.reason) for remark in requirements.unparseable),
        *collected.failed,
    ]
    return {
        "cached": sorted({report.filename for report in collected.files if report.is_here}),
        "unparseable": [remark.line for remark in requirements.unparseable],
        "failed": list(dict.fromkeys(problem.line for problem in collected.failed)),
        "complete": collected.complete,
        "files": [_file(report) for report in collected.files],
        "problems": _problems(problems),
        "ignored": [
            {"line": remark.line, "reason": remark.reason} for remark in requirements.ignored
        ],
        "targets": [_resolved(resolved) for resolved in collected.resolved],
    }


def _target(target: InstallTarget) -> dict[str, Any]:
    return {"platform": target.platform, "python": target.python}


def _resolved(resolved: Resolved) -> dict[str, Any]:
    releases: Sequence[str] = sorted({f"{pin.project}=={pin.version}" for pin in resolved.pins})
    return {**_target(resolved.target), "releases": releases}


def _problems(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return each problem once, with the targets that have it; without targets, it holds for
    all.
    """
    where: dict[tuple[str, str], list[InstallTarget]] = {}
    for problem in problems:
        found = where.setdefault((problem.line, problem.reason), [])
        found += [] if problem.target is None else [problem.target]
    return [
        {"line": line, "reason": reason, "targets": [_target(target) for target in found]}
        for (line, reason), found in where.items()
    ]


def _file(report: FileReport) -> dict[str, Any]:
    return {
        "project": report.project,
        "version": report.version,
        "filename": report.filename,
        "outcome": report.outcome.value,
        "needs_build": report.needs_build,
        "reason": report.reason,
        "targets": [_target(target) for target in report.targets],
    }

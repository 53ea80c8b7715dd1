"""The JSON API for exports: the index as files, in a folder or a bucket that the server can write
to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from pypid.core.errors import BadRequest, Busy, NoSuchIndex, NotAvailable, PypidError
from pypid.core.export_request import Export, ExportedIndex
from pypid.core.permissions import Action
from pypid.web.app.audit import attempted
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.event_stream import EventStream, stream_of
from pypid.web.http.small_responses import read_json, send_json

EVERY = 0.2
"""Seconds between two progress lines."""


Progress = Callable[[int, int], None]


@route(
    "POST",
    "/api/export",
    action=Action.ADMIN,
    describe=Described(
        ExportedIndex,
        takes=Export,
        refuses=(BadRequest, Busy, NoSuchIndex, NotAvailable),
        streams=True,
    ),
)
async def export(ctx: RequestContext) -> None:
    """Write what a user may see to static files."""
    wanted = await read_json(ctx.request, Export)
    _check(wanted)
    exports = ctx.app.exports
    if exports is None:
        raise NotAvailable("exports")
    kind = stream_of(ctx.request)
    if kind is None:
        made = await _exported(ctx, exports(wanted, _ignore_progress), wanted)
        return send_json(ctx.request, made)
    stream = EventStream(ctx.request, kind)
    stream.begin()
    reported = float("-inf")

    def report_progress(done: int, of: int) -> None:
        nonlocal reported
        now = ctx.app.world.clock.seconds()
        if now - reported >= EVERY or done == of:
            reported = now
            stream.say(
                "progress", {"said": f"{done} of {of} projects written", "done": done, "of": of}
            )

    try:
        came = await _exported(ctx, exports(wanted, report_progress), wanted)
    except PypidError as error:
        return stream.say("error", {"error": True, "message": str(error)})
    return stream.say("result", msgspec.to_builtins(came))


async def _exported(
    ctx: RequestContext, job: Awaitable[ExportedIndex], wanted: Export
) -> ExportedIndex:
    def details_of(came: ExportedIndex) -> dict[str, str]:
        return {
            "as-user": wanted.as_user or "anonymous",
            "projects": str(came.projects),
            "delete": str(wanted.delete).lower(),
        }

    return await attempted(
        ctx, "export", wanted.target, _coroutine(job), details_of, index=wanted.index
    )


async def _coroutine(job: Awaitable[ExportedIndex]) -> ExportedIndex:
    return await job


def _check(wanted: Export) -> None:
    if wanted.files_url is not None and wanted.signed_links:
        raise BadRequest("Links lead to files_url, or they are signed: give one of the two.")
    if wanted.files_url is not None and not wanted.files_url.startswith(("http://", "https://")):
        raise BadRequest(
            "files_url is an absolute http or https URL, like https://files.example.org/packages/."
        )


def _ignore_progress(done: int, of: int) -> None:
    """Ignore the progress, for a client that wants no stream."""

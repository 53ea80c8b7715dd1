"""The JSON API for exports: the index as files, in a folder or a bucket that the server can write
to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypedDict

import msgspec

from pypid.core.errors import BadRequest, Busy, NoSuchIndex, NotAvailable, PypidError
from pypid.core.export_request import Exported, ExportWanted
from pypid.core.permissions import Action
from pypid.web.app.audit import attempted
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.event_stream import EventStream, stream_of
from pypid.web.http.small_responses import read_json, send_json

EVERY = 0.2
"""Seconds between two progress lines."""


class Export(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an export: its target and options. `index`: the named index to export; empty: the
    index at the root.
    """

    target: str
    copy_files: bool = False
    files_url: str | None = None
    signed_links: bool = False
    as_user: str | None = None
    delete: bool = False
    timestamp: bool = True
    per_release_json: bool = True
    verify: bool = False
    index: str = ""


class ExportedIndex(TypedDict):
    """The result of an export. `hidden` projects are left out, since the user of the export may not
    see them; `left` ones are still in the target, though they are no longer visible; the pages of
    `unchanged` ones were not compared, since they have not changed since the last export.
    """

    target: str
    projects: int
    hidden: int
    left: int
    unchanged: int
    written: int
    same: int
    copied: int
    removed: int


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
    wanted = _wanted(await read_json(ctx.request, Export))
    exports = ctx.app.exports
    if exports is None:
        raise NotAvailable("exports")
    kind = stream_of(ctx.request)
    if kind is None:
        return send_json(
            ctx.request,
            _document(wanted, await _exported(ctx, exports(wanted, _ignore_progress), wanted)),
        )
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
    return stream.say("result", _document(wanted, came))


async def _exported(
    ctx: RequestContext, job: Awaitable[Exported], wanted: ExportWanted
) -> Exported:
    def details_of(came: Exported) -> dict[str, str]:
        return {
            "as-user": wanted.as_user or "anonymous",
            "projects": str(came.projects),
            "delete": str(wanted.clears).lower(),
        }

    return await attempted(
        ctx, "export", wanted.target, _coroutine(job), details_of, index=wanted.index
    )


async def _coroutine(job: Awaitable[Exported]) -> Exported:
    return await job


def _wanted(body: Export) -> ExportWanted:
    files_url = body.files_url
    if files_url is not None and body.signed_links:
        raise BadRequest("Links lead to files_url, or they are signed: give one of the two.")
    if files_url is not None and not files_url.startswith(("http://", "https://")):
        raise BadRequest(
            "files_url is an absolute http or https URL, like https://files.example.org/packages/."
        )
    return ExportWanted(
        target=body.target,
        copies=body.copy_files,
        files_url=files_url,
        signed=body.signed_links,
        as_user=body.as_user,
        clears=body.delete,
        dated=body.timestamp,
        releases=body.per_release_json,
        verifies=body.verify,
        index=body.index,
    )


def _document(wanted: ExportWanted, came: Exported) -> ExportedIndex:
    return {
        "target": wanted.target,
        "projects": came.projects,
        "hidden": came.hidden,
        "left": came.left,
        "unchanged": came.unchanged,
        "written": came.written,
        "same": came.same,
        "copied": came.copied,
        "removed": came.removed,
    }


def _ignore_progress(done: int, of: int) -> None:
    """Ignore the progress, for a client that wants no stream."""

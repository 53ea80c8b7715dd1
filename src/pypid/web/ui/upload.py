"""Upload in the browser: a form for several files, and the result of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from pypid.core.permissions import Action
from pypid.core.presentation.snippets import to_publish
from pypid.web.app.errors import error_format, refusal_of
from pypid.web.app.ownership import publishable
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.negotiation import ErrorFormat
from pypid.web.http.small_responses import send_json
from pypid.web.installers.client_files import place_of
from pypid.web.ui.multi_upload import FILES, MOST_FILES, OVERWRITE, MultiUpload, ReceivedFile, take
from pypid.web.ui.pages import show

MOST_NAMES = 20
"""Number of projects that are listed for a user who may publish only these."""


class FileTaken(TypedDict):
    """The result of a file. `outcome`: ``published``, ``overwritten``, ``unchanged`` or
    ``refused``.
    """

    filename: str
    outcome: str
    words: str
    problems: Sequence[str]
    project: str | None
    version: str | None
    status: int


class FormTaken(TypedDict):
    """The result of a form; `problems` are those of the form itself."""

    files: list[FileTaken]
    problems: list[str]


@route("GET", "/upload", action=Action.WRITE, page=True, below_index=True)
async def form(ctx: RequestContext) -> None:
    """Show the upload form."""
    await _show(ctx, MultiUpload())


@route("POST", "/upload", action=Action.WRITE, page=True, multipart=True, below_index=True)
async def upload(ctx: RequestContext) -> None:
    """Publish the files of the form; answers with the result of each, as a page, or as JSON for
    clients that accept it.

    In JSON each file has a status of its own, so that the answer as a whole is 200 if the form was
    read to its end.
    """
    result = await take(ctx)
    if error_format(ctx.request) is ErrorFormat.JSON:
        send_json(ctx.request, _document(result), 200 if result.problem is None else result.status)
    else:
        await _show(ctx, result)


async def _show(ctx: RequestContext, result: MultiUpload) -> None:
    names, place = await publishable(ctx), await place_of(ctx)
    await show(
        ctx,
        "upload.html",
        status=result.status,
        files=result.files,
        problems=_problems(result),
        published=sum(not file.problems for file in result.files),
        only=None if names is None else names[:MOST_NAMES],
        more=0 if names is None else len(names[MOST_NAMES:]),
        may_overwrite=ctx.may_some(Action.OVERWRITE),
        max_upload=ctx.app.settings.max_upload,
        most_files=MOST_FILES,
        fields={"files": FILES, "overwrite": OVERWRITE},
        commands=() if place is None else to_publish(place, ctx.identity.user)[:2],
    )


def _document(result: MultiUpload) -> FormTaken:
    return {"files": [_file_document(file) for file in result.files], "problems": _problems(result)}


def _file_document(file: ReceivedFile) -> FileTaken:
    return {
        "filename": file.filename,
        "outcome": file.outcome,
        "words": file.words,
        "problems": file.problems,
        "project": file.project,
        "version": file.version,
        "status": file.status,
    }


def _problems(result: MultiUpload) -> list[str]:
    refusal = None if result.problem is None else refusal_of(result.problem, b"POST")
    if refusal is not None:
        return [refusal.text]
    return []

"""Upload in the browser: a form for one file. The page's script sends several, each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from attrs import evolve

from pypid.core.errors import BadRequest, PypidError, Unauthenticated
from pypid.core.packaging.upload import UploadFields
from pypid.core.permissions import Action
from pypid.core.presentation.snippets import to_publish
from pypid.flow import shielded
from pypid.web.app.errors import error_format
from pypid.web.app.ownership import publishable
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.cookies import FIELD, credential_of_cookie, demand_csrf_token
from pypid.web.http.negotiation import ErrorFormat
from pypid.web.http.small_responses import send_json
from pypid.web.http.upload_form import Limits, refuse_early_form
from pypid.web.installers.client_files import place_of
from pypid.web.installers.uploads import Published, publish, receive, upload_spool
from pypid.web.ui.form_helpers import refused
from pypid.web.ui.pages import show

MOST_NAMES = 20
"""Number of projects that are listed for a user who may publish only these."""
FILE, OVERWRITE = "file", "overwrite"
"""The fields of the form after the CSRF token, which comes first: the file, and a checkbox."""


class FileTaken(TypedDict):
    """The published file. `outcome`: ``published``, ``overwritten`` or ``unchanged``."""

    filename: str
    outcome: str
    words: str
    project: str
    version: str


@route("GET", "/upload", action=Action.WRITE, page=True, below_index=True)
async def form(ctx: RequestContext) -> None:
    """Show the upload form."""
    await _show(ctx)


@route("POST", "/upload", action=Action.WRITE, page=True, multipart=True, below_index=True)
async def upload(ctx: RequestContext) -> None:
    """Publish the file of the form; answers with the page, or with JSON for clients that accept
    it.
    """
    limits = Limits(content=ctx.app.settings.max_upload, text=1 << 10, total=16 << 10, fields=10)
    try:
        refuse_early_form(ctx.request.body.size, limits)
        published = await shielded(_published(ctx, limits))
    except PypidError as error:
        if isinstance(error, Unauthenticated) or error_format(ctx.request) is ErrorFormat.JSON:
            raise
        status, problems = refused(ctx.request, error)
        await _show(ctx, status=status, problems=problems)
        return
    if error_format(ctx.request) is ErrorFormat.JSON:
        send_json(ctx.request, _document(published))
    else:
        await _show(ctx, published=_document(published))


async def _published(ctx: RequestContext, limits: Limits) -> Published:
    """Publish the file of the form. Raises `NoCsrfToken` before anything is stored."""

    def demand_token(fields: Mapping[str, Sequence[str]]) -> None:
        if ctx.request.session is not None:
            demand_csrf_token(
                ctx.request, ctx.request.session, next(iter(fields.get(FIELD, ())), None)
            )

    async with upload_spool(ctx) as spool:
        form = await receive(ctx, spool, limits, FILE, demand_token)
        demand_token(form.fields)  # no file came, or a token after it
        if not form.filename:
            raise BadRequest("No file was chosen. Choose the wheel or sdist to publish.")
        cookie = None if ctx.request.session is None else credential_of_cookie(ctx.request)
        if cookie is not None:  # the session may have ended while the file came
            ctx = evolve(ctx, identity=await ctx.app.access.identify(cookie))
        file = UploadFields(fields={}, filename=form.filename, content_digests=form.content_digests)
        return await publish(ctx, file, spool, overwriting=OVERWRITE in form.fields)


async def _show(
    ctx: RequestContext,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    published: FileTaken | None = None,
) -> None:
    names, place = await publishable(ctx), await place_of(ctx)
    await show(
        ctx,
        "upload.html",
        status=status,
        published=published,
        problems=problems,
        only=None if names is None else names[:MOST_NAMES],
        more=0 if names is None else len(names[MOST_NAMES:]),
        may_overwrite=ctx.may_some(Action.OVERWRITE),
        max_upload=ctx.app.settings.max_upload,
        fields={"file": FILE, "overwrite": OVERWRITE},
        commands=() if place is None else to_publish(place, ctx.identity.user)[:2],
    )


def _document(published: Published) -> FileTaken:
    distribution = published.upload.distribution
    return {
        "filename": distribution.filename,
        "outcome": published.outcome.value,
        "words": published.words[:1].upper() + published.words[1:] + ".",
        "project": distribution.project,
        "version": published.upload.version,
    }

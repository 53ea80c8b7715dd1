"""The routes of pypicache: the requests in its documentation work here.

Its routes ``/simple/``, ``/local/`` and ``/packages/<project>/<file>`` are also pypid's, and have
modules of their own. Uploads go through the checks of `web.installers.uploads`; these routes never
overwrite a file, whatever the user's rights.
"""

from __future__ import annotations

import msgspec

from pypid.core.errors import BadRequest, NoSuchFile, TooLarge
from pypid.core.model import Digests
from pypid.core.packaging.names import Distribution, ProjectName, parse_filename
from pypid.core.packaging.upload import UploadFields
from pypid.core.permissions import Action
from pypid.flow import shielded
from pypid.flow.spool import Spool
from pypid.ports import Body
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.request_body import refuse_early
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import send_json
from pypid.web.http.upload_form import MAX_UPLOAD, Limits, refuse_early_form
from pypid.web.installers.files import METADATA, send_named
from pypid.web.installers.uploads import publish, receive, upload_spool

PART = "sdist"
PLACE = "/packages/<python>/<letter>/<project>/<filename>"
"""Where the public index once had its files: the Python of the file (``source`` for an sdist), the
project's first letter.
"""


class PypicacheUploaded(msgspec.Struct, frozen=True):
    """pypicache's answer to an upload."""

    uploaded: str = "ok"


class MissingFile(msgspec.Struct, frozen=True):
    """pypicache's answer to a form without a file."""

    error: bool = True
    message: str = "Missing package data."


# --- upload form ----------------------------------------------------------------------------------


@route("POST", "/uploadpackage/", action=Action.WRITE)
async def upload(ctx: RequestContext) -> None:
    """Publish the file in the part ``sdist`` of the form: a distribution of any kind, as in
    pypicache.
    """
    limits = Limits(content=ctx.app.settings.max_upload)
    refuse_early_form(ctx.request.body.size, limits)
    content_type = header_of(ctx.request, "content-type") or ""
    if not content_type.lower().startswith("multipart/form-data"):
        return send_json(ctx.request, MissingFile(), 400)  # such a body has no files
    if await shielded(_taken(ctx, limits)):
        return send_json(ctx.request, PypicacheUploaded())
    return send_json(ctx.request, MissingFile(), 400)


async def _taken(ctx: RequestContext, limits: Limits) -> bool:
    """Receive and publish the upload; return whether there was a file."""
    async with upload_spool(ctx) as spool:
        form = await receive(ctx, spool, limits, PART)
        if not form.filename:
            return False
        await publish(ctx, form, spool, overwriting=False)
        return True


# --- file addresses -------------------------------------------------------------------------------


@route("GET", PLACE, action=Action.READ)
async def file(
    ctx: RequestContext,
    python: str,
    letter: str,
    project: ProjectName,
    filename: str,
) -> None:
    """Send a file or its core metadata, as ``/packages/<project>/<filename>`` does, to which pages
    link.
    """
    distribution = parse_filename(filename.removesuffix(METADATA))
    if _place_of(distribution) != _place(distribution, python, letter, project):
        raise NoSuchFile(filename)
    await send_named(ctx, project, filename, ctx.upstream_permission(project))


@route("PUT", PLACE, action=Action.WRITE)
async def put(
    ctx: RequestContext,
    python: str,
    letter: str,
    project: ProjectName,
    filename: str,
) -> None:
    """Publish the body as this file."""
    distribution = parse_filename(filename)
    right = _place_of(distribution)
    if right != _place(distribution, python, letter, project):
        raise BadRequest(
            f"This is not the address of {filename!r}, which is "
            f"/packages/{'/'.join(right)}/{filename}."
        )
    refuse_early(ctx.request.body.size, ctx.app.settings.max_upload, MAX_UPLOAD)
    await shielded(_put(ctx, filename))
    send_json(ctx.request, PypicacheUploaded())


async def _put(ctx: RequestContext, filename: str) -> None:
    """Receive and publish the upload."""
    limit = ctx.app.settings.max_upload
    async with upload_spool(ctx) as spool:
        digests = await _received(ctx.request.body, spool, limit)
        form = UploadFields(fields={}, filename=filename, content_digests=digests)
        await publish(ctx, form, spool, overwriting=False)


async def _received(body: Body, spool: Spool, limit: int) -> Digests:
    came = 0
    async for piece in body:
        came += len(piece)
        if came > limit:
            raise TooLarge(limit, MAX_UPLOAD)
        await spool.write(piece)
    return await spool.finish()


_Place = tuple[str, str, str]


def _place_of(distribution: Distribution) -> _Place:
    """Return where the file belongs, by its name: the Python, the letter, the project."""
    return distribution.python_version or "any", distribution.project[0], distribution.project


def _place(distribution: Distribution, python: str, letter: str, project: ProjectName) -> _Place:
    """Return the place that the address states; an egg need not name its Python, and then any will
    do.
    """
    return python if distribution.python_version else "any", letter.lower(), project

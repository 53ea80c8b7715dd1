"""POST requests to the index's own addresses, ``/``, ``/simple/`` and ``/pypi/``: uploads and
XML-RPC calls.

An upload is answered as at ``/legacy/``, but in pypicloud's JSON if a file was published; a form
that names no action (``curl -F content=@file``) is an upload, as in pypicloud.
"""

from __future__ import annotations

from msgspec.structs import replace

from pypid.compat.pypicloud.documents import Uploaded, package_of
from pypid.core.model import File, Upload
from pypid.core.permissions import Action, may
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.request import Request
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import send_json
from pypid.web.installers.legacy import answer_call
from pypid.web.installers.uploads import Published, say, take

CALLS = ("text/xml", "application/xml")
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def is_call(request: Request) -> bool:
    """Return whether the request is an XML-RPC call, by its content type."""
    return _kind_of(request) in CALLS


def is_form(request: Request) -> bool:
    """Return whether the request is a form, by its content type."""
    return _kind_of(request) in FORMS


def _kind_of(request: Request) -> str:
    return (header_of(request, "content-type") or "").partition(";")[0].strip().lower()


@route("POST", "/", action=Action.WRITE)
async def at_the_root(ctx: RequestContext) -> None:
    """Publish one distribution."""
    await _upload(ctx)


@route("POST", "/simple/", action=Action.WRITE, instead=(is_call, Action.READ))
async def at_simple(ctx: RequestContext) -> None:
    """Publish one distribution; or search, as ``pip search --index`` with the index URL does."""
    if is_call(ctx.request):
        return await answer_call(ctx)
    return await _upload(ctx)


@route("POST", "/pypi/", action=Action.READ, instead=(is_form, Action.WRITE))
async def at_pypi(ctx: RequestContext) -> None:
    """Answer an XML-RPC call, whatever its content type; a form is an upload."""
    if is_form(ctx.request):
        return await _upload(ctx)
    return await answer_call(ctx)


async def _upload(ctx: RequestContext) -> None:
    taken = await take(ctx, unsaid="file_upload")
    if isinstance(taken, Published):
        await send_uploaded(ctx, taken)
    else:
        say(ctx.request, taken)


async def send_uploaded(ctx: RequestContext, published: Published) -> None:
    """Send the document of the published file, as far as its publisher may see it."""
    file = await _published_file(ctx, published.upload)
    package = package_of(file, ctx.base_url or "")
    document: Uploaded = {**package, "message": published.words}
    send_json(ctx.request, document)


async def _published_file(ctx: RequestContext, upload: Upload) -> File:
    """Return the file as it is listed; for a client that may not read (a token to publish), no more
    than it has sent.
    """
    name, filename = upload.distribution.project, upload.distribution.filename
    sent = File(
        project=name,
        filename=filename,
        version=upload.version,
        sha256=upload.digests.sha256,
        size=upload.digests.size,
        requires_python=upload.requires_python,
        summary=upload.summary,
        md5=upload.digests.md5,
    )
    if not may(ctx.app.rules, ctx.identity, Action.READ, name):
        return sent
    listed = (await ctx.app.index.context.known(name)).file(filename)
    return sent if listed is None else replace(listed, md5=listed.md5 or sent.md5)

"""Files and their sidecars: core metadata (PEP 658), provenance (PEP 740)."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from hashlib import sha256

from msgspec.structs import replace

from pypid.core.errors import NoSuchFile, NotAcceptable
from pypid.core.model import File, Span
from pypid.core.packaging.names import ProjectName, same_version
from pypid.core.permissions import Action
from pypid.core.simple_api.render import finished
from pypid.index.views import UpstreamPermission
from pypid.ports import Body
from pypid.web.app.audit import record_download
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.fastpath.response_cache import ResponseDependencies
from pypid.web.http.headers import TEXT, DownloadHead, qualities
from pypid.web.http.response_body import abort
from pypid.web.http.responses import (
    FinishedPage,
    header_of,
    redirect,
    send_file,
    send_page,
    send_text,
)

METADATA = ".metadata"
PROVENANCE_TYPES = ("application/vnd.pypi.integrity.v1+json", "application/json")
"""Media types of provenance, the preferred one first (index-hosted attestations)."""


@route(
    "GET", "/packages/<project>/<filename>", action=Action.READ, below_index=True, cross_site=True
)
async def file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Send a file; with ``.metadata`` after its name, its core metadata."""
    await send_named(ctx, project, filename, ctx.upstream_permission(project))


async def send_named(
    ctx: RequestContext,
    project: ProjectName,
    filename: str,
    permission: UpstreamPermission,
) -> None:
    """Send the file of this name, or its core metadata, if it is visible."""
    if filename.endswith(METADATA):
        found = await ctx.app.index.file(project, filename.removesuffix(METADATA), permission)
        return await _send_metadata(ctx, found, permission)
    found = await ctx.app.index.file(project, filename, permission)
    elsewhere = (
        await ctx.app.index.elsewhere(found, permission)
        if ctx.app.settings.redirects_upstream
        else None
    )
    if elsewhere is not None:
        record_download(ctx, found)
        return redirect(
            ctx.request, elsewhere, permanent=False, keep_query=False, restricted=ctx.app.restricted
        )
    link = (
        await ctx.app.index.link(found, partial(ctx.is_public, project))
        if ctx.request.method == b"GET"
        else None
    )
    if link is not None:
        record_download(ctx, found)
        ctx.request.depends_on(
            ResponseDependencies(project, permission, found, until=ctx.app.index.given_until(link))
        )
        return redirect(
            ctx.request,
            link.url,
            permanent=False,
            keep_query=False,
            restricted=ctx.app.restricted,
            storable=False,
        )
    with ctx.app.running.during(found, partial(abort, ctx.request)):
        return await _send(ctx, found, permission)


async def _send(ctx: RequestContext, found: File, permission: UpstreamPermission) -> None:
    """Send the bytes of the file."""
    if found.size is None:
        return await _send_unmeasured(ctx, found, permission)

    async def body_of(span: Span | None) -> Body:
        body = await ctx.app.index.open(found, span, permission)
        record_download(ctx, found)
        return body

    what = DownloadHead.of(found, lasting=ctx.app.lasting)
    ctx.request.depends_on(ResponseDependencies(found.project, permission, found))
    return await send_file(ctx.request, what, body_of, restricted=ctx.app.restricted)


async def _send_unmeasured(
    ctx: RequestContext, found: File, permission: UpstreamPermission
) -> None:
    """Send a file whose size the upstream page does not state: it is taken from the response, or
    else counted once all bytes are here.
    """
    opened = [await ctx.app.index.open(found, None, permission)]
    try:
        size = opened[0].size
        if size is None:
            size = await _length(opened.pop())

        async def body_of(span: Span | None) -> Body:
            record_download(ctx, found)
            if span is None and opened:
                return opened.pop()
            return await ctx.app.index.open(found, span, permission)

        what = DownloadHead.of(replace(found, size=size), lasting=ctx.app.lasting)
        await send_file(ctx.request, what, body_of, restricted=ctx.app.restricted)
    finally:
        for body in opened:
            await body.aclose()


async def _length(body: Body) -> int:
    """Return the number of bytes, after reading all of them; they are cached meanwhile."""
    async with aclosing(body):
        length = 0
        async for piece in body:
            length += len(piece)
        return length


async def _send_metadata(ctx: RequestContext, found: File, permission: UpstreamPermission) -> None:
    if found.metadata_offered and ctx.app.settings.redirects_upstream:
        elsewhere = await ctx.app.index.elsewhere(found, permission, metadata=True)
        if elsewhere is not None:
            return redirect(
                ctx.request,
                elsewhere,
                permanent=False,
                keep_query=False,
                restricted=ctx.app.restricted,
            )
    data = await ctx.app.index.metadata(found, permission)
    tag = found.metadata_sha256 or sha256(data).hexdigest()
    what = DownloadHead(
        size=len(data),
        etag=f'"{tag}"',
        modified=found.uploaded,
        content_type=TEXT,
        lasting=ctx.app.lasting,
    )
    ctx.request.depends_on(ResponseDependencies(found.project, permission))
    return await send_text(ctx.request, data, what, restricted=ctx.app.restricted)


@route(
    "GET",
    "/integrity/<project>/<version>/<filename>/provenance",
    action=Action.READ,
    below_index=True,
)
async def provenance(
    ctx: RequestContext, project: ProjectName, version: str, filename: str
) -> None:
    """Send the provenance object of a file (index-hosted attestations)."""
    accepted = qualities(header_of(ctx.request, "accept") or "*/*")
    content_type = max(PROVENANCE_TYPES, key=lambda kind: _wish(accepted, kind))
    if not _wish(accepted, content_type):
        raise NotAcceptable(PROVENANCE_TYPES)
    permission = ctx.upstream_permission(project)
    found = await ctx.app.index.file(project, filename, permission)
    if not same_version(found.version, version):
        raise NoSuchFile(f"{ctx.spelling} {version}: {filename}")
    page = finished(await ctx.app.index.provenance(found, permission), content_type)
    await send_page(
        ctx.request, FinishedPage(page, ctx.app.world.blocking), restricted=ctx.app.restricted
    )


def _wish(accepted: dict[str, float], content_type: str) -> float:
    return accepted.get(content_type, accepted.get("application/*", accepted.get("*/*", 0.0)))

"""Files and their sidecars: core metadata (PEP 658), signatures, provenance (PEP 740)."""

from __future__ import annotations

from contextlib import aclosing
from hashlib import sha256

from msgspec.structs import replace

from pypid.core.errors import NoSuchFile, NotAcceptable
from pypid.core.model import File, Span
from pypid.core.packaging.names import project_name, same_version
from pypid.core.permissions import ANONYMOUS, Action, Identity, may
from pypid.core.simple_api.render import finished
from pypid.index.upstream_permission import UpstreamPermission
from pypid.ports import Body
from pypid.web.app.app import App, routes
from pypid.web.app.download_log import given
from pypid.web.app.guard import guarded
from pypid.web.app.upstream_context import asked_of
from pypid.web.fastpath.dependencies import ResponseDependencies
from pypid.web.http.finished_page import FinishedPage
from pypid.web.http.headers import TEXT, DownloadHead
from pypid.web.http.negotiation import qualities
from pypid.web.http.redirects import redirect
from pypid.web.http.request import Request
from pypid.web.http.responses import header_of, send_file, send_page, send_text

METADATA, SIGNATURE = ".metadata", ".asc"
PROVENANCE_TYPES = ("application/vnd.pypi.integrity.v1+json", "application/json")
"""Media types of provenance, the preferred one first (index-hosted attestations)."""


@guarded(routes, "/packages/<project>/<filename>", may=Action.READ)
async def file(app: App, request: Request, who: Identity, project: str, filename: str) -> None:
    """Send a file; with ``.metadata`` or ``.asc`` after its name, that sidecar."""
    await send_named(app, request, who, project, filename, asked_of(app, request, who, project))


async def send_named(
    app: App,
    request: Request,
    who: Identity,
    project: str,
    filename: str,
    asked: UpstreamPermission,
) -> None:
    """Send the file of this name, or the sidecar, if it is visible."""
    name = project_name(project)
    for suffix in (METADATA, SIGNATURE):
        if filename.endswith(suffix):
            found = await app.index.file(name, filename.removesuffix(suffix), asked)
            return await _beside(app, request, found, suffix, asked)
    found = await app.index.file(name, filename, asked)
    elsewhere = await app.index.elsewhere(found, asked) if app.settings.redirects_upstream else None
    if elsewhere is not None:
        given(app, request, who, found)
        return redirect(
            request, elsewhere, permanent=False, keep_query=False, restricted=app.restricted
        )
    restricted = not may(app.rules, ANONYMOUS, Action.READ, name)
    link = await app.index.link(found, restricted=restricted) if request.method == b"GET" else None
    if link is not None:
        where = link.url
        given(app, request, who, found)
        request.about = ResponseDependencies(name, asked, found, until=app.index.given_until(link))
        return redirect(
            request,
            where,
            permanent=False,
            keep_query=False,
            restricted=app.restricted,
            storable=False,
        )
    if found.size is None:
        return await _send_unmeasured(app, request, who, found, asked)

    async def body_of(span: Span | None) -> Body:
        body = await app.index.open(found, span, asked)
        given(app, request, who, found)
        return body

    what = DownloadHead.of(found, lasting=app.lasting)
    request.about = ResponseDependencies(name, asked, found)
    return await send_file(request, what, body_of, restricted=app.restricted)


async def _send_unmeasured(
    app: App, request: Request, who: Identity, found: File, asked: UpstreamPermission
) -> None:
    """Send a file whose size the upstream page does not state: it is taken from the response, or
    else counted once all bytes are here.
    """
    opened = [await app.index.open(found, None, asked)]
    try:
        size = opened[0].size
        if size is None:
            size = await _length(opened.pop())

        async def body_of(span: Span | None) -> Body:
            given(app, request, who, found)
            if span is None and opened:
                return opened.pop()
            return await app.index.open(found, span, asked)

        what = DownloadHead.of(replace(found, size=size), lasting=app.lasting)
        await send_file(request, what, body_of, restricted=app.restricted)
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


async def _beside(
    app: App, request: Request, found: File, suffix: str, asked: UpstreamPermission
) -> None:
    if suffix == METADATA and found.metadata_offered and app.settings.redirects_upstream:
        elsewhere = await app.index.elsewhere(found, asked, metadata=True)
        if elsewhere is not None:
            return redirect(
                request, elsewhere, permanent=False, keep_query=False, restricted=app.restricted
            )
    if suffix == METADATA:
        data = await app.index.metadata(found, asked)
        tag = found.metadata_sha256 or sha256(data).hexdigest()
    else:
        data, tag = await app.index.signature(found), f"{found.sha256}.asc"
    what = DownloadHead(
        size=len(data),
        etag=f'"{tag}"',
        modified=found.uploaded,
        content_type=TEXT,
        lasting=app.lasting,
    )
    request.about = ResponseDependencies(found.project, asked)
    return await send_text(request, data, what, restricted=app.restricted)


@guarded(routes, "/integrity/<project>/<version>/<filename>/provenance", may=Action.READ)
async def provenance(
    app: App, request: Request, who: Identity, project: str, version: str, filename: str
) -> None:
    """Send the provenance object of a file (index-hosted attestations)."""
    wishes = qualities(header_of(request, "accept") or "*/*")
    content_type = max(PROVENANCE_TYPES, key=lambda kind: _wish(wishes, kind))
    if not _wish(wishes, content_type):
        raise NotAcceptable(PROVENANCE_TYPES)
    found = await app.index.file(
        project_name(project), filename, asked_of(app, request, who, project)
    )
    if not same_version(found.version, version):
        raise NoSuchFile(f"{project} {version}: {filename}")
    page = finished(await app.index.provenance(found), content_type)
    await send_page(request, FinishedPage(page, app.world.blocking), restricted=app.restricted)


def _wish(wishes: dict[str, float], content_type: str) -> float:
    return wishes.get(content_type, wishes.get("application/*", wishes.get("*/*", 0.0)))

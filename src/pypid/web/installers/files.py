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
from pypid.index.request_context import RequestContext
from pypid.ports import Body
from pypid.web.app.app import App, app
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


@guarded(app, "/packages/<project>/<filename>", may=Action.READ)
async def file(face: App, request: Request, who: Identity, project: str, filename: str) -> None:
    """Send a file; with ``.metadata`` or ``.asc`` after its name, that sidecar."""
    await send_named(face, request, who, project, filename, asked_of(face, request, who, project))


async def send_named(
    face: App, request: Request, who: Identity, project: str, filename: str, asked: RequestContext
) -> None:
    """Send the file of this name, or the sidecar, if it is visible."""
    name = project_name(project)
    for suffix in (METADATA, SIGNATURE):
        if filename.endswith(suffix):
            found = await face.index.file(name, filename.removesuffix(suffix), asked)
            return await _beside(face, request, found, suffix, asked)
    found = await face.index.file(name, filename, asked)
    elsewhere = (
        await face.index.elsewhere(found, asked) if face.settings.redirects_upstream else None
    )
    if elsewhere is not None:
        given(face, request, who, found)
        return redirect(
            request, elsewhere, permanent=False, keep_query=False, restricted=face.restricted
        )
    restricted = not may(face.rules, ANONYMOUS, Action.READ, name)
    link = await face.index.link(found, restricted=restricted) if request.method == b"GET" else None
    if link is not None:
        where = link.url
        given(face, request, who, found)
        request.about = ResponseDependencies(name, asked, found, until=face.index.given_until(link))
        return redirect(
            request,
            where,
            permanent=False,
            keep_query=False,
            restricted=face.restricted,
            storable=False,
        )
    if found.size is None:
        return await _send_unmeasured(face, request, who, found, asked)

    async def body_of(span: Span | None) -> Body:
        body = await face.index.open(found, span, asked)
        given(face, request, who, found)
        return body

    what = DownloadHead.of(found, lasting=face.lasting)
    request.about = ResponseDependencies(name, asked, found)
    return await send_file(request, what, body_of, restricted=face.restricted)


async def _send_unmeasured(
    face: App, request: Request, who: Identity, found: File, asked: RequestContext
) -> None:
    """Send a file whose size the upstream page does not state: it is taken from the response, or
    else counted once all bytes are here.
    """
    opened = [await face.index.open(found, None, asked)]
    try:
        size = opened[0].size
        if size is None:
            size = await _length(opened.pop())

        async def body_of(span: Span | None) -> Body:
            given(face, request, who, found)
            if span is None and opened:
                return opened.pop()
            return await face.index.open(found, span, asked)

        what = DownloadHead.of(replace(found, size=size), lasting=face.lasting)
        await send_file(request, what, body_of, restricted=face.restricted)
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
    face: App, request: Request, found: File, suffix: str, asked: RequestContext
) -> None:
    if suffix == METADATA and found.metadata_offered and face.settings.redirects_upstream:
        elsewhere = await face.index.elsewhere(found, asked, metadata=True)
        if elsewhere is not None:
            return redirect(
                request, elsewhere, permanent=False, keep_query=False, restricted=face.restricted
            )
    if suffix == METADATA:
        data = await face.index.metadata(found, asked)
        tag = found.metadata_sha256 or sha256(data).hexdigest()
    else:
        data, tag = await face.index.signature(found), f"{found.sha256}.asc"
    what = DownloadHead(
        size=len(data),
        etag=f'"{tag}"',
        modified=found.uploaded,
        content_type=TEXT,
        lasting=face.lasting,
    )
    request.about = ResponseDependencies(found.project, asked)
    return await send_text(request, data, what, restricted=face.restricted)


@guarded(app, "/integrity/<project>/<version>/<filename>/provenance", may=Action.READ)
async def provenance(
    face: App, request: Request, who: Identity, project: str, version: str, filename: str
) -> None:
    """Send the provenance object of a file (index-hosted attestations)."""
    wishes = qualities(header_of(request, "accept") or "*/*")
    content_type = max(PROVENANCE_TYPES, key=lambda kind: _wish(wishes, kind))
    if not _wish(wishes, content_type):
        raise NotAcceptable(PROVENANCE_TYPES)
    found = await face.index.file(
        project_name(project), filename, asked_of(face, request, who, project)
    )
    if not same_version(found.version, version):
        raise NoSuchFile(f"{project} {version}: {filename}")
    page = finished(await face.index.provenance(found), content_type)
    await send_page(request, FinishedPage(page, face.world.blocking), restricted=face.restricted)


def _wish(wishes: dict[str, float], content_type: str) -> float:
    return wishes.get(content_type, wishes.get("application/*", wishes.get("*/*", 0.0)))

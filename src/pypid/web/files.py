"""Files, and what lies beside them: core metadata (PEP 658), signatures, provenance (PEP 740)."""

from __future__ import annotations

from pypid.core.errors import NoSuchFile, NotAcceptable
from pypid.core.model import File
from pypid.core.names import project_name, same_version
from pypid.core.permissions import Action, Identity
from pypid.core.simple import finished
from pypid.web.face import Face, app
from pypid.web.finished import FinishedPage
from pypid.web.guard import guarded
from pypid.web.heads import TEXT, Download
from pypid.web.negotiation import qualities
from pypid.web.request import Request
from pypid.web.respond import header_of, send_file, send_page, send_text

METADATA, SIGNATURE = ".metadata", ".asc"
PROVENANCE_TYPES = ("application/vnd.pypi.integrity.v1+json", "application/json")
"""The first is preferred (index-hosted attestations)."""


@guarded(app, "/packages/<project>/<filename>", may=Action.READ)
async def file(face: Face, request: Request, who: Identity, project: str, filename: str) -> None:
    """The bytes of a file; with ``.metadata`` or ``.asc`` behind its name, what lies beside it."""
    for suffix in (METADATA, SIGNATURE):
        if filename.endswith(suffix):
            return await _beside(face, request, await _visible(face, project, filename.removesuffix(suffix)), suffix)
    found = await _visible(face, project, filename)
    what = Download.of(found, lasting=face.lasting)
    return await send_file(request, what, lambda span: face.index.open(found, span), restricted=face.restricted)


async def _visible(face: Face, project: str, filename: str) -> File:
    return await face.index.file(project_name(project), filename)


async def _beside(face: Face, request: Request, found: File, suffix: str) -> None:
    if suffix == METADATA:
        data, tag = await face.index.metadata(found), found.metadata_sha256
    else:
        data, tag = await face.index.signature(found), f"{found.sha256}.asc"
    what = Download(size=len(data), etag=f'"{tag}"', modified=found.uploaded, content_type=TEXT, lasting=face.lasting)
    await send_text(request, data, what, restricted=face.restricted)


@guarded(app, "/integrity/<project>/<version>/<filename>/provenance", may=Action.READ)
async def provenance(face: Face, request: Request, who: Identity, project: str, version: str, filename: str) -> None:
    """The provenance object of a file (index-hosted attestations)."""
    wishes = qualities(header_of(request, "accept") or "*/*")
    content_type = max(PROVENANCE_TYPES, key=lambda kind: _wish(wishes, kind))
    if not _wish(wishes, content_type):
        raise NotAcceptable(PROVENANCE_TYPES)
    found = await _visible(face, project, filename)
    if not same_version(found.version, version):
        raise NoSuchFile(f"{project} {version}: {filename}")
    page = finished(await face.index.provenance(found), content_type)
    await send_page(request, FinishedPage(page, face.world.blocking), restricted=face.restricted)


def _wish(wishes: dict[str, float], content_type: str) -> float:
    return wishes.get(content_type, wishes.get("application/*", wishes.get("*/*", 0.0)))

"""Storage use by project: ``/api/storage``."""

from __future__ import annotations

from pypid.core.errors import CatalogDown
from pypid.core.permissions import Action
from pypid.index.usage import ProjectUse
from pypid.web.api.machine_documents import DiskDocument, StorageDocument, UseDocument
from pypid.web.app.descriptions import Described
from pypid.web.app.measures import Disk
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import Parameter, names, number, parameters
from pypid.web.http.small_responses import send_json

USUAL, MOST = 100, 1000
"""Projects in one answer: by default, and at most."""
LARGEST = (1 << 31) - 1
ASKS = (
    Parameter(
        "skip",
        "The number of projects to skip; the largest are first.",
        {"type": "integer", "minimum": 0, "maximum": LARGEST},
    ),
    Parameter(
        "most",
        "The number of projects.",
        {"type": "integer", "minimum": 1, "maximum": MOST},
    ),
)


@route(
    "GET",
    "/api/storage",
    action=Action.ADMIN,
    describe=Described(StorageDocument, asks=ASKS, refuses=(CatalogDown,)),
)
async def storage(ctx: RequestContext) -> None:
    """Return what the storage holds, local and cached, and which projects use most of it."""
    query = parameters(ctx.request, *names(ASKS))
    skip = number(query, "skip", 0, LARGEST) or 0
    most = number(query, "most", 1, MOST) or USUAL
    measures = ctx.app.measures
    usage = measures.usage
    used = await measures.used()
    document: StorageDocument = {
        "place": ctx.app.settings.place,
        "limit": ctx.app.settings.max_cache,
        "files": None if used is None else used.files,
        "size": None if used is None else used.size,
        "kept": None if used is None else used.kept,
        "kept_size": None if used is None else used.kept_size,
        "counting": {"done": usage.done, "of": usage.of} if usage.is_counting else None,
        "state_disk": _disk(await measures.disk("state")),
        "storage_disk": _disk(await measures.disk("storage")),
        "projects": [] if used is None else [_use(use) for use in used.by_size[skip : skip + most]],
    }
    send_json(ctx.request, document)


def _disk(disk: Disk | None) -> DiskDocument | None:
    return None if disk is None else {"total": disk.total, "free": disk.free}


def _use(use: ProjectUse) -> UseDocument:
    return {
        "name": use.name,
        "files": use.files,
        "size": use.size,
        "kept": use.kept,
        "kept_size": use.kept_size,
    }

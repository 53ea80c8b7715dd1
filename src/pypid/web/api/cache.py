"""The cache of upstream files, listed and purged by hand: ``/api/cache``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NotRequired, TypedDict

from attrs import frozen

from pypid.core.configuration.value_kinds import parse_duration
from pypid.core.errors import BadRequest, shortened
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.index.upstream.eviction import cached_files, purge
from pypid.index.upstream.inventory import InventoryEntry
from pypid.web.app.app import App
from pypid.web.app.audit import Details, attempted, listed
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import Parameter, names, parameters
from pypid.web.http.small_responses import send_json

ASKS = (
    Parameter(
        "older_than",
        "A duration (30d): only files without an access for so long.",
        {"type": "string", "pattern": "^[0-9]{1,15}[smhd]?$", "examples": ["30d"]},
    ),
    Parameter(
        "upstream",
        "The name of an ``[upstream:<name>]``: only its files.",
        {"type": "string", "examples": ["cu128"]},
    ),
)


class HeldProject(TypedDict):
    """The cached files of a project. `size` in bytes, with metadata and records; `last_access`: to
    one of them; `upstream`: the name of the ``[upstream:<name>]`` that they are from.
    """

    name: str
    upstream: NotRequired[str]
    files: int
    size: int
    last_access: Moment


class HeldFile(TypedDict):
    """A cached file. `complete`: false if only metadata is cached, or if a crash left only a part.
    `upstream`: as in `HeldProject`.
    """

    filename: str
    upstream: NotRequired[str]
    size: int
    last_access: Moment
    complete: bool


class Purged(TypedDict):
    """The files removed from the cache."""

    files: int
    size: int
    projects: list[HeldProject]


class Cache(Purged):
    """The contents of the cache. `limit` in bytes, or null."""

    limit: int | None


class CachedProject(TypedDict):
    """The cached files of a project. `limit`: of the whole cache, in bytes, or null."""

    name: str
    size: int
    limit: int | None
    files: list[HeldFile]


class _Sums(TypedDict):
    files: int
    size: int


@route("GET", "/api/cache", action=Action.ADMIN, describe=Described(Cache))
async def projects(ctx: RequestContext) -> None:
    """List the projects that have cached files."""
    held = await cached_files(ctx.app.index)
    sums = _sums(held)
    document: Cache = {
        "files": sums["files"],
        "size": sums["size"],
        "limit": ctx.app.settings.max_cache,
        "projects": _by_project(held),
    }
    send_json(ctx.request, document)


@route("GET", "/api/cache/<project>", action=Action.ADMIN, describe=Described(CachedProject))
async def files(ctx: RequestContext, project: ProjectName) -> None:
    """List the cached files of a project."""
    held = await cached_files(ctx.app.index, project)
    kept: list[HeldFile] = [_file(file) for file in held]
    document: CachedProject = {
        "name": project,
        "size": _size(held),
        "limit": ctx.app.settings.max_cache,
        "files": kept,
    }
    send_json(ctx.request, document)


@route("DELETE", "/api/cache", action=Action.ADMIN, describe=Described(Purged, asks=ASKS))
async def purge_all(ctx: RequestContext) -> None:
    """Delete all cached files. With ``?older_than=30d``, only those not accessed for so long."""
    if ctx.request.path.endswith(b"/"):  # a script's /api/cache/$PROJECT, without one
        raise BadRequest(
            "No project is named after the slash. To remove all that is kept: DELETE /api/cache"
        )
    await _purge(ctx)


@route("DELETE", "/api/cache/<project>", action=Action.ADMIN, describe=Described(Purged, asks=ASKS))
async def purge_project(ctx: RequestContext, project: ProjectName) -> None:
    """Delete the cached files of a project. With ``?older_than=30d``, only those not accessed for
    so long.
    """
    await _purge(ctx, project)


@route(
    "DELETE",
    "/api/cache/<project>/<filename>",
    action=Action.ADMIN,
    describe=Described(Purged, asks=ASKS),
)
async def purge_file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Delete a cached file. With ``?older_than=30d``, only if it was not accessed for so long."""
    await _purge(ctx, project, filename)


async def _purge(
    ctx: RequestContext,
    name: ProjectName | None = None,
    filename: str | None = None,
) -> None:
    # unknown parameters are refused: after a misspelled one, everything would be removed
    query = parameters(ctx.request, *names(ASKS))
    wanted = Purge(
        name,
        filename,
        _older_than(query),
        upstream=_upstream(ctx.app, query),
    )
    gone = await purged(ctx, wanted)
    sums = _sums(gone)
    document: Purged = {"files": sums["files"], "size": sums["size"], "projects": _by_project(gone)}
    send_json(ctx.request, document)


@frozen
class Purge:
    """What to remove from the cache: all files, those of one project, or one file of it.
    `unwanted`: only files not accessed for so long; `upstream`: only files of this one.
    """

    name: ProjectName | None = None
    filename: str | None = None
    unwanted: timedelta | None = None
    upstream: str | None = None


async def purged(ctx: RequestContext, wanted: Purge) -> Sequence[InventoryEntry]:
    """Remove the files from the cache; return their entries."""
    subject = "/".join(word for word in (wanted.name, wanted.filename) if word) or "cache"
    purging = purge(
        ctx.app.index,
        wanted.name,
        wanted.filename,
        upstream=wanted.upstream,
        unwanted=wanted.unwanted,
    )
    return await attempted(ctx, "cache purge", subject, purging, _purged)


def _purged(gone: Sequence[InventoryEntry]) -> Details:
    return {
        "files": listed({f"{file.project}/{file.filename}" for file in gone}),
        "size": str(_size(gone)),
    }


def _older_than(query: Mapping[str, str]) -> timedelta | None:
    """Return the duration of ``older_than``, or None without it. Raises `BadRequest`."""
    text = query.get("older_than")
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError:
        raise BadRequest(
            "older_than is a whole number of s, m, h or d (one unit): 30d, for example."
        ) from None


def _upstream(app: App, query: Mapping[str, str]) -> str | None:
    """Return the upstream of the parameter, or None without it. Raises `BadRequest`."""
    name = query.get("upstream")
    if name is not None and name not in app.index.upstreams:
        known = " ".join(app.index.upstreams) or "none"
        raise BadRequest(f"There is no [upstream:{shortened(name)}]. Known: {known}.")
    return name


def _file(file: InventoryEntry) -> HeldFile:
    document: HeldFile = {
        "filename": file.filename,
        "size": file.size,
        "last_access": _time(file.wanted),
        "complete": file.recorded,
    }
    if file.upstream:
        document["upstream"] = file.upstream
    return document


def _sums(held: Sequence[InventoryEntry]) -> _Sums:
    return {"files": sum(file.recorded for file in held), "size": _size(held)}


def _size(held: Iterable[InventoryEntry]) -> int:
    return sum(file.size for file in held)


def _by_project(held: Sequence[InventoryEntry]) -> list[HeldProject]:
    documents: list[HeldProject] = []
    for (name, upstream), group in groupby(held, attrgetter("project", "upstream")):
        files = list(group)
        last = max(file.wanted for file in files)
        sums = _sums(files)
        document: HeldProject = {
            "name": name,
            "files": sums["files"],
            "size": sums["size"],
            "last_access": _time(last),
        }
        if upstream:
            document["upstream"] = upstream
        documents.append(document)
    return documents


def _time(seconds: int) -> str:
    return utc_text(datetime.fromtimestamp(seconds, UTC))

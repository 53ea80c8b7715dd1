"""The download log, ``GET /api/downloads``, and the download counts of a project; the entries are
written by `web.app.download_log`.

All users who may read a project may see its counts; only administrators see who downloaded a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NotRequired, TypedDict

from pypid.core.accounts.entries import DownloadEntry, counted_name
from pypid.core.errors import (
    BadListing,
    BadRequest,
    Busy,
    Forbidden,
    Loop,
    NoSuchFile,
    NoSuchProject,
    NotAvailable,
    NotYetKnown,
    Unauthenticated,
    UpstreamDown,
)
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName, project_name, same_version
from pypid.core.permissions import Action
from pypid.core.restrictions import HoldKind
from pypid.core.simple_api.entries import utc_text
from pypid.index.blocks import StoredBlock
from pypid.index.upstream.sources import entries_of
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import LARGEST_SERIAL, Parameter, flag, names, number, parameters
from pypid.web.http.small_responses import send_json

MOST = 1000
"""Most entries in one answer."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
ASKS = (
    Parameter(
        "sha256",
        "The digest of a file. This, `project` or `blocked` is required.",
        {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
    ),
    Parameter("project", "All files of this project."),
    Parameter("version", "Only the files of this version of the project."),
    Parameter("filename", "Only this file of the project."),
    Parameter(
        "blocked",
        "Alone, or with ``yes``: only files that a block withholds, and their refused downloads.",
        {"type": "string", "enum": ["", "yes", "no"]},
    ),
    Parameter(
        "most",
        "The number of entries.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST},
    ),
    Parameter(
        "before",
        "Only downloads with a lower serial: the `before` of the last answer.",
        {"type": "integer", "minimum": 0},
    ),
)

REFUSES = (NotAvailable, NoSuchProject, Busy, NotYetKnown, UpstreamDown, BadListing, Loop)
DAYS, MOST_DAYS = 90, 400
"""Days that are reported by default, and days that are remembered."""
ASKS_DAYS = (
    Parameter(
        "days",
        "The number of days, up to today.",
        {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": DAYS},
    ),
)


class DownloadDocument(TypedDict):
    """A download of the file. `address`: the client's address; `token`: the id of its token;
    `index`: the named index below which the file was requested, null for the default one.
    """

    serial: int
    when: Moment
    user: str
    address: str | None
    token: str | None
    index: str | None
    project: str
    filename: str


class RefusalDocument(TypedDict):
    """A refused download: one for each client and file in an hour. `block`: the id of the block."""

    serial: int
    when: Moment
    user: str
    address: str | None
    token: str | None
    project: str
    filename: str
    block: str


class DownloadsOf(TypedDict):
    """The downloads of the files, newest first. `sha256`: the digest of the request; `before`: the
    value to send for the next page, null if there is none; `refused`: with `blocked` only.
    """

    sha256: str | None
    downloads: list[DownloadDocument]
    before: int | None
    refused: NotRequired[list[RefusalDocument]]


class DayDocument(TypedDict):
    """The number of downloads on one day (in UTC)."""

    day: str
    count: int


class DownloadsOfProject(TypedDict):
    """The number of downloads from `since` to today: `total`, and of each day that had any, oldest
    first.
    """

    project: str
    since: str
    days: list[DayDocument]
    total: int


@route(
    "GET",
    "/api/downloads",
    action=Action.ADMIN,
    describe=Described(DownloadsOf, asks=ASKS, refuses=(*REFUSES, NoSuchFile)),
)
async def downloads(ctx: RequestContext) -> None:
    """List the downloads of a file, or of the files of a project, newest first."""
    query = parameters(ctx.request, *names(ASKS))
    is_blocked = flag(query, "blocked")
    digests = await (blocked_digests if is_blocked else _digests)(ctx, query)
    most = number(query, "most", 1, MOST) or MOST
    before = number(query, "before", 0, LARGEST_SERIAL)
    found = await ctx.app.downloads.of(*digests, most=most, before=before)
    document: DownloadsOf = {
        "sha256": digests[0] if "sha256" in query else None,
        "downloads": [_document(download) for download in found],
        "before": found[-1].serial if len(found) == most else None,
    }
    if is_blocked:
        document["refused"] = await _refused(ctx, query.get("project"), most)
    send_json(ctx.request, document)


async def blocked_digests(ctx: RequestContext, query: Mapping[str, str]) -> Sequence[str]:
    """Return the digests of the files that blocks withhold, of one project or of all. Raises
    `BadRequest`.
    """
    if not query.keys() <= {"blocked", "project", "most", "before"}:
        raise BadRequest("With ``blocked``, only a project can be named.")
    index, blocks = ctx.app.index, list(ctx.app.blocks.all.values())
    digests = {block.spec.sha256 for block in blocks if block.spec.sha256 is not None}
    chosen = {block.project for block in blocks if block.project is not None}
    if "project" in query:
        chosen = {project_name(query["project"])}
    found = set() if "project" in query else digests
    for name in sorted(chosen):
        local = await index.context.local_project(name)
        files: list[File] = [*(local.files if isinstance(local, Project) else ())]
        async for entry in entries_of(index, name):
            listed = entry.listing.files if entry.listing is not None else None
            files += [*entry.kept, *(listed or ())]
        found |= await ctx.app.world.thinking(_hit, blocks, files)
    return sorted(found)


def _hit(blocks: Iterable[StoredBlock], files: Iterable[File]) -> set[str]:
    """Return the digests of the files that one of the blocks hits."""
    return {
        file.sha256
        for file in files
        if file.sha256 is not None and any(block.hits(file) for block in blocks)
    }


async def _refused(ctx: RequestContext, project: str | None, most: int) -> list[RefusalDocument]:
    """Return the newest refusals because of blocks, of one project or of all."""
    name = None if project is None else project_name(project)
    entries = await ctx.app.journal.entries(what="download refuse", most=most)
    return [
        {
            "serial": entry.serial,
            "when": utc_text(entry.when),
            "user": entry.who,
            "address": entry.where or None,
            "token": entry.token,
            "project": entry.details.get("project", ""),
            "filename": entry.subject,
            "block": entry.details.get("reference", ""),
        }
        for entry in entries
        if entry.details.get("because") == HoldKind.BLOCKED.value
        and name in (None, entry.details.get("project"))
    ]


async def _digests(ctx: RequestContext, query: Mapping[str, str]) -> Sequence[str]:
    """Return the digests of the files that the query names. Raises `BadRequest`, `NoSuchFile`."""
    sha256 = query.get("sha256", "").lower()
    if ("sha256" in query) == ("project" in query) or (
        "sha256" in query and not _SHA256.match(sha256)
    ):
        raise BadRequest(
            "Name the files: /api/downloads?sha256= and 64 hexadecimal digits, ?project= and the "
            "name of a project, or ?blocked."
        )
    if sha256:
        return [sha256]
    name = project_name(query["project"])
    project = await ctx.app.index.project(name, ctx.upstream_permission(name))
    version, filename = query.get("version"), query.get("filename")
    files = [
        file
        for file in project.files
        if filename in (None, file.filename)
        and (version is None or same_version(version, file.version))
    ]
    if not files:
        raise NoSuchFile(f"{name} {filename or version or ''}".rstrip())
    return [file.sha256 for file in files if file.sha256 is not None]


@route(
    "GET",
    "/api/projects/<project>/downloads",
    action=Action.READ,
    describe=Described(DownloadsOfProject, asks=ASKS_DAYS, refuses=REFUSES),
    below_index=True,
)
async def downloads_of_project(ctx: RequestContext, project: ProjectName) -> None:
    """Return the number of downloads of the project's files by day; below a named index, only of
    downloads there.
    """
    query = parameters(ctx.request, *names(ASKS_DAYS))
    days = number(query, "days", 1, MOST_DAYS) or DAYS
    # raises for a project that does not exist
    await ctx.app.index.project(project, ctx.upstream_permission(project))
    if not (await ctx.visibility()).sees_bases(project):
        if ctx.identity.user is None:
            raise Unauthenticated()
        advice = "They include those of files that you may not read."
        raise Forbidden(ctx.identity.user, "see the downloads", project, advice=advice)
    since = ctx.app.world.now().date() - timedelta(days=days - 1)
    found = await ctx.app.downloads.by_day(counted_name(ctx.app.index.name, project), since)
    document: DownloadsOfProject = {
        "project": project,
        "since": str(since),
        "days": [{"day": str(day), "count": count} for day, count in found],
        "total": sum(count for _, count in found),
    }
    send_json(ctx.request, document)


def _document(download: DownloadEntry) -> DownloadDocument:
    return {
        "serial": download.serial,
        "when": utc_text(download.when),
        "user": download.who,
        "address": download.where or None,
        "token": download.token,
        "index": download.project.rpartition("/")[0] or None,
        "project": download.project.rpartition("/")[2],
        "filename": download.filename,
    }

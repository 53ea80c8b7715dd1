"""The download log, ``GET /api/downloads``, and the download counts of a project; the entries are
written by `web.app.download_log`.

All users who may read a project may see its counts; only administrators see who downloaded a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypedDict

from pypid.core.accounts.entries import DownloadEntry
from pypid.core.errors import (
    BadListing,
    BadRequest,
    Busy,
    Loop,
    NoSuchFile,
    NoSuchProject,
    NotAvailable,
    NotYetKnown,
    UpstreamDown,
)
from pypid.core.packaging.names import ProjectName, project_name, same_version
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import LARGEST_SERIAL, Parameter, names, number, parameters
from pypid.web.http.small_responses import send_json

MOST = 1000
"""Most entries in one answer."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
ASKS = (
    Parameter(
        "sha256",
        "The digest of a file. This, or `project`, is required.",
        {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
    ),
    Parameter("project", "All files of this project."),
    Parameter("version", "Only the files of this version of the project."),
    Parameter("filename", "Only this file of the project."),
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
    """A download of the file. `where`: the client's address; `token`: the id of the token that was
    used.
    """

    serial: int
    when: Moment
    who: str
    where: str | None
    token: str | None
    project: str
    filename: str


class DownloadsOf(TypedDict):
    """The downloads of the files, newest first. `sha256`: the digest of the request; `before`: the
    value to send for the next page, null if there is none.
    """

    sha256: str | None
    downloads: list[DownloadDocument]
    before: int | None


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
    digests = await _digests(ctx, query)
    most = number(query, "most", 1, MOST) or MOST
    before = number(query, "before", 0, LARGEST_SERIAL)
    found = await ctx.app.downloads.of(*digests, most=most, before=before)
    document: DownloadsOf = {
        "sha256": digests[0] if "sha256" in query else None,
        "downloads": [_document(download) for download in found],
        "before": found[-1].serial if len(found) == most else None,
    }
    send_json(ctx.request, document)


async def _digests(ctx: RequestContext, query: Mapping[str, str]) -> Sequence[str]:
    """Return the digests of the files that the query names. Raises `BadRequest`, `NoSuchFile`."""
    sha256 = query.get("sha256", "").lower()
    if ("sha256" in query) == ("project" in query) or (
        "sha256" in query and not _SHA256.match(sha256)
    ):
        raise BadRequest(
            "Name the files: /api/downloads?sha256= and 64 hexadecimal digits, or ?project= and "
            "the name of a project."
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
)
async def downloads_of_project(ctx: RequestContext, project: ProjectName) -> None:
    """Return how often files of a project were downloaded, by day."""
    query = parameters(ctx.request, *names(ASKS_DAYS))
    days = number(query, "days", 1, MOST_DAYS) or DAYS
    # raises for a project that does not exist
    await ctx.app.index.project(project, ctx.upstream_permission(project))
    since = ctx.app.world.now().date() - timedelta(days=days - 1)
    found = await ctx.app.downloads.by_day(project, since)
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
        "who": download.who,
        "where": download.where or None,
        "token": download.token,
        "project": download.project,
        "filename": download.filename,
    }

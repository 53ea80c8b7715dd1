"""The download log, ``GET /api/downloads``, and the download counts of a project; the entries are
written by `web.app.download_log`.

All users who may read a project may see its counts; only administrators see who downloaded a file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypedDict

from pypid.core.accounts.entries import DownloadEntry
from pypid.core.errors import (
    BadListing,
    BadRequest,
    Busy,
    Loop,
    NoSuchProject,
    NotAvailable,
    NotYetKnown,
    UpstreamDown,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.simple_api.render import utc_text
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
        "The file's digest.",
        {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
        required=True,
    ),
    Parameter(
        "most",
        "Lines in the answer.",
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
        "How many, up to today.",
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
    """The downloads of a file, newest first. `before`: the value to send for the next page, null if
    there is none.
    """

    sha256: str
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
    describe=Described(DownloadsOf, asks=ASKS, refuses=(NotAvailable,)),
)
async def downloads(ctx: RequestContext) -> None:
    """List the downloads of a file, newest first."""
    query = parameters(ctx.request, *names(ASKS))
    sha256 = query.get("sha256", "").lower()
    if not _SHA256.match(sha256):
        raise BadRequest(
            "Name the file by its digest: /api/downloads?sha256= and 64 hexadecimal digits, as "
            "pages have them."
        )
    most = number(query, "most", 1, MOST) or MOST
    before = number(query, "before", 0, LARGEST_SERIAL)
    found = await ctx.app.downloads.of(sha256, most=most, before=before)
    document: DownloadsOf = {
        "sha256": sha256,
        "downloads": [_document(download) for download in found],
        "before": found[-1].serial if len(found) == most else None,
    }
    send_json(ctx.request, document)


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

"""Who was given which file: ``GET /api/downloads``; what it tells is noted in `web.given`."""

from __future__ import annotations

import re
from typing import TypedDict

from pypid.core.errors import BadRequest, NotAvailable
from pypid.core.people import Download
from pypid.core.permissions import Action, Identity
from pypid.core.simple import utc_text
from pypid.web.describing import Described, Moment
from pypid.web.documents import send_json
from pypid.web.face import Face, app
from pypid.web.guard import guarded
from pypid.web.query import Parameter, names, number, parameters
from pypid.web.request import Request

MOST = 1000
"""Lines in one answer."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
ASKS = (
    Parameter("sha256", "The file's digest.", {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"}, required=True),
    Parameter("most", "Lines in the answer.", {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST}),
)


class DownloadDocument(TypedDict):
    """That somebody was given the file. `where`: the address they asked from; `token`: the id of the one that was used."""

    when: Moment
    who: str
    where: str | None
    token: str | None
    project: str
    filename: str


class DownloadsOf(TypedDict):
    """Who was given a file, the newest first."""

    sha256: str
    downloads: list[DownloadDocument]


@guarded(app, "/api/downloads", may=Action.ADMIN)
@Described(DownloadsOf, asks=ASKS, refuses=(NotAvailable,))
async def downloads(face: Face, request: Request, who: Identity) -> None:
    """Who was given a file, the newest first."""
    asked = parameters(request, *names(ASKS))
    sha256 = asked.get("sha256", "").lower()
    if not _SHA256.match(sha256):
        raise BadRequest("Name the file by its digest: /api/downloads?sha256= and 64 hexadecimal digits, as pages have them.")
    found = await face.downloads.of(sha256, most=number(asked, "most", 1, MOST) or MOST)
    document: DownloadsOf = {"sha256": sha256, "downloads": [_document(download) for download in found]}
    send_json(request, document)


def _document(download: Download) -> DownloadDocument:
    return {
        "when": utc_text(download.when),
        "who": download.who,
        "where": download.where or None,
        "token": download.token,
        "project": download.project,
        "filename": download.filename,
    }

"""What was done, by whom: ``/api/audit``."""

from __future__ import annotations

from typing import Any

from pypid.core.people import Deed
from pypid.core.permissions import Action, Identity
from pypid.core.simple import utc_text
from pypid.web.documents import send_json
from pypid.web.face import Face, app
from pypid.web.guard import guarded
from pypid.web.query import number, parameters
from pypid.web.request import Request

MOST = 1000
"""Lines in one answer."""
USUAL = 100
LARGEST_SERIAL = (1 << 63) - 1


@guarded(app, "/api/audit", may=Action.ADMIN)
async def audit(face: Face, request: Request, who: Identity) -> None:
    """The lines of the audit log, the newest first."""
    given = parameters(request, "who", "what", "subject", "before", "most")
    most = number(given, "most", 1, MOST) or USUAL
    before = number(given, "before", 0, LARGEST_SERIAL)
    deeds = await face.journal.deeds(
        before=before, most=most, who=given.get("who"), what=given.get("what"), subject=given.get("subject")
    )
    older = deeds[-1].serial if len(deeds) == most else None
    send_json(request, {"deeds": [_deed(deed) for deed in deeds], "before": older})


def _deed(deed: Deed) -> dict[str, Any]:
    return {
        "serial": deed.serial,
        "when": utc_text(deed.when),
        "who": deed.who,
        "what": deed.what,
        "subject": deed.subject,
        "where": deed.where or None,
        "token": deed.token,
        "details": dict(deed.details),
    }

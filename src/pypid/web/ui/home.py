"""The first page: what this index is, what is new in it, and how programs are pointed at it."""

from __future__ import annotations

from pypid.core.permissions import Action, Identity
from pypid.web.face import Face, app
from pypid.web.guard import guarded
from pypid.web.request import Request
from pypid.web.ui.pages import show


@guarded(app, "/", may=Action.READ, page=True)
async def home(face: Face, request: Request, who: Identity) -> None:
    """What is new, and how to connect."""
    await show(face, request, who, "home.html", base=face.base_url(request) or "")

"""All the routes together, and what happens to errors."""

from __future__ import annotations

from klein import Klein
from klein.resource import KleinResource
from twisted.python.failure import Failure

from pypid.web import files, home, legacy, manage, simple, uploads
from pypid.web.errors import respond_error
from pypid.web.face import Face, FaceSettings, app
from pypid.web.guard import guarded_routes
from pypid.web.request import Request

ROOMS = (simple, files, uploads, legacy, manage, home)
"""The modules whose routes make up the face; importing them is what registers the routes."""


@app.handle_errors  # type: ignore[call-overload]  # Klein's types know methods of its own only
async def error(face: Face, request: Request, failure: Failure) -> None:
    """Every error becomes an answer here, by the one table in `web.errors`."""
    await respond_error(request, failure, random=face.world.random)


def resource(face: Face) -> KleinResource:
    """The root resource. Raises `TypeError` if a route has no guard."""
    guarded_routes(app)
    bound: Klein = face.app
    return bound.resource()


__all__ = ["ROOMS", "Face", "FaceSettings", "resource"]

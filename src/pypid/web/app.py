"""All the routes together, and what happens to errors."""

from __future__ import annotations

from typing import cast

from klein import Klein
from klein.resource import KleinResource
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import BadHost

from pypid.web import (
    audit,
    cached,
    collecting,
    downloads,
    files,
    groups,
    home,
    invitations,
    legacy,
    local,
    manage,
    oidc,
    openapi,
    people,
    pypicache,
    registering,
    rights,
    sessions,
    simple,
    tiering,
    tokens,
    uploads,
    why,
)
from pypid.web.channel import ONE_HOST
from pypid.web.errors import Refusal, refusal_of, respond_error, send_refusal
from pypid.web.face import Face, FaceSettings, app
from pypid.web.guard import guarded_routes
from pypid.web.heads import origins
from pypid.web.request import Request

ROOMS = (
    simple,
    local,
    files,
    uploads,
    legacy,
    pypicache,
    collecting,
    downloads,
    manage,
    cached,
    tiering,
    why,
    people,
    groups,
    rights,
    tokens,
    audit,
    sessions,
    registering,
    invitations,
    oidc,
    openapi,
    home,
)
"""The modules whose routes make up the face; importing them is what registers the routes."""


@app.handle_errors  # type: ignore[call-overload]  # Klein's types know methods of its own only
async def error(face: Face, request: Request, failure: Failure) -> None:
    """Every error becomes an answer here, by the one table in `web.errors`."""
    for name, value in origins(restricted=face.restricted):  # micropip asks the next index after a 404 that it may read
        request.responseHeaders.setRawHeaders(name, [value])
    await respond_error(request, failure, random=face.world.random)


class Routes(KleinResource):
    """Klein's resource, for requests that its router fails at before any route or error handler has its turn."""

    def render(self, request: Request) -> int:  # type: ignore[override]  # our site makes no other requests
        """As every resource does."""
        refusal = _unroutable(request)
        if refusal is None:
            try:
                return cast(int, super().render(request))
            except BadHost:  # IDNA does not know it: an empty label, or a very long one
                refusal = Refusal(400, ONE_HOST)
        send_refusal(request, refusal)
        request.finish()
        return NOT_DONE_YET


def _unroutable(request: Request) -> Refusal | None:
    """What is wrong with the request line, or None: Klein would log a traceback, or take something for another one."""
    if not request.method.isupper():
        return Refusal(501, "This method is not known here. (Methods are case-sensitive: GET, not get.)")
    try:
        for segment in request.postpath or ():
            segment.decode()
    except UnicodeDecodeError as error:
        return refusal_of(error, request.method)
    if request.path.endswith(b"//") and request.path.strip(b"/"):  # the relative links of such a page would lead nowhere
        return Refusal(404, "There is nothing at this address: it ends with two slashes.")
    return None


def resource(face: Face) -> Routes:
    """The root resource. Raises `TypeError` if a route has no guard."""
    guarded_routes(app)
    bound: Klein = face.app
    return Routes(bound)


__all__ = ["ROOMS", "Face", "FaceSettings", "resource"]

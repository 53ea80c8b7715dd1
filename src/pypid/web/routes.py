"""The root resource: Klein's, with the rooms that a first page does without opened after it.

A start waits for its first page, and that is a page of the Simple API. The modules of the other routes cost more than all that
needs; so they are imported one in a turn of the reactor once pypid runs (`furnish`), or all together when somebody asks for
something else before that.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import cast

from klein import Klein
from klein.resource import KleinResource
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import BadHost

from pypid.web import simple  # the room that is open from the start
from pypid.web.channel import ONE_HOST
from pypid.web.errors import Refusal, refusal_of, respond_error, send_refusal
from pypid.web.face import Face, app
from pypid.web.guard import guarded_routes
from pypid.web.heads import origins
from pypid.web.request import Request

HERE = b"/simple/"
"""No other room has routes for GET and HEAD below this."""
ALL = "pypid.web.app"
LATER = (
    *("pypid.core.requirements", "pypid.core.collection", "pypid.core.locks", "pypid.index.collecting", "pypid.web.forms"),
    *("pypid.web.collecting", "pypid.web.files", "pypid.web.local", "pypid.core.archive", "pypid.web.uploads"),
    *("pypid.web.legacy", "pypid.index.checking", "pypid.web.manage", "pypid.core.idtokens", "pypid.web.people"),
    *("pypid.web.groups", "pypid.web.rights", "pypid.web.tokens", "pypid.web.oidc", "pypid.core.tiering"),
    ALL,
)
"""Modules in the order in which they are brought, so that none holds up the reactor for long; the last one brings the rest."""


class _Furniture:
    """Whether all rooms are open. The routes are the same for all faces."""

    complete = False


def furnish() -> Iterator[str]:
    """Bring what is not there yet, a module for each step. Raises `TypeError` as `guarded_routes`."""
    if not _Furniture.complete:
        for name in LATER:
            import_module(name)
            yield name
        guarded_routes(app)
        _Furniture.complete = True


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
        if not _Furniture.complete and not (request.path.startswith(HERE) and request.method in (b"GET", b"HEAD")):
            for _ in furnish():
                pass
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


__all__ = ["furnish", "resource", "simple"]

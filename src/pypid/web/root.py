"""The root resource: finds the route of each request, and runs its handler behind the guard."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from contextvars import copy_context
from functools import partial
from types import coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import BadHost, HTTPException, NotFound
from werkzeug.routing import Map

from pypid.core.errors import (
    NoSuchIndex,
    NoSuchResource,
    PypidError,
    StorageDown,
    Unauthenticated,
    Withheld,
    shortened,
)
from pypid.core.indexes import is_index_name
from pypid.core.permissions import ANONYMOUS
from pypid.web.app.app import App, IndexApps
from pypid.web.app.audit import record_refusal
from pypid.web.app.errors import ErrorResponse, error_format, respond_error, send_refusal
from pypid.web.app.guard import answer, identity_of
from pypid.web.app.login_redirect import go_and_log_in
from pypid.web.http.access_log import OF_REQUEST
from pypid.web.http.channel import ONE_HOST
from pypid.web.http.cookies import HARMLESS
from pypid.web.http.headers import ErrorFormat, share
from pypid.web.http.request import Request
from pypid.web.http.responses import redirect

_log = Logger()

MOST, LONGEST = 2048, 256
"""Number of Host headers that are cached, and maximum bytes of such a header."""
ALIAS = "/<"
"""How the path of the alias of projects begins, which matches each name."""
_NO_RULES = Map()
"""An empty map, which only checks Host headers."""
EXEMPT_FROM_HOSTS = (b"/health", b"/ready", b"/metrics")
"""Paths that are answered for any Host: probes and monitors name an address of their own choice."""
OTHER_HOST = (
    "This server does not accept requests for that host name. Add the host to [server] "
    "allowed_hosts, or set public_url; for a reverse proxy, set trusted_proxies."
)


async def error(app: App, request: Request, failure: Failure) -> None:
    """Turn every error into a response, by the one table in `web.app.errors`."""
    if isinstance(failure.value, StorageDown):
        app.condition.doubt()
    if isinstance(failure.value, Withheld):
        await record_refusal(app, request, failure.value)
    # micropip asks the next index after a 404 that it may read
    for name, value in share(request, (), restricted=app.restricted):
        request.responseHeaders.setRawHeaders(name, [value])
    if isinstance(failure.value, Unauthenticated) and _is_to_log_in(app, request):
        go_and_log_in(request)
    else:
        await respond_error(
            request, failure, random=app.world.random, page_of=partial(_page_of, app, request)
        )


def _is_to_log_in(app: App, request: Request) -> bool:
    """Return whether to send a browser to the login page: it asks for a page, and has sent no
    password that would have to be typed again.
    """
    unknown = app.registry is not None and not request.requestHeaders.hasHeader(b"authorization")
    wants = request.page and request.method in (b"GET", b"HEAD") and request.channel is not None
    return (
        unknown
        and wants
        and not request.startedWriting
        and error_format(request) is ErrorFormat.HTML
    )


def _page_of(app: App, request: Request, refusal: ErrorResponse, error: BaseException) -> bytes:
    from pypid.web.ui.error_pages import page_of  # not needed at startup

    return page_of(app, request, refusal, error)


class Routes(Resource):
    """Finds the route of a request on Klein's map, and runs it to the end of the response.

    `KleinResource` does the same for any result that an application may return (elements,
    resources, Deferreds, text), through eight callbacks of a Deferred for each request. The routes
    here write their responses themselves, and mostly wait for nothing.
    """

    isLeaf = True

    def __init__(self, app: App, index_apps: IndexApps | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._app = app
        self._index_apps = IndexApps(app) if index_apps is None else index_apps
        self._hosts: set[bytes] = set()
        """Host headers that werkzeug has accepted."""

    def render(self, request: Request) -> int:
        """Answer the request: run its route, or send a refusal (`IResource`)."""
        refusal = _unroutable(request) or self._unknowable(request) or _misdirected(request)
        if refusal is None:
            run(self._answer(request), request)
        else:
            send_refusal(request, refusal)
            request.finish()
        return NOT_DONE_YET

    def _unknowable(self, request: Request) -> ErrorResponse | None:
        """Return the refusal of an invalid Host, or None."""
        named = request.requestHeaders.getRawHeaders(b"host")
        if not named or named[0] in self._hosts:
            return None
        try:
            _NO_RULES.bind(request.getRequestHostname().decode("latin-1"))
        except BadHost:  # IDNA does not know it: an empty label, or a very long one
            return ErrorResponse(400, ONE_HOST)
        if len(self._hosts) < MOST and len(named[0]) <= LONGEST:
            self._hosts.add(named[0])
        return None

    async def _answer(self, request: Request) -> None:
        """Run the route and finish the request; every error that it raises becomes a response."""
        app = self._app
        try:
            if not app.decisions.is_read and app.original is None:
                await self._index_apps.wait(request)
            if app.indexes.settings and app.original is None:
                app = self._index_apps.enter(request) or app
            lacks_slash = request.path == b"/" and not request.uri.partition(b"?")[0].endswith(b"/")
            if request.index and lacks_slash:  # relative links would lead to the default index
                redirect(request, f"/{request.index}/", permanent=False, restricted=True)
            else:
                await self._run_route(app, request)
        except Exception:
            failure = Failure()  # type: ignore[no-untyped-call]
            if not _is_over(request, failure):
                try:
                    await error(app, request, failure)
                except Exception:
                    failure = Failure()  # type: ignore[no-untyped-call]
                    if not _is_over(request, failure):
                        request.processingFailed(failure)  # type: ignore[no-untyped-call]
                        return
        if not request.over:
            request.finish()

    async def _run_route(self, app: App, request: Request) -> None:
        path = b"/".join(request.postpath or ())
        if missing := app.routes.missing(request.method, path):
            await app.routes.load(app.world, missing)
        try:
            route, values = app.routes.match(path, request.method)
        except NotFound:
            await _refuse_unknown_index(app, request)
            raise
        if request.index and not route.below_index:
            project = str(values.get("project", "")) if route.path.startswith(ALIAS) else ""
            raise _not_below_index(request.index, f"/{path.decode()}", project)
        await answer(app, request, route, values)


def _not_below_index(index: str, path: str, project: str) -> NoSuchResource:
    """Return the error for an address that exists at the root of the site only. `project`: the name
    that it has in place of ``simple``, ``packages`` or another part of an index.
    """
    if project:
        url = f"/{index}/simple/"
        return NoSuchResource(
            f"There is nothing at /{index}{shortened(path)}. The URL of the index is {url}, and "
            f"that of the project {url}{shortened(project)}/."
        )
    return NoSuchResource(
        f"{shortened(path)} does not belong to the index {index!r}, but to the whole server. "
        f"Request it without /{index}."
    )


async def _refuse_unknown_index(app: App, request: Request) -> None:
    """Raise `NoSuchIndex` if there is no index of the name with which the path begins, and the rest
    is an address that each index has. Called when the table of routes is complete.
    """
    first, *rest = request.postpath or (b"",)
    name = first.decode()
    if request.index or not app.indexes.settings or not is_index_name(name):
        return
    try:
        route, _ = app.routes.match(b"/".join(rest), request.method)
    except HTTPException:
        return
    if route.below_index and not route.path.startswith(ALIAS):
        raise NoSuchIndex(name, await _readable_indexes(app, request))


async def _readable_indexes(app: App, request: Request) -> Sequence[str]:
    """Return the names of the indexes that the client may read; with wrong credentials, those that
    anonymous clients may read.
    """
    try:
        who = await identity_of(app.access, request, cookies=request.method in HARMLESS)
    except PypidError:
        who = ANONYMOUS
    return () if app.closed else app.readable_indexes(who)


def _is_over(request: Request, failure: Failure) -> bool:
    """Return whether the request is over, so that the client cannot be notified; log the error
    unless the client has disconnected.
    """
    if request.over and not isinstance(failure.value, CancelledError):
        _log.failure("an error after the response was complete", failure=failure)
    return request.over


def run(answering: Coroutine[Any, Any, None], request: Request) -> None:
    """Run it until it waits for something; only then it becomes a Deferred, which is cancelled when
    the client disconnects.
    """
    context = copy_context()
    context.run(OF_REQUEST.set, request.id)  # lines logged on its behalf carry the request id
    try:
        waited = context.run(answering.send, None)
    except StopIteration:
        return
    rest = context.run(Deferred.fromCoroutine, _rest(answering, waited))
    request.notifyFinish().addErrback(lambda _: rest.cancel())
    rest.addErrback(lambda failure: _log.failure("a request could not be answered", failure))


@coroutine
def _rest(answering: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    """Continue a coroutine that has yielded `waited`."""
    try:
        while True:
            try:
                value = yield waited
            except BaseException as error:
                waited = answering.throw(error)
            else:
                waited = answering.send(value)
    except StopIteration:
        return


def _unroutable(request: Request) -> ErrorResponse | None:
    """Return what is wrong with the request line, or None: Klein would log a traceback, or take it
    for another one.
    """
    if not request.method.isupper():
        return ErrorResponse(
            501, "This method is not known here. (Methods are case-sensitive: GET, not get.)"
        )
    try:
        for segment in request.postpath or ():
            segment.decode()
    except (
        UnicodeDecodeError
    ):  # only here: inside a route such an error says nothing about the address
        status = 404 if request.method in (b"GET", b"HEAD") else 400
        return ErrorResponse(status, "There is nothing here: the address is not text in UTF-8.")
    if request.path.endswith(b"//") and request.path.strip(
        b"/"
    ):  # the relative links of such a page would lead nowhere
        return ErrorResponse(404, "There is nothing at this address: it ends with two slashes.")
    return None


def _misdirected(request: Request) -> ErrorResponse | None:
    """Return the refusal of a request for a host that is not this index, or None."""
    if request.is_for_us or request.path in EXEMPT_FROM_HOSTS:
        return None
    return ErrorResponse(421, OTHER_HOST)


def resource(app: App, index_apps: IndexApps | None = None) -> Routes:
    """Return the root resource. `index_apps`: the apps of the named indexes, if others need them,
    too.
    """
    return Routes(app, index_apps)

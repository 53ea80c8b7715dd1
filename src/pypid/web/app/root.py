"""The root resource: Klein's routes, whose modules are imported when a request needs them.

Startup waits for its first page, which is a page of the Simple API; the next request is for a file.
The modules of all other routes cost more time and memory than all that these need. They are
imported one per turn of the reactor (`furnish`): only the first client waits, a quarter of a
second.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextvars import copy_context
from errno import EMFILE, ENFILE
from functools import lru_cache, partial
from importlib import import_module
from types import coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import BadHost

from pypid.core.errors import Busy, StorageDown, Unauthenticated
from pypid.flow import World
from pypid.web.app.app import App, routes
from pypid.web.app.errors import ErrorResponse, error_format, respond_error, send_refusal
from pypid.web.app.guard import guarded_routes
from pypid.web.http.channel import ONE_HOST
from pypid.web.http.cors import share
from pypid.web.http.negotiation import ErrorFormat
from pypid.web.http.request import Request
from pypid.web.http.request_ids import OF_REQUEST
from pypid.web.installers import simple  # the only route module imported at startup
from pypid.web.ui.login_redirect import go_and_log_in

_log = Logger()

MOST, LONGEST = 2048, 256
"""Number of paths whose routes are cached, and maximum bytes of such a path; also the limits for
Hosts.
"""
PAGES = b"simple/"
"""No module other than the one imported at startup has routes for GET and HEAD below this path."""
FILES, DEPTH = b"packages/", 2
"""No module other than those in `SOON` has routes below this path with so many slashes in all."""
HEALTH, READY = b"health", b"ready"
SOON = ("pypid.web.api.health", "pypid.web.installers.files")
"""Modules that a running pypid imports by itself."""
LEGACY = b"legacy/"
UPLOADS = (
    "argon2",
    "pypid.web.http.upload_form",
    "pypid.core.archives.inspection",
    "pypid.core.presentation.release_facts",
    "pypid.index.local.evidence",
    "pypid.web.installers.uploads",
)
"""The modules that an upload and its password check need. A running pypid imports them by itself,
too: an import opens files, and while clients hold all descriptors none can be opened.
"""
METRICS, MEASURES = b"metrics", "pypid.web.api.metrics"
"""Monitors request this path every few seconds; it needs no other route module."""
EXEMPT_FROM_HOSTS = (b"/health", b"/ready", b"/metrics")
"""Paths that are answered for any Host: probes and monitors name an address of their own choice."""
OTHER_HOST = (
    "This index is not known by the host that was asked for. Add the host to [server] "
    "allowed_hosts, or set public_url; for a reverse proxy, set trusted_proxies."
)
ALL = "pypid.web.app.all_routes"
LATER = (
    "pypid.core.packaging.requirements",
    "pypid.core.packaging.collection",
    "pypid.core.packaging.lock_files",
    "pypid.index.collect",
    "pypid.web.http.upload_form",
    "pypid.web.installers.collect",
    "pypid.web.installers.local",
    "pypid.core.archives.inspection",
    "pypid.web.installers.uploads",
    "pypid.web.installers.legacy",
    "pypid.web.api.projects",
    "pypid.index.local.storage_check",
    "pypid.web.api.storage",
    "pypid.core.accounts.identity_tokens",
    "pypid.web.api.users",
    "pypid.web.api.groups",
    "pypid.web.api.rights",
    "pypid.web.api.tokens",
    "pypid.web.installers.trusted_publishing",
    "pypid.core.tiering_rules",
    "pypid.core.accounts.acl_dump",
    "pypid.web.pypicloud.permissions",
    "pypid.web.pypicloud.accounts",
    "pypid.web.pypicloud.packages",
    "pypid.core.presentation.explanation",
    "pypid.core.presentation.client_files",
    "jinja2",
    "pypid.web.ui.pages",
    "pypid.web.ui.account",
    "pypid.search.reader",
    "pypid.search.search",
    "pypid.web.ui.home",
    "pypid.web.app.measures",
    "pypid.web.ui.manage",
    "pypid.web.ui.upstream",
    "pypid.web.ui.search",
    "pypid.core.archives.contents",
    "pypid.web.api.contents",
    "pypid.core.archives.differences",
    "pypid.core.archives.metadata_differences",
    "pypid.web.api.compare",
    "pypid.web.ui.compare",
    "pypid.core.presentation.release_facts",
    "pypid.core.packaging.dependencies",
    "pypid.web.ui.project_page_cache",
    "pypid.web.ui.project",
    "pypid.web.ui.configuration",
    "pypid.web.api.audit",
    "pypid.web.api.downloads",
    "pypid.web.api.exports",
    "pypid.web.api.invitations",
    "pypid.web.api.metrics",
    "pypid.web.api.openapi",
    "pypid.core.records.as_of_time",
    "pypid.index.history.named_snapshots",
    "pypid.web.api.snapshots",
    "pypid.web.api.storage_usage",
    "pypid.index.local.tiering",
    "pypid.web.api.tiering",
    "pypid.web.api.upstream",
    "pypid.index.explain",
    "pypid.web.api.why",
    "pypid.core.simple_api.as_of_header",
    "pypid.web.installers.as_of",
    "pypid.web.installers.pypicache",
    "pypid.core.accounts.acl_merge",
    "pypid.web.pypicloud.acl",
    "pypid.web.pypicloud.listing",
    "pypid.web.ui.login",
    "pypid.web.ui.settings",
    "pypid.web.ui.project_actions",
    "pypid.web.ui.multi_upload",
    "pypid.web.ui.upload",
    "pypid.web.ui.versions",
    "pypid.web.ui.audit",
    "pypid.web.ui.groups",
    "pypid.web.ui.invitations",
    "pypid.web.ui.rights",
    "pypid.web.ui.snapshots",
    "pypid.web.ui.tokens",
    "pypid.web.ui.users",
    "pypid.web.ui.why",
    ALL,
)
"""Modules in the order in which they are imported, so that none holds up the reactor for long; the
last one imports the rest.
"""


async def furnish(world: World, modules: Sequence[str] = (*SOON, *LATER)) -> None:
    """Import the modules that are missing, one per turn of the reactor. Raises `Busy` if no more
    files can be opened.
    """
    for name in modules:
        if name not in sys.modules:
            try:
                import_module(name)
            except OSError as error:
                if error.errno not in (EMFILE, ENFILE):
                    raise
                raise Busy("No more files can be opened: too many connections are open.") from None
            await deferLater(world.clock, 0)
    guarded_routes(routes)


def _needs(request: Request) -> Sequence[str]:
    """Return the modules without which the request may not find its route."""
    if ALL in sys.modules:
        return ()
    if request.method in (b"GET", b"HEAD"):
        path = b"/".join(request.postpath or ())
        if path.startswith(PAGES):
            return ()
        if path in (HEALTH, READY) or (path.startswith(FILES) and path.count(b"/") == DEPTH):
            return () if SOON[-1] in sys.modules else SOON
        if path == METRICS:
            return () if MEASURES in sys.modules else (*SOON, MEASURES)
    if request.method == b"POST" and b"/".join(request.postpath or ()) == LEGACY:
        return () if UPLOADS[-1] in sys.modules else (*SOON, *UPLOADS)
    return *SOON, *LATER


async def error(app: App, request: Request, failure: Failure) -> None:
    """Turn every error into a response, by the one table in `web.app.errors`."""
    if failure.check(StorageDown):  # type: ignore[no-untyped-call]
        app.condition.doubt()
    # micropip asks the next index after a 404 that it may read
    for name, value in share(request, (), restricted=app.restricted):
        request.responseHeaders.setRawHeaders(name, [value])
    if failure.check(Unauthenticated) and _is_to_log_in(app, request):  # type: ignore[no-untyped-call]
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

    def __init__(self, app: App) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._app = app
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
            routes.url_map.bind(request.getRequestHostname().decode("latin-1"))
        except BadHost:  # IDNA does not know it: an empty label, or a very long one
            return ErrorResponse(400, ONE_HOST)
        if len(self._hosts) < MOST and len(named[0]) <= LONGEST:
            self._hosts.add(named[0])
        return None

    async def _answer(self, request: Request) -> None:
        """Run the route and finish the request; every error that it raises becomes a response."""
        try:
            if needed := _needs(request):
                await furnish(self._app.world, needed)
            await self._routed(request)
        except Exception:
            failure = Failure()  # type: ignore[no-untyped-call]
            if not _is_told(request, failure):
                try:
                    await error(self._app, request, failure)
                except Exception:
                    failure = Failure()  # type: ignore[no-untyped-call]
                    if not _is_told(request, failure):
                        request.processingFailed(failure)  # type: ignore[no-untyped-call]
                        return
        if not request.over:
            request.finish()

    def _routed(self, request: Request) -> Coroutine[Any, Any, None]:
        """Return the route's coroutine, not yet started. Raises werkzeug's errors if no route
        matches.
        """
        path = b"/".join(request.postpath or ())
        route, values, request.rule = (_remembered if len(path) <= LONGEST else _matched)(
            path, request.method
        )
        return route(self._app, request, **values)  # type: ignore[no-any-return]


def _matched(path: bytes, method: bytes) -> tuple[Any, Mapping[str, Any], str]:
    """Return the function that `guarded` made, the values in the path, and the rule. Raises
    `HTTPException`, `RequestRedirect`.
    """
    rule, values = routes.url_map.bind("localhost").match(
        f"/{path.decode()}", method.decode(), return_rule=True
    )
    found: Any = routes.endpoints[rule.endpoint]
    if not hasattr(found, "__pypid_may__"):
        raise TypeError(f"The route {rule.rule!r} was registered without a guard: use guarded().")
    return found.__original__, values, rule.rule


_remembered = lru_cache(maxsize=MOST)(_matched)


def _is_told(request: Request, failure: Failure) -> bool:
    """Return whether the request is over, so that the client cannot be notified; log the error
    unless the client has disconnected.
    """
    if request.over and not failure.check(CancelledError):  # type: ignore[no-untyped-call]
        _log.failure("an error after the answer was complete", failure=failure)
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


def resource(app: App) -> Routes:
    """Return the root resource. Raises `TypeError` if a route has no guard."""
    guarded_routes(routes)
    return Routes(app)


__all__ = ["furnish", "resource", "simple"]

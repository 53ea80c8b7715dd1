"""The root resource: Klein's routes, with the rooms that a first page does without opened when
somebody asks for them.

A start waits for its first page, and that is a page of the Simple API; and what comes next is a
file. The modules of all other routes cost more than all that these need, in time and in memory.
They are imported one in a turn of the reactor (`furnish`): whoever asks first waits for a quarter
of a second, and nobody else does.
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
from pypid.web.app.app import App, app
from pypid.web.app.errors import ErrorResponse, error_format, respond_error, send_refusal
from pypid.web.app.guard import guarded_routes
from pypid.web.http.channel import ONE_HOST
from pypid.web.http.cors import share
from pypid.web.http.negotiation import ErrorFormat
from pypid.web.http.request import Request
from pypid.web.http.request_ids import OF_REQUEST
from pypid.web.installers import simple  # the room that is open from the start
from pypid.web.ui.login_redirect import go_and_log_in

_log = Logger()

MOST, LONGEST = 2048, 256
"""Paths whose routes are remembered, and bytes of such a path; and so many Hosts."""
PAGES = b"simple/"
"""No other room than the one that is open from the start has routes for GET and HEAD below this."""
FILES, DEPTH = b"packages/", 2
"""Nor has one that is not opened `SOON` any below this, with so many slashes in all."""
HEALTH, READY = b"health", b"ready"
SOON = ("pypid.web.api.health", "pypid.web.installers.files")
"""What a running pypid brings by itself."""
LEGACY = b"legacy/"
UPLOADS = (
    "argon2",
    "pypid.web.http.upload_form",
    "pypid.core.archives.inspection",
    "pypid.core.presentation.release_facts",
    "pypid.index.local.evidence",
    "pypid.web.installers.uploads",
)
"""What an upload needs, and the check of its password. A running pypid brings it by itself, too: an
import opens files, and while clients hold all descriptors none can be opened.
"""
METRICS, MEASURES = b"metrics", "pypid.web.api.metrics"
"""For whoever looks every few seconds no other room has to be there."""
EXEMPT_FROM_HOSTS = (b"/health", b"/ready", b"/metrics")
"""What is answered for any Host: probes and monitors name an address of their own choice."""
OTHER_HOST = (
    "This index is not known by the host that was asked for. Add the host to [server] "
    "allowed_hosts, "
    "or set public_url; for a reverse proxy, set trusted_proxies."
)
ALL = "pypid.web.app.all_routes"
LATER = (
    *(
        "pypid.core.packaging.requirements",
        "pypid.core.packaging.collection",
        "pypid.core.packaging.lock_files",
        "pypid.index.collect",
        "pypid.web.http.upload_form",
    ),
    *(
        "pypid.web.installers.collect",
        "pypid.web.installers.local",
        "pypid.core.archives.inspection",
        "pypid.web.installers.uploads",
    ),
    *(
        "pypid.web.installers.legacy",
        "pypid.web.api.projects",
        "pypid.index.local.storage_check",
        "pypid.web.api.storage",
        "pypid.core.accounts.identity_tokens",
        "pypid.web.api.users",
    ),
    *(
        "pypid.web.api.groups",
        "pypid.web.api.rights",
        "pypid.web.api.tokens",
        "pypid.web.installers.trusted_publishing",
        "pypid.core.tiering_rules",
    ),
    *(
        "pypid.core.accounts.acl_dump",
        "pypid.web.pypicloud.permissions",
        "pypid.web.pypicloud.accounts",
        "pypid.web.pypicloud.packages",
    ),
    *("pypid.core.presentation.explanation", "pypid.core.presentation.client_files"),
    # pages for people
    *(
        "jinja2",
        "pypid.web.ui.pages",
        "pypid.web.ui.account",
        "pypid.search.reader",
        "pypid.search.search",
        "pypid.web.ui.home",
    ),
    *(
        "pypid.web.app.measures",
        "pypid.web.ui.manage",
        "pypid.web.ui.upstream",
        "pypid.web.ui.search",
        "pypid.core.archives.contents",
    ),
    *(
        "pypid.web.api.contents",
        "pypid.core.archives.differences",
        "pypid.core.archives.metadata_differences",
        "pypid.web.api.compare",
        "pypid.web.ui.compare",
    ),
    *(
        "pypid.core.presentation.release_facts",
        "pypid.core.packaging.dependencies",
        "pypid.web.ui.project_page_cache",
        "pypid.web.ui.project",
        "pypid.web.ui.configuration",
    ),
    ALL,
)
"""Modules in the order in which they are brought, so that none holds up the reactor for long; the
last one brings the rest.
"""


async def furnish(world: World, modules: Sequence[str] = (*SOON, *LATER)) -> None:
    """Bring what is not there yet, a module in a turn of the reactor."""
    for name in modules:
        if name not in sys.modules:
            try:
                import_module(name)
            except OSError as error:
                if error.errno not in (EMFILE, ENFILE):
                    raise
                raise Busy("No more files can be opened: too many connections are open.") from None
            await deferLater(world.clock, 0)
    guarded_routes(app)


def _needs(request: Request) -> Sequence[str]:
    """The modules without which it may not be known what is to be done."""
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


async def error(face: App, request: Request, failure: Failure) -> None:
    """Every error becomes an answer here, by the one table in `web.app.errors`."""
    if failure.check(StorageDown):  # type: ignore[no-untyped-call]
        face.condition.doubt()
    # micropip asks the next index after a 404 that it may read
    for name, value in share(request, (), restricted=face.restricted):
        request.responseHeaders.setRawHeaders(name, [value])
    if failure.check(Unauthenticated) and _is_to_log_in(face, request):  # type: ignore[no-untyped-call]
        go_and_log_in(request)
    else:
        await respond_error(
            request, failure, random=face.world.random, page_of=partial(_page_of, face, request)
        )


def _is_to_log_in(face: App, request: Request) -> bool:
    """Whether a browser asks for a page, and has sent no password that would have to be typed
    again.
    """
    unknown = face.registry is not None and not request.requestHeaders.hasHeader(b"authorization")
    wants = request.page and request.method in (b"GET", b"HEAD") and request.channel is not None
    return (
        unknown
        and wants
        and not request.startedWriting
        and error_format(request) is ErrorFormat.HTML
    )


def _page_of(face: App, request: Request, refusal: ErrorResponse, error: BaseException) -> bytes:
    from pypid.web.ui.error_pages import page_of  # here: no start needs it

    return page_of(face, request, refusal, error)


class Routes(Resource):
    """Finds the route of a request on Klein's map, and sees to its answer.

    `KleinResource` does the same for whatever an application may return (elements, resources,
    Deferreds, text), through eight callbacks of a Deferred for each request. Ours write their
    answers themselves, and mostly wait for nothing.
    """

    isLeaf = True

    def __init__(self, face: App) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._face = face
        self._hosts: set[bytes] = set()
        """Host headers that werkzeug takes."""

    def render(self, request: Request) -> int:
        """As every resource does."""
        refusal = _unroutable(request) or self._unknowable(request) or _misdirected(request)
        if refusal is None:
            run(self._answer(request), request)
        else:
            send_refusal(request, refusal)
            request.finish()
        return NOT_DONE_YET

    def _unknowable(self, request: Request) -> ErrorResponse | None:
        """What is wrong with the Host, or None."""
        named = request.requestHeaders.getRawHeaders(b"host")
        if not named or named[0] in self._hosts:
            return None
        try:
            app.url_map.bind(request.getRequestHostname().decode("latin-1"))
        except BadHost:  # IDNA does not know it: an empty label, or a very long one
            return ErrorResponse(400, ONE_HOST)
        if len(self._hosts) < MOST and len(named[0]) <= LONGEST:
            self._hosts.add(named[0])
        return None

    async def _answer(self, request: Request) -> None:
        """Have the route answer; whatever it raises becomes an answer, too. To the end of the
        request.
        """
        try:
            if needed := _needs(request):
                await furnish(self._face.world, needed)
            await self._routed(request)
        except Exception:
            failure = Failure()  # type: ignore[no-untyped-call]
            if not _is_told(request, failure):
                try:
                    await error(self._face, request, failure)
                except Exception:
                    failure = Failure()  # type: ignore[no-untyped-call]
                    if not _is_told(request, failure):
                        request.processingFailed(failure)  # type: ignore[no-untyped-call]
                        return
        if not request.over:
            request.finish()

    def _routed(self, request: Request) -> Coroutine[Any, Any, None]:
        """The route, which is not begun yet. Raises what werkzeug says of a request
        that has none.
        """
        path = b"/".join(request.postpath or ())
        route, values, request.rule = (_remembered if len(path) <= LONGEST else _matched)(
            path, request.method
        )
        return route(self._face, request, **values)  # type: ignore[no-any-return]


def _matched(path: bytes, method: bytes) -> tuple[Any, Mapping[str, Any], str]:
    """The function that `guarded` made, the values in the path, and the rule. Raises
    `HTTPException`, `RequestRedirect`.
    """
    rule, values = app.url_map.bind("localhost").match(
        f"/{path.decode()}", method.decode(), return_rule=True
    )
    found: Any = app.endpoints[rule.endpoint]
    if not hasattr(found, "__pypid_may__"):
        raise TypeError(f"The route {rule.rule!r} was registered without a guard: use guarded().")
    return found.__original__, values, rule.rule


_remembered = lru_cache(maxsize=MOST)(_matched)


def _is_told(request: Request, failure: Failure) -> bool:
    """Whether nobody can be told any more; then only the log is, unless it is because the client
    has gone.
    """
    if request.over and not failure.check(CancelledError):  # type: ignore[no-untyped-call]
        _log.failure("an error after the answer was complete", failure=failure)
    return request.over


def run(answering: Coroutine[Any, Any, None], request: Request) -> None:
    """Run it until it waits for something; only then it becomes a Deferred, which is cancelled when
    the client goes away.
    """
    context = copy_context()
    context.run(OF_REQUEST.set, request.id)  # what is logged on its behalf says so
    try:
        waited = context.run(answering.send, None)
    except StopIteration:
        return
    rest = context.run(Deferred.fromCoroutine, _rest(answering, waited))
    request.notifyFinish().addErrback(lambda _: rest.cancel())
    rest.addErrback(lambda failure: _log.failure("a request could not be answered", failure))


@coroutine
def _rest(answering: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that waits for this."""
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
    """What is wrong with the request line, or None: Klein would log a traceback, or take something
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
    ):  # here alone: of what we have read such an error says nothing about the address
        status = 404 if request.method in (b"GET", b"HEAD") else 400
        return ErrorResponse(status, "There is nothing here: the address is not text in UTF-8.")
    if request.path.endswith(b"//") and request.path.strip(
        b"/"
    ):  # the relative links of such a page would lead nowhere
        return ErrorResponse(404, "There is nothing at this address: it ends with two slashes.")
    return None


def _misdirected(request: Request) -> ErrorResponse | None:
    """The refusal of a request for a host that is not this index, or None."""
    if request.is_for_us or request.path in EXEMPT_FROM_HOSTS:
        return None
    return ErrorResponse(421, OTHER_HOST)


def resource(face: App) -> Routes:
    """The root resource. Raises `TypeError` if a route has no guard."""
    guarded_routes(app)
    return Routes(face)


__all__ = ["furnish", "resource", "simple"]

"""The guard: a route and its required right are declared together, so that no route can lack one.

After Tahoe-LAFS's ``storage/http_server.py``. The client is identified and authorized before the
route's function is called: nothing is read of the body of a refused request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import evolve, field, frozen
from klein import Klein

from pypid.core.errors import BadRequest, OtherSite, Unauthenticated
from pypid.core.packaging.names import project_name
from pypid.core.permissions import ANONYMOUS, Action, Credential, Identity, authorize
from pypid.ports import Access
from pypid.web.app.app import App
from pypid.web.app.request_context import UNIX, RequestContext
from pypid.web.http.cookies import FIELD, HARMLESS, credential_of_cookie, demand_csrf_token
from pypid.web.http.credentials import credential_of
from pypid.web.http.form_fields import NO_FORM, is_form, read_fields
from pypid.web.http.request import Request


class OpenAction(Enum):
    """For routes that need no right; a wrong password is refused there too."""

    ANYBODY = "anybody"
    """For what shows nothing of the index (health, style sheets)."""
    SOMEBODY = "somebody"
    """For what belongs to each user (passwords, tokens): requires a login."""


ANYBODY, SOMEBODY = OpenAction.ANYBODY, OpenAction.SOMEBODY

LONGEST_ORIGIN = 200
"""Maximum number of characters of an origin that a response repeats."""


@frozen
class GuardedRoute:
    """A route: its rule as Klein spells it, its methods (HEAD with GET), and the right it
    requires.
    """

    rule: str
    methods: frozenset[str]
    may: Action | OpenAction
    entrance: bool = False
    page: bool = False
    form: bool = False
    """Whether it takes one of pypid's forms, with the CSRF token in it."""
    does: Callable[..., Any] | None = field(default=None, eq=False, repr=False)
    """The function that is called, with the docstring and the attributes of the registered
    function.
    """


P = ParamSpec("P")
R = TypeVar("R")
Route = Callable[Concatenate[RequestContext, P], Awaitable[R]]


def guarded(
    klein: Klein,
    rule: str,
    *,
    may: Action | OpenAction,
    methods: Sequence[str] = ("GET",),
    entrance: bool = False,
    instead: tuple[Callable[[Request], bool], Action] | None = None,
    page: bool = False,
    form: bool = False,
    multipart: bool = False,
    **options: Any,
) -> Callable[[Route[P, R]], Route[P, R]]:
    """Register ``async def route(ctx, **values)`` for `rule`, for clients with the right `may`.

    The value ``project`` of the rule, if any, is the project that the right is checked for; the
    function gets it as it was written. At an `entrance` users log in or register: the cookie of an
    existing session is ignored, and requests from pages of other sites are refused. `instead`:
    another right for requests that match the predicate, where one address takes two kinds of them.
    A `page` is for people: an anonymous browser is sent to the login page, and errors are pages. A
    `form` (urlencoded) is read before access is checked, since it contains the CSRF token; the
    route finds it in ``request.form``. A route of a `multipart` form takes the token itself, before
    anything else (`demand_csrf_token` with ``request.session``). `options` go to Klein
    (``strict_slashes``, ``branch``, ...). The guard raises `Unauthenticated`, `Forbidden`, `Busy`,
    `BadName` and, for what changes something, `OtherSite` and `NoCsrfToken`; it sets
    ``request.identity`` and ``request.session``. Several may stand above one function, each with
    its own right.
    """
    if not isinstance(may, (Action, OpenAction)):
        raise TypeError(
            f"The route {rule!r} must say who may use it: may=Action.READ, for example, or "
            f"may=ANYBODY."
        )
    if isinstance(methods, str) or not methods:
        raise TypeError(f"The route {rule!r} must name its methods in a tuple.")

    def register(method: Route[P, R]) -> Route[P, R]:
        # Klein would name the endpoint after the method, and a second route of that name would
        # replace the first and its guard
        endpoint = f"{' '.join(sorted(methods))} {rule}"
        if endpoint in klein.endpoints:
            raise ValueError(f"There is a route {endpoint!r} already.")

        @wraps(method)
        async def route(app: App, request: Request, *args: P.args, **values: P.kwargs) -> R:
            right = instead[1] if instead is not None and instead[0](request) else may
            request.page = page
            if form:
                await _read_form(request)
            who = await _admit(
                app, request, right, values.get("project"), entrance=entrance, later=multipart
            )
            if form and request.form is None:  # checked here: a missing right is reported first
                raise BadRequest(NO_FORM)
            return await method(RequestContext(app, request, who), *args, **values)

        route.__pypid_may__ = may  # type: ignore[attr-defined]  # for guarded_routes; Klein's wrapper inherits it
        route.__pypid_entrance__ = entrance  # type: ignore[attr-defined]
        route.__pypid_page__ = page, form or multipart  # type: ignore[attr-defined]
        klein.route(rule, methods=list(methods), endpoint=endpoint, **options)(
            route  # type: ignore[type-var]  # Klein's typing knows no async function of these parameters
        )
        return method

    return register


def guarded_routes(klein: Klein) -> tuple[GuardedRoute, ...]:
    """Return all routes, sorted by rule. Raises `TypeError` if one was registered without the
    guard.
    """
    routes = []
    for rule in klein.url_map.iter_rules():
        does = klein.endpoints[rule.endpoint]
        may = getattr(does, "__pypid_may__", None)
        if may is None:
            raise TypeError(
                f"The route {rule.rule!r} was registered without a guard: use guarded()."
            )
        entrance = getattr(does, "__pypid_entrance__", False)
        page, form = getattr(does, "__pypid_page__", (False, False))
        routes.append(
            GuardedRoute(rule.rule, frozenset(rule.methods or ()), may, entrance, page, form, does)
        )
    return tuple(sorted(routes, key=lambda route: (route.rule, sorted(route.methods))))


async def _read_form(request: Request) -> None:
    """Read the fields into ``request.form`` if the body is a small form. Raises `OtherSite` before
    that, `BadRequest`, `TooLarge`.
    """
    request.identity = ANONYMOUS
    _demand_own_page(request)
    kind = (request.requestHeaders.getRawHeaders(b"content-type") or (b"",))[0]
    if is_form(kind.decode("latin-1")):
        request.form = await read_fields(request.body)


async def _admit(
    app: App,
    request: Request,
    may: Action | OpenAction,
    project: object,
    *,
    entrance: bool,
    later: bool = False,
) -> Identity:
    """Return the client's identity if the route admits it. `later`: the route checks the CSRF token
    itself.
    """
    request.identity = ANONYMOUS
    if entrance or may not in (Action.READ, ANYBODY):
        _demand_own_page(request)
    who = await identity_of(app.access, request, cookies=not entrance, later=later)
    request.identity = who
    if request.session is not None and _comes_of_a_form(request):
        await app.catch_up()
    if may is SOMEBODY and who.user is None:
        raise Unauthenticated()
    if isinstance(may, Action):
        if app.closed is not None and not (
            who.admin and who.scope is None
        ):  # the other rights of a token depend on the rules
            raise app.closed
        authorize(app.rules, who, may, project_name(project) if isinstance(project, str) else None)
    return who


def _comes_of_a_form(request: Request) -> bool:
    """Return whether this is the page that reports the result of a form, which another process may
    have handled.
    """
    return request.page and b"done=" in request.uri.partition(b"?")[2]


def _demand_own_page(request: Request) -> None:
    """Raise `OtherSite` if a browser sends this request on behalf of a page of another site.

    A browser that has once logged in to look at the index sends its password with any form that any
    page makes it post here. All browsers name the page's origin then (``null``, where they may
    not); no client of a package index sends the header.
    """
    for value in request.requestHeaders.getRawHeaders(b"origin") or ():
        origin = value.decode("latin-1")
        if not request.is_of(origin):
            raise OtherSite(origin=origin[:LONGEST_ORIGIN], host=request.base_host[:LONGEST_ORIGIN])


async def identity_of(
    access: Access, request: Request, *, cookies: bool = True, later: bool = False
) -> Identity:
    """Return who sends the request: ANONYMOUS, without verification, if there is neither an
    Authorization header nor a session cookie.

    The header comes first. Raises `Unauthenticated` for a wrong or damaged one, even where none is
    needed (so that a typing error is noticed). The cookie of an ended session is ignored: the user
    has not typed it, and may still read where anonymous users may. Raises `OtherSite` and
    `NoCsrfToken` if a request would change something by the cookie alone.
    """
    values = request.requestHeaders.getRawHeaders(b"authorization") or ()
    if len(values) > 1:
        raise Unauthenticated("There is more than one Authorization header: send one.")
    credential = credential_of(values[0] if values else None)
    if credential is not None:
        return await access.identify(evolve(credential, address=request.client_address() or UNIX))
    cookie = credential_of_cookie(request) if cookies else None
    return ANONYMOUS if cookie is None else await _by_cookie(access, request, cookie, later=later)


async def _by_cookie(
    access: Access, request: Request, cookie: Credential, *, later: bool
) -> Identity:
    try:
        who = await access.identify(cookie)
    except Unauthenticated:
        return ANONYMOUS
    if request.method not in HARMLESS:
        _demand_own_page(request)
    if not later:
        demand_csrf_token(
            request, cookie.password, None if request.form is None else request.form.text(FIELD)
        )
    request.session = cookie.password
    return who

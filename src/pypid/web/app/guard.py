"""The guard: identifies and authorizes the client before the route's handler is called.

After Tahoe-LAFS's ``storage/http_server.py``. A route and its required action are declared together
(`web.app.route`), so that no route can lack one. Nothing is read of the body of a refused request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from pypid.core.errors import BadRequest, OtherSite, Unauthenticated
from pypid.core.indexes import expiry_of
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import ANONYMOUS, Action, Credential, Identity
from pypid.ports import Access
from pypid.web.app.app import App
from pypid.web.app.ownership import authorize_write
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, OpenAction, Route
from pypid.web.http.cookies import FIELD, HARMLESS, credential_of_cookie, demand_csrf_token
from pypid.web.http.form_fields import NO_FORM, is_form, read_fields
from pypid.web.http.headers import credential_of
from pypid.web.http.request import UNIX, Request
from pypid.web.http.responses import preflight

LONGEST_ORIGIN = 200
"""Maximum number of characters of an origin that a response repeats."""


async def answer(app: App, request: Request, route: Route, values: Mapping[str, Any]) -> Any:
    """Run the handler of the route if the request is admitted; `values` are those in its path. The
    handler receives the normalized name of a project.

    Raises `Unauthenticated`, `Forbidden`, `Busy`, `BadName` and, for what changes something,
    `OtherSite` and `NoCsrfToken`; sets ``request.identity`` and ``request.session``.
    """
    request.use_route(route.path, page=route.page)
    if route.form:
        await _read_form(request)
    action = route.action
    identity = await _identify(app, request, route, action)
    request.authenticate(identity)
    is_result = request.page and b"done=" in request.uri.partition(b"?")[2]
    if request.session is not None and is_result:
        await app.catch_up()  # another process may have handled the form
    if action is SOMEBODY and identity.user is None:
        raise Unauthenticated()
    spelling = values.get("project", "") if isinstance(action, Action) else ""
    ctx, project = RequestContext(app, request, identity, spelling), None
    if isinstance(action, Action):
        ctx.refuse_if_closed()
        project = project_name(spelling) if spelling else None
    await _authorize(ctx, action, project)
    if route.form and request.form is None:  # checked here: a missing right is reported first
        raise BadRequest(NO_FORM)
    if request.method == b"OPTIONS":
        return preflight(request, restricted=app.restricted)
    if project is None:
        return await route.handler(ctx, **values)
    return await route.handler(ctx, **{**values, "project": project})


async def _authorize(
    ctx: RequestContext, action: Action | OpenAction, project: ProjectName | None
) -> None:
    """Raise `Unauthenticated` or `Forbidden` unless the client may do this, and `IndexExpired`."""
    if ctx.request.index:
        _refuse_if_expired(ctx, action, project)
    if action is Action.WRITE and project is not None:
        await authorize_write(ctx, project)
    elif isinstance(action, Action):
        ctx.authorize(action, project)


def _refuse_if_expired(
    ctx: RequestContext, action: Action | OpenAction, project: ProjectName | None
) -> None:
    """Raise `IndexExpired` if the named index of the request has expired. Clients that may not read
    it get the answer of an index that has not.
    """
    app = ctx.app
    settings = app.indexes.settings.get(ctx.request.index)
    expired = None if settings is None else expiry_of(settings, app.world.now())
    if expired is None or app.closed is not None:
        return
    if ctx.may_some(Action.READ):
        raise expired
    if isinstance(action, Action):
        ctx.authorize(action, project)
        raise expired  # a token that may publish, for example, but not read


async def _read_form(request: Request) -> None:
    """Read the fields into ``request.form`` if the body is a small form. Raises `OtherSite` before
    that, `BadRequest`, `TooLarge`.
    """
    _demand_own_page(request)
    kind = (request.requestHeaders.getRawHeaders(b"content-type") or (b"",))[0]
    if is_form(kind.decode("latin-1")):
        request.keep_form(await read_fields(request.body))


async def _identify(
    app: App, request: Request, route: Route, action: Action | OpenAction
) -> Identity:
    """Return the client's identity. Raises the errors of `identity_of`, and `OtherSite`."""
    if route.entrance or action not in (Action.READ, ANYBODY):
        _demand_own_page(request)
    return await identity_of(app.access, request, cookies=not route.entrance, later=route.multipart)


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
    request.authenticate(who, cookie.password)
    return who

"""What a request may cause upstream: who sends it, and which pypid instances it has come
through.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import urljoin

from pypid.core.errors import PypidError
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Identity, demand
from pypid.core.simple_api.negotiation import Format
from pypid.core.simple_api.via import read_via
from pypid.index.upstream_permission import UpstreamPermission
from pypid.web.app.app import App
from pypid.web.app.guard import UNIX
from pypid.web.http.request import Request


def provenance_below(app: App, request: Request) -> str | None:
    """Return the URL prefix of the provenance objects, as the client reaches them."""
    base = app.base_url(request)
    return None if base is None else f"{base}/integrity/"


def absolute_below(app: App, request: Request, format: Format, relative: str) -> str:
    """Return the URL of `relative` on this page: absolute in JSON for clients that do not resolve
    URLs.

    micropip takes the URLs of a JSON page as they are (PEP 691 lets them be relative). It runs in
    browsers, whose requests for other origins say so, or is pointed at `public_url`. A client that
    uses another name of this index gets relative URLs, since its password is for that name.
    """
    is_from_a_page = request.requestHeaders.hasHeader(b"origin")
    if format is not Format.JSON or not (is_from_a_page or request.is_for_public_url):
        return relative
    base = app.base_url(request)
    return (
        relative if base is None else urljoin(f"{base}{request.path.decode('latin-1')}", relative)
    )


def asked_of(
    app: App, request: Request, who: Identity, project: str | None = None, *, local: bool = False
) -> UpstreamPermission:
    """Return the context in which the index looks for the project. Raises `BadName`."""
    refusal: PypidError | None = None
    try:
        demand(app.rules, who, Action.FETCH, None if project is None else project_name(project))
    except PypidError as error:
        refusal = error
    hops = request.requestHeaders.getRawHeaders(b"via")
    via = read_via(value.decode("latin-1") for value in hops) if hops else ()
    return UpstreamPermission(via, refusal, local, spend=_spend(app, request, who))


def _spend(app: App, request: Request, who: Identity) -> Callable[[], None] | None:
    """Return the budget for unknown names of a client that has not logged in, else None."""
    if who.user is not None or who.publisher or who.admin:
        return None
    return partial(app.unknown_names.spend, request.client_address() or UNIX)

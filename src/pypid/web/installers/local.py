"""The Simple API of stored files only, below ``/local/``, for builds that must not use other
indexes.

It has local files and cached upstream files; upstream is not asked, whatever the mode. Links lead
to files below ``/local/`` too: a client that has this as its only index gets nothing but what the
page listed.
"""

from __future__ import annotations

from functools import partial

from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Identity
from pypid.index.upstream_permission import UpstreamPermission
from pypid.web.app.app import App, routes
from pypid.web.app.guard import guarded
from pypid.web.app.upstream_context import absolute_below, provenance_below
from pypid.web.fastpath.dependencies import OF_LISTS, ResponseDependencies
from pypid.web.http.redirects import redirect
from pypid.web.http.request import Request
from pypid.web.http.responses import preflight, send_page
from pypid.web.installers.files import send_named
from pypid.web.installers.simple import format_of

STORED = UpstreamPermission(local=True)
"""The context of requests for stored files: they need no upstream request, so `[access]
cache_update` does not matter.
"""


@guarded(routes, "/local/", may=Action.READ)
async def names(app: App, request: Request, who: Identity) -> None:
    """Send the list of projects that have stored files."""
    if not request.path.endswith(b"/"):
        return redirect(request, "/local/", permanent=True, restricted=app.restricted)
    finished, serial = await app.pages.names(format_of(request), await app.sight(who))
    request.about = OF_LISTS
    return await send_page(request, finished, serial=serial, restricted=app.restricted)


@guarded(routes, "/local/<project>/", may=Action.READ)
async def project_page(app: App, request: Request, who: Identity, project: str) -> None:
    """Send the stored files of a project; other spellings of its name are redirected to the
    normalised one.
    """
    name = project_name(project)
    if project != name or not request.path.endswith(b"/"):
        return redirect(request, f"/local/{name}/", permanent=True, restricted=app.restricted)
    provenance = partial(provenance_below, app, request)
    format = format_of(request)
    files_url = absolute_below(app, request, format, "../")
    finished, serial = await app.pages.project(
        name, format, STORED, files_url=files_url, provenance=provenance
    )
    request.about = ResponseDependencies(name, STORED)
    return await send_page(request, finished, serial=serial, restricted=app.restricted)


@guarded(routes, "/local/<project>/<filename>", may=Action.READ)
async def file(app: App, request: Request, who: Identity, project: str, filename: str) -> None:
    """Send a stored file; with ``.metadata`` or ``.asc`` after its name, that sidecar."""
    await send_named(app, request, who, project, filename, STORED)


@guarded(routes, "/local/", may=Action.READ, methods=("OPTIONS",))
@guarded(routes, "/local/<project>/", may=Action.READ, methods=("OPTIONS",))
@guarded(routes, "/local/<project>/<filename>", may=Action.READ, methods=("OPTIONS",))
async def options(
    app: App, request: Request, who: Identity, project: str = "", filename: str = ""
) -> None:
    """Answer the preflight request that browsers send before micropip can read (C116)."""
    preflight(request, restricted=app.restricted)

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
from pypid.index.request_context import RequestContext
from pypid.web.app.app import App, app
from pypid.web.app.guard import guarded
from pypid.web.app.upstream_context import absolute_below, provenance_below
from pypid.web.fastpath.dependencies import OF_LISTS, ResponseDependencies
from pypid.web.http.redirects import redirect
from pypid.web.http.request import Request
from pypid.web.http.responses import preflight, send_page
from pypid.web.installers.files import send_named
from pypid.web.installers.simple import format_of

STORED = RequestContext(local=True)
"""The context of requests for stored files: they need no upstream request, so `[access]
cache_update` does not matter.
"""


@guarded(app, "/local/", may=Action.READ)
async def names(face: App, request: Request, who: Identity) -> None:
    """Send the list of projects that have stored files."""
    if not request.path.endswith(b"/"):
        return redirect(request, "/local/", permanent=True, restricted=face.restricted)
    finished, serial = await face.pages.names(format_of(request), await face.sight(who))
    request.about = OF_LISTS
    return await send_page(request, finished, serial=serial, restricted=face.restricted)


@guarded(app, "/local/<project>/", may=Action.READ)
async def project_page(face: App, request: Request, who: Identity, project: str) -> None:
    """Send the stored files of a project; other spellings of its name are redirected to the
    normalised one.
    """
    name = project_name(project)
    if project != name or not request.path.endswith(b"/"):
        return redirect(request, f"/local/{name}/", permanent=True, restricted=face.restricted)
    provenance = partial(provenance_below, face, request)
    format = format_of(request)
    files_url = absolute_below(face, request, format, "../")
    finished, serial = await face.pages.project(
        name, format, STORED, files_url=files_url, provenance=provenance
    )
    request.about = ResponseDependencies(name, STORED)
    return await send_page(request, finished, serial=serial, restricted=face.restricted)


@guarded(app, "/local/<project>/<filename>", may=Action.READ)
async def file(face: App, request: Request, who: Identity, project: str, filename: str) -> None:
    """Send a stored file; with ``.metadata`` or ``.asc`` after its name, that sidecar."""
    await send_named(face, request, who, project, filename, STORED)


@guarded(app, "/local/", may=Action.READ, methods=("OPTIONS",))
@guarded(app, "/local/<project>/", may=Action.READ, methods=("OPTIONS",))
@guarded(app, "/local/<project>/<filename>", may=Action.READ, methods=("OPTIONS",))
async def options(
    face: App, request: Request, who: Identity, project: str = "", filename: str = ""
) -> None:
    """Answer the preflight request that browsers send before micropip can read (C116)."""
    preflight(request, restricted=face.restricted)

"""The Simple API: the list of projects and a page for each (PEP 503, 691, 700, 714, 740, 792)."""

from __future__ import annotations

from functools import partial

from pypid.core.errors import NotAcceptable
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Identity
from pypid.core.simple_api.negotiation import Format, negotiate
from pypid.web.app.app import App, routes
from pypid.web.app.guard import guarded
from pypid.web.app.upstream_context import absolute_below, asked_of, provenance_below
from pypid.web.fastpath.dependencies import OF_LISTS, ResponseDependencies
from pypid.web.http.redirects import redirect
from pypid.web.http.request import Request
from pypid.web.http.responses import header_of, preflight, send_page


@guarded(routes, "/simple/", may=Action.READ)
async def names(app: App, request: Request, who: Identity) -> None:
    """Send the list of projects."""
    if not request.path.endswith(b"/"):
        return redirect(request, "/simple/", permanent=True, restricted=app.restricted)
    finished, serial = await app.pages.names(format_of(request), await app.sight(who))
    request.about = OF_LISTS
    return await send_page(request, finished, serial=serial, restricted=app.restricted)


@guarded(routes, "/simple/<project>/", may=Action.READ)
async def project_page(app: App, request: Request, who: Identity, project: str) -> None:
    """Send a project's page; other spellings of its name are redirected to the normalised one."""
    name = project_name(project)
    if project != name or not request.path.endswith(b"/"):
        return redirect(request, f"/simple/{name}/", permanent=True, restricted=app.restricted)
    return await send_project(app, request, who, project, format_of(request), "../../packages/")


@guarded(routes, "/simple/<project>/json", may=Action.READ)
async def project_json(app: App, request: Request, who: Identity, project: str) -> None:
    """Send the legacy JSON of the project, which pypicloud also had at this address."""
    from pypid.web.installers.legacy import describe  # here: not needed at startup

    name = project_name(project)
    if project != name:
        return redirect(request, f"/simple/{name}/json", permanent=True, restricted=app.restricted)
    return await describe(app, request, who, project, None)


@guarded(routes, "/+simple/<project>/", may=Action.READ)
async def plus_simple(app: App, request: Request, who: Identity, project: str) -> None:
    """Send the page that hatch reads before it publishes, below the upload URL (C115): always HTML,
    since hatch reads it with a regular expression.
    """
    return await send_project(app, request, who, project, Format.TEXT_HTML, "../../packages/")


@guarded(routes, "/simple/+simple/<project>/", may=Action.READ)
@guarded(routes, "/legacy/+simple/<project>/", may=Action.READ)
async def plus_simple_below(app: App, request: Request, who: Identity, project: str) -> None:
    """Send the page that hatch reads before it publishes, below the other upload URLs."""
    return await send_project(app, request, who, project, Format.TEXT_HTML, "../../../packages/")


@guarded(routes, "/legacy/<project>/", may=Action.READ)
@guarded(routes, "/legacy/<project>/<version>/", may=Action.READ)
async def published(
    app: App, request: Request, who: Identity, project: str, version: str = ""
) -> None:
    """Redirect to the project's page from the one that hatch names after publishing (``<upload
    URL>/<project>/<version>/``).
    """
    redirect(
        request, f"/simple/{project_name(project)}/", permanent=False, restricted=app.restricted
    )


@guarded(routes, "/simple/", may=Action.READ, methods=("OPTIONS",))
@guarded(routes, "/simple/<project>/", may=Action.READ, methods=("OPTIONS",))
@guarded(routes, "/pypi/<project>/json", may=Action.READ, methods=("OPTIONS",))
@guarded(routes, "/pypi/<project>/<version>/json", may=Action.READ, methods=("OPTIONS",))
@guarded(routes, "/packages/<project>/<filename>", may=Action.READ, methods=("OPTIONS",))
async def options(
    app: App,
    request: Request,
    who: Identity,
    project: str = "",
    version: str = "",
    filename: str = "",
) -> None:
    """Answer the preflight request that browsers send before micropip can read (C116)."""
    preflight(request, restricted=app.restricted)


async def send_project(
    app: App, request: Request, who: Identity, project: str, format: Format, files_url: str
) -> None:
    """Send the project's page; `files_url` leads from it to the files."""
    name, asked = project_name(project), asked_of(app, request, who, project)
    files_url = absolute_below(app, request, format, files_url)
    finished, serial = await app.pages.project(
        name,
        format,
        asked,
        files_url=files_url,
        provenance=partial(provenance_below, app, request),
    )
    request.about = ResponseDependencies(name, asked)
    await send_page(request, finished, serial=serial, restricted=app.restricted)


def format_of(request: Request) -> Format:
    """Return the representation to answer with. Raises `NotAcceptable`."""
    wanted = (request.args or {}).get(b"format")
    chosen = negotiate(
        header_of(request, "accept"), wanted[0].decode("latin-1") if wanted else None
    )
    if chosen is None:
        raise NotAcceptable(tuple(format.value for format in Format))
    return chosen

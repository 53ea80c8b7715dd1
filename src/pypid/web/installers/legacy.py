"""Older APIs that clients still use: legacy JSON and classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.errors import BadRequest, NoSuchFile, PypidError, UpstreamDown, WrongBytes
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release, describing_file
from pypid.core.permissions import Action
from pypid.core.simple_api.legacy_json import render_legacy
from pypid.index.views import UpstreamPermission
from pypid.web.app.advisory_view import hits_for, without_hidden_names
from pypid.web.app.app import App
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.fastpath.dependencies import ResponseDependencies
from pypid.web.http.redirects import redirect
from pypid.web.http.responses import FinishedPage, send_page
from pypid.web.http.small_responses import send_plain

NO_HOST = (
    "This index does not know its own address: ask by a host that is in [server] allowed_hosts, "
    "or set public_url."
)


@route("GET", "/pypi/<project>/json", action=Action.READ, below_index=True, cross_site=True)
async def project_json(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project, described by its newest release, in legacy JSON (C110)."""
    if ctx.spelling != project:
        return redirect(
            ctx.request, f"/pypi/{project}/json", permanent=True, restricted=ctx.app.restricted
        )
    return await describe(ctx, project, None)


@route(
    "GET", "/pypi/<project>/<version>/json", action=Action.READ, below_index=True, cross_site=True
)
async def release_json(ctx: RequestContext, project: ProjectName, version: str) -> None:
    """Send a release in legacy JSON (C110)."""
    if ctx.spelling != project:
        return redirect(
            ctx.request,
            f"/pypi/{project}/{version}/json",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    return await describe(ctx, project, version)


async def describe(ctx: RequestContext, project: ProjectName, version: str | None) -> None:
    """Send the project in legacy JSON, described by one release; without `version`, by its
    newest.
    """
    base_url = ctx.base_url
    if base_url is None:
        raise BadRequest(NO_HOST)
    permission = ctx.upstream_permission(project)
    found = await ctx.app.index.project(project, permission)
    is_long = len(found.files) > FEW_FILES
    chosen, described = (
        await ctx.app.world.thinking(_describing, found, version)
        if is_long
        else _describing(found, version)
    )
    advisories = None if chosen is None else await _advisories(ctx, project, chosen)
    metadata = None if described is None else await _metadata(ctx.app, described, permission)
    # off the reactor thread: metadata may contain a manual
    elsewhere = ctx.app.world.thinking if is_long else ctx.app.world.blocking
    page = await elsewhere(
        partial(render_legacy, found, version, metadata, base_url=base_url, advisories=advisories)
    )
    if page is None:
        raise NoSuchFile(f"{project} {version}" if version else project)
    # the metadata may be available next time, and advisories change by themselves
    if not ctx.app.advisories.is_configured and (described is None or metadata is not None):
        ctx.request.depends_on(ResponseDependencies(found.name, permission))
    await send_page(
        ctx.request,
        FinishedPage(page, ctx.app.world.blocking),
        serial=found.serial,
        restricted=ctx.app.restricted,
    )


def _describing(project: Project, version: str | None) -> tuple[str | None, File | None]:
    """Return the release that is described, and the file whose metadata describes it, if any."""
    release = choose_release(project, version)
    return release, None if release is None else describing_file(project, release)


async def _advisories(
    ctx: RequestContext, project: ProjectName, version: str
) -> Sequence[AdvisorySummary] | None:
    """Return the advisories that hit the release; None if `[advisories]` names no source, or if no
    source has been read yet.
    """
    advisories = ctx.app.advisories
    if not advisories.is_configured or advisories.is_unread:
        return None
    by = await ctx.advisory_visibility()
    return await without_hidden_names(advisories, hits_for(advisories, project, version, by), by)


async def _metadata(app: App, file: File, permission: UpstreamPermission) -> bytes | None:
    """Return the metadata of the file, or None if it is not available."""
    try:
        return await app.index.metadata(file, permission)
    except PypidError as error:
        if file.source is None or not (
            error is permission.refusal or isinstance(error, (NoSuchFile, UpstreamDown, WrongBytes))
        ):
            raise
        return None


@route("GET", "/pypi/", action=Action.READ, below_index=True)
async def pypi(ctx: RequestContext) -> None:
    """Send the classifiers (``?:action=list_classifiers``, C72), or redirect to the list of
    projects.
    """
    if (ctx.request.args or {}).get(b":action") == [b"list_classifiers"]:
        from trove_classifiers import sorted_classifiers

        return send_plain(ctx.request, 200, "\n".join(sorted_classifiers) + "\n")
    return redirect(ctx.request, "/simple/", permanent=False, restricted=ctx.app.restricted)

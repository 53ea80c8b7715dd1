"""Older APIs that clients still use: legacy JSON, classifiers, and XML-RPC, for mirrors and for
``pip search``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn
from xml.parsers.expat import ParserCreate
from xmlrpc.client import Fault, Unmarshaller, dumps

from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.errors import BadRequest, NoSuchFile, PypidError, UpstreamDown, WrongBytes
from pypid.core.model import File, Project, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release, describing_file
from pypid.core.permissions import Action
from pypid.core.search.legacy_search import LegacySearchQuery, search
from pypid.core.simple_api.entries import plain
from pypid.core.simple_api.legacy_json import render_legacy
from pypid.index.views import UpstreamPermission
from pypid.web.app.advisory_view import hits_for, without_hidden_names
from pypid.web.app.app import App
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.fastpath.dependencies import ResponseDependencies
from pypid.web.http.redirects import redirect
from pypid.web.http.request_body import read_small
from pypid.web.http.responses import FinishedPage, send_page
from pypid.web.http.small_responses import send, send_plain

NO_HOST = (
    "This index does not know its own address: ask by a host that is in [server] allowed_hosts, "
    "or set public_url."
)


@route("GET", "/pypi/<project>/json", action=Action.READ, below_index=True)
async def project_json(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project, described by its newest release, in legacy JSON (C110)."""
    if ctx.spelling != project:
        return redirect(
            ctx.request, f"/pypi/{project}/json", permanent=True, restricted=ctx.app.restricted
        )
    return await describe(ctx, project, None)


@route("GET", "/pypi/<project>/<version>/json", action=Action.READ, below_index=True)
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


async def answer_call(ctx: RequestContext) -> None:
    """Answer an XML-RPC call: what bandersnatch asks of a master, which is the names with their
    serials and the changes since one (C112), or a search.
    """
    from pypid.web.installers.legacy import SEARCH, answer, read_call  # here: rarely needed

    call = await read_small(ctx.request.body, 64 << 10)
    try:
        parameters, method = read_call(call)
    except Exception:  # expat's and xmlrpc's own errors have no common base
        raise BadRequest("This address takes XML-RPC calls: the body is none.") from None
    serial, names, visibility = (
        await ctx.app.index.list_serial(),
        await ctx.app.names(ctx.identity),
        await ctx.visibility(),
    )
    # the catalog's serial would disclose changes of projects that the viewer cannot see
    if serial is None or not visibility.sees_all:
        serial = max((summary.serial for summary in names), default=0)
    stored = ctx.app.stored_projects.projects
    projects = await ctx.listed(stored) if method == SEARCH else ()
    # off the reactor thread, and one at a time: a second for 100,000 projects, or for fifty words
    # in as many summaries
    body = await ctx.app.world.thinking(answer, method, parameters, names, serial, projects)
    return send(ctx.request, 200, "text/xml; charset=utf-8", body)


SEARCH = "search"
KNOWN = (
    "changelog_last_serial(), changelog_since_serial(serial), list_packages(), "
    "list_packages_with_serial(), search({name: [words], summary: [words]}, 'or' or 'and')"
)


def read_call(call: bytes) -> tuple[tuple[Any, ...], str | None]:
    """Return the parameters and the method of a call, like `xmlrpc.client.loads`, which would
    expand entities: a second's work for half a kilobyte. Document types are refused: no call has
    one.
    """

    def refuse(*_: object) -> NoReturn:
        raise ValueError("a call has no document type")

    parser, target = ParserCreate(), Unmarshaller(use_builtin_types=True)
    # expat takes its handlers as attributes only
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = target.start, target.end
    parser.CharacterDataHandler = target.data
    target.xml("", None)  # texts come decoded
    parser.Parse(call, True)
    return target.close(), target.getmethodname()


def answer(
    method: str | None,
    parameters: tuple[object, ...],
    names: Sequence[Summary],
    serial: int,
    projects: Sequence[Project] = (),
) -> bytes:
    """Return the answer, about the projects that the client sees; `serial` is that of their list.
    Takes a second for 100,000.

    `projects` are those with their files, for a search.
    """
    if method == SEARCH and len(parameters) == 2:
        answered: Any = _search(projects, *parameters)
    else:
        answered = _answer(method, parameters, names, serial)
    if not isinstance(answered, Fault):
        answered = (answered,)
    return dumps(answered, methodresponse=True, allow_none=True).encode()


def _answer(
    method: str | None, parameters: tuple[object, ...], names: Sequence[Summary], serial: int
) -> object:
    match method, parameters:
        case "changelog_last_serial", ():
            return serial
        case "list_packages_with_serial", ():
            return {summary.name: summary.serial for summary in names}
        case "list_packages", ():
            return [summary.name for summary in names]
        case "changelog_since_serial", (int() as since,):
            changed = sorted((s for s in names if s.serial > since), key=lambda s: s.serial)
            return [(summary.name, None, 0, "change", summary.serial) for summary in changed]
        case _:
            return Fault(
                -32601, f"{method} with these arguments is not known here; there are {KNOWN}"
            )


def _search(projects: Sequence[Project], criteria: object, query_type: object) -> object:
    try:
        query = LegacySearchQuery.read(criteria, query_type)
    except ValueError as error:
        return Fault(-32602, f"{error}; there are {KNOWN}")
    # control characters would make the answer invalid XML
    return [
        {"name": found.name, "version": plain(found.version), "summary": plain(found.summary)}
        for found in search(projects, query)
    ]

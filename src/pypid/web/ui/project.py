"""The pages of a project: one release with its description and files, and the list of all releases.

Only text of uploaded metadata is shown (`core.presentation.release_facts`), and a README that was
made safe (`pypid.rendering`). The list has a hundred releases a page; two can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from pypid.core.accounts.owners import user_of_account
from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.errors import NoSuchFile
from pypid.core.indexes import DEFAULT
from pypid.core.model import Project, Status
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action
from pypid.core.presentation.client_files import IndexAddress
from pypid.core.presentation.project_view import (
    MOST_RELEASES,
    Age,
    ReleaseLine,
    ReleaseLines,
    ShownRelease,
)
from pypid.core.presentation.release_facts import NOTHING, Facts
from pypid.core.presentation.snippets import Snippet, to_install
from pypid.index.context import Pace
from pypid.index.explain import is_known_upstream
from pypid.index.views import ViewSources
from pypid.web.app.advisory_view import hits_for, without_hidden_names
from pypid.web.app.app import App
from pypid.web.app.login_redirect import root_of
from pypid.web.app.project_page_cache import DAYS
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.redirects import redirect
from pypid.web.http.request import Request
from pypid.web.ui.pages import environment, marked_up, part, show

STATUS_WORDS = {
    Status.ARCHIVED: "This project is archived: no more releases are expected.",
    Status.QUARANTINED: (
        "This project is quarantined as possibly harmful; its files cannot be downloaded."
    ),
    Status.DEPRECATED: "This project is deprecated; its maintainers recommend an alternative.",
}


@route("GET", "/project/<project>/", action=Action.READ, page=True, below_index=True)
async def project_page(ctx: RequestContext, project: ProjectName) -> None:
    """Show a project, by the release that installers would choose."""
    if ctx.spelling != project or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"/project/{project}/", permanent=True, restricted=ctx.app.restricted
        )
    return await _show(ctx, project, None)


@route("GET", "/project/<project>/<version>/", action=Action.READ, page=True, below_index=True)
async def release_page(ctx: RequestContext, project: ProjectName, version: str) -> None:
    """Show one release of a project."""
    if ctx.spelling != project or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request,
            f"/project/{project}/{part(version)}/",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    return await _show(ctx, project, version)


async def _show(ctx: RequestContext, project: ProjectName, version: str | None) -> None:
    permission = ctx.upstream_permission(project)
    seen = await ctx.app.index.seen(project, permission)
    found = await ctx.app.project_page_cache.shown(seen.view, version)
    versions = await ctx.app.project_page_cache.lines(seen)
    lines = versions.each[:MOST_RELEASES]
    values = {
        **await project_values(ctx, seen),
        "lines": lines,
        "affected": await _affected(ctx, project, lines),
        "total": len(versions.each),
        "newest": versions.newest,
        "has_hidden": versions.has_hidden,
        "shown": found,
    }
    if found is None:
        return await _show_withheld(ctx, values, versions, version)
    facts = await ctx.app.project_page_cache.facts(found.describing, permission)
    if found.inside is not None:
        facts = await ctx.app.project_page_cache.inside(found.inside, ctx.app.contents)
    is_open = ctx.is_public(found.name, *(leaf.origin for leaf in seen.single_views))
    return await show(
        ctx,
        "project.html",
        **values,
        advisories=await _advisories(ctx, project, found.line.version),
        told=facts is not None,
        facts=facts or NOTHING,
        quarantined=await _quarantined(ctx, facts or NOTHING),
        spelled=_spelled(found, facts or NOTHING),
        summary=(facts or NOTHING).summary or found.summary,
        description=await _description(ctx.app, found, facts or NOTHING),
        files=marked_up(await _files(ctx, seen, found)),
        commands=_commands(ctx, requirement(found, pinned=version is not None), login=not is_open),
        downloads=await _downloads(ctx, seen.view.project),
        days=DAYS,
        is_open=is_open,
    )


async def _show_withheld(
    ctx: RequestContext, values: dict[str, Any], versions: ReleaseLines, version: str | None
) -> None:
    """Show a release of which rules hide all files, or a project without visible releases."""
    name: ProjectName = values["project"].name
    line = None if version is None else versions.held(version)
    if version is not None and line is None:
        raise NoSuchFile(f"{name} {version}")
    advisories = () if line is None else await _advisories(ctx, name, line.version)
    return await show(ctx, "project_empty.html", **values, line=line, advisories=advisories)


async def _advisories(
    ctx: RequestContext, name: ProjectName, version: str
) -> tuple[AdvisorySummary, ...]:
    """Return the advisories that hit the release, as the user may see them."""
    by, advisories = await ctx.advisory_visibility(), ctx.app.advisories
    hits = hits_for(advisories, name, version, by)
    return await without_hidden_names(advisories, hits, by)


async def _affected(
    ctx: RequestContext, name: ProjectName, lines: Sequence[ReleaseLine]
) -> frozenset[str]:
    """Return the versions that an advisory affects, as far as the user may see it."""
    if not ctx.app.advisories.knows(name):
        return frozenset()
    by, pace, found = await ctx.advisory_visibility(), Pace(ctx.app.world), set[str]()
    for line in lines:
        await pace.keep()
        if hits_for(ctx.app.advisories, name, line.version, by):
            found.add(line.version)
    return frozenset(found)


async def _quarantined(ctx: RequestContext, facts: Facts) -> frozenset[ProjectName]:
    """Return the local projects in quarantine that the release depends on, as far as the user sees
    them.
    """
    groups = [facts.needs.needed, *(group for _, group in facts.needs.extras)]
    wanted = {need.project for group in groups for need in group if need.project is not None}
    by = await ctx.visibility()
    return await ctx.app.index.quarantined(name for name in wanted if by.sees(name))


def may_manage(ctx: RequestContext, name: ProjectName) -> bool:
    """Return whether the client may change the rights of a project. Rights apply in all indexes, so
    the owner in a named index may not change them.
    """
    return ctx.may(Action.ADMIN if ctx.app.index.name else Action.MANAGE, name)


async def project_values(ctx: RequestContext, seen: ViewSources) -> dict[str, Any]:
    """Return the values that each page about a project needs."""
    project, home = seen.view.project, home_of(ctx, seen)
    is_ours, is_own = isinstance(seen.ours, Project), home == ctx.app.index.name
    owner = None if home is None else ctx.app.owner_of(project.name, home)
    return {
        "project": project,
        "newest_hidden": seen.newest_hidden,
        "owner": "" if owner is None else user_of_account(owner),
        "is_ours": is_ours,
        "is_own": is_own,
        "inherited_from": _inherited_from(ctx, seen),
        "settings": await _settings(ctx, project.name, home),
        "settings_index": "" if is_own or home is None else home or DEFAULT,
        "status_words": STATUS_WORDS.get(project.status, ""),
        "may_settle": ctx.may(Action.WRITE, project.name),
        "may_manage": may_manage(ctx, project.name),
        "has_people": ctx.app.registry is not None,
    }


def home_of(ctx: RequestContext, seen: ViewSources) -> str | None:
    """Return the index whose forms change the project: the requested one if it is local there, else
    the first that has it as a local project; None for an upstream project.
    """
    indexes = [each.origin for each in seen.single_views if isinstance(each.ours, Project)]
    own = ctx.app.index.name
    return own if own in indexes else next(iter(indexes), None)


def _path_in(index: str, name: ProjectName) -> str:
    """Return the path of the project's page in an index, from the root of the site."""
    return f"{index}/project/{name}/" if index else f"project/{name}/"


async def _settings(ctx: RequestContext, name: ProjectName, home: str | None) -> str:
    """Return the path of the settings that the user may change; "" if there are none. The status of
    an upstream project applies in all indexes.
    """
    if home is not None:
        may_change = all(ctx.may(each, name, home) for each in (Action.READ, Action.WRITE))
    else:
        default = ctx.app.original or ctx.app
        may_change = ctx.may(Action.ADMIN, name, "") and (
            default is ctx.app or await is_known_upstream(default.index, name)
        )
    return f"{_path_in(home or '', name)}-/settings" if may_change else ""


def _inherited_from(ctx: RequestContext, seen: ViewSources) -> Sequence[str]:
    """Return the indexes and upstreams whose files a named index shows, if it inherits any."""
    name = ctx.app.index.name
    providers = [leaf.provider for leaf in seen.single_views] if name else []
    return [] if providers == [name] else providers


def _spelled(found: ShownRelease, facts: Facts) -> str:
    """Return the name as its authors write it, if it is this project's: upstream metadata may say
    anything.
    """
    return (
        facts.name
        if facts.name is not None and project_name(facts.name) == found.name
        else found.name
    )


async def _files(ctx: RequestContext, seen: ViewSources, found: ShownRelease) -> str:
    """Return the list of files as HTML: it is most of the page, and the same for every user."""
    root, signers = root_of(ctx.request), await ctx.app.project_page_cache.signers(found.files)
    template = environment().get_template("project_files.html")
    write = partial(
        template.render, root=root, project=seen.view.project, shown=found, signers=signers
    )
    return await ctx.app.project_page_cache.listed(seen.view, found, root, write)


async def _description(app: App, found: ShownRelease, facts: Facts) -> Any:
    """Return the README as HTML that was made safe; "" if there is none."""
    file = found.describing or found.inside
    if not facts.description.strip() or file is None:
        return ""
    digest = file.metadata_sha256 or file.sha256 or ""
    rendered = await app.readmes.html(facts.description, facts.content_type, digest, found.name)
    return marked_up(rendered.html)


async def _downloads(ctx: RequestContext, project: Project) -> int | None:
    """Return the number of downloads; None if it counts those of files that the user may not
    read.
    """
    app = ctx.app
    if app.registry is None or not (await ctx.visibility()).sees_bases(project.name):
        return None
    return await app.project_page_cache.downloads(project.name, app.downloads, app.index.name)


def requirement(found: ShownRelease, *, pinned: bool) -> str:
    """Return the requirement for installers: the name, with an exact version if they would choose
    another one.
    """
    exact = (
        pinned or found.age is not Age.CHOSEN or found.line.is_yanked or found.line.is_prerelease
    )
    return f"{found.name}=={found.line.version}" if exact else found.name


def _commands(ctx: RequestContext, what: str, *, login: bool) -> tuple[Snippet, ...]:
    """Return the install commands; none if the requested host cannot be trusted."""
    base = ctx.base_url
    if base is None:
        return ()
    place = IndexAddress(base, login=login, index=ctx.request.index)
    return to_install(place, ctx.identity.user, what)


LINES = 100
"""Number of releases on one page."""


@route("GET", "/project/<project>/-/versions", action=Action.READ, page=True, below_index=True)
async def versions(ctx: RequestContext, project: ProjectName) -> None:
    """Show all releases of a project, the newest first."""
    if ctx.spelling != project or ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request,
            f"/project/{project}/-/versions",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    seen = await ctx.app.index.seen(project, ctx.upstream_permission(project))
    found = await ctx.app.project_page_cache.lines(seen)
    pages = max(1, -(-len(found.each) // LINES))
    page = page_asked(ctx.request, pages)
    lines = found.each[(page - 1) * LINES : page * LINES]
    return await show(
        ctx,
        "versions.html",
        **await project_values(ctx, seen),
        lines=lines,
        affected=await _affected(ctx, project, lines),
        newest=found.newest,
        total=len(found.each),
        page=page,
        pages=pages,
    )


def page_asked(request: Request, pages: int) -> int:
    """Return the requested page number; an invalid one counts as 1, one beyond the last as the
    last.
    """
    query = request.uri.partition(b"?")[2].decode("latin-1")
    try:
        text = parse_qs(query, max_num_fields=50).get("page", ["1"])[-1]
    except ValueError:
        return 1
    return (
        min(max(int(text), 1), pages) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    )

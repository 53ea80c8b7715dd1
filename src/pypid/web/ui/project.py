"""Pages of a project: what everybody sees, its settings, and uploads.

The pages of a project: one release with its description and files, and the list of all releases.

Only text of uploaded metadata is shown (`core.presentation.project_view`), and a README that was
made safe (`pypid.rendering`). The list has a hundred releases a page; two can be compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial, wraps
from typing import Any, TypedDict

from attrs import evolve, frozen

from pypid.core.accounts.rights import user_of_account
from pypid.core.advisories import AdvisorySummary
from pypid.core.errors import (
    BadRequest,
    NoSuchFile,
    PeopleUnknown,
    PypidError,
    Unauthenticated,
    shortened,
)
from pypid.core.indexes import DEFAULT, PromotionRefused
from pypid.core.model import File, Project, Status
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.releases import Release, release_of, releases
from pypid.core.packaging.upload import UploadFields
from pypid.core.permissions import Action
from pypid.core.presentation.client_files import IndexAddress, Snippet, to_install, to_publish
from pypid.core.presentation.project_view import (
    MOST_RELEASES,
    NOTHING,
    Age,
    Facts,
    ReleaseLine,
    ReleaseLines,
    ShownRelease,
)
from pypid.flow import shielded
from pypid.index.context import Pace
from pypid.index.explain import is_known_upstream, known_project
from pypid.index.local.manage import LONGEST_REASON, files_of_releases
from pypid.index.views import ViewSources
from pypid.web.api.indexes import NewPromotion, promoted, targets_of, wanted_of
from pypid.web.api.rights import OwnerDocument, owner_document
from pypid.web.app import changes
from pypid.web.app.advisory_view import hits_for, without_hidden_names
from pypid.web.app.app import App
from pypid.web.app.errors import error_format
from pypid.web.app.login_redirect import root_of
from pypid.web.app.ownership import publishable
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.project_page_cache import DAYS
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.cookies import FIELD, credential_of_cookie, demand_csrf_token
from pypid.web.http.form_fields import Fields
from pypid.web.http.headers import ErrorFormat
from pypid.web.http.request import parameters
from pypid.web.http.small_responses import send_json
from pypid.web.http.upload_form import Limits, refuse_early_form
from pypid.web.installers.services import place_of
from pypid.web.installers.uploads import Published, publish, receive, upload_spool
from pypid.web.ui.pages import (
    LINES,
    ListSlice,
    canonical,
    environment,
    go,
    leaf_of,
    marked_up,
    page_number,
    part,
    say,
    sent,
    show,
)

STATUS_WORDS = {
    Status.ARCHIVED: "This project is archived: no more releases are expected.",
    Status.QUARANTINED: (
        "This project is quarantined as possibly harmful; its files cannot be downloaded."
    ),
    Status.DEPRECATED: "This project is deprecated; its maintainers recommend an alternative.",
}


@route("GET", "/project/<project>/", action=Action.READ, page=True, below_index=True)
@canonical("/project/{project}/")
async def project_page(ctx: RequestContext, project: ProjectName) -> None:
    """Show a project, by the release that installers would choose."""
    return await _show(ctx, project, None)


@route("GET", "/project/<project>/<version>/", action=Action.READ, page=True, below_index=True)
@canonical("/project/{project}/{version}/")
async def release_page(ctx: RequestContext, project: ProjectName, version: str) -> None:
    """Show one release of a project."""
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
    below = f"{home}/" if home else ""
    return f"{below}project/{name}/-/settings" if may_change else ""


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


@route("GET", "/project/<project>/-/versions", action=Action.READ, page=True, below_index=True)
@canonical("/project/{project}/-/versions")
async def versions(ctx: RequestContext, project: ProjectName) -> None:
    """Show all releases of a project, the newest first."""
    seen = await ctx.app.index.seen(project, ctx.upstream_permission(project))
    found = await ctx.app.project_page_cache.lines(seen)
    leaf: ListSlice[ReleaseLine] = leaf_of(found.each, ctx.request)
    return await show(
        ctx,
        "versions.html",
        **await project_values(ctx, seen),
        leaf=leaf,
        affected=await _affected(ctx, project, leaf.lines),
        newest=found.newest,
    )


# The settings page of a project: its releases and files, to yank and delete them; its status; its
# name.

ADDRESS = "/project/<project>/-/"

MEANINGS = {
    Status.ACTIVE: "In use: files can be installed and published.",
    Status.DEPRECATED: (
        "Obsolete, possibly replaced by a project that the reason names: files can be installed "
        "and published, and installers may show a warning."
    ),
    Status.ARCHIVED: (
        "No longer maintained: nothing can be published; files can be installed, and installers "
        "may show a warning."
    ),
    Status.QUARANTINED: (
        "Possibly unsafe: no file can be installed, downloaded or published until the status "
        "changes."
    ),
}
"""What each status means for installers and publishers (PEP 792)."""


@frozen(kw_only=True)
class ReleaseSettings:
    """A release, with the state of all its files together."""

    version: str
    count: int
    yanked: int
    """Number of yanked files."""
    reason: str
    """The reason, if all files are yanked."""
    uploaded: datetime | None
    """When the last file was uploaded."""

    @property
    def is_yanked(self) -> bool:
        """Whether all files of the release are yanked."""
        return self.yanked == self.count


@frozen(kw_only=True)
class ProjectSettings:
    """The part of a project that is on the page."""

    project: Project
    release: ReleaseSettings | None
    """The release whose files are shown; None: the releases are."""
    releases: Sequence[ReleaseSettings]
    files: Sequence[File]
    page: int
    pages: int


@route("GET", ADDRESS + "settings", action=Action.WRITE, page=True, below_index=True)
@canonical("/project/{project}/-/settings")
async def settings(ctx: RequestContext, project: ProjectName) -> None:
    """Show what the user can change of a local project, or the status of an upstream project."""
    query = parameters(ctx.request, "version", "page", "done")
    await show_settings(ctx, project, query.get("version"), query.get("page", ""))


async def show_settings(
    ctx: RequestContext,
    name: ProjectName,
    version: str | None = None,
    page: str = "",
    *,
    error: PypidError | None = None,
) -> None:
    """Show a page of the releases, or of the files of the release that has this `version` in any
    spelling.

    `error`: what is wrong with the form that was sent. Raises
    `NoSuchProject`, `NotYetKnown`, `NoSuchFile`, and for a client that may publish the project
    but not read it (a token) `Forbidden`.
    """
    ctx.authorize(Action.READ, name)
    values: dict[str, Any] = {
        "error": error,
        "statuses": [(status, MEANINGS[status]) for status in Status],
        "longest": LONGEST_REASON,
    }
    if ctx.identity.admin and await is_known_upstream(ctx.app.index, name):
        project = await known_project(ctx.app.index, name)
        await show(ctx, "settings_upstream.html", **values, project=project)
        return
    known = await ctx.app.index.context.known(name)
    is_long = len(known.files) > FEW_FILES
    listed = (
        await ctx.app.world.thinking(listing, known, version, page)
        if is_long
        else listing(known, version, page)
    )
    await show(
        ctx,
        "settings.html",
        **values,
        project=known,
        listed=listed,
        hold_of=ctx.app.index.context.policy.restrictions.current.hold,
        targets=targets_of(ctx, name),
        may_delete=ctx.may(Action.DELETE, name),
        may_manage=may_manage(ctx, name),
        owner=await _owner(ctx.app, name),
    )


async def _owner(app: App, name: ProjectName) -> OwnerDocument | None:
    """Return the owner of the project in a named index; None in the default index, whose page of
    rights has its owner, and while owners are not known.
    """
    if app.original is None or app.registry is None:
        return None
    with suppress(PeopleUnknown):
        return await owner_document(app, name)
    return None


def listing(project: Project, version: str | None, page: str) -> ProjectSettings:
    """Return the lines of a page, the newest first; a page number out of range is the first or the
    last. Raises `NoSuchFile`.
    """
    release = None if version is None else release_of(project, version)
    if version is not None and release is None:
        raise NoSuchFile(f"{project.name} {version}")
    lines: Sequence[Release] | Sequence[File] = (
        releases(project)[::-1] if release is None else release.files
    )
    pages = max(1, -(-len(lines) // LINES))
    number = page_number(page, pages)
    part = lines[(number - 1) * LINES : number * LINES]
    return ProjectSettings(
        project=project,
        release=None if release is None else _line(release),
        releases=[_line(line) for line in part if isinstance(line, Release)],
        files=[line for line in part if isinstance(line, File)],
        page=number,
        pages=pages,
    )


def _line(release: Release) -> ReleaseSettings:
    return ReleaseSettings(
        version=release.version,
        count=len(release.files),
        yanked=sum(file.yanked is not None for file in release.files),
        reason=release.yanked_reason or "",
        uploaded=max(
            (file.uploaded for file in release.files if file.uploaded is not None), default=None
        ),
    )


# The forms of a project's settings, by `web.app.changes`: yank, unyank, delete, set the status,
# release the name.

FILE, RELEASE, PROJECT = "filename", "version", "project"
"""The fields of which one names the subject of the form."""
CONFIRM = "confirm"
"""The field in which the name is typed before deletion."""
Done = tuple[Project | None, str]
"""The project after the change, None if it is removed; and the word of its message in `DONE`.
"""
BACK, PAGE = "back", "page"
"""Fields with the page that contained the form: which release's, and its number."""

say(
    yanked="Yanked: installers skip it unless exactly this version is requested.",
    unyanked="The yank was undone.",
    promoted="The release was promoted.",
    file_deleted="The file was deleted.",
    release_deleted="The release was deleted.",
    project_deleted="All files of the project were deleted. Its name stays local.",
    status_set="The status was set.",
    name_released="The name was released.",
)


def answered(
    change: Callable[[RequestContext, ProjectName, Fields], Awaitable[Done]],
) -> Callable[[RequestContext, ProjectName], Awaitable[None]]:
    """Return the handler that carries out the change and redirects to the page of the form, or
    shows the form again with the error.
    """

    @wraps(change)
    async def answer(ctx: RequestContext, project: ProjectName) -> None:
        fields = sent(ctx.request)
        back, page = fields.text(BACK) or None, fields.text(PAGE)
        sees_settings = all(ctx.may(right, project) for right in (Action.WRITE, Action.READ))
        try:
            left, done = await change(ctx, project, fields)
        except (BadRequest, PromotionRefused) as error:
            if not sees_settings:
                raise
            return await show_settings(ctx, project, back, page, error=error)
        if left is None:
            return go(ctx.request, "", done=done)
        if not sees_settings:
            return go(ctx.request, f"project/{part(project)}/" if left.files else "", done=done)
        parameters = {"page": page} if page.isascii() and page.isdigit() and page != "1" else {}
        if back is not None and any(file.version == back for file in left.files):
            parameters["version"] = back
        elif back is not None:  # the release was removed
            parameters = {}
        return go(ctx.request, f"project/{part(project)}/-/settings", done=done, **parameters)

    return answer


@route("POST", ADDRESS + "yank", action=Action.WRITE, page=True, form=True, below_index=True)
@answered
async def yank(ctx: RequestContext, project: ProjectName, fields: Fields) -> Done:
    """Yank a release or a file."""
    subject, filenames = await _chosen(ctx.app, project, fields)
    reason = fields.text("reason").strip()
    return await changes.yank(ctx, project, subject, filenames, reason), "yanked"


@route("POST", ADDRESS + "unyank", action=Action.WRITE, page=True, form=True, below_index=True)
@answered
async def unyank(ctx: RequestContext, project: ProjectName, fields: Fields) -> Done:
    """Unyank a release or a file."""
    chosen = await _chosen(ctx.app, project, fields)
    return await changes.unyank(ctx, project, *chosen), "unyanked"


@route("POST", ADDRESS + "promote", action=Action.WRITE, page=True, form=True, below_index=True)
@answered
async def promote(ctx: RequestContext, project: ProjectName, fields: Fields) -> Done:
    """Promote a release to another index."""
    _, version = _meant(fields, RELEASE)
    source, target = ctx.app.index.name or DEFAULT, fields.text("target")
    wish = NewPromotion(source, [f"{project}=={version}"], move=bool(fields.text("move")))
    await promoted(ctx, wish, *await wanted_of(ctx, wish, target))
    return await ctx.app.index.context.known(project), "promoted"


@route("POST", ADDRESS + "delete", action=Action.DELETE, page=True, form=True, below_index=True)
@answered
async def delete(ctx: RequestContext, project: ProjectName, fields: Fields) -> Done:
    """Delete a file, a release, or all files of the project, whose name was typed."""
    kind, subject = _meant(fields, FILE, RELEASE, PROJECT)
    _confirm(fields, project if kind == PROJECT else subject, subject)
    if kind == PROJECT:
        return (await changes.delete_all(ctx, project))[0], "project-deleted"
    done = "file-deleted" if kind == FILE else "release-deleted"
    return await changes.delete(ctx, project, *await _chosen(ctx.app, project, fields)), done


@route("POST", ADDRESS + "status", action=Action.ADMIN, page=True, form=True, below_index=True)
@answered
async def set_status(ctx: RequestContext, project: ProjectName, fields: Fields) -> Done:
    """Set the status of the project."""
    try:
        status = Status(fields.text("status"))
    except ValueError:
        raise BadRequest(
            f"Choose one of the statuses: {', '.join(status.value for status in Status)}."
        ) from None
    reason = fields.text("reason").strip()
    return await changes.set_status(ctx, project, status, reason), "status-set"


@route(
    "POST", ADDRESS + "release-name", action=Action.ADMIN, page=True, form=True, below_index=True
)
@answered
async def release_name(ctx: RequestContext, project: ProjectName, fields: Fields) -> Done:
    """Release the name of an empty project."""
    _confirm(fields, project, project)
    await changes.give_back(ctx, project)
    return None, "name-released"


def _meant(fields: Fields, *kinds: str) -> tuple[str, str]:
    """Return the one of these fields that is set, and its value. Raises `BadRequest` unless exactly
    one is set, once.
    """
    named = [(kind, text) for kind in kinds for text in fields.all(kind) if text]
    if len(named) != 1:
        raise BadRequest(
            f"The form must name exactly one thing, in one of these fields: {', '.join(kinds)}."
        )
    return named[0]


async def _chosen(app: App, name: ProjectName, fields: Fields) -> tuple[str, frozenset[str]]:
    """Return the file or release of the form, and the names of its files. Raises `NoSuchProject`,
    `NoSuchFile`.
    """
    kind, subject = _meant(fields, FILE, RELEASE)
    if kind == FILE:
        return subject, frozenset({subject})
    return subject, files_of_releases(await app.index.context.known(name), (subject,))


def _confirm(fields: Fields, *words: str) -> None:
    """Raise `BadRequest` unless the typed text is each of these words (which are the same in a
    correct form).
    """
    typed = fields.text(CONFIRM).strip()
    if any(typed != word for word in words):
        typed_text = f"{shortened(typed)!r} was typed" if typed else "nothing was typed"
        raise BadRequest(
            f"Nothing was changed: type {shortened(words[0])!r} to confirm; {typed_text}."
        )


# Upload in the browser: a form for one file. The page's script sends several, each by itself.

MOST_NAMES = 20
"""Number of projects that are listed for a user who may publish only these."""
UPLOADED_FILE, OVERWRITE = "file", "overwrite"
"""The fields of the form after the CSRF token, which comes first: the file, and a checkbox."""


class FileTaken(TypedDict):
    """The published file. `outcome`: ``published``, ``overwritten`` or ``unchanged``."""

    filename: str
    outcome: str
    words: str
    project: str
    version: str


@route("GET", "/upload", action=Action.WRITE, page=True, below_index=True)
async def form(ctx: RequestContext) -> None:
    """Show the upload form."""
    await _show_upload(ctx)


@route("POST", "/upload", action=Action.WRITE, page=True, multipart=True, below_index=True)
async def upload(ctx: RequestContext) -> None:
    """Publish the file of the form; answers with the page, or with JSON for clients that accept
    it.
    """
    limits = Limits(content=ctx.app.settings.max_upload, text=1 << 10, total=16 << 10, fields=10)
    try:
        refuse_early_form(ctx.request.body.size, limits)
        published = await shielded(_published(ctx, limits))
    except PypidError as error:
        if isinstance(error, Unauthenticated) or error_format(ctx.request) is ErrorFormat.JSON:
            raise
        await _show_upload(ctx, error=error)
        return
    if error_format(ctx.request) is ErrorFormat.JSON:
        send_json(ctx.request, _document(published))
    else:
        await _show_upload(ctx, published=_document(published))


async def _published(ctx: RequestContext, limits: Limits) -> Published:
    """Publish the file of the form. Raises `NoCsrfToken` before anything is stored."""

    def demand_token(fields: Mapping[str, Sequence[str]]) -> None:
        if ctx.request.session is not None:
            demand_csrf_token(
                ctx.request, ctx.request.session, next(iter(fields.get(FIELD, ())), None)
            )

    async with upload_spool(ctx) as spool:
        form = await receive(ctx, spool, limits, UPLOADED_FILE, demand_token)
        demand_token(form.fields)  # no file came, or a token after it
        if not form.filename:
            raise BadRequest("No file was chosen. Choose the wheel or sdist to publish.")
        cookie = None if ctx.request.session is None else credential_of_cookie(ctx.request)
        if cookie is not None:  # the session may have ended while the file came
            ctx = evolve(ctx, identity=await ctx.app.access.identify(cookie))
        file = UploadFields(fields={}, filename=form.filename, content_digests=form.content_digests)
        return await publish(ctx, file, spool, overwriting=OVERWRITE in form.fields)


async def _show_upload(
    ctx: RequestContext,
    *,
    error: PypidError | None = None,
    published: FileTaken | None = None,
) -> None:
    names, place = await publishable(ctx), await place_of(ctx)
    await show(
        ctx,
        "upload.html",
        error=error,
        published=published,
        only=None if names is None else names[:MOST_NAMES],
        more=0 if names is None else len(names[MOST_NAMES:]),
        may_overwrite=ctx.may_some(Action.OVERWRITE),
        max_upload=ctx.app.settings.max_upload,
        fields={"file": UPLOADED_FILE, "overwrite": OVERWRITE},
        commands=() if place is None else to_publish(place, ctx.identity.user)[:2],
    )


def _document(published: Published) -> FileTaken:
    distribution = published.upload.distribution
    return {
        "filename": distribution.filename,
        "outcome": published.outcome.value,
        "words": published.words[:1].upper() + published.words[1:] + ".",
        "project": distribution.project,
        "version": published.upload.version,
    }

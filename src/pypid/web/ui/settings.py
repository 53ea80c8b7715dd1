"""The settings page of a project: its releases and files, to yank and delete them; its status; its
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from attrs import frozen

from pypid.core.errors import NoSuchFile, PeopleUnknown, PypidError
from pypid.core.model import File, Project, Status
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release, release_of, releases
from pypid.core.permissions import Action
from pypid.index.explain import is_known_upstream, known_project
from pypid.index.local.manage import LONGEST_REASON
from pypid.web.api.owners import OwnerDocument, owner_document
from pypid.web.api.promotions import targets_of
from pypid.web.app.app import App
from pypid.web.app.errors import refusal_of
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.http.query import parameters
from pypid.web.http.redirects import redirect
from pypid.web.ui.pages import show
from pypid.web.ui.project import may_manage

LINES = 100
"""Number of releases, or files of one release, on a page."""
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
async def settings(ctx: RequestContext, project: ProjectName) -> None:
    """Show what the user can change of a local project, or the status of an upstream project."""
    if ctx.spelling != project or ctx.request.path.endswith(b"/"):
        redirect(
            ctx.request,
            f"/project/{project}/-/settings",
            permanent=True,
            restricted=ctx.app.restricted,
        )
        return
    query = parameters(ctx.request, "version", "page", "done")
    await show_settings(ctx, project, query.get("version"), query.get("page", ""))


async def show_settings(
    ctx: RequestContext,
    name: ProjectName,
    version: str | None = None,
    page: str = "",
    *,
    error: PypidError | None = None,
    sent: Fields | None = None,
) -> None:
    """Show a page of the releases, or of the files of the release that has this `version` in any
    spelling.

    `error`: what is wrong with a form that was `sent`, whose fields are kept. Raises
    `NoSuchProject`, `NotYetKnown`, `NoSuchFile`, and for a client that may publish the project
    but not read it (a token) `Forbidden`.
    """
    ctx.authorize(Action.READ, name)
    refusal = None if error is None else refusal_of(error, ctx.request.method)
    values: dict[str, Any] = {
        "status": 200 if refusal is None else refusal.status,
        "problems": [] if refusal is None else [refusal.text],
        "sent": sent or Fields(),
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
        hold_of=ctx.app.index.policy.restrictions.current.hold,
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
    number = (
        min(max(1, int(page)), pages) if page.isascii() and page.isdigit() and len(page) < 10 else 1
    )
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

"""The JSON API for managing published projects and files, below ``/api/``; described in
docs/reference/http-api.
"""

from __future__ import annotations

import msgspec

from pypid.core.errors import (
    BadListing,
    BadRequest,
    Busy,
    Loop,
    NoSuchFile,
    NoSuchProject,
    NotYetKnown,
    UpstreamDown,
)
from pypid.core.model import Project, Status
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.index.explain import held_files
from pypid.web.api.project_documents import (
    ChangedProject,
    ProjectForAdmins,
    Projects,
    Released,
    project_document,
)
from pypid.web.app import changes
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json

PROJECT = "/api/projects/<project>"
ABSENT = (NoSuchProject, NoSuchFile, Busy, NotYetKnown)


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a yank."""

    reason: str = ""


class NewStatus(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a status change (PEP 792)."""

    status: Status
    reason: str = ""


# --- reading --------------------------------------------------------------------------------------


@route("GET", "/api/projects", action=Action.READ, describe=Described(Projects), below_index=True)
async def projects(ctx: RequestContext) -> None:
    """List the names of the projects."""
    document: Projects = {
        "projects": [summary.name for summary in await ctx.app.names(ctx.identity)]
    }
    send_json(ctx.request, document)


@route(
    "GET",
    PROJECT,
    action=Action.READ,
    describe=Described(ProjectForAdmins, refuses=(*ABSENT, UpstreamDown, BadListing, Loop)),
    below_index=True,
)
async def project(ctx: RequestContext, project: ProjectName) -> None:
    """Return a project with its files."""
    seen = await ctx.app.index.seen(project, ctx.upstream_permission(project))
    document: ProjectForAdmins = {**project_document(seen.view.project), "hidden": []}
    if ctx.is_admin and not seen.view.project.status.offers_files:
        # off the reactor thread: ten thousand files may be withheld
        held = await ctx.app.world.thinking(held_files, ctx.app.index, seen)
        document["hidden"] = [
            {"filename": file.filename, "version": file.version, "because": hold.value}
            for file, hold in held
        ]
    send_json(ctx.request, document)


# --- yank and status ------------------------------------------------------------------------------


@route(
    "PUT",
    PROJECT + "/files/<filename>/yank",
    action=Action.WRITE,
    describe=Described(ChangedProject, takes=Reason, refuses=ABSENT),
    below_index=True,
)
async def yank_file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Yank one file."""
    await _yank(ctx, project, filename, frozenset({filename}))


@route(
    "PUT",
    PROJECT + "/releases/<version>/yank",
    action=Action.WRITE,
    describe=Described(ChangedProject, takes=Reason, refuses=ABSENT),
    below_index=True,
)
async def yank_release(ctx: RequestContext, project: ProjectName, version: str) -> None:
    """Yank all files of a release."""
    await _yank(ctx, project, version, await ctx.app.index.release(project, version))


async def _yank(
    ctx: RequestContext,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> None:
    reason = (await read_json(ctx.request, Reason)).reason
    yanked = await changes.yank(ctx, name, subject, filenames, reason)
    _changed(ctx, yanked, filenames)


@route(
    "DELETE",
    PROJECT + "/files/<filename>/yank",
    action=Action.WRITE,
    describe=Described(ChangedProject, refuses=ABSENT),
    below_index=True,
)
async def unyank_file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Un-yank one file."""
    await _unyank(ctx, project, filename, frozenset({filename}))


@route(
    "DELETE",
    PROJECT + "/releases/<version>/yank",
    action=Action.WRITE,
    describe=Described(ChangedProject, refuses=ABSENT),
    below_index=True,
)
async def unyank_release(ctx: RequestContext, project: ProjectName, version: str) -> None:
    """Un-yank all files of a release."""
    await _unyank(ctx, project, version, await ctx.app.index.release(project, version))


async def _unyank(
    ctx: RequestContext,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> None:
    _changed(
        ctx,
        await changes.unyank(ctx, name, subject, filenames),
        filenames,
    )


@route(
    "PUT",
    PROJECT + "/status",
    action=Action.ADMIN,
    describe=Described(ChangedProject, takes=NewStatus, refuses=ABSENT),
    below_index=True,
)
async def set_status(ctx: RequestContext, project: ProjectName) -> None:
    """Set the status of a project. Of an upstream project, it is shown here instead of the upstream
    status, except an upstream quarantine; ``active`` without a reason ends that.
    """
    wanted = await read_json(ctx.request, NewStatus)
    changed = await changes.set_status(ctx, project, wanted.status, wanted.reason)
    _changed(ctx, changed, frozenset())


# --- delete ---------------------------------------------------------------------------------------


@route(
    "DELETE",
    PROJECT + "/files/<filename>",
    action=Action.DELETE,
    describe=Described(ChangedProject, refuses=ABSENT),
    below_index=True,
)
async def delete_file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Delete one file permanently."""
    await delete_files(ctx, project, filename, frozenset({filename}))


@route(
    "DELETE",
    PROJECT + "/releases/<version>",
    action=Action.DELETE,
    describe=Described(ChangedProject, refuses=ABSENT),
    below_index=True,
)
async def delete_release(ctx: RequestContext, project: ProjectName, version: str) -> None:
    """Delete all files of a release permanently."""
    await delete_files(ctx, project, version, await ctx.app.index.release(project, version))


async def delete_files(
    ctx: RequestContext,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> None:
    """Delete the files and answer with the project after that; `subject` is as of
    `changes.delete`.
    """
    _changed(ctx, await changes.delete(ctx, name, subject, filenames), filenames)


@route(
    "DELETE",
    PROJECT,
    action=Action.DELETE,
    describe=Described(ChangedProject, refuses=ABSENT),
    below_index=True,
)
async def delete_project(ctx: RequestContext, project: ProjectName) -> None:
    """Delete all files of a project permanently. Its name stays local."""
    left, filenames = await changes.delete_all(ctx, project)
    _changed(ctx, left, filenames)


@route(
    "DELETE",
    "/api/names/<project>",
    action=Action.ADMIN,
    describe=Described(Released, refuses=(*ABSENT, BadRequest)),
    below_index=True,
)
async def release_name(ctx: RequestContext, project: ProjectName) -> None:
    """Release the name of an empty project, which others may then use."""
    await changes.give_back(ctx, project)
    document: Released = {"name": project, "released": True}
    send_json(ctx.request, document)


def _changed(ctx: RequestContext, project: Project, filenames: frozenset[str]) -> None:
    """Send the project after the change. A client that may change but not read it (with a token to
    publish) learns only that it is done.
    """
    document: ChangedProject = {"name": project.name}
    if ctx.may(Action.READ, project.name):
        document = {**project_document(project), "changed": sorted(filenames)}
    send_json(ctx.request, document)

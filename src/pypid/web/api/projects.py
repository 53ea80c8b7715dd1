"""The JSON API for managing published projects and files, below ``/api/``; described in
docs/http-api.
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
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action, Identity, may
from pypid.web.api.project_documents import (
    ChangedProject,
    ProjectDocument,
    Projects,
    Released,
    project_document,
)
from pypid.web.app import changes
from pypid.web.app.app import App, routes
from pypid.web.app.descriptions import Described
from pypid.web.app.guard import guarded
from pypid.web.app.upstream_context import asked_of
from pypid.web.http.request import Request
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


@guarded(routes, "/api/projects", may=Action.READ)
@Described(Projects)
async def projects(app: App, request: Request, who: Identity) -> None:
    """List the names of the projects."""
    document: Projects = {"projects": [summary.name for summary in await app.names(who)]}
    send_json(request, document)


@guarded(routes, PROJECT, may=Action.READ)
@Described(ProjectDocument, refuses=(*ABSENT, UpstreamDown, BadListing, Loop))
async def project(app: App, request: Request, who: Identity, project: str) -> None:
    """Return a project with its files."""
    send_json(
        request,
        project_document(
            await app.index.project(project_name(project), asked_of(app, request, who, project))
        ),
    )


# --- yank and status ------------------------------------------------------------------------------


@guarded(routes, PROJECT + "/files/<filename>/yank", may=Action.WRITE, methods=("PUT",))
@Described(ChangedProject, takes=Reason, refuses=ABSENT)
async def yank_file(app: App, request: Request, who: Identity, project: str, filename: str) -> None:
    """Yank one file."""
    await _yank(app, request, who, project_name(project), filename, frozenset({filename}))


@guarded(routes, PROJECT + "/releases/<version>/yank", may=Action.WRITE, methods=("PUT",))
@Described(ChangedProject, takes=Reason, refuses=ABSENT)
async def yank_release(
    app: App, request: Request, who: Identity, project: str, version: str
) -> None:
    """Yank all files of a release."""
    name = project_name(project)
    await _yank(app, request, who, name, version, await app.index.release(name, version))


async def _yank(
    app: App,
    request: Request,
    who: Identity,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> None:
    reason = (await read_json(request, Reason)).reason
    yanked = await changes.yank(app, request, who, name, subject, filenames, reason)
    _changed(app, request, who, yanked, filenames)


@guarded(routes, PROJECT + "/files/<filename>/yank", may=Action.WRITE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def unyank_file(
    app: App, request: Request, who: Identity, project: str, filename: str
) -> None:
    """Un-yank one file."""
    await _unyank(app, request, who, project_name(project), filename, frozenset({filename}))


@guarded(routes, PROJECT + "/releases/<version>/yank", may=Action.WRITE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def unyank_release(
    app: App, request: Request, who: Identity, project: str, version: str
) -> None:
    """Un-yank all files of a release."""
    name = project_name(project)
    await _unyank(app, request, who, name, version, await app.index.release(name, version))


async def _unyank(
    app: App,
    request: Request,
    who: Identity,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> None:
    _changed(
        app,
        request,
        who,
        await changes.unyank(app, request, who, name, subject, filenames),
        filenames,
    )


@guarded(routes, PROJECT + "/status", may=Action.ADMIN, methods=("PUT",))
@Described(ChangedProject, takes=NewStatus, refuses=ABSENT)
async def set_status(app: App, request: Request, who: Identity, project: str) -> None:
    """Set the status of a project."""
    name = project_name(project)
    wanted = await read_json(request, NewStatus)
    changed = await changes.set_status(app, request, who, name, wanted.status, wanted.reason)
    _changed(app, request, who, changed, frozenset())


# --- delete ---------------------------------------------------------------------------------------


@guarded(routes, PROJECT + "/files/<filename>", may=Action.DELETE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def delete_file(
    app: App, request: Request, who: Identity, project: str, filename: str
) -> None:
    """Delete one file permanently."""
    await delete_files(
        app, request, who, project_name(project), "delete-file", filename, frozenset({filename})
    )


@guarded(routes, PROJECT + "/releases/<version>", may=Action.DELETE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def delete_release(
    app: App, request: Request, who: Identity, project: str, version: str
) -> None:
    """Delete all files of a release permanently."""
    name = project_name(project)
    await delete_files(
        app, request, who, name, "delete-release", version, await app.index.release(name, version)
    )


async def delete_files(
    app: App,
    request: Request,
    who: Identity,
    name: ProjectName,
    what: str,
    subject: str,
    filenames: frozenset[str],
) -> None:
    """Delete the files and answer with the project after that; `what` and `subject` name the
    deletion in the audit log.
    """
    _changed(
        app,
        request,
        who,
        await changes.delete(app, request, who, name, what, subject, filenames),
        filenames,
    )


@guarded(routes, PROJECT, may=Action.DELETE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def delete_project(app: App, request: Request, who: Identity, project: str) -> None:
    """Delete all files of a project permanently. Its name stays local."""
    left, filenames = await changes.delete_all(app, request, who, project_name(project))
    _changed(app, request, who, left, filenames)


@guarded(routes, "/api/names/<project>", may=Action.ADMIN, methods=("DELETE",))
@Described(Released, refuses=(*ABSENT, BadRequest))
async def release_name(app: App, request: Request, who: Identity, project: str) -> None:
    """Release the name of an empty project, which others may then use."""
    name = project_name(project)
    await changes.give_back(app, request, who, name)
    document: Released = {"name": name, "released": True}
    send_json(request, document)


def _changed(
    app: App, request: Request, who: Identity, project: Project, filenames: frozenset[str]
) -> None:
    """Send the project after the change. A client that may change but not read it (with a token to
    publish) learns only that it is done.
    """
    document: ChangedProject = {"name": project.name}
    if may(app.rules, who, Action.READ, project.name):
        document = {**project_document(project), "changed": sorted(filenames)}
    send_json(request, document)

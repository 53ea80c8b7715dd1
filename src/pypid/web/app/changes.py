"""Changes to published files and projects, each recorded in the audit log, for all routes: yank,
delete ...

The guard has already authorized the client, by the route's right. All raise the errors of
`index.local.manage.Manager`; then only a change that failed half-way is recorded.
"""

from __future__ import annotations

from pypid.core.model import Project, Status
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Identity
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import listed, recorded
from pypid.web.http.request import Request


async def yank(
    app: App,
    request: Request,
    who: Identity,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
    reason: str,
) -> Project:
    """Yank the files (PEP 592). `subject`: the file or release that the client named."""
    said = {"files": listed(filenames), "reason": reason}
    yanking = app.index.yank(name, filenames, reason)
    return await recorded(app, request, who, "yank", f"{name}/{subject}", yanking, lambda _: said)


async def unyank(
    app: App,
    request: Request,
    who: Identity,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> Project:
    """Remove the yank from the files."""
    said = {"files": listed(filenames)}
    unyanking = app.index.unyank(name, filenames)
    return await recorded(
        app, request, who, "unyank", f"{name}/{subject}", unyanking, lambda _: said
    )


async def set_status(
    app: App, request: Request, who: Identity, name: ProjectName, status: Status, reason: str
) -> Project:
    """Set the project's status (PEP 792)."""
    said = {"status": status.value, "reason": reason}
    setting = app.index.set_status(name, status, reason)
    return await recorded(app, request, who, "set-status", name, setting, lambda _: said)


async def delete(
    app: App,
    request: Request,
    who: Identity,
    name: ProjectName,
    what: str,
    subject: str,
    filenames: frozenset[str],
) -> Project:
    """Delete the files permanently; `what` (``delete-file``, ``delete-release``) and `subject`
    appear in the audit log.
    """
    said = {"files": listed(filenames)}
    deleting = app.index.delete(name, filenames, user_of(who))
    return await recorded(app, request, who, what, f"{name}/{subject}", deleting, lambda _: said)


async def delete_all(
    app: App, request: Request, who: Identity, name: ProjectName
) -> tuple[Project, frozenset[str]]:
    """Delete all files of the project, whose name stays local; return the project as it is then,
    and the filenames.
    """
    before = await app.index.parts.known(name)
    filenames = frozenset(file.filename for file in before.files)
    said = {"files": listed(filenames)}
    deleting = app.index.delete_project(name, user_of(who))
    return await recorded(
        app, request, who, "delete-project", name, deleting, lambda _: said
    ), filenames


async def give_back(app: App, request: Request, who: Identity, name: ProjectName) -> None:
    """Release the name of an empty project, which any other user may then take."""
    await recorded(app, request, who, "release-name", name, app.index.release_name(name))

"""Changes to published files and projects, each recorded in the audit log, for all routes: yank,
delete ...

The guard has already authorized the client, by the route's right. All raise the errors of
`index.local.manage.Manager`; then only a change that failed half-way is recorded.
"""

from __future__ import annotations

from pypid.core.model import Project, Status
from pypid.core.packaging.names import ProjectName
from pypid.index.explain import is_known_upstream, is_upstream, known_project
from pypid.web.app.app import user_of
from pypid.web.app.audit import listed, recorded
from pypid.web.app.ownership import disown
from pypid.web.app.request_context import RequestContext


async def yank(
    ctx: RequestContext,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
    reason: str,
) -> Project:
    """Yank the files (PEP 592). `subject`: the file or release that the client named."""
    details = {"files": listed(filenames), "reason": reason}
    yanking = ctx.app.index.manager.yank(name, filenames, reason)
    return await recorded(ctx, "project yank", f"{name}/{subject}", yanking, lambda _: details)


async def unyank(
    ctx: RequestContext,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> Project:
    """Remove the yank from the files."""
    details = {"files": listed(filenames)}
    unyanking = ctx.app.index.manager.unyank(name, filenames)
    return await recorded(ctx, "project unyank", f"{name}/{subject}", unyanking, lambda _: details)


async def set_status(
    ctx: RequestContext, name: ProjectName, status: Status, reason: str
) -> Project:
    """Set the project's status (PEP 792); that of an upstream project for this index."""
    details = {"status": status.value, "reason": reason}
    setting = _set_status(ctx, name, status, reason)
    return await recorded(ctx, "project set-status", name, setting, lambda _: details)


async def _set_status(
    ctx: RequestContext, name: ProjectName, status: Status, reason: str
) -> Project:
    index, decided = ctx.app.index, ctx.app.decided
    ends = status is Status.ACTIVE and not reason
    is_other = is_known_upstream if ends else is_upstream
    if decided is None or not await is_other(index, name):
        return await index.manager.set_status(name, status, reason)
    await decided.overrides.set(name, status, reason, user_of(ctx.identity))
    return await known_project(index, name)


async def delete(
    ctx: RequestContext,
    name: ProjectName,
    subject: str,
    filenames: frozenset[str],
) -> Project:
    """Delete the files permanently; `subject` is the filename or the version for the audit log."""
    details = {"files": listed(filenames)}
    deleting = ctx.app.index.manager.delete(name, filenames, user_of(ctx.identity))
    return await recorded(ctx, "project delete", f"{name}/{subject}", deleting, lambda _: details)


async def delete_all(ctx: RequestContext, name: ProjectName) -> tuple[Project, frozenset[str]]:
    """Delete all files of the project, whose name stays local; return the project as it is then,
    and the filenames.
    """
    before = await ctx.app.index.context.known(name)
    filenames = frozenset(file.filename for file in before.files)
    details = {"files": listed(filenames)}
    deleting = ctx.app.index.manager.delete_project(name, user_of(ctx.identity))
    return await recorded(ctx, "project delete", name, deleting, lambda _: details), filenames


async def give_back(ctx: RequestContext, name: ProjectName) -> None:
    """Release the name of an empty project, so that any user may take it. The owner is removed
    last: if that fails, the owner of a project that does not exist blocks other users for ten
    minutes only.
    """
    await recorded(ctx, "project unreserve", name, ctx.app.index.manager.release_name(name))
    await disown(ctx, name)

"""The JSON API for the storage as a whole: reconcile with it, adopt files in it, check it for
problems.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from pypid.core.errors import BadRequest, Busy, UpstreamDown
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action
from pypid.index.local.adoption import Adopted, Result
from pypid.index.local.storage_check import CheckReport
from pypid.index.progress import Tell
from pypid.index.store.reconcile import Reconciled
from pypid.index.upstream.imported_files import UpstreamMatch
from pypid.web.api.project_documents import (
    CheckedStorage,
    FindingDocument,
    ImportSurvey,
    Rebuilt,
    UpstreamMatchDocument,
)
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, attempted, listed
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.event_stream import run_streamed
from pypid.web.http.small_responses import read_json

T = TypeVar("T")

Came = tuple[Reconciled, Sequence[Adopted]]
"""The result of reconciling, and what became of files that had no record."""
NamedCame = tuple[Reconciled, Sequence[Adopted], AbstractSet[ProjectName]]
"""`Came`, and those projects of adopted files that also exist upstream."""


class Folder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an adoption: a folder on the server, or null for the whole storage. Files of the
    projects `cached` become cached files of the upstream index.
    """

    folder: str | None
    cached: list[str] = []


class Checkup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a check: whether to remove what nothing refers to, and whether to read all
    bytes.
    """

    sweep: bool = False
    hashes: bool = False


@route(
    "POST",
    "/api/rebuild",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(Rebuilt, refuses=(Busy,), streams=True),
)
async def rebuild(ctx: RequestContext) -> None:
    """Reconcile the catalog with the storage, and adopt files without a record.

    It covers all indexes, or the named index below which the request is sent.
    """
    await run_streamed(ctx.request, lambda tell: _named(ctx, rebuilt(ctx, None, tell)), _rebuilt)


@route(
    "POST",
    "/api/rebuild/<project>",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(Rebuilt, refuses=(Busy,), streams=True),
)
async def rebuild_project(ctx: RequestContext, project: ProjectName) -> None:
    """Reconcile one project with the storage, and adopt its files without a record."""
    await run_streamed(ctx.request, lambda tell: _named(ctx, rebuilt(ctx, project, tell)), _rebuilt)


async def rebuilt(ctx: RequestContext, name: ProjectName | None, tell: Tell | None = None) -> Came:
    """Reconcile all projects, or the one of this name, with the storage; `tell` receives the
    progress.
    """
    job = ctx.app.index.rebuild(user_of(ctx.identity), name, tell=tell)
    return await attempted(ctx, "storage rebuild", name or "storage", job, _counts)


@route(
    "POST",
    "/api/adopt",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(Rebuilt, takes=Folder, refuses=(Busy,), streams=True),
)
async def adopt(ctx: RequestContext) -> None:
    """Adopt the files of a folder in the storage. Below a named index: of a folder in its part of
    the storage, as local files of that index.
    """
    wanted = await read_json(ctx.request, Folder)
    prefix = _prefix_of(ctx.app, wanted.folder)
    if wanted.cached and ctx.app.index.name:
        raise BadRequest("A named index has no cached files: its upstream is that of its bases.")
    cached = frozenset(map(project_name, wanted.cached))

    def adopting(tell: Tell | None) -> Awaitable[NamedCame]:
        job = ctx.app.index.adopt(prefix, user_of(ctx.identity), cached, tell=tell)
        return _named(
            ctx, attempted(ctx, "storage import", wanted.folder or "storage", job, _counts)
        )

    await run_streamed(ctx.request, adopting, _rebuilt)


@route(
    "POST",
    "/api/adopt/survey",
    action=Action.ADMIN,
    describe=Described(ImportSurvey, takes=Folder, refuses=(Busy, UpstreamDown), streams=True),
)
async def survey_adoption(ctx: RequestContext) -> None:
    """Return which projects of a folder in the storage also exist upstream. Changes nothing."""
    wanted = await read_json(ctx.request, Folder)
    prefix = _prefix_of(ctx.app, wanted.folder)
    await run_streamed(
        ctx.request, lambda tell: ctx.app.index.maintenance.survey(prefix, tell=tell), _surveyed
    )


@route(
    "POST",
    "/api/check",
    action=Action.ADMIN,
    describe=Described(CheckedStorage, takes=Checkup, refuses=(Busy,), streams=True),
)
async def check(ctx: RequestContext) -> None:
    """Check the storage for problems."""
    wanted = await read_json(ctx.request, Checkup)
    await run_streamed(ctx.request, partial(checked, ctx, wanted), _checked)


async def checked(ctx: RequestContext, wanted: Checkup, tell: Tell | None = None) -> CheckReport:
    """Check the storage for problems; `tell` receives the progress."""
    checking = ctx.app.index.check(sweep=wanted.sweep, hashes=wanted.hashes, tell=tell)
    return await (
        attempted(ctx, "storage check --sweep", "storage", checking, _swept)
        if wanted.sweep
        else checking
    )


def _prefix_of(app: App, name: str | None) -> str:
    """Return the prefix of the keys of the folder's files; empty for the whole storage. Raises
    `BadRequest`, with advice, for a folder outside the storage.
    """
    if name is None:
        return ""
    folder, storage = Path(name), app.settings.storage_folder
    if storage is None:
        raise BadRequest(
            "Only a storage that is a folder ([storage] backend = files) can adopt one."
        )
    if app.index.name:
        return _prefix_in_part(folder, storage / app.index.prefix, app.index.name)
    try:
        below = folder.resolve().relative_to(storage.resolve()).as_posix()
    except ValueError:
        raise BadRequest(
            f"{folder} is not in the storage folder, {storage}. To adopt it in place, make it the "
            f"storage: set path = {folder} in [storage], start pypid, and adopt it again. Or move "
            "the files into the storage folder, and run `pypid storage rebuild`."
        ) from None
    return "" if below == "." else f"{below}/"


def _prefix_in_part(folder: Path, part: Path, index: str) -> str:
    try:
        below = folder.resolve().relative_to(part.resolve()).as_posix()
    except ValueError:
        raise BadRequest(
            f"{folder} is not in {part}, the part of the storage that belongs to the index "
            f"{index!r}. Move the files there, and import them again."
        ) from None
    return "" if below == "." else f"{below}/"


def _counts(came: Came) -> Details:
    found, taken = came
    adopted = [line.key for line in taken if line.outcome is Result.ADOPTED]
    cached = [line.key for line in taken if line.outcome is Result.CACHED]
    details = {"changed": str(found.changed), "adopted": str(len(adopted))}
    if cached:
        details["cached"] = str(len(cached))
    return {**details, "files": listed([*adopted, *cached])}


def _swept(found: CheckReport) -> Details:
    swept = [finding.key for finding in found.findings if finding.swept]
    mended = [finding.key for finding in found.findings if finding.mended]
    details = {"swept": str(len(swept)), "keys": listed(swept)}
    return {**details, "mended": listed(mended)} if mended else details


def _checked(found: CheckReport) -> CheckedStorage:
    findings: list[FindingDocument] = [
        {
            "key": finding.key,
            "wrong": finding.wrong,
            "advice": finding.advice,
            "swept": finding.swept,
            "mended": finding.mended,
        }
        for finding in found.findings
    ]
    return {
        "objects": found.objects,
        "files": found.files,
        "kept": found.kept,
        "findings": findings,
    }


async def _named(ctx: RequestContext, job: Awaitable[Came]) -> NamedCame:
    """Return the result of the job with the projects of adopted files that exist upstream."""
    found, adopted = await job
    default = ctx.app.index.member("")  # a named index has no upstream of its own
    return found, adopted, await default.maintenance.also_upstream(adopted)


def _surveyed(matches: Sequence[UpstreamMatch]) -> ImportSurvey:
    found: list[UpstreamMatchDocument] = [
        {"project": match.project, "same": list(match.same), "other": list(match.other)}
        for match in matches
    ]
    return {"also_upstream": found}


def _rebuilt(came: NamedCame) -> Rebuilt:
    found, adopted, also_upstream = came
    return {
        "projects": found.projects,
        "changed": found.changed,
        "adopted": [
            {"key": one.key, "outcome": one.outcome, "problems": list(one.problems)}
            for one in adopted
        ],
        "also_upstream": sorted(also_upstream),
    }

"""The JSON API of the storage: comparison, check, storage classes, imports, exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

import msgspec
from msgspec import Meta

from pypid.core.archives.inspection import inspect
from pypid.core.errors import (
    AlreadyExists,
    BadFilename,
    BadRequest,
    Busy,
    NameUsedUp,
    NoSuchIndex,
    NotAvailable,
    NotYetKnown,
    UploadRejected,
    UpstreamDown,
)
from pypid.core.export_request import Export, ExportedIndex
from pypid.core.model import Presence, Project, Upload
from pypid.core.packaging.names import ProjectName, parse_filename, project_name
from pypid.core.packaging.upload import (
    ImportedFile,
    UploadFields,
    imported_file,
    imported_upload,
)
from pypid.core.permissions import Action
from pypid.core.tiering_rules import Moved, Tiered, TieringOutcome, TieringRule
from pypid.flow import shielded
from pypid.flow.spool import Spool
from pypid.index.local.adoption import Adopted, Result
from pypid.index.local.publish import PublishOutcome
from pypid.index.local.storage_check import CheckReport
from pypid.index.local.tiering import Tierer, tierer
from pypid.index.progress import Tell
from pypid.index.store import records
from pypid.index.store.reconcile import Reconciled
from pypid.web.api.projects import (
    CheckedStorage,
    ImportSurvey,
    Rebuilt,
)
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, attempted, listed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Described, Duration, Moment, route
from pypid.web.http.event_stream import Say, run_streamed, run_with_events
from pypid.web.http.request import duration_of
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import read_json, send_json
from pypid.web.http.upload_form import Limits, read_form

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
    job = ctx.app.index.maintenance.rebuild(user_of(ctx.identity), name, tell=tell)
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
        job = ctx.app.index.maintenance.adopt(prefix, user_of(ctx.identity), cached, tell=tell)
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
        ctx.request,
        lambda tell: ctx.app.index.maintenance.survey(prefix, tell=tell),
        lambda found: ImportSurvey(also_upstream=found),
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
    checking = ctx.app.index.maintenance.check(sweep=wanted.sweep, hashes=wanted.hashes, tell=tell)
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
    part = storage / app.index.context.prefix
    try:
        below = folder.resolve().relative_to(part.resolve()).as_posix()
    except ValueError:
        raise BadRequest(
            f"{folder} is not in {part}, the part of the storage that belongs to the index "
            f"{app.index.name!r}. Move the files there, and import them again."
            if app.index.name
            else f"{folder} is not in the storage folder, {storage}. To adopt it in place, make it "
            f"the storage: set path = {folder} in [storage], start pypid, and adopt it again. Or "
            "move the files into the storage folder, and run `pypid storage rebuild`."
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


def _checked(found: CheckReport) -> dict[str, Any]:
    document = msgspec.convert(found, CheckedStorage, from_attributes=True)
    return cast(dict[str, Any], msgspec.to_builtins(document))


async def _named(ctx: RequestContext, job: Awaitable[Came]) -> NamedCame:
    """Return the result of the job with the projects of adopted files that exist upstream."""
    found, adopted = await job
    default = ctx.app.index.member("")  # a named index has no upstream of its own
    return found, adopted, await default.maintenance.also_upstream(adopted)


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


# ``POST /api/tier``: moving old files into a cheaper storage class.


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a tiering request. ``older_than`` is a duration (180d)."""

    older_than: Duration
    keep: int
    storage_class: str = msgspec.field(name="class")
    dry_run: bool = False


FileMoved = TypedDict(
    "FileMoved",
    {
        "project": str,
        "filename": str,
        "size": int,
        "class": str,
        "outcome": TieringOutcome,
        "reason": str | None,
    },
)
"""The outcome for a file. `class`: its storage class before."""


class TieredFiles(TypedDict):
    """The outcome for all files. `outcomes` counts them; `size`: bytes that are moved, in total."""

    projects: int
    seen: int
    due: int
    outcomes: dict[str, int]
    size: int
    files: list[FileMoved]


@route(
    "POST",
    "/api/tier",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(TieredFiles, takes=Wanted, refuses=(Busy, NotAvailable), streams=True),
)
async def tier(ctx: RequestContext) -> None:
    """Move old local files into a cheaper storage class, and report the outcome of each.

    The files are those of the default index, or of the named one below which the request is sent.
    """
    wanted = await read_json(ctx.request, Wanted)
    age = duration_of("older_than", wanted.older_than)
    rule = TieringRule(age, wanted.keep, wanted.storage_class)

    async def run(say: Say | None) -> Tiered:
        context, bucket = ctx.app.index.context, ctx.app.index.bucket
        if say is None:
            return await _tiered(ctx, wanted, rule, await tierer(context, bucket))
        moving = await tierer(
            context,
            bucket,
            lambda line: say("progress", {"said": line}),
            lambda moved: say("file", _file(moved)),
        )
        return await _tiered(ctx, wanted, rule, moving)

    await run_with_events(ctx.request, run, _document)


async def _tiered(ctx: RequestContext, wanted: Wanted, rule: TieringRule, run: Tierer) -> Tiered:
    moving = run.tier(rule, dry=wanted.dry_run)
    if wanted.dry_run:
        return await moving
    return await attempted(ctx, "storage tier", rule.storage_class, moving, _moved)


def _moved(found: Tiered) -> Details:
    return {
        "files": listed(
            {
                f"{moved.project}/{moved.filename}"
                for moved in found.moved
                if moved.outcome is TieringOutcome.MOVED
            }
        )
    }


def _document(found: Tiered) -> TieredFiles:
    counts = Counter(moved.outcome for moved in found.moved)
    size = sum(
        moved.size
        for moved in found.moved
        if moved.outcome in (TieringOutcome.MOVED, TieringOutcome.WOULD_MOVE)
    )
    return {
        "projects": found.projects,
        "seen": found.files,
        "due": len(found.moved),
        "outcomes": {outcome.value: counts[outcome] for outcome in TieringOutcome},
        "size": size,
        "files": [
            _file(moved)
            for moved in sorted(found.moved, key=lambda moved: (moved.project, moved.filename))
        ],
    }


def _file(moved: Moved) -> FileMoved:
    return {
        "project": moved.project,
        "filename": moved.filename,
        "size": moved.size,
        "class": moved.before,
        "outcome": moved.outcome,
        "reason": moved.reason,
    }


# The JSON API that imports a file of another index, with its upload time and its uploader.

MOST_FILES = 1000
LARGEST_SURVEY = 1 << 20
"""Maximum bytes of a survey: names have at most 255 bytes."""
_State = Literal["missing", "same", "different", "deleted", "invalid"]
LIMITS = Limits(content=1 << 40, total=64 << 10, fields=20)
"""`[server] max_upload` does not apply, since an administrator imports all files of the other
index.
"""


class ImportForm(TypedDict):
    """The form. The hashes are compared with the file, the name and version with the file's name.

    `uploaded` is the upload time; without it, the time of the import. `uploader` is the user who
    published the file; `yanked` the reason of its yank, which may be empty.
    """

    content: Annotated[str, Meta(extra_json_schema={"format": "binary"})]
    name: NotRequired[str]
    sha256_digest: NotRequired[str]
    md5_digest: NotRequired[str]
    uploaded: NotRequired[Moment]
    uploader: NotRequired[str]
    yanked: NotRequired[str]


class Imported(TypedDict):
    """An imported file. `outcome` is ``published``, or ``unchanged`` if the index has this very
    file already; `problems` are the defects of the file.
    """

    project: str
    filename: str
    outcome: str
    problems: list[str]


class FileToImport(msgspec.Struct, forbid_unknown_fields=True):
    """A file of the other index."""

    filename: str
    sha256: str | None = None


class FilesToImport(msgspec.Struct, forbid_unknown_fields=True):
    """Files of the other index, at most 1000."""

    files: list[FileToImport] = []


class ImportStates(TypedDict):
    """The state of each file, in the order of the request: ``missing``; ``same`` or ``different``
    if the index has a file of this name; ``deleted`` if it had one; ``invalid``: no distribution
    has such a name.
    """

    states: list[_State]


@route(
    "POST",
    "/api/import",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(
        Imported, form=ImportForm, refuses=(UploadRejected, AlreadyExists, NameUsedUp)
    ),
)
async def import_file(ctx: RequestContext) -> None:
    """Publish a file of another index, with its upload time and uploader. An existing file is never
    replaced.
    """
    send_json(ctx.request, await shielded(_imported(ctx)))


@route(
    "POST",
    "/api/import/survey",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(ImportStates, takes=FilesToImport, refuses=(BadRequest,)),
)
async def survey_import(ctx: RequestContext) -> None:
    """Return which files of another index this index has already. Changes nothing."""
    wanted = await read_json(ctx.request, FilesToImport, largest=LARGEST_SURVEY)
    if len(wanted.files) > MOST_FILES:
        raise BadRequest(f"Send at most {MOST_FILES} files at once.")
    send_json(
        ctx.request, ImportStates(states=[await _state(ctx.app, file) for file in wanted.files])
    )


async def _state(app: App, wanted: FileToImport) -> _State:
    try:
        name = parse_filename(wanted.filename).project
    except BadFilename:
        return "invalid"
    ours = await app.index.context.local_project(name)
    if ours is Presence.UNKNOWN:
        raise NotYetKnown(name)
    stored = ours.file(wanted.filename) if isinstance(ours, Project) else None
    if stored is not None:
        return "same" if stored.sha256 == wanted.sha256 else "different"
    tombstone = await records.tombstone(app.index.context.blobs, name, wanted.filename)
    return "missing" if tombstone is None else "deleted"


async def _imported(ctx: RequestContext) -> Imported:
    app = ctx.app
    async with Spool(app.settings.spool, app.world.blocking) as spool:
        kind = header_of(ctx.request, "content-type") or ""
        form = await read_form(ctx.request.body, kind, limits=LIMITS, spool=spool)
        file = imported_file(form, app.world.now())
        upload, problems = await app.inspections.run(
            app.world.blocking, _inspected, form, file, spool
        )
        subject = f"{file.distribution.project}/{file.distribution.filename}"
        publishing = _published(app, upload, spool, file, file.uploader or user_of(ctx.identity))

        def details_of(outcome: PublishOutcome) -> Details | None:
            is_new = outcome is not PublishOutcome.UNCHANGED
            return {"sha256": upload.digests.sha256} if is_new else None

        outcome = await attempted(ctx, "project import", subject, publishing, details_of)
    return Imported(
        project=upload.distribution.project,
        filename=upload.distribution.filename,
        outcome=outcome.value,
        problems=list(problems),
    )


def _inspected(
    form: UploadFields, file: ImportedFile, spool: Spool
) -> tuple[Upload, tuple[str, ...]]:
    """Inspect the archive. Blocks."""
    with spool.inspected() as content:
        return imported_upload(form, file.distribution, inspect(content, file.distribution))


async def _published(
    app: App, upload: Upload, spool: Spool, file: ImportedFile, by: str
) -> PublishOutcome:
    outcome = await app.index.publish(upload, spool.body, by, uploaded=file.uploaded)
    if file.yanked is not None:
        name, filename = file.distribution.project, file.distribution.filename
        stored = (await app.index.context.known(name)).file(filename)
        if stored is not None and stored.yanked is None:
            await app.index.manager.yank(name, (filename,), file.yanked)
    return outcome


# The JSON API for exports: the index as files, in a folder or a bucket that the server can write
# to.

EVERY = 0.2
"""Seconds between two progress lines."""


Progress = Callable[[int, int], None]


@route(
    "POST",
    "/api/export",
    action=Action.ADMIN,
    describe=Described(
        ExportedIndex,
        takes=Export,
        refuses=(BadRequest, Busy, NoSuchIndex, NotAvailable),
        streams=True,
    ),
)
async def export(ctx: RequestContext) -> None:
    """Write what a user may see to static files."""
    wanted = await read_json(ctx.request, Export)
    _check(wanted)
    exports = ctx.app.exports
    if exports is None:
        raise NotAvailable("exports")
    reported = float("-inf")

    def run(say: Say | None) -> Awaitable[ExportedIndex]:
        def report_progress(done: int, of: int) -> None:
            nonlocal reported
            now = ctx.app.world.clock.seconds()
            if say is not None and (now - reported >= EVERY or done == of):
                reported = now
                line = f"{done} of {of} projects written"
                say("progress", {"said": line, "done": done, "of": of})

        return _exported(ctx, exports(wanted, report_progress), wanted)

    await run_with_events(ctx.request, run, msgspec.to_builtins)


async def _exported(
    ctx: RequestContext, job: Coroutine[Any, Any, ExportedIndex], wanted: Export
) -> ExportedIndex:
    def details_of(came: ExportedIndex) -> dict[str, str]:
        return {
            "as-user": wanted.as_user or "anonymous",
            "projects": str(came.projects),
            "delete": str(wanted.delete).lower(),
        }

    return await attempted(ctx, "export", wanted.target, job, details_of, index=wanted.index)


def _check(wanted: Export) -> None:
    if wanted.files_url is not None and wanted.signed_links:
        raise BadRequest("Links lead to files_url, or they are signed: give one of the two.")
    if wanted.files_url is not None and not wanted.files_url.startswith(("http://", "https://")):
        raise BadRequest(
            "files_url is an absolute http or https URL, like https://files.example.org/packages/."
        )

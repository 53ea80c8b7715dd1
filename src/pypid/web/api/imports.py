"""The JSON API that imports a file of another index, with its upload time and its uploader."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

import msgspec
from attrs import frozen
from msgspec import Meta

from pypid.core.archives.inspection import inspect
from pypid.core.errors import (
    AlreadyExists,
    BadFilename,
    BadRequest,
    NameUsedUp,
    NotYetKnown,
    UploadRejected,
)
from pypid.core.model import Presence, Project, Upload
from pypid.core.packaging.names import parse_filename
from pypid.core.packaging.upload import (
    ImportedFile,
    UploadFields,
    imported_file,
    imported_upload,
)
from pypid.core.permissions import Action
from pypid.flow import shielded
from pypid.flow.spool import Spool
from pypid.index.local.publish import PublishOutcome
from pypid.index.store import records
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, attempted
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import read_json, send_json
from pypid.web.http.upload_form import Limits, read_form

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


@frozen
class _Done:
    upload: Upload
    outcome: PublishOutcome
    problems: tuple[str, ...]


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
    done = await shielded(_imported(ctx))
    distribution = done.upload.distribution
    document: Imported = {
        "project": distribution.project,
        "filename": distribution.filename,
        "outcome": done.outcome.value,
        "problems": list(done.problems),
    }
    send_json(ctx.request, document)


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
    document: ImportStates = {"states": [await _state(ctx.app, file) for file in wanted.files]}
    send_json(ctx.request, document)


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


async def _imported(ctx: RequestContext) -> _Done:
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
    return _Done(upload, outcome, problems)


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
            await app.index.yank(name, (filename,), file.yanked)
    return outcome

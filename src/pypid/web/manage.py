"""The JSON API for managing what is published, below ``/api/``; described in docs/http-api."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from pypid.core.errors import (
    BadListing,
    BadRequest,
    Busy,
    Loop,
    NoSuchFile,
    NoSuchProject,
    NotYetKnown,
    PypidError,
    UpstreamDown,
)
from pypid.core.model import Project, Status
from pypid.core.names import ProjectName, project_name
from pypid.core.permissions import Action, Identity, may
from pypid.index.adopting import Adopted, Result
from pypid.index.checking import Checked
from pypid.index.progress import Tell
from pypid.index.reconciling import Reconciled
from pypid.web.asking import asked_of
from pypid.web.deeds import Details, attempted, listed, recorded
from pypid.web.describing import Described
from pypid.web.describing_projects import (
    ChangedProject,
    CheckedStorage,
    FindingDocument,
    ProjectDocument,
    Projects,
    Rebuilt,
    Released,
    project_document,
)
from pypid.web.documents import read_json, send_json
from pypid.web.events import Stream, stream_of
from pypid.web.face import Face, app, user_of
from pypid.web.guard import guarded
from pypid.web.request import Request

PROJECT = "/api/projects/<project>"
_Came = tuple[Reconciled, Sequence[Adopted]]
ABSENT = (NoSuchProject, NoSuchFile, Busy, NotYetKnown)


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a yank."""

    reason: str = ""


class NewStatus(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change of status (PEP 792)."""

    status: Status
    reason: str = ""


class Folder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an adoption: a folder on the server."""

    folder: str


class Checkup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a check: whether to remove what nothing refers to, and whether to read all the bytes."""

    sweep: bool = False
    hashes: bool = False


# --- looking ------------------------------------------------------------------------------------------------


@guarded(app, "/api/projects", may=Action.READ)
@Described(Projects)
async def projects(face: Face, request: Request, who: Identity) -> None:
    """The projects' names."""
    document: Projects = {"projects": [summary.name for summary in await face.names(who)]}
    send_json(request, document)


@guarded(app, PROJECT, may=Action.READ)
@Described(ProjectDocument, refuses=(*ABSENT, UpstreamDown, BadListing, Loop))
async def project(face: Face, request: Request, who: Identity, project: str) -> None:
    """A project with its files."""
    send_json(request, project_document(await face.index.project(project_name(project), asked_of(face, request, who, project))))


# --- yank and status ----------------------------------------------------------------------------------------


@guarded(app, PROJECT + "/files/<filename>/yank", may=Action.WRITE, methods=("PUT",))
@Described(ChangedProject, takes=Reason, refuses=ABSENT)
async def yank_file(face: Face, request: Request, who: Identity, project: str, filename: str) -> None:
    """Yank one file."""
    await _yank(face, request, who, project_name(project), filename, frozenset({filename}))


@guarded(app, PROJECT + "/releases/<version>/yank", may=Action.WRITE, methods=("PUT",))
@Described(ChangedProject, takes=Reason, refuses=ABSENT)
async def yank_release(face: Face, request: Request, who: Identity, project: str, version: str) -> None:
    """Yank all files of a release."""
    name = project_name(project)
    await _yank(face, request, who, name, version, await face.index.release(name, version))


async def _yank(
    face: Face, request: Request, who: Identity, name: ProjectName, subject: str, filenames: frozenset[str]
) -> None:
    reason = (await read_json(request, Reason)).reason
    said = {"files": listed(filenames), "reason": reason}
    yanking = face.index.yank(name, filenames, reason)
    _changed(
        face, request, who, await recorded(face, request, who, "yank", f"{name}/{subject}", yanking, lambda _: said), filenames
    )


@guarded(app, PROJECT + "/files/<filename>/yank", may=Action.WRITE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def unyank_file(face: Face, request: Request, who: Identity, project: str, filename: str) -> None:
    """Take the yank off one file."""
    await _unyank(face, request, who, project_name(project), filename, frozenset({filename}))


@guarded(app, PROJECT + "/releases/<version>/yank", may=Action.WRITE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def unyank_release(face: Face, request: Request, who: Identity, project: str, version: str) -> None:
    """Take the yank off all files of a release."""
    name = project_name(project)
    await _unyank(face, request, who, name, version, await face.index.release(name, version))


async def _unyank(
    face: Face, request: Request, who: Identity, name: ProjectName, subject: str, filenames: frozenset[str]
) -> None:
    said = {"files": listed(filenames)}
    unyanking = face.index.unyank(name, filenames)
    _changed(
        face,
        request,
        who,
        await recorded(face, request, who, "unyank", f"{name}/{subject}", unyanking, lambda _: said),
        filenames,
    )


@guarded(app, PROJECT + "/status", may=Action.ADMIN, methods=("PUT",))
@Described(ChangedProject, takes=NewStatus, refuses=ABSENT)
async def set_status(face: Face, request: Request, who: Identity, project: str) -> None:
    """Set the project's status."""
    name = project_name(project)
    wanted = await read_json(request, NewStatus)
    said = {"status": wanted.status.value, "reason": wanted.reason}
    setting = face.index.set_status(name, wanted.status, wanted.reason)
    _changed(face, request, who, await recorded(face, request, who, "set-status", name, setting, lambda _: said), frozenset())


# --- delete -------------------------------------------------------------------------------------------------


@guarded(app, PROJECT + "/files/<filename>", may=Action.DELETE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def delete_file(face: Face, request: Request, who: Identity, project: str, filename: str) -> None:
    """Delete one file for good."""
    await delete_files(face, request, who, project_name(project), "delete-file", filename, frozenset({filename}))


@guarded(app, PROJECT + "/releases/<version>", may=Action.DELETE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def delete_release(face: Face, request: Request, who: Identity, project: str, version: str) -> None:
    """Delete all files of a release for good."""
    name = project_name(project)
    await delete_files(face, request, who, name, "delete-release", version, await face.index.release(name, version))


async def delete_files(
    face: Face, request: Request, who: Identity, name: ProjectName, what: str, subject: str, filenames: frozenset[str]
) -> None:
    """Delete them and answer with the project as it is then; `what` and `subject` say it in the audit log."""
    said = {"files": listed(filenames)}
    deleting = face.index.delete(name, filenames, user_of(who))
    _changed(
        face, request, who, await recorded(face, request, who, what, f"{name}/{subject}", deleting, lambda _: said), filenames
    )


@guarded(app, PROJECT, may=Action.DELETE, methods=("DELETE",))
@Described(ChangedProject, refuses=ABSENT)
async def delete_project(face: Face, request: Request, who: Identity, project: str) -> None:
    """Delete all files of a project for good; its name stays ours."""
    name = project_name(project)
    before = await face.index.parts.known(name)
    filenames = frozenset(file.filename for file in before.files)
    deleting = face.index.delete_project(name, user_of(who))
    said = {"files": listed(filenames)}
    _changed(
        face, request, who, await recorded(face, request, who, "delete-project", name, deleting, lambda _: said), filenames
    )


@guarded(app, "/api/names/<project>", may=Action.ADMIN, methods=("DELETE",))
@Described(Released, refuses=(*ABSENT, BadRequest))
async def release_name(face: Face, request: Request, who: Identity, project: str) -> None:
    """Give the name of an empty project back: it may then belong to somebody else again."""
    name = project_name(project)
    await recorded(face, request, who, "release-name", name, face.index.release_name(name))
    document: Released = {"name": name, "released": True}
    send_json(request, document)


# --- the storage --------------------------------------------------------------------------------------------


@guarded(app, "/api/rebuild", may=Action.ADMIN, methods=("POST",))
@Described(Rebuilt, refuses=(Busy,), streams=True)
async def rebuild(face: Face, request: Request, who: Identity) -> None:
    """Compare with the storage, and take in files without a record."""

    def rebuilding(tell: Tell | None) -> Awaitable[_Came]:
        job = face.index.rebuild(user_of(who), tell=tell)
        return attempted(face, request, who, "rebuild", "storage", job, _counts)

    await _told(request, rebuilding)


@guarded(app, "/api/rebuild/<project>", may=Action.ADMIN, methods=("POST",))
@Described(Rebuilt, refuses=(Busy,), streams=True)
async def rebuild_project(face: Face, request: Request, who: Identity, project: str) -> None:
    """Compare one project with the storage, and take in its files without a record."""
    name = project_name(project)

    def rebuilding(tell: Tell | None) -> Awaitable[_Came]:
        job = face.index.rebuild(user_of(who), name, tell=tell)
        return attempted(face, request, who, "rebuild", name, job, _counts)

    await _told(request, rebuilding)


@guarded(app, "/api/adopt", may=Action.ADMIN, methods=("POST",))
@Described(Rebuilt, takes=Folder, refuses=(Busy,), streams=True)
async def adopt(face: Face, request: Request, who: Identity) -> None:
    """Take in the files of a folder that lies in the storage."""
    wanted = await read_json(request, Folder)
    prefix = _prefix_of(face, Path(wanted.folder))

    def adopting(tell: Tell | None) -> Awaitable[_Came]:
        job = face.index.adopt(prefix, user_of(who), tell=tell)
        return attempted(face, request, who, "adopt", wanted.folder, job, _counts)

    await _told(request, adopting)


@guarded(app, "/api/check", may=Action.ADMIN, methods=("POST",))
@Described(CheckedStorage, takes=Checkup, refuses=(Busy,))
async def check(face: Face, request: Request, who: Identity) -> None:
    """Look for what is wrong in the storage."""
    wanted = await read_json(request, Checkup)
    checking = face.index.check(sweep=wanted.sweep, hashes=wanted.hashes)
    found = await (attempted(face, request, who, "sweep", "storage", checking, _swept) if wanted.sweep else checking)
    findings: list[FindingDocument] = [
        {"key": finding.key, "wrong": finding.wrong, "advice": finding.advice, "swept": finding.swept}
        for finding in found.findings
    ]
    document: CheckedStorage = {
        "objects": found.objects,
        "files": found.files,
        "kept": found.kept,
        "findings": findings,
    }
    send_json(request, document)


def _prefix_of(face: Face, folder: Path) -> str:
    """What the keys of the folder's files begin with. Raises `BadRequest`, with advice, for a folder outside the storage."""
    storage = face.settings.storage_folder
    if storage is None:
        raise BadRequest("Only a storage that is a folder ([storage] backend = files) can adopt one.")
    try:
        below = folder.resolve().relative_to(storage.resolve()).as_posix()
    except ValueError:
        raise BadRequest(
            f"{folder} is not in the storage folder, {storage}. To adopt it in place, make it the storage: set path = {folder} "
            "in [storage], start pypid, and adopt it again. Or move the files into the storage folder, and run `pypid rebuild`."
        ) from None
    return "" if below == "." else f"{below}/"


async def _told(request: Request, run: Callable[[Tell | None], Awaitable[_Came]]) -> None:
    """Answer with what came of it; whoever wants a stream hears meanwhile how far it is."""
    kind = stream_of(request)
    if kind is None:
        return send_json(request, _rebuilt(*await run(None)))
    stream = Stream(request, kind)
    stream.begin()
    try:
        came = await run(lambda said: stream.say("progress", {"said": said}))
    except PypidError as error:
        return stream.say("error", {"error": True, "message": str(error)})
    return stream.say("result", _rebuilt(*came))


def _counts(came: _Came) -> Details:
    found, taken = came
    adopted = [line.key for line in taken if line.outcome is Result.ADOPTED]
    return {"changed": str(found.changed), "adopted": str(len(adopted)), "files": listed(adopted)}


def _swept(found: Checked) -> Details:
    swept = [finding.key for finding in found.findings if finding.swept]
    return {"swept": str(len(swept)), "keys": listed(swept)}


def _rebuilt(found: Reconciled, adopted: Sequence[Adopted]) -> Rebuilt:
    return {
        "projects": found.projects,
        "changed": found.changed,
        "adopted": [{"key": one.key, "outcome": one.outcome, "problems": list(one.problems)} for one in adopted],
    }


def _changed(face: Face, request: Request, who: Identity, project: Project, filenames: frozenset[str]) -> None:
    """The project, after the change. Who may change it but not read it (a token to publish) learns only that it is done."""
    document: ChangedProject = {"name": project.name}
    if may(face.rules, who, Action.READ, project.name):
        document = {**project_document(project), "changed": sorted(filenames)}
    send_json(request, document)

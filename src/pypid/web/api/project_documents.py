"""Documents of the JSON API about projects and their files."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from pypid.core.model import File, Project, Status
from pypid.core.simple_api.entries import utc_text
from pypid.index.local.adoption import Result
from pypid.index.local.storage_check import StorageProblem
from pypid.web.app.descriptions import Moment


class FileDocument(TypedDict):
    """A file. `size` in bytes; `yanked_reason` is null also if none was given."""

    filename: str
    version: str
    size: int | None
    sha256: str | None
    upload_time: Moment | None
    uploader: str | None
    requires_python: str | None
    yanked: bool
    yanked_reason: str | None


class ProjectDocument(TypedDict):
    """A project with its files."""

    name: str
    status: Status
    status_reason: str | None
    serial: int
    files: list[FileDocument]


class HiddenFile(TypedDict):
    """A file that is withheld; `because` is for people."""

    filename: str
    version: str
    because: str


class ProjectForAdmins(ProjectDocument):
    """A project with its files. `hidden`: for administrators, those of a project in quarantine."""

    hidden: list[HiddenFile]


class ChangedProject(TypedDict):
    """A project after a change, and the files concerned; only the name if the client may not read
    it.
    """

    name: str
    status: NotRequired[Status]
    status_reason: NotRequired[str | None]
    serial: NotRequired[int]
    files: NotRequired[list[FileDocument]]
    changed: NotRequired[list[str]]


class Projects(TypedDict):
    """The names of the projects."""

    projects: list[str]


class Released(TypedDict):
    """The result of releasing a project name."""

    name: str
    released: bool


class AdoptedDocument(TypedDict):
    """A file in the storage that had no record. `problems`: why it was refused or left alone, or
    what is odd about it.
    """

    key: str
    outcome: Result
    problems: list[str]


class Rebuilt(TypedDict):
    """The result of reconciling the catalog with the storage."""

    projects: int
    changed: int
    adopted: list[AdoptedDocument]
    also_upstream: list[str]


class UpstreamMatchDocument(TypedDict):
    """A project with files without a record that also exists upstream. `same`: the files that
    upstream lists with the same hash; `other`: all others.
    """

    project: str
    same: list[str]
    other: list[str]


class ImportSurvey(TypedDict):
    """The projects of a folder that also exist upstream."""

    also_upstream: list[UpstreamMatchDocument]


class FindingDocument(TypedDict):
    """A problem in the storage."""

    key: str
    wrong: StorageProblem
    advice: str
    swept: bool
    mended: bool


class CheckedStorage(TypedDict):
    """The result of a storage check."""

    objects: int
    files: int
    kept: int
    findings: list[FindingDocument]


def project_document(project: Project) -> ProjectDocument:
    """Return the document of a project."""
    return {
        "name": project.name,
        "status": project.status,
        "status_reason": project.status_reason,
        "serial": project.serial,
        "files": [file_document(file) for file in project.files],
    }


def file_document(file: File) -> FileDocument:
    """Return the document of a file."""
    return {
        "filename": file.filename,
        "version": file.version,
        "size": file.size,
        "sha256": file.sha256,
        "upload_time": None if file.uploaded is None else utc_text(file.uploaded),
        "uploader": file.uploader,
        "requires_python": file.requires_python,
        "yanked": file.yanked is not None,
        "yanked_reason": file.yanked or None,
    }

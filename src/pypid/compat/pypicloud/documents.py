"""Documents of pypicloud's API about projects and their files: its words, its keys, its dates
(whole seconds since 1970, UTC).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

import msgspec
from msgspec import Meta

from pypid.core.model import File, Project, RenderedPage
from pypid.core.simple_api.entries import quoted
from pypid.core.simple_api.render import finished

PREFIX = "/api/package/"
JSON = "application/json"


class Metadata(TypedDict, total=False):
    """The metadata of a file; what is not known is left out."""

    requires_python: str
    summary: str
    hash_sha256: str
    hash_md5: str
    uploader: str


class Package(TypedDict):
    """A file. `url` carries its hash; `last_modified` is when it was published, or null if that may
    not be disclosed.
    """

    name: str
    filename: str
    last_modified: int | None
    version: str
    url: str
    summary: str | None
    metadata: Metadata


class Uploaded(Package):
    """A file that was just published, and the outcome in words, which pypicloud did not send."""

    message: str


class UploadForm(TypedDict):
    """The part of the form that counts; the other parts of the upload form are allowed."""

    content: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class Packages(TypedDict):
    """The stored files of a project, newest version first, and whether the client may publish
    there.
    """

    packages: list[Package]
    write: bool


class Overview(TypedDict):
    """A project: when a file of it was last published, and the summary of its newest version."""

    name: str
    last_modified: int
    summary: str | None


class Listed(TypedDict):
    """The projects with stored files: their names, or with ``?verbose=true`` an overview of
    each.
    """

    packages: list[str | Overview]


def package_of(file: File, base: str) -> Package:
    """Return the document of a file; `base` is what its URL begins with."""
    fragment = f"#sha256={file.sha256}" if file.sha256 else ""
    return {
        "name": file.project,
        "filename": file.filename,
        "last_modified": seconds_of(file),
        "version": file.version,
        "url": f"{base}{PREFIX}{file.project}/{quoted(file.filename)}{fragment}",
        "summary": file.summary or None,
        "metadata": _metadata(file),
    }


def _metadata(file: File) -> Metadata:
    found: Metadata = {}
    if file.requires_python:
        found["requires_python"] = file.requires_python
    if file.sha256:
        found["hash_sha256"] = file.sha256
    if file.md5:
        found["hash_md5"] = file.md5
    if file.uploader:
        found["uploader"] = file.uploader
    if file.summary:
        found["summary"] = file.summary
    return found


def seconds_of(file: File) -> int | None:
    """Return when a file was published or, if upstream does not say, first seen here."""
    moment = file.uploaded or file.seen
    return None if moment is None else int(moment.timestamp())


def overview_page(projects: Sequence[Project]) -> RenderedPage:
    """Return the list for ``?verbose=true``."""
    return _page([_overview(project) for project in projects])


def names_page(projects: Sequence[Project]) -> RenderedPage:
    """Return the list without ``?verbose=true``: the names only."""
    return _page([project.name for project in projects])


def _page(packages: list[str | Overview]) -> RenderedPage:
    document: Listed = {"packages": packages}
    return finished(msgspec.json.encode(document), JSON)


def _overview(project: Project) -> Overview:
    last = max((seconds_of(file) or 0 for file in project.files), default=0)
    summary = next((file.summary for file in reversed(project.files) if file.summary), None)
    return {"name": project.name, "last_modified": last, "summary": summary}

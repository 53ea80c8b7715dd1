"""pypicloud's ``/api/package/``: the stored projects, and single files downloaded, published and
deleted; and POST requests to ``/``, ``/simple/`` and ``/pypi/``: uploads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, TypedDict

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from pypid.core.errors import (
    AlreadyExists,
    AlreadyThere,
    BadListing,
    BadRequest,
    Busy,
    Loop,
    NameUsedUp,
    NoSuchFile,
    NoSuchProject,
    NotYetKnown,
    ProjectClosed,
    UploadRejected,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.model import File, Project, RenderedPage, Upload
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.upload import distribution_of
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import quoted
from pypid.core.simple_api.render import finished
from pypid.flow import shielded
from pypid.index.local.publish import PublishOutcome
from pypid.web.api.project_documents import ChangedProject
from pypid.web.api.projects import delete_files
from pypid.web.app.descriptions import FILE_BYTES, Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.app.stored_projects import FEW
from pypid.web.http.negotiation import Encoding
from pypid.web.http.query import Parameter, parameters
from pypid.web.http.redirects import redirect
from pypid.web.http.small_responses import send, send_json
from pypid.web.http.upload_form import Limits, refuse_early_form
from pypid.web.installers.files import send_named
from pypid.web.installers.uploads import Published, publish, receive, say, take, upload_spool

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


FILE = PREFIX + "<project>/<filename>"
VERBOSE = Parameter(
    "verbose", "Whether to tell more than the names.", {"type": "boolean", "default": False}
)

_YES = frozenset({"true", "t", "yes", "y", "on", "1"})
_NO = frozenset({"false", "f", "no", "n", "off", "0", ""})


# --- reading --------------------------------------------------------------------------------------


@route("GET", PREFIX, action=Action.READ, describe=Described(Listed, asks=(VERBOSE,)))
async def listed(ctx: RequestContext) -> None:
    """List the projects that have stored files."""
    if not ctx.request.path.endswith(b"/"):
        return redirect(ctx.request, PREFIX, permanent=True, restricted=ctx.app.restricted)
    verbose = _is_verbose(parameters(ctx.request, VERBOSE.name).get(VERBOSE.name, ""))
    render = overview_page if verbose else names_page
    made = await ctx.app.stored_projects.page(render.__name__, await ctx.visibility(), render)
    page = await made.in_encoding(Encoding.IDENTITY)
    return send(ctx.request, 200, page.content_type, page.body)


def _is_verbose(text: str) -> bool:
    """Return whether the word means yes. Raises `BadRequest` if it means neither yes nor no."""
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise BadRequest("verbose is true or false.")
    return word in _YES


@route(
    "GET",
    PREFIX + "<project>/",
    action=Action.READ,
    describe=Described(Packages, refuses=(NotYetKnown,)),
)
async def versions(ctx: RequestContext, project: ProjectName) -> None:
    """List the stored files of a project. The list is empty if there is no such project."""
    if not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"{PREFIX}{project}/", permanent=True, restricted=ctx.app.restricted
        )
    try:
        files = (await ctx.app.index.project(project, ctx.stored_permission)).files
    except NoSuchProject:
        files = ()
    base, write = ctx.base_url or "", ctx.may(Action.WRITE, project)
    made = partial(_packages, files, base, write=write)
    return send(
        ctx.request, 200, JSON, made() if len(files) <= FEW else await ctx.app.world.thinking(made)
    )


def _packages(files: Sequence[File], base: str, *, write: bool) -> bytes:
    """Return the document, encoded: takes a tenth of a second for ten thousand files."""
    document: Packages = {
        "packages": [package_of(file, base) for file in reversed(files)],
        "write": write,
    }
    return msgspec.json.encode(document)


@route(
    "GET",
    FILE,
    action=Action.READ,
    describe=Described(
        FILE_BYTES, refuses=(NoSuchFile, NotYetKnown, UpstreamDown, BadListing, WrongBytes, Loop)
    ),
)
async def download(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Download a file, as below ``/packages/``: its bytes, or a redirect to them. An upstream file
    is fetched and cached.
    """
    await send_named(ctx, project, filename, ctx.upstream_permission(project))


# --- changing -------------------------------------------------------------------------------------


@route(
    "POST",
    FILE,
    action=Action.WRITE,
    describe=Described(
        Uploaded,
        form=UploadForm,
        refuses=(UploadRejected, AlreadyThere, NameUsedUp, ProjectClosed, Busy, NotYetKnown),
    ),
)
async def upload(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Publish the file in the part ``content`` of the form. The file's own name counts, not the one
    in the address.
    """
    limits = Limits(content=ctx.app.settings.max_upload)
    refuse_early_form(ctx.request.body.size, limits)
    published = await shielded(_taken(ctx, project, limits))
    await send_uploaded(ctx, published)


async def _taken(ctx: RequestContext, name: ProjectName, limits: Limits) -> Published:
    """Receive and publish the upload."""
    async with upload_spool(ctx) as spool:
        form = await receive(ctx, spool, limits)
        distribution = distribution_of(form)
        if distribution.project != name:
            raise BadRequest(
                f"{distribution.filename!r} is a file of {distribution.project!r}, and not of "
                f"{name!r}."
            )
        try:
            published = await publish(ctx, form, spool)
        except AlreadyExists as error:
            raise AlreadyThere(error.filename, error.blake2b_256) from None
        if published.outcome is PublishOutcome.UNCHANGED and not ctx.may(Action.OVERWRITE, name):
            raise AlreadyThere(distribution.filename)
        return published


@route(
    "DELETE",
    FILE,
    action=Action.DELETE,
    describe=Described(ChangedProject, refuses=(BadRequest, Busy, NotYetKnown)),
)
async def delete(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Delete one file permanently. Needs the right to publish as well, as in pypicloud."""
    ctx.authorize(Action.WRITE, project)
    try:
        await delete_files(ctx, project, filename, frozenset({filename}))
    except (NoSuchProject, NoSuchFile):
        raise BadRequest(
            f"Could not find {filename} among the files that were published here."
        ) from None


@route("POST", "/", action=Action.WRITE, below_index=True)
async def at_the_root(ctx: RequestContext) -> None:
    """Publish one distribution."""
    await _upload(ctx)


@route("POST", "/simple/", action=Action.WRITE, below_index=True)
async def at_simple(ctx: RequestContext) -> None:
    """Publish one distribution."""
    await _upload(ctx)


@route("POST", "/pypi/", action=Action.WRITE, below_index=True)
async def at_pypi(ctx: RequestContext) -> None:
    """Publish one distribution."""
    await _upload(ctx)


async def _upload(ctx: RequestContext) -> None:
    taken = await take(ctx, unsaid="file_upload")
    if isinstance(taken, Published):
        await send_uploaded(ctx, taken)
    else:
        say(ctx.request, taken)


async def send_uploaded(ctx: RequestContext, published: Published) -> None:
    """Send the document of the published file, as far as its publisher may see it."""
    file = await _published_file(ctx, published.upload)
    package = package_of(file, ctx.base_url or "")
    document: Uploaded = {**package, "message": published.words}
    send_json(ctx.request, document)


async def _published_file(ctx: RequestContext, upload: Upload) -> File:
    """Return the file as it is listed; for a client that may not read (a token to publish), no more
    than it has sent.
    """
    name, filename = upload.distribution.project, upload.distribution.filename
    sent = File(
        project=name,
        filename=filename,
        version=upload.version,
        sha256=upload.digests.sha256,
        size=upload.digests.size,
        requires_python=upload.requires_python,
        summary=upload.summary,
        md5=upload.digests.md5,
    )
    if not ctx.may(Action.READ, name):
        return sent
    listed = (await ctx.app.index.context.known(name)).file(filename)
    return sent if listed is None else replace(listed, md5=listed.md5 or sent.md5)

"""The JSON API of projects: files, contents, comparisons, downloads, news, search."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import NotRequired, TypedDict

import msgspec

from pypid.core.accounts.rights import DownloadEntry, counted_name
from pypid.core.accounts.sessions import place_of
from pypid.core.archives.contents import Inner, MemberListing, OpenedMember, Text, read_text
from pypid.core.archives.differences import (
    DiffLine,
    FieldDifference,
    MemberDifferences,
    Pair,
)
from pypid.core.archives.tars import TarKind
from pypid.core.errors import (
    Archived,
    BadListing,
    BadRequest,
    Busy,
    Forbidden,
    Loop,
    NoSuchFile,
    NoSuchMember,
    NoSuchProject,
    NotAvailable,
    NotThere,
    NotYetKnown,
    Opaque,
    StorageDown,
    StorageFull,
    Unauthenticated,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.model import File, Project, Status
from pypid.core.packaging.names import ProjectName, project_name, same_version
from pypid.core.packaging.releases import Release, release_of
from pypid.core.permissions import Action, Visibility
from pypid.core.presentation.feeds import CONTENT_TYPE, OF_PROJECT, PAGES, PROJECTS, UPDATES, News
from pypid.core.presentation.feeds import projects as feed_of_projects
from pypid.core.presentation.feeds import releases_of as feed_of_project
from pypid.core.presentation.feeds import updates as feed_of_updates
from pypid.core.restrictions import HoldKind
from pypid.core.search import SearchQuery, SearchResults
from pypid.core.simple_api.listed_files import plain, utc_text
from pypid.core.simple_api.render import finished
from pypid.index.decisions import StoredBlock
from pypid.index.explain import held_files
from pypid.index.file_contents import Compared, ComparedText, Comparison
from pypid.index.local.adoption import Result
from pypid.index.local.manage import files_of_releases
from pypid.index.local.storage_check import StorageProblem
from pypid.index.upstream.imported_files import UpstreamMatch
from pypid.index.upstream.public_names import entries_of
from pypid.search.search import FARTHEST, MOST
from pypid.web.app import changes
from pypid.web.app.app import App
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Described, Moment, UtcTime, route
from pypid.web.http.request import LARGEST_SERIAL, Parameter, flag, names, number, parameters
from pypid.web.http.responses import FinishedPage, redirect, send_page
from pypid.web.http.small_responses import read_json, send_json
from pypid.web.installers.services import NO_HOST

# Documents of the JSON API about projects and their files.


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


class ImportSurvey(TypedDict):
    """The projects of a folder that also exist upstream."""

    also_upstream: Sequence[UpstreamMatch]


class FindingDocument(msgspec.Struct):
    """A problem in the storage."""

    key: str
    wrong: StorageProblem
    advice: str
    swept: bool
    mended: bool


class CheckedStorage(msgspec.Struct):
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


@route("GET", "/api/projects", action=Action.READ, describe=Described(Projects), below_index=True)
async def projects(ctx: RequestContext) -> None:
    """List the names of the projects."""
    send_json(
        ctx.request,
        Projects(projects=[summary.name for summary in await ctx.app.names(ctx.identity)]),
    )


@route(
    "GET",
    PROJECT,
    action=Action.READ,
    describe=Described(ProjectForAdmins, refuses=(*ABSENT, UpstreamDown, BadListing, Loop)),
    below_index=True,
)
async def project(ctx: RequestContext, project: ProjectName) -> None:
    """Return a project with its files."""
    seen = await ctx.app.index.seen(project, ctx.upstream_permission(project))
    document: ProjectForAdmins = {**project_document(seen.view.project), "hidden": []}
    if ctx.is_admin and not seen.view.project.status.offers_files:
        # off the reactor thread: ten thousand files may be withheld
        held = await ctx.app.world.thinking(lambda: [*held_files(ctx.app.index, seen)])
        document["hidden"] = [
            {"filename": file.filename, "version": file.version, "because": hold.value}
            for file, hold in held
        ]
    send_json(ctx.request, document)


# --- yank and status ------------------------------------------------------------------------------


YANK_DESCRIPTION = Described(ChangedProject, takes=Reason, refuses=ABSENT)
CHANGE_DESCRIPTION = Described(ChangedProject, refuses=ABSENT)


@route(
    "PUT",
    PROJECT + "/files/<filename>/yank",
    action=Action.WRITE,
    describe=YANK_DESCRIPTION,
    below_index=True,
)
@route(
    "PUT",
    PROJECT + "/releases/<version>/yank",
    action=Action.WRITE,
    describe=YANK_DESCRIPTION,
    below_index=True,
)
async def yank(
    ctx: RequestContext, project: ProjectName, filename: str = "", version: str = ""
) -> None:
    """Yank one file, or all files of a release."""
    reason = (await read_json(ctx.request, Reason)).reason
    subject, filenames = await _meant(ctx.app, project, filename, version)
    _changed(ctx, await changes.yank(ctx, project, subject, filenames, reason), filenames)


@route(
    "DELETE",
    PROJECT + "/files/<filename>/yank",
    action=Action.WRITE,
    describe=CHANGE_DESCRIPTION,
    below_index=True,
)
@route(
    "DELETE",
    PROJECT + "/releases/<version>/yank",
    action=Action.WRITE,
    describe=CHANGE_DESCRIPTION,
    below_index=True,
)
async def unyank(
    ctx: RequestContext, project: ProjectName, filename: str = "", version: str = ""
) -> None:
    """Un-yank one file, or all files of a release."""
    subject, filenames = await _meant(ctx.app, project, filename, version)
    _changed(ctx, await changes.unyank(ctx, project, subject, filenames), filenames)


async def _meant(
    app: App, project: ProjectName, filename: str, version: str
) -> tuple[str, frozenset[str]]:
    """Return the file or the release of the address, and the names of its files. Raises
    `NoSuchProject`, `NoSuchFile`.
    """
    if filename:
        return filename, frozenset({filename})
    return version, files_of_releases(await app.index.context.known(project), (version,))


@route(
    "PUT",
    PROJECT + "/status",
    action=Action.ADMIN,
    describe=Described(ChangedProject, takes=NewStatus, refuses=ABSENT),
    below_index=True,
)
async def set_status(ctx: RequestContext, project: ProjectName) -> None:
    """Set the status of a project. Of an upstream project, it is shown here instead of the upstream
    status, except an upstream quarantine; ``active`` without a reason ends that.
    """
    wanted = await read_json(ctx.request, NewStatus)
    changed = await changes.set_status(ctx, project, wanted.status, wanted.reason)
    _changed(ctx, changed, frozenset())


# --- delete ---------------------------------------------------------------------------------------


@route(
    "DELETE",
    PROJECT + "/files/<filename>",
    action=Action.DELETE,
    describe=CHANGE_DESCRIPTION,
    below_index=True,
)
@route(
    "DELETE",
    PROJECT + "/releases/<version>",
    action=Action.DELETE,
    describe=CHANGE_DESCRIPTION,
    below_index=True,
)
async def delete_files(
    ctx: RequestContext, project: ProjectName, filename: str = "", version: str = ""
) -> None:
    """Delete one file, or all files of a release, permanently."""
    subject, filenames = await _meant(ctx.app, project, filename, version)
    _changed(ctx, await changes.delete(ctx, project, subject, filenames), filenames)


@route(
    "DELETE",
    PROJECT,
    action=Action.DELETE,
    describe=Described(ChangedProject, refuses=ABSENT),
    below_index=True,
)
async def delete_project(ctx: RequestContext, project: ProjectName) -> None:
    """Delete all files of a project permanently. Its name stays local."""
    left, filenames = await changes.delete_all(ctx, project)
    _changed(ctx, left, filenames)


@route(
    "DELETE",
    "/api/names/<project>",
    action=Action.ADMIN,
    describe=Described(Released, refuses=(*ABSENT, BadRequest)),
    below_index=True,
)
async def release_name(ctx: RequestContext, project: ProjectName) -> None:
    """Release the name of an empty project, which others may then use."""
    await changes.give_back(ctx, project)
    send_json(ctx.request, Released(name=project, released=True))


def _changed(ctx: RequestContext, project: Project, filenames: frozenset[str]) -> None:
    """Send the project after the change. A client that may change but not read it (with a token to
    publish) learns only that it is done.
    """
    document: ChangedProject = {"name": project.name}
    if ctx.may(Action.READ, project.name):
        document = {**project_document(project), "changed": sorted(filenames)}
    send_json(ctx.request, document)


# The contents of a file, as JSON; the pages are in `web.ui`.
#
# A client that may see a file may see its contents: the file is looked up as for a download, and
# what a rule hides is hidden here, too. No member of an archive is ever sent in its own media
# type: texts are JSON strings, and all else is only described.

MOST_LISTED = 5000
"""Most members in one answer."""


class MemberDocument(TypedDict):
    """A member of an archive. `compressed`: its size within a zip. `kind`: ``file``, or the other
    type that it has.
    """

    path: str
    size: int
    compressed: int | None
    crc32: str | None
    kind: str
    link: str | None


class ContentsDocument(TypedDict):
    """The contents of a file. `total`: the number of members; `more`: how many of them follow
    these.

    If one member was requested, it is described instead: `text` is null if it is not text
    (`binary`); `cut`: it continues after what is shown.
    """

    filename: str
    members: NotRequired[list[MemberDocument]]
    total: NotRequired[int]
    more: NotRequired[int]
    path: NotRequired[str]
    size: NotRequired[int]
    kind: NotRequired[str]
    link: NotRequired[str | None]
    text: NotRequired[str | None]
    encoding: NotRequired[str | None]
    binary: NotRequired[bool]
    cut: NotRequired[bool]


WHAT_MAY_HAPPEN = (
    *(
        NoSuchProject,
        NoSuchFile,
        NoSuchMember,
        Opaque,
        Busy,
        NotYetKnown,
        StorageDown,
        StorageFull,
        Archived,
    ),
    *(UpstreamDown, BadListing, WrongBytes, NotThere, Loop),
)
OF_CONTENTS = (
    Parameter("path", "A member, as the list spells its path: return its text."),
    Parameter(
        "skip",
        "The number of members to skip.",
        {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    ),
)


@route(
    "GET",
    "/api/projects/<project>/files/<filename>/contents",
    action=Action.READ,
    describe=Described(ContentsDocument, asks=OF_CONTENTS, refuses=WHAT_MAY_HAPPEN),
    below_index=True,
)
async def contents(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """List the contents of a wheel, an egg or an sdist. With a path, return the text of one member,
    at most 1 MiB of it.
    """
    query = parameters(ctx.request, *names(OF_CONTENTS))
    skip = number(query, "skip", 0, 1_000_000) or 0
    permission = ctx.upstream_permission(project)
    found = await ctx.app.index.file(project, filename, permission)
    path = query.get("path")
    if path is None:
        listing = await ctx.app.contents.listing(found, permission)
        return send_json(ctx.request, _contents(found, listing, skip))
    opened = await ctx.app.contents.member(found, path, permission)
    text = await ctx.app.world.blocking(text_of, opened)
    return send_json(ctx.request, _opened(found, opened, text))


def text_of(opened: OpenedMember) -> Text | None:
    """Return the text of a member, or None if it is not text."""
    return read_text(opened.data, cut=opened.is_cut) if opened.member.kind is TarKind.FILE else None


def _contents(file: File, listing: MemberListing, skip: int) -> ContentsDocument:
    members = listing.members[skip : skip + MOST_LISTED]
    return {
        "filename": file.filename,
        "members": [_member(member) for member in members],
        "total": listing.total,
        "more": max(0, listing.total - skip - len(members)),
    }


def _member(member: Inner) -> MemberDocument:
    return {
        "path": member.path,
        "size": member.size,
        "compressed": member.packed,
        "crc32": None if member.crc is None else f"{member.crc:08x}",
        "kind": member.kind.value,
        "link": member.link or None,
    }


def _opened(file: File, opened: OpenedMember, text: Text | None) -> ContentsDocument:
    return {
        "filename": file.filename,
        "path": opened.member.path,
        "size": opened.member.size,
        "kind": opened.member.kind.value,
        "link": opened.member.link or None,
        "text": None if text is None else text.text,
        "encoding": None if text is None else text.encoding,
        "binary": text is None and opened.member.kind is TarKind.FILE,
        "cut": opened.is_cut,
    }


# The comparison of two releases of a project, as JSON; the page is in `web.ui.contents`.

MOST_COMPARED = 2000
"""Most members of each kind (added, removed, changed) in one answer."""

ChangedText = TypedDict("ChangedText", {"from": str, "to": str})
"""A changed value, in both releases."""


class FieldDocument(TypedDict):
    """The differences in one metadata field."""

    field: str
    added: list[str]
    removed: list[str]
    changed: list[ChangedText]


PairDocument = TypedDict(
    "PairDocument",
    {
        "kind": str,
        "from": str | None,
        "to": str | None,
        "from_size": int | None,
        "to_size": int | None,
    },
)
"""The files of one kind, by filename; null if a release has none."""


class SizedMember(TypedDict):
    """An archive member that only one of the two files has."""

    path: str
    size: int


class ChangedMember(TypedDict):
    """An archive member that differs between the two files."""

    path: str
    from_size: int
    to_size: int


class MembersDocument(TypedDict):
    """The differences between the contents of two files. `more`: how many members are in none of
    the lists.
    """

    added: list[SizedMember]
    removed: list[SizedMember]
    changed: list[ChangedMember]
    same: int
    more: int


LineDocument = TypedDict(
    "LineDocument", {"mark": str, "from": int | None, "to": int | None, "text": str}
)
"""A line, with its number in each text that has it; ``@`` marks omitted lines."""


class TextDocument(TypedDict):
    """The lines of one member that differ. `lines` is null if there are none to show; `problem`
    says why.
    """

    path: str
    lines: list[LineDocument] | None
    problem: str | None


ComparedDocument = TypedDict(
    "ComparedDocument",
    {
        "name": str,
        "from": str,
        "to": str,
        "metadata": list[FieldDocument] | None,
        "files": list[PairDocument],
        "kind": str | None,
        "contents": MembersDocument | None,
        "problem": str | None,
        "text": TextDocument | None,
    },
)
"""Two releases compared. `metadata` is null if that of one of them is not available; `contents` is
about the files of `kind`, null if there is no such pair or they cannot be read (`problem`).
"""

OF_COMPARISONS = (
    Parameter("from", "The older release, in any spelling of its version.", required=True),
    Parameter("to", "The newer release.", required=True),
    Parameter("kind", "The files to compare: the tags of a wheel as in its filename, or sdist."),
    Parameter("path", "A member that differs, to compare its lines."),
)


@route(
    "GET",
    "/api/projects/<project>/compare",
    action=Action.READ,
    describe=Described(ComparedDocument, asks=OF_COMPARISONS, refuses=WHAT_MAY_HAPPEN),
    below_index=True,
)
async def compare(ctx: RequestContext, project: ProjectName) -> None:
    """Compare two releases: their metadata, their files, and the contents of one pair of files."""
    query = parameters(ctx.request, *names(OF_COMPARISONS))
    permission = ctx.upstream_permission(project)
    found = await ctx.app.index.project(project, permission)
    if "from" not in query or "to" not in query:
        raise BadRequest("Say which releases to compare: from=1.0&to=2.0.")
    old, new = await both(ctx.app, found, query["from"], query["to"])
    comparison = Comparison(ctx.app.contents, found.name, permission)
    compared = await comparison.compare(old, new, query.get("kind"))
    text = await compared_text(comparison, compared, query["path"]) if "path" in query else None
    document = await ctx.app.world.blocking(compared_document, found.name, compared, text)
    send_json(ctx.request, document)


async def both(app: App, project: Project, old: str, new: str) -> tuple[Release, Release]:
    """Return the releases of both versions. Raises `NoSuchFile`."""
    if len(project.files) <= FEW_FILES:
        return _both(project, old, new)
    return await app.world.thinking(_both, project, old, new)


def _both(project: Project, old: str, new: str) -> tuple[Release, Release]:
    return _release(project, old), _release(project, new)


def _release(project: Project, version: str) -> Release:
    found = release_of(project, version)
    if found is None:
        raise NoSuchFile(f"{project.name} {version}")
    return found


async def compared_text(comparison: Comparison, compared: Compared, path: str) -> ComparedText:
    """Return the lines of a member that differ. Raises `NoSuchMember`, and `BadRequest` if no two
    files are compared.
    """
    chosen = compared.chosen
    if chosen is None or chosen.old is None or chosen.new is None:
        raise BadRequest(
            "There are no two files of one kind in these releases whose contents could be compared."
        )
    return await comparison.text(chosen.old, chosen.new, path)


def compared_document(
    project: ProjectName, compared: Compared, text: ComparedText | None
) -> ComparedDocument:
    """Return the document of a comparison; takes milliseconds if many members differ."""
    chosen = compared.chosen
    return {
        "name": project,
        "from": compared.old,
        "to": compared.new,
        "metadata": None if compared.fields is None else [_field(each) for each in compared.fields],
        "files": [_pair(pair) for pair in compared.pairs],
        "kind": None if chosen is None else chosen.kind,
        "contents": None if compared.members is None else _members(compared.members),
        "problem": compared.problem,
        "text": None if text is None else _text(text),
    }


def _field(found: FieldDifference) -> FieldDocument:
    return {
        "field": found.name,
        "added": list(found.added),
        "removed": list(found.removed),
        "changed": [{"from": each.old, "to": each.new} for each in found.changed],
    }


def _pair(pair: Pair) -> PairDocument:
    (old, old_size), (new, new_size) = _named(pair.old), _named(pair.new)
    return {"kind": pair.kind, "from": old, "to": new, "from_size": old_size, "to_size": new_size}


def _named(file: File | None) -> tuple[str | None, int | None]:
    return (None, None) if file is None else (file.filename, file.size)


def _members(found: MemberDifferences) -> MembersDocument:
    sorts = (found.added, found.removed, found.changed)
    return {
        "added": _sized(found.added),
        "removed": _sized(found.removed),
        "changed": [
            {"path": path, "from_size": each.old.size, "to_size": each.new.size}
            for path, each in islice(found.changed.items(), MOST_COMPARED)
        ],
        "same": found.same,
        "more": sum(max(0, len(sort) - MOST_COMPARED) for sort in sorts),
    }


def _sized(members: Mapping[str, Inner]) -> list[SizedMember]:
    return [
        {"path": path, "size": member.size}
        for path, member in islice(members.items(), MOST_COMPARED)
    ]


def _text(text: ComparedText) -> TextDocument:
    lines: Iterable[DiffLine] = text.lines or ()
    return {
        "path": text.path,
        "lines": None
        if text.lines is None
        else [
            {"mark": line.mark, "from": line.old, "to": line.new, "text": line.text}
            for line in lines
        ],
        "problem": text.problem,
    }


# The download log, ``GET /api/downloads``, and the download counts of a project; the entries are
# written by `web.app.audit`.
#
# All users who may read a project may see its counts; only administrators see who downloaded a
# file.

MOST_DOWNLOADS = 1000
"""Most entries in one answer."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
ASKS = (
    Parameter(
        "sha256",
        "The digest of a file. This, `project` or `blocked` is required.",
        {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
    ),
    Parameter("project", "All files of this project."),
    Parameter("version", "Only the files of this version of the project."),
    Parameter("filename", "Only this file of the project."),
    Parameter(
        "blocked",
        "Alone, or with ``yes``: only files that a block withholds, and their refused downloads.",
        {"type": "string", "enum": ["", "yes", "no"]},
    ),
    Parameter(
        "most",
        "The number of entries.",
        {"type": "integer", "minimum": 1, "maximum": MOST_DOWNLOADS, "default": MOST_DOWNLOADS},
    ),
    Parameter(
        "before",
        "Only downloads with a lower serial: the `before` of the last answer.",
        {"type": "integer", "minimum": 0},
    ),
)

REFUSES = (NotAvailable, NoSuchProject, Busy, NotYetKnown, UpstreamDown, BadListing, Loop)
DAYS, MOST_DAYS = 90, 400
"""Days that are reported by default, and days that are remembered."""
ASKS_DAYS = (
    Parameter(
        "days",
        "The number of days, up to today.",
        {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": DAYS},
    ),
)


class DownloadDocument(TypedDict):
    """A download of the file. `address`: the client's address; `token`: the id of its token;
    `index`: the named index below which the file was requested, null for the default one.
    """

    serial: int
    when: Moment
    user: str
    address: str | None
    token: str | None
    index: str | None
    project: str
    filename: str


class RefusalDocument(TypedDict):
    """A refused download: one for each client and file in an hour. `block`: the id of the block."""

    serial: int
    when: Moment
    user: str
    address: str | None
    token: str | None
    project: str
    filename: str
    block: str


class DownloadsOf(TypedDict):
    """The downloads of the files, newest first. `sha256`: the digest of the request; `before`: the
    value to send for the next page, null if there is none; `refused`: with `blocked` only.
    """

    sha256: str | None
    downloads: list[DownloadDocument]
    before: int | None
    refused: NotRequired[list[RefusalDocument]]


class DayDocument(TypedDict):
    """The number of downloads on one day (in UTC)."""

    day: str
    count: int


class DownloadsOfProject(TypedDict):
    """The number of downloads from `since` to today: `total`, and of each day that had any, oldest
    first.
    """

    project: str
    since: str
    days: list[DayDocument]
    total: int


@route(
    "GET",
    "/api/downloads",
    action=Action.ADMIN,
    describe=Described(DownloadsOf, asks=ASKS, refuses=(*REFUSES, NoSuchFile)),
)
async def downloads(ctx: RequestContext) -> None:
    """List the downloads of a file, or of the files of a project, newest first."""
    query = parameters(ctx.request, *names(ASKS))
    is_blocked = flag(query, "blocked")
    digests = await (blocked_digests if is_blocked else _digests)(ctx, query)
    most = number(query, "most", 1, MOST_DOWNLOADS) or MOST_DOWNLOADS
    before = number(query, "before", 0, LARGEST_SERIAL)
    found = await ctx.app.downloads.of(*digests, most=most, before=before)
    document: DownloadsOf = {
        "sha256": digests[0] if "sha256" in query else None,
        "downloads": [_document(download) for download in found],
        "before": found[-1].serial if len(found) == most else None,
    }
    if is_blocked:
        document["refused"] = await _refused(ctx, query.get("project"), most)
    send_json(ctx.request, document)


async def blocked_digests(ctx: RequestContext, query: Mapping[str, str]) -> Sequence[str]:
    """Return the digests of the files that blocks withhold, of one project or of all. Raises
    `BadRequest`.
    """
    if not query.keys() <= {"blocked", "project", "most", "before"}:
        raise BadRequest("With ``blocked``, only a project can be named.")
    index, blocks = ctx.app.index, list(ctx.app.blocks.all.values())
    digests = {block.spec.sha256 for block in blocks if block.spec.sha256 is not None}
    chosen = {block.project for block in blocks if block.project is not None}
    if "project" in query:
        chosen = {project_name(query["project"])}
    found = set() if "project" in query else digests
    for name in sorted(chosen):
        local = await index.context.local_project(name)
        files: list[File] = [*(local.files if isinstance(local, Project) else ())]
        async for entry in entries_of(index, name):
            listed = entry.listing.files if entry.listing is not None else None
            files += [*entry.kept, *(listed or ())]
        found |= await ctx.app.world.thinking(_hit, blocks, files)
    return sorted(found)


def _hit(blocks: Iterable[StoredBlock], files: Iterable[File]) -> set[str]:
    """Return the digests of the files that one of the blocks hits."""
    return {
        file.sha256
        for file in files
        if file.sha256 is not None and any(block.hits(file) for block in blocks)
    }


async def _refused(ctx: RequestContext, project: str | None, most: int) -> list[RefusalDocument]:
    """Return the newest refusals because of blocks, of one project or of all."""
    name = None if project is None else project_name(project)
    entries = await ctx.app.journal.entries(what="download refuse", most=most)
    return [
        {
            "serial": entry.serial,
            "when": utc_text(entry.when),
            "user": entry.who,
            "address": entry.where or None,
            "token": entry.token,
            "project": entry.details.get("project", ""),
            "filename": entry.subject,
            "block": entry.details.get("reference", ""),
        }
        for entry in entries
        if entry.details.get("because") == HoldKind.BLOCKED.value
        and name in (None, entry.details.get("project"))
    ]


async def _digests(ctx: RequestContext, query: Mapping[str, str]) -> Sequence[str]:
    """Return the digests of the files that the query names. Raises `BadRequest`, `NoSuchFile`."""
    sha256 = query.get("sha256", "").lower()
    if ("sha256" in query) == ("project" in query) or (
        "sha256" in query and not _SHA256.match(sha256)
    ):
        raise BadRequest(
            "Name the files: /api/downloads?sha256= and 64 hexadecimal digits, ?project= and the "
            "name of a project, or ?blocked."
        )
    if sha256:
        return [sha256]
    name = project_name(query["project"])
    project = await ctx.app.index.project(name, ctx.upstream_permission(name))
    version, filename = query.get("version"), query.get("filename")
    files = [
        file
        for file in project.files
        if filename in (None, file.filename)
        and (version is None or same_version(version, file.version))
    ]
    if not files:
        raise NoSuchFile(f"{name} {filename or version or ''}".rstrip())
    return [file.sha256 for file in files if file.sha256 is not None]


@route(
    "GET",
    "/api/projects/<project>/downloads",
    action=Action.READ,
    describe=Described(DownloadsOfProject, asks=ASKS_DAYS, refuses=REFUSES),
    below_index=True,
)
async def downloads_of_project(ctx: RequestContext, project: ProjectName) -> None:
    """Return the number of downloads of the project's files by day; below a named index, only of
    downloads there.
    """
    query = parameters(ctx.request, *names(ASKS_DAYS))
    days = number(query, "days", 1, MOST_DAYS) or DAYS
    # raises for a project that does not exist
    await ctx.app.index.project(project, ctx.upstream_permission(project))
    if not (await ctx.visibility()).sees_bases(project):
        if ctx.identity.user is None:
            raise Unauthenticated()
        advice = "They include those of files that you may not read."
        raise Forbidden(ctx.identity.user, "see the downloads", project, advice=advice)
    since = ctx.app.world.now().date() - timedelta(days=days - 1)
    found = await ctx.app.downloads.by_day(counted_name(ctx.app.index.name, project), since)
    send_json(
        ctx.request,
        DownloadsOfProject(
            project=project,
            since=str(since),
            days=[{"day": str(day), "count": count} for day, count in found],
            total=sum(count for _, count in found),
        ),
    )


def _document(download: DownloadEntry) -> DownloadDocument:
    return {
        "serial": download.serial,
        "when": utc_text(download.when),
        "user": download.who,
        "address": download.where or None,
        "token": download.token,
        "index": download.project.rpartition("/")[0] or None,
        "project": download.project.rpartition("/")[2],
        "filename": download.filename,
    }


# New releases and projects: the RSS feeds of the public index, ``GET /api/news``, and the lists of
# the home page.

MOST_NEWS = 100
FEW = 20
NEWS_ASKS = (
    Parameter(
        "most",
        "The number of entries of each list.",
        {"type": "integer", "minimum": 1, "maximum": MOST_NEWS, "default": FEW},
    ),
)


class NewsDocument(msgspec.Struct):
    """A release. `uploaded`: when its first file was uploaded."""

    project: str
    version: str
    uploaded: UtcTime
    summary: str


class NewsDocuments(TypedDict):
    """The newest releases of all projects, and the first releases of the newest projects."""

    releases: list[NewsDocument]
    projects: list[NewsDocument]


async def releases(ctx: RequestContext, most: int) -> tuple[News, ...]:
    """Return the newest releases that the user may see, newest first."""
    return await ctx.listed(lambda by: ctx.app.news.releases(by, ctx.app.search.updated, most))


async def latest(ctx: RequestContext, most: int) -> tuple[News, ...]:
    """Return the newest release of each of `most` projects, newest first."""
    return await ctx.listed(lambda by: ctx.app.news.latest(by, ctx.app.search.updated, most))


async def newest_projects(ctx: RequestContext, most: int) -> tuple[News, ...]:
    """Return the newest projects that the user may see, each with its first release."""
    return await ctx.listed(lambda by: ctx.app.news.projects(by, ctx.app.search.created, most))


@route(
    "GET",
    "/api/news",
    action=Action.READ,
    describe=Described(NewsDocuments, asks=NEWS_ASKS, refuses=(NotAvailable,)),
    below_index=True,
)
async def news(ctx: RequestContext) -> None:
    """List the newest releases and projects, of all that is stored and that the user may read."""
    most = number(parameters(ctx.request, *names(NEWS_ASKS)), "most", 1, MOST_NEWS) or FEW
    send_json(
        ctx.request,
        NewsDocuments(
            releases=msgspec.convert(
                await releases(ctx, most), list[NewsDocument], from_attributes=True
            ),
            projects=msgspec.convert(
                await newest_projects(ctx, most), list[NewsDocument], from_attributes=True
            ),
        ),
    )


@route("GET", "/rss/updates.xml", action=Action.READ, below_index=True)
async def updates(ctx: RequestContext) -> None:
    """Return the RSS feed of releases (C114)."""
    newest = await releases(ctx, UPDATES)
    await _send(ctx, feed_of_updates(newest, _base(ctx), PAGES, ctx.request.index))


@route("GET", "/rss/packages.xml", action=Action.READ, below_index=True)
async def packages(ctx: RequestContext) -> None:
    """Return the RSS feed of projects (C114)."""
    newest = await newest_projects(ctx, PROJECTS)
    await _send(ctx, feed_of_projects(newest, _base(ctx), PAGES, ctx.request.index))


@route("GET", "/rss/project/<project>/releases.xml", action=Action.READ, below_index=True)
async def of_project(ctx: RequestContext, project: ProjectName) -> None:
    """Return the RSS feed of a project's releases (C114), of those with stored files."""
    if ctx.spelling != project:
        return redirect(
            ctx.request,
            f"/rss/project/{project}/releases.xml",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    await ctx.app.index.project(
        project, ctx.stored_permission
    )  # raises for a project that does not exist
    found = await ctx.app.news.of(project, await ctx.visibility())
    feed = feed_of_project(project, found[:OF_PROJECT], _base(ctx), PAGES, ctx.request.index)
    return await _send(ctx, feed)


async def _send(ctx: RequestContext, feed: bytes) -> None:
    page = FinishedPage(finished(feed, CONTENT_TYPE), ctx.app.world.blocking)
    await send_page(ctx.request, page, restricted=ctx.app.restricted)


def _base(ctx: RequestContext) -> str:
    """Return the base URL for the links of a feed: readers know only absolute ones. Raises
    `BadRequest`.
    """
    base = ctx.base_url
    if base is None:
        raise BadRequest(NO_HOST)
    return base


# ``GET /api/search``: projects that match a query, best first; the search page uses the same
# results.

PYTHON = r"^[23](\.[0-9]{1,2}(\.[0-9]{1,3})?)?$"
SEARCH_ASKS = (
    Parameter(
        "q",
        (
            "Words to search for, in names, summaries and keywords. Without it: all projects "
            "that match the filters."
        ),
    ),
    Parameter(
        "source",
        "Only local projects (`ours`), or only those with cached files (`upstream`).",
        {"enum": ["", "ours", "upstream"]},
    ),
    Parameter(
        "python",
        "Only projects that run on this version of Python, such as 3.12.",
        {"type": "string", "pattern": f"^$|{PYTHON}"},
    ),
    Parameter("license", "Words of the licence."),
    Parameter("classifier", "A classifier, or its beginning up to one of its ``::``."),
    Parameter(
        "advisories",
        "Only projects with an advisory that affects a stored file.",
        {"enum": ["", "yes", "no"], "default": "no"},
    ),
    Parameter("page", "The number of the page.", {"type": "integer", "minimum": 1, "default": 1}),
    Parameter(
        "most",
        "The number of projects on a page.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": FEW},
    ),
)


class FoundDocument(msgspec.Struct):
    """A project. `updated`: when its last file was uploaded, if known."""

    name: str
    version: str
    summary: str
    source: str
    updated: UtcTime | None
    keywords: list[str]


class SearchDocument(msgspec.Struct):
    """The matching projects, best first. `unread`: how many projects have metadata that was not
    read yet.
    """

    found: list[FoundDocument]
    total: int
    page: int
    pages: int
    unread: int


async def results(
    ctx: RequestContext,
    query: SearchQuery,
    page: int,
    most: int = FEW,
    *,
    with_advisories: bool = False,
) -> SearchDocument:
    """Return a page of the results that the user may see. Raises `Busy`."""
    search, place = ctx.app.search, place_of(ctx.request.client_address() or "")

    async def found(by: Visibility) -> SearchResults:
        if with_advisories:  # sees nothing else
            names = await ctx.app.hosted_advisories.projects(by)
            by = Visibility(usual=False, others=names, bases=by.bases)
        return await search.find(query, by, most=most, skip=(page - 1) * most, place=place)

    findings = await ctx.listed(found)
    pages = max(1, min(-(-findings.total // most), FARTHEST // most))
    documents = [
        FoundDocument(
            name=each.name,
            version=each.version,
            summary=plain(each.summary),
            source="ours" if each.ours else "upstream",
            updated=each.updated,
            keywords=[plain(keyword) for keyword in each.keywords],
        )
        for each in findings.found
    ]
    return SearchDocument(documents, findings.total, page, pages, findings.unread)


@route(
    "GET",
    "/api/search",
    action=Action.READ,
    describe=Described(SearchDocument, asks=SEARCH_ASKS, refuses=(Busy,)),
    below_index=True,
)
async def searched(ctx: RequestContext) -> None:
    """Search the stored projects that the user may read, best match first."""
    fields = parameters(ctx.request, *names(SEARCH_ASKS))
    most = number(fields, "most", 1, MOST) or FEW
    page = number(fields, "page", 1, FARTHEST // most) or 1
    filters = {name: fields.get(name, "") for name in ("source", "python", "license", "classifier")}
    try:
        query = SearchQuery.read(fields.get("q", ""), **filters)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    only = flag(fields, "advisories")
    send_json(ctx.request, await results(ctx, query, page, most, with_advisories=only))

"""The JSON API of what hides files: advisories, blocks, and why something is hidden.

Advisories that hit stored files, and the check of lock files: ``/api/advisories``.

All users who may read a project see its advisories; only administrators see who downloaded a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NotRequired, TypedDict

import msgspec
from attrs import evolve
from twisted.internet.defer import TimeoutError as TimedOut

from pypid.advisories.service import Advisories
from pypid.core.accounts.sessions import place_of
from pypid.core.advisories import AdvisorySeverity, AdvisorySummary
from pypid.core.errors import (
    BadName,
    BadRequest,
    Busy,
    NoSuchResource,
    NotAvailable,
    NotYetKnown,
    PeopleUnknown,
    StorageFull,
    TooLarge,
    TooSlow,
)
from pypid.core.model import Project, Status
from pypid.core.packaging.block_spec import parse_block_spec
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.requirements import (
    JSON,
    LARGEST_REQUEST,
    DependencyList,
    Texts,
    parse_dependencies,
)
from pypid.core.permissions import Action, Visibility
from pypid.core.policy import PUBLIC
from pypid.core.presentation.explanation import FileWhy, NameStatus, Why
from pypid.core.restrictions import Hold
from pypid.core.simple_api.listed_files import utc_text
from pypid.flow import start
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.index.context import Pace
from pypid.index.decisions import StoredBlock
from pypid.index.explain import DependencyCheck, ReleaseState, why, why_in
from pypid.web.app.advisory_view import (
    UNREAD,
    FileDownloads,
    HostedAdvisory,
    hits_for,
    without_hidden_names,
)
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Described, Moment, Removed, route
from pypid.web.http.request import Parameter, names, number, parameters
from pypid.web.http.request_body import in_time, read_small, refuse_early
from pypid.web.http.small_responses import read_json, send, send_json

MOST = 10_000
"""Most advisories in one answer."""
MOST_USERS = 20
"""Users that are named for an advisory, those with the most downloads first."""
MOST_PINS = 5000
"""Releases in one check: each may need a listing from upstream."""
READING = 30.0
"""Seconds within which the body of a check must arrive."""
CHECKING = 60.0
"""Seconds for a check in all, with the wait for others from the same address."""

ASKS = (
    Parameter("project", "Only advisories of this project."),
    Parameter(
        "severity",
        "Only advisories of this severity or above; malware always counts.",
        {"enum": ["", *(severity.value for severity in AdvisorySeverity)]},
    ),
    Parameter(
        "most",
        "The number of advisories.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST},
    ),
)


class AdvisoryDocument(TypedDict):
    """An advisory. `fixed`: the versions that fix it; `private`: it is one of the company's own."""

    id: str
    aliases: list[str]
    summary: str
    severity: str
    malware: bool
    fixed: list[str]
    published: str
    modified: str
    private: bool


class DownloadsByUser(TypedDict):
    """The number of downloads by one user."""

    user: str
    downloads: int


class HostedDocument(AdvisoryDocument):
    """An advisory, with the files here that it hits. `downloads`: of these files in the last 30
    days, null if downloads are not recorded; `users`: null for other users than administrators.
    """

    project: str
    local: bool
    versions: list[str]
    files: list[str]
    downloads: int | None
    users: list[DownloadsByUser] | None


class HostedAdvisoriesDocument(TypedDict):
    """The advisories that hit stored files, the most severe first; `total` counts all of them.
    `age`: seconds since the source was read; null if `[advisories]` names none.
    """

    advisories: list[HostedDocument]
    total: int
    age: float | None


class HoldDocument(TypedDict):
    """Why a file is withheld. `reference`: the id of the block or of the advisory."""

    kind: str
    reason: str
    reference: str


class CheckedRelease(TypedDict):
    """A pinned release. `blocked`: why files of it are withheld; `yanked`: the reason of its yank,
    null if it is not yanked; `gone`: why no file of it is available, or empty; `unknown`: why it
    could not be checked, or empty.
    """

    project: str
    version: str
    blocked: list[HoldDocument]
    yanked: str | None
    gone: str
    vulnerable: list[AdvisoryDocument]
    attested: bool
    unknown: str


class UncheckedLine(TypedDict):
    """A line that names no release of an index, and why."""

    line: str
    reason: str


class CheckDocument(TypedDict):
    """The result of a check. `clean`: no release is blocked, yanked, gone, vulnerable or unknown,
    and not all lines are `unchecked`.
    `unchecked`: lines without an exact version, or that cannot be read.
    """

    clean: bool
    releases: list[CheckedRelease]
    unchecked: list[UncheckedLine]


class FilesToCheck(msgspec.Struct, forbid_unknown_fields=True):
    """The texts of the files to check."""

    requirements: Texts = ()
    pylock_toml: Texts = msgspec.field(default=(), name="pylock.toml")


# --- what is stored here --------------------------------------------------------------------------


@route(
    "GET",
    "/api/advisories",
    action=Action.READ,
    describe=Described(HostedAdvisoriesDocument, asks=ASKS),
    below_index=True,
)
async def hosted(ctx: RequestContext) -> None:
    """List the advisories that hit stored files."""
    query = parameters(ctx.request, *names(ASKS))
    most = number(query, "most", 1, MOST) or MOST
    by = await ctx.advisory_visibility()
    found = selected(
        await ctx.app.hosted_advisories.visible(by),
        query.get("project", ""),
        query.get("severity", ""),
    )
    shown = await ctx.app.hosted_advisories.shown(found[:most], by)
    downloads = await downloads_of(ctx.app, shown)
    names_users = ctx.is_admin
    send_json(
        ctx.request,
        HostedAdvisoriesDocument(
            advisories=[
                _hosted(each, counted, names_users=names_users)
                for each, counted in zip(shown, downloads, strict=True)
            ],
            total=len(found),
            age=ctx.app.advisories.age,
        ),
    )


def selected(
    found: Sequence[HostedAdvisory], project: str, severity: str
) -> Sequence[HostedAdvisory]:
    """Return those of a project, and of a severity or above. Raises `BadRequest`."""
    if project:
        try:
            name = project_name(project)
        except BadName as error:
            raise BadRequest(str(error)) from None
        found = [each for each in found if each.project == name]
    if severity:
        try:
            least = AdvisorySeverity(severity).rank
        except ValueError:
            known = ", ".join(each.value for each in AdvisorySeverity)
            raise BadRequest(f"The severity is one of {known}.") from None
        found = [
            each
            for each in found
            if each.advisory.is_malware or each.advisory.severity.rank >= least
        ]
    return found


async def downloads_of(app: App, found: Sequence[HostedAdvisory]) -> Sequence[FileDownloads | None]:
    """Return the downloads of the files of each; None where they are not recorded, or unknown."""
    try:
        return await app.hosted_advisories.counted(found)
    except (NotAvailable, PeopleUnknown):
        return [None] * len(found)


def _hosted(
    each: HostedAdvisory, downloads: FileDownloads | None, *, names_users: bool
) -> HostedDocument:
    users: list[DownloadsByUser] | None = None
    if names_users and downloads is not None:
        users = [{"user": user, "downloads": count} for user, count in downloads.users[:MOST_USERS]]
    return {
        "project": each.project,
        **_advisory(each.advisory),
        "local": each.is_local,
        "versions": [*each.versions],
        "files": [file.filename for file in each.files],
        "downloads": None if downloads is None else downloads.count,
        "users": users,
    }


def _advisory(advisory: AdvisorySummary) -> AdvisoryDocument:
    return {
        "id": advisory.id,
        "aliases": [*advisory.aliases],
        "summary": advisory.summary,
        "severity": advisory.severity.value,
        "malware": advisory.is_malware,
        "fixed": [*advisory.fixed],
        "published": advisory.published,
        "modified": advisory.modified,
        "private": advisory.private,
    }


# --- what a lock file needs -----------------------------------------------------------------------


@route(
    "POST",
    "/api/advisories/check",
    action=Action.READ,
    describe=Described(
        CheckDocument, takes=FilesToCheck, refuses=(BadRequest, Busy, TooLarge, TooSlow)
    ),
    below_index=True,
)
async def check(ctx: RequestContext) -> None:
    """Find pinned releases that are blocked, yanked, gone, vulnerable, or without attestations.

    They come from requirements and pylock.toml files.
    """
    checking = start(_looked_up(ctx))
    checking.addTimeout(CHECKING, ctx.app.world.clock)
    try:
        found, states = await checking
    except TimedOut:
        raise Busy(f"The check did not end within {CHECKING:g} s; what it read is kept.") from None
    by, pace, releases = (
        await ctx.advisory_visibility(),
        Pace(ctx.app.world),
        list[CheckedRelease](),
    )
    for state in states:
        await pace.keep()
        releases.append(await _checked(ctx.app.advisories, state, by))
    remarks = (*found.unparseable, *found.unpinned)
    send_json(
        ctx.request,
        CheckDocument(
            clean=all(map(_is_clean, releases)) and bool(releases or not remarks),
            releases=releases,
            unchecked=[{"line": each.line, "reason": each.reason} for each in remarks],
        ),
    )


async def _looked_up(ctx: RequestContext) -> tuple[DependencyList, Sequence[ReleaseState]]:
    """Return what the body names, and the state of each release. A client address has one check
    at a time; its others wait.
    """
    async with ctx.app.checks_by_address.hold(place_of(ctx.address)):
        data = await _body(ctx)
        found = await ctx.app.world.thinking(parse_dependencies, [(JSON, data)])
        if found is None:
            raise BadRequest("Send the text of a file as requirements or pylock.toml.")
        if len(found.pins) > MOST_PINS:
            raise BadRequest(f"A check may have {MOST_PINS} releases: divide the file.")
        return found, await DependencyCheck(ctx.app.index, ctx.permission_to_read).check(found.pins)


async def _body(ctx: RequestContext) -> bytes:
    """Return the body. Raises `TooSlow`, `Busy`, `TooLarge`."""
    refuse_early(ctx.request.body.size, LARGEST_REQUEST)
    with ctx.app.check_bodies.counted(ctx.request.body) as body:
        return await in_time(read_small(body, LARGEST_REQUEST), READING, ctx.app.world.clock)


async def _checked(advisories: Advisories, state: ReleaseState, by: Visibility) -> CheckedRelease:
    hits = hits_for(advisories, state.pin.project, state.pin.version, by)
    holds: list[HoldDocument] = [
        {"kind": hold.kind.value, "reason": hold.reason, "reference": hold.reference}
        for hold in state.holds
    ]
    if state.quarantine is not None:
        holds.append({"kind": "quarantined", "reason": state.quarantine, "reference": ""})
    return {
        "project": state.pin.project,
        "version": state.pin.version,
        "blocked": holds,
        "yanked": state.yanked,
        "gone": state.gone,
        "vulnerable": [
            _advisory(each) for each in await without_hidden_names(advisories, hits, by)
        ],
        "attested": state.attested,
        "unknown": state.unknown or (UNREAD if advisories.is_unread else ""),
    }


def _is_clean(release: CheckedRelease) -> bool:
    problems = (release["blocked"], release["gone"], release["vulnerable"], release["unknown"])
    return release["yanked"] is None and not any(problems)


# Blocks, created, listed and deleted: ``/api/blocks``.


class NewBlock(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a block. `spec`: ``acme``, ``acme==1.2``, ``acme>=1,<2`` or
    ``sha256:<digest>``.
    """

    spec: str
    reason: str
    advisory: str = ""


class BlockShape(TypedDict):
    """A block. `advisory` is "" without one; `created` is null if its document is unreadable."""

    id: str
    spec: str
    reason: str
    advisory: str
    created: Moment | None
    by: str


class CreatedBlock(BlockShape):
    """A new block, and its reach.

    `links_until`: until when signed URLs work that clients got before; null without such URLs.
    `not_revoked`: what else this index cannot revoke.
    """

    links_until: Moment | None
    not_revoked: list[str]


class BlockList(TypedDict):
    """All blocks, by id."""

    blocks: list[BlockShape]


@route("GET", "/api/blocks", action=Action.ADMIN, describe=Described(BlockList))
async def blocks(ctx: RequestContext) -> None:
    """List the blocks."""
    found = sorted(ctx.app.blocks.all.values(), key=lambda block: block.id)
    send_json(ctx.request, BlockList(blocks=[_shape(each) for each in found]))


@route(
    "GET",
    "/api/blocks/<block>",
    action=Action.ADMIN,
    describe=Described(BlockShape, refuses=(NoSuchResource,)),
)
async def block(ctx: RequestContext, block: str) -> None:
    """Show a block."""
    send_json(ctx.request, _shape(ctx.app.blocks.find(block)))


@route(
    "POST",
    "/api/blocks",
    action=Action.ADMIN,
    describe=Described(CreatedBlock, takes=NewBlock, refuses=(BadRequest, StorageFull)),
)
async def create(ctx: RequestContext) -> None:
    """Withhold files from all clients. The block is in force on this machine when this is
    answered, and on other nodes within a second. What is blocked already keeps its block.
    """
    wish = await read_json(ctx.request, NewBlock)
    send_json(ctx.request, await created(ctx, wish))


async def created(ctx: RequestContext, wish: NewBlock) -> CreatedBlock:
    """Create the block; return it once it is in force."""
    spec = parse_block_spec(wish.spec)
    before = set(ctx.app.blocks.all)
    creating = ctx.app.blocks.create(spec, wish.reason, wish.advisory, user_of(ctx.identity))
    made = await recorded(
        ctx,
        "block create",
        spec.text,
        creating,
        lambda made: None if made.id in before else _details(made),
    )
    links, document = ctx.app.index.links, made.document
    return {
        **_shape(made),
        "links_until": None
        if links is None or document is None
        else utc_text(document.created + links.lifetime),
        "not_revoked": list(await _not_revoked(ctx)),
    }


async def _not_revoked(ctx: RequestContext) -> Sequence[str]:
    """Return what a block cannot revoke: copies that other servers give, and how to close that."""
    if ctx.app.index.bucket is None:
        return (
            "If another web server serves the storage folder, it still serves blocked files. Let "
            "clients fetch files through pypid only.",
        )
    found = []
    is_versioned = await (await ctx.app.index.bucket()).is_versioned()
    if is_versioned is None:
        found.append(
            "It is unknown whether the bucket keeps former versions of blocked files. Allow "
            "s3:GetBucketVersioning on the bucket, so that pypid can tell."
        )
    elif is_versioned:
        found.append(
            "The bucket keeps former versions: a URL that names a version still gives a blocked "
            "file. Delete the former versions of the object, or allow only pypid to read versions."
        )
    if (cdn := ctx.app.settings.cdn) is not None:
        found.append(
            f"{cdn} gives cached copies of a blocked file until they expire there. Invalidate the "
            "path of the file in the distribution."
        )
    return found


@route(
    "DELETE",
    "/api/blocks/<block>",
    action=Action.ADMIN,
    describe=Described(Removed, refuses=(NoSuchResource, StorageFull)),
)
async def delete(ctx: RequestContext, block: str) -> None:
    """Delete a block: what it withheld is served again, unless another rule withholds it."""
    await deleted_block(ctx, block)
    send_json(ctx.request, Removed(name=block, removed=True))


async def deleted_block(ctx: RequestContext, id: str) -> None:
    """Delete the block."""
    found = ctx.app.blocks.find(id)
    await recorded(ctx, "block delete", found.spec.text, ctx.app.blocks.delete(id), _details)


def _details(block: StoredBlock) -> Details:
    advisory = "" if block.document is None else block.document.advisory
    more = {"advisory": advisory} if advisory else {}
    return {"block": block.id, "reason": block.reason, **more}


def _shape(block: StoredBlock) -> BlockShape:
    document = block.document
    return {
        "id": block.id,
        "spec": block.spec.text,
        "reason": block.reason,
        "advisory": "" if document is None else document.advisory,
        "created": None if document is None else utc_text(document.created),
        "by": "" if document is None else document.by,
    }


# Why something is hidden or missing: ``/api/why/``, for users who may publish and read.
#
# Users who may only read have the page, which omits what upstream failed with, and its address.


class OursWhy(TypedDict):
    """The local part of the project."""

    status: Status
    files: int


class UpstreamWhy(TypedDict):
    """The upstream listing. `status` and `files` are null if upstream has no such project."""

    asked: Moment
    index: str | None
    status: Status | None
    files: int | None


class OutageWhy(TypedDict):
    """An outage of the upstream index."""

    since: Moment
    error: str


class VisibleWhy(TypedDict):
    """The number of visible files, by their source."""

    ours: int
    kept: int
    upstream: int


class FileOfWhy(TypedDict):
    """A file. `rule` hides it (`because`, for people), until it becomes visible by itself, if it
    does.
    """

    filename: str
    ours: bool
    kept: bool
    visible: bool
    rule: str | None
    because: str | None
    until: Moment | None


class ProjectWhy(TypedDict):
    """The state of a name. `status` is for programs, and `says` is its text for people.
    `requested_from`: the name of an ``[upstream:<name>]``, or ``public``; null if the name is not
    requested. `taken_from`: below a named index, the indexes whose files it shows, and upstreams
    (``public``, or the name of an ``[upstream:<name>]``), in order of precedence. `local_in`: the
    named indexes with a local project of this name, as far as the client may read it there. `file`
    is the one of the request; without one, `hidden` has all hidden files.
    """

    name: str
    status: str
    says: str
    requested_from: str | None
    taken_from: list[str]
    local_in: list[str]
    not_asked: str | None
    not_shown: str | None
    ours: OursWhy | None
    upstream: UpstreamWhy | None
    failure: str | None
    outage: OutageWhy | None
    visible: VisibleWhy
    hidden: NotRequired[list[FileOfWhy]]
    file: NotRequired[FileOfWhy]


WHY_DESCRIPTION = Described(ProjectWhy, refuses=(NotYetKnown,))


@route("GET", "/api/why/<project>", action=Action.WRITE, describe=WHY_DESCRIPTION, below_index=True)
@route(
    "GET",
    "/api/why/<project>/<filename>",
    action=Action.WRITE,
    describe=WHY_DESCRIPTION,
    below_index=True,
)
async def explained(ctx: RequestContext, project: ProjectName, filename: str = "") -> None:
    """Return the state of a project name, its upstream listing, and each hidden file; or why one
    file is visible or hidden, whether it exists or not.
    """
    found = await found_of(ctx, project)
    # off the reactor thread: ten thousand files may be hidden, while upstream is unreachable
    body = await ctx.app.world.thinking(_encoded, found, breaker_of(ctx.app, found), filename)
    send(ctx.request, 200, "application/json", body)


async def found_of(ctx: RequestContext, project: ProjectName) -> Why:
    """Return all that is known of the name. Raises `Forbidden` for a user who may not read it."""
    # the answer names files: a token to publish is not enough
    ctx.authorize(Action.READ, project)
    reveals, local_in = ctx.is_admin, await _local_in(ctx, project)
    if ctx.app.original is None:
        found = await why(ctx.app.index, project, reveals=reveals or bool(local_in))
    else:
        may_read = ctx.stored_permission.may_read
        found = await why_in(ctx.app.index, project, may_read, reveals=reveals)
    return evolve(found, local_in=local_in)


async def _local_in(ctx: RequestContext, project: ProjectName) -> tuple[str, ...]:
    indexes, now = (ctx.app.original or ctx.app).indexes, ctx.app.world.now()
    names = sorted(await indexes.indexes_with(project) & indexes.settings.keys())
    open_ones = (name for name in names if not indexes.settings[name].has_expired(now))
    return tuple(name for name in open_ones if ctx.may(Action.READ, project, name))


def breaker_of(app: App, found: Why) -> CircuitBreaker:
    """Return the circuit breaker of the upstream that is explained."""
    return app.index.member(found.upstream_name).gate.breaker


def _encoded(found: Why, breaker: CircuitBreaker, filename: str) -> bytes:
    document = _document(found, breaker)
    if filename:
        document["file"] = _file(found, found.file(filename))
    else:
        document["hidden"] = [_file(found, file) for file in found.files if not file.visible]
    return msgspec.json.encode(document)


def _document(found: Why, breaker: CircuitBreaker) -> ProjectWhy:
    listing = found.upstream.listing
    return {
        "name": found.name,
        "status": _word(found.status),
        "says": found.text(found.status),
        "requested_from": (found.upstream_name or PUBLIC) if found.not_requested is None else None,
        "taken_from": list(found.taken_from),
        "local_in": list(found.local_in),
        "not_asked": None if found.not_requested is None else found.text(found.not_requested),
        "not_shown": None if found.not_shown is None else found.text(found.not_shown),
        "ours": {"status": found.ours.status, "files": len(found.ours.files)}
        if isinstance(found.ours, Project)
        else None,
        "upstream": None
        if listing is None
        else {
            "asked": utc_text(listing.confirmed),
            "index": listing.index,
            "status": None if listing.files is None else listing.status,
            "files": None if listing.files is None else len(listing.files),
        },
        "failure": None if found.upstream.failure is None else str(found.upstream.failure),
        "outage": None
        if breaker.since is None
        else {"since": utc_text(breaker.since), "error": str(breaker.error)},
        "visible": visible_of(found),
    }


def visible_of(found: Why) -> VisibleWhy:
    """Return the number of visible files, by their source."""
    visible = Counter((file.ours, file.kept) for file in found.files if file.visible)
    return {
        "ours": visible[True, False],
        "kept": visible[False, True],
        "upstream": visible[False, False],
    }


def _file(found: Why, file: FileWhy) -> FileOfWhy:
    return {
        "filename": file.filename,
        "ours": file.ours,
        "kept": file.kept,
        "visible": file.visible,
        "rule": None if file.because is None else _word(file.because),
        "because": None if file.because is None else found.text(file.because),
        "until": None if file.until is None else utc_text(file.until),
    }


def _word(of: Enum | Hold) -> str:
    """Return the name for programs: ``not-listed``."""
    of = of.kind if isinstance(of, Hold) else of
    return _FORMER_WORDS.get(of) or of.name.lower().replace("_", "-")


_FORMER_WORDS: Mapping[Enum, str] = {NameStatus.MIXED: "blended", NameStatus.UPSTREAM: "theirs"}
"""Words of the JSON API that differ from the names here: clients compare them."""

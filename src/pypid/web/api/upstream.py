"""The JSON API of upstream projects: settings, cache, publishers, approvals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Literal, TypedDict

import msgspec
from attrs import frozen

from pypid.core.accounts.rights import AuditAction
from pypid.core.accounts.signers import claimed_publishers
from pypid.core.configuration.values import COOLDOWN, duration_text
from pypid.core.errors import (
    BadName,
    BadRequest,
    CatalogDown,
    NoSuchFile,
    NoSuchProject,
    NoSuchResource,
    NotAvailable,
    StorageFull,
    Withheld,
    shortened,
)
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName, same_version
from pypid.core.permissions import Action
from pypid.core.restrictions import (
    ApprovalDocument,
    ApprovalVerdict,
    HoldKind,
    approval_id,
    parse_spec,
)
from pypid.core.simple_api.listed_files import utc_text
from pypid.core.trust import PublisherVerdict
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.index.trust import DoubtedFile, PublisherTrust
from pypid.index.upstream.approvals import WaitingProject, undecided, upstream_facts
from pypid.index.upstream.cache_store import InventoryEntry
from pypid.index.upstream.eviction import cached_files, purge
from pypid.index.upstream.public_names import entries_of
from pypid.index.views import UpstreamPermission
from pypid.web.api.server import NamedUpstreamDocument, OutageDocument, UpstreamDocument
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, attempted, listed, recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Described, Moment, Removed, UtcTime, route
from pypid.web.http.request import Parameter, duration_of, names, parameters
from pypid.web.http.small_responses import read_json, send_json


@route(
    "GET",
    "/api/upstream",
    action=Action.ADMIN,
    describe=Described(UpstreamDocument, refuses=(CatalogDown,)),
)
async def upstream(ctx: RequestContext) -> None:
    """Return the upstream indexes, whether they answer, what may be requested of them, and how much
    is cached.
    """
    index = ctx.app.index
    policy = index.context.policy
    used = await ctx.app.measures.usage.current()
    send_json(
        ctx.request,
        UpstreamDocument(
            mode=policy.mode,
            indexes=list(ctx.app.settings.indexes),
            outage=outage_of(index.gate.breaker),
            ttl=duration_text(index.source.ttl),
            cooldown=COOLDOWN.show(policy.cooldown),
            reserved=list(policy.reserved),
            allow=list(policy.allow),
            deny=list(policy.deny),
            blend=list(policy.allow_mixed),
            limit=ctx.app.settings.max_cache,
            kept=None if used is None else used.kept,
            kept_size=None if used is None else used.kept_size,
            upstreams=await named_upstreams(ctx.app),
            order=list(index.choice.names),
        ),
    )


async def named_upstreams(app: App) -> list[NamedUpstreamDocument]:
    """Return the further upstreams. Raises `CatalogDown`."""
    return [await _named(app, name) for name in app.index.upstreams]


async def _named(app: App, name: str) -> NamedUpstreamDocument:
    index, used = app.index.upstreams[name], await app.measures.of_upstream(name).current()
    return {
        "name": name,
        "indexes": list(app.settings.named_upstreams.get(name, ())),
        "only": list(index.context.policy.only),
        "outage": outage_of(index.gate.breaker),
        "ttl": duration_text(index.source.ttl),
        "cooldown": COOLDOWN.show(index.context.policy.cooldown),
        "kept": None if used is None else used.kept,
        "kept_size": None if used is None else used.kept_size,
    }


def outage_of(breaker: CircuitBreaker) -> OutageDocument | None:
    """Return the outage of an upstream, or None."""
    if breaker.error is None:
        return None
    since = None if breaker.since is None else utc_text(breaker.since)
    return {"since": since, "error": str(breaker.error)}


# The cache of upstream files, listed and purged by hand: ``/api/cache``.

ASKS = (
    Parameter(
        "older_than",
        "A duration (30d): only files without an access for so long.",
        {"type": "string", "pattern": "^[0-9]{1,15}[smhd]?$", "examples": ["30d"]},
    ),
    Parameter(
        "upstream",
        "The name of an ``[upstream:<name>]``: only its files.",
        {"type": "string", "examples": ["cu128"]},
    ),
)


class HeldProject(msgspec.Struct, omit_defaults=True):
    """The cached files of a project. `size` in bytes, with metadata and records; `last_access`: to
    one of them; `upstream`: the name of the ``[upstream:<name>]`` that they are from.
    """

    name: str
    files: int
    size: int
    last_access: UtcTime
    upstream: str = ""


class HeldFile(msgspec.Struct, omit_defaults=True):
    """A cached file. `complete`: false if only metadata is cached, or if a crash left only a part.
    `upstream`: as in `HeldProject`.
    """

    filename: str
    size: int
    last_access: UtcTime
    complete: bool
    upstream: str = ""


class Purged(msgspec.Struct):
    """The files removed from the cache."""

    files: int
    size: int
    projects: list[HeldProject]


class Cache(Purged):
    """The contents of the cache. `limit` in bytes, or null."""

    limit: int | None


class CachedProject(TypedDict):
    """The cached files of a project. `limit`: of the whole cache, in bytes, or null."""

    name: str
    size: int
    limit: int | None
    files: list[HeldFile]


@route("GET", "/api/cache", action=Action.ADMIN, describe=Described(Cache))
async def projects(ctx: RequestContext) -> None:
    """List the projects that have cached files."""
    held, limit = await cached_files(ctx.app.index), ctx.app.settings.max_cache
    send_json(ctx.request, Cache(_complete(held), _size(held), _by_project(held), limit))


@route("GET", "/api/cache/<project>", action=Action.ADMIN, describe=Described(CachedProject))
async def files(ctx: RequestContext, project: ProjectName) -> None:
    """List the cached files of a project."""
    held = await cached_files(ctx.app.index, project)
    send_json(
        ctx.request,
        CachedProject(
            name=project,
            size=_size(held),
            limit=ctx.app.settings.max_cache,
            files=[
                HeldFile(each.filename, each.size, _time(each.wanted), each.recorded, each.upstream)
                for each in held
            ],
        ),
    )


PURGE_DESCRIPTION = Described(Purged, asks=ASKS)


@route("DELETE", "/api/cache", action=Action.ADMIN, describe=PURGE_DESCRIPTION)
@route("DELETE", "/api/cache/<project>", action=Action.ADMIN, describe=PURGE_DESCRIPTION)
@route("DELETE", "/api/cache/<project>/<filename>", action=Action.ADMIN, describe=PURGE_DESCRIPTION)
async def purge_cache(
    ctx: RequestContext, project: ProjectName | None = None, filename: str | None = None
) -> None:
    """Delete all cached files, those of a project, or one. With ``?older_than=30d``, only those not
    accessed for so long.
    """
    if project is None and ctx.request.path.endswith(b"/"):  # /api/cache/$PROJECT, without one
        raise BadRequest(
            "No project is named after the slash. To remove all that is kept: DELETE /api/cache"
        )
    # unknown parameters are refused: after a misspelled one, everything would be removed
    query = parameters(ctx.request, *names(ASKS))
    age, upstream = query.get("older_than"), _upstream(ctx.app, query)
    unwanted = None if age is None else duration_of("older_than", age)
    gone = await purged(ctx, Purge(project, filename, unwanted, upstream))
    send_json(ctx.request, Purged(_complete(gone), _size(gone), _by_project(gone)))


@frozen
class Purge:
    """What to remove from the cache: all files, those of one project, or one file of it.
    `unwanted`: only files not accessed for so long; `upstream`: only files of this one.
    """

    name: ProjectName | None = None
    filename: str | None = None
    unwanted: timedelta | None = None
    upstream: str | None = None


async def purged(ctx: RequestContext, wanted: Purge) -> Sequence[InventoryEntry]:
    """Remove the files from the cache; return their entries."""
    subject = "/".join(word for word in (wanted.name, wanted.filename) if word) or "cache"
    purging = purge(
        ctx.app.index,
        wanted.name,
        wanted.filename,
        upstream=wanted.upstream,
        unwanted=wanted.unwanted,
    )
    return await attempted(ctx, "cache purge", subject, purging, _purged)


def _purged(gone: Sequence[InventoryEntry]) -> Details:
    return {
        "files": listed({f"{file.project}/{file.filename}" for file in gone}),
        "size": str(_size(gone)),
    }


def _upstream(app: App, query: Mapping[str, str]) -> str | None:
    """Return the upstream of the parameter, or None without it. Raises `BadRequest`."""
    name = query.get("upstream")
    if name is not None and name not in app.index.upstreams:
        known = " ".join(app.index.upstreams) or "none"
        raise BadRequest(f"There is no [upstream:{shortened(name)}]. Known: {known}.")
    return name


def _complete(held: Sequence[InventoryEntry]) -> int:
    """Return the number of files that can be served."""
    return sum(file.recorded for file in held)


def _size(held: Iterable[InventoryEntry]) -> int:
    return sum(file.size for file in held)


def _by_project(held: Sequence[InventoryEntry]) -> list[HeldProject]:
    documents: list[HeldProject] = []
    for (name, upstream), group in groupby(held, attrgetter("project", "upstream")):
        files = list(group)
        last = _time(max(file.wanted for file in files))
        documents.append(HeldProject(name, _complete(files), _size(files), last, upstream))
    return documents


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# Publishers of upstream files: the doubted ones, and their approval: ``/api/trust``.


class DoubtedFileShape(TypedDict):
    """An upstream file without the expected publisher. `held`: no client gets it."""

    project: str
    filename: str
    version: str
    sha256: str | None
    uploaded: Moment | None
    reason: str
    held: bool


class DoubtedFiles(TypedDict):
    """The doubted files by project; `ratchet` and `require` are those of ``[trust]``."""

    ratchet: str
    require: list[str]
    files: list[DoubtedFileShape]


class ApprovedFiles(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to approve files: filenames or versions."""

    files: list[str]


class Approved(TypedDict):
    """The approved files, by name."""

    project: str
    files: list[str]


class AttestationState(TypedDict):
    """Whether the attestations of a file were verified, by whom it was published, or what is
    wrong with them. `none`: the file has no attestation; `held`: the file is held for this problem.
    """

    project: str
    filename: str
    status: Literal["verified", "unverified", "none", "held"]
    publishers: list[str]
    problem: str


def trust_of(ctx: RequestContext) -> PublisherTrust:
    """Return what judges the publishers of upstream files."""
    trust = ctx.app.index.source.trust
    assert trust is not None
    return trust


@route("GET", "/api/trust", action=Action.ADMIN, describe=Described(DoubtedFiles))
async def doubted(ctx: RequestContext) -> None:
    """List the upstream files without the expected publisher."""
    rules = trust_of(ctx).rules
    send_json(
        ctx.request,
        DoubtedFiles(
            ratchet=rules.ratchet.value,
            require=[f"{rule.projects}={rule.publisher}" for rule in rules.require],
            files=[_shape(doubt) for doubt in await doubted_files(ctx)],
        ),
    )


async def doubted_files(ctx: RequestContext) -> Sequence[DoubtedFile]:
    """Return the upstream files without the expected publisher, by upstream and project."""
    found: list[DoubtedFile] = []
    for cache in ctx.app.index.caches.values():
        async for entry in trust_of(ctx).entries(cache.catalog):
            found += await ctx.app.world.thinking(trust_of(ctx).doubts, entry)
    return found


@route(
    "GET",
    "/api/trust/<project>/files/<filename>",
    action=Action.READ,
    describe=Described(AttestationState, refuses=(NoSuchProject, NoSuchFile, Withheld)),
)
async def attestation(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Verify the attestations of a file, or show why they cannot be verified."""
    permission = ctx.upstream_permission(project)
    try:
        file = await ctx.app.index.file(project, filename, permission)
    except Withheld as error:
        if error.kind != HoldKind.TRUST.value:
            raise
        return send_json(
            ctx.request,
            AttestationState(
                project=project,
                filename=filename,
                status="held",
                publishers=[],
                problem=error.reason,
            ),
        )
    try:
        data = await ctx.app.index.provenance(file, permission)
    except NoSuchFile:
        verdict = None
    else:
        verdict = (
            PublisherVerdict(tuple(sorted(claimed_publishers(data))))
            if file.source is None  # verified when it was uploaded
            else await trust_of(ctx).verdict(file, data)
        )
    return send_json(ctx.request, _state(file, verdict))


@route(
    "POST",
    "/api/trust/<project>/approvals",
    action=Action.ADMIN,
    describe=Described(
        Approved, takes=ApprovedFiles, refuses=(BadRequest, NoSuchProject, StorageFull)
    ),
)
async def approve(ctx: RequestContext, project: ProjectName) -> None:
    """Accept doubted files, and their verified publishers for later files of the project."""
    wish = await read_json(ctx.request, ApprovedFiles)
    send_json(
        ctx.request, Approved(project=project, files=await approved(ctx, project, wish.files))
    )


async def _doubts(ctx: RequestContext, project: ProjectName) -> Sequence[DoubtedFile]:
    found: list[DoubtedFile] = []
    async for entry in entries_of(ctx.app.index, project):
        found += await ctx.app.world.thinking(trust_of(ctx).doubts, entry)
    return found


def _fitting(doubts: Sequence[DoubtedFile], name: str) -> list[File]:
    """Return the files with this name or version."""
    return [
        doubt.file
        for doubt in doubts
        if doubt.file.filename == name or same_version(doubt.file.version, name)
    ]


async def approved(ctx: RequestContext, project: ProjectName, names: Sequence[str]) -> list[str]:
    """Approve the doubted files of these names or versions; return their names."""
    found, permission = await _doubts(ctx, project), ctx.upstream_permission(project)
    for name in names:  # another process may have doubted a file that this one has not verified
        if not _fitting(found, name):
            with suppress(NoSuchFile, NoSuchProject, Withheld):
                file = await ctx.app.index.file(project, name, permission)
                home, its_file = await ctx.app.index.home(file, permission)
                await home.reader.judge(its_file)
            found = await _doubts(ctx, project)
    chosen: list[File] = []
    for name in names:
        fitting = _fitting(found, name)
        if not fitting:
            raise BadRequest(
                f"No doubted file of {project} has the name or the version {name[:200]!r}: see "
                "`pypid trust list`."
            )
        chosen += fitting
    for file in chosen:
        details = {"sha256": file.sha256 or "", "version": file.version}
        approving = trust_of(ctx).approve(file, user_of(ctx.identity))
        await recorded(
            ctx,
            "trust approve",
            f"{project}/{file.filename}",
            approving,
            lambda _, details=details: details,  # type: ignore[misc]
        )
    return [file.filename for file in chosen]


@route(
    "DELETE",
    "/api/trust/<project>",
    action=Action.ADMIN,
    describe=Described(Removed, refuses=(BadRequest, StorageFull)),
)
async def reset(ctx: RequestContext, project: ProjectName) -> None:
    """Forget the publishers and approvals of a project: its next attested file determines them."""
    await forgotten(ctx, project)
    send_json(ctx.request, Removed(name=project, removed=True))


async def forgotten(ctx: RequestContext, project: ProjectName) -> None:
    """Forget what is remembered of the project."""
    await recorded(ctx, "trust reset", project, trust_of(ctx).reset(project))


def _shape(doubt: DoubtedFile) -> DoubtedFileShape:
    file = doubt.file
    return {
        "project": file.project,
        "filename": file.filename,
        "version": file.version,
        "sha256": file.sha256,
        "uploaded": None if file.uploaded is None else utc_text(file.uploaded),
        "reason": doubt.reason,
        "held": doubt.held,
    }


def _state(file: File, verdict: PublisherVerdict | None) -> AttestationState:
    is_verified = verdict is not None and bool(verdict.publishers)
    return {
        "project": file.project,
        "filename": file.filename,
        "status": "none" if verdict is None else "verified" if is_verified else "unverified",
        "publishers": [] if verdict is None else list(verdict.publishers),
        "problem": "" if verdict is None else verdict.problem,
    }


# Approvals of upstream projects, and the requests for them: ``/api/approvals``, for
# administrators.


class NewDecision(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an approval or a denial. `spec`: a project, and the versions: ``name``,
    ``name==1.2`` or ``name>=1,<2``.
    """

    spec: str
    verdict: ApprovalVerdict = ApprovalVerdict.APPROVED
    reason: str = ""


class DecisionDocument(TypedDict):
    """A decision. `specifier` (PEP 440) is empty for all versions."""

    id: str
    project: str
    specifier: str
    verdict: str
    reason: str
    by: str
    decided: Moment


class WaitingDocument(TypedDict):
    """A project that waits for approval. `by`: users who requested it, or addresses of clients
    without a user. `count`: how often it was requested, approximately. `releases`: how many
    upstream lists; `uploaded`: when its oldest file was uploaded there.
    """

    project: str
    by: list[str]
    first: Moment
    last: Moment
    count: int
    releases: int
    uploaded: Moment | None


class ApprovalsDocument(TypedDict):
    """The queue and the decisions. `asks`: whether new projects need an approval. A project leaves
    the queue 30 days after the last request for it.
    """

    asks: bool
    waiting: list[WaitingDocument]
    decisions: list[DecisionDocument]


class DeletedDecision(TypedDict):
    """The deleted decision or request."""

    id: str
    removed: bool


@route(
    "GET",
    "/api/approvals",
    action=Action.ADMIN,
    describe=Described(ApprovalsDocument, refuses=(NotAvailable,)),
)
async def approvals(ctx: RequestContext) -> None:
    """List the projects that wait for approval, and the decisions."""
    found = ctx.app.approvals
    decisions = sorted(found.decisions.all.items())
    send_json(
        ctx.request,
        ApprovalsDocument(
            asks=found.asks,
            waiting=[await _waiting(ctx, each) for each in found.waiting()],
            decisions=[_decision(id, each) for id, each in decisions],
        ),
    )


@route(
    "POST",
    "/api/approvals",
    action=Action.ADMIN,
    describe=Described(
        DecisionDocument,
        status=201,
        takes=NewDecision,
        refuses=(BadRequest, BadName, NotAvailable),
    ),
)
async def decide(ctx: RequestContext) -> None:
    """Approve or deny an upstream project, or some of its versions. Denials win. A project with an
    approval offers only approved versions.
    """
    document = await decided(ctx, await read_json(ctx.request, NewDecision))
    id = approval_id(ProjectName(document.project), document.specifier)
    send_json(ctx.request, _decision(id, document), 201)


async def decided(ctx: RequestContext, wish: NewDecision) -> ApprovalDocument:
    """Put the decision in force; return it."""
    name, specifier = parse_spec(wish.spec)
    deciding = ctx.app.approvals.decide(
        name, specifier, wish.verdict, wish.reason, user_of(ctx.identity)
    )
    action: AuditAction = (
        "approval approve" if wish.verdict is ApprovalVerdict.APPROVED else "approval deny"
    )
    return await recorded(
        ctx,
        action,
        f"{name}{specifier}",
        deciding,
        lambda _: {"reason": wish.reason} if wish.reason else {},
    )


@route(
    "DELETE",
    "/api/approvals/<approval>",
    action=Action.ADMIN,
    describe=Described(DeletedDecision, refuses=(NoSuchResource, NotAvailable)),
)
async def delete(ctx: RequestContext, approval: str) -> None:
    """Delete a decision by its id, or a request by the name of its project."""
    await deleted(ctx, approval)
    send_json(ctx.request, DeletedDecision(id=approval, removed=True))


async def deleted(ctx: RequestContext, id: str) -> None:
    """Delete the decision or request of this id."""
    await recorded(ctx, "approval delete", id, ctx.app.approvals.delete(id))


async def judged_project(
    ctx: RequestContext, project: ProjectName, permission: UpstreamPermission
) -> Project | None:
    """Return an upstream project with the releases that are not approved, for an administrator who
    looks into them; None for other users, for local projects, and if no approval is needed.
    """
    decided = ctx.app.decided
    if decided is None or not decided.approvals.asks or not ctx.may_some(Action.ADMIN, ""):
        return None
    if (await ctx.app.index.seen(project, permission)).locals:
        return None
    return await undecided(ctx.app.index, project)


def _decision(id: str, document: ApprovalDocument) -> DecisionDocument:
    return {
        "id": id,
        "project": document.project,
        "specifier": document.specifier,
        "verdict": document.verdict.value,
        "reason": document.reason,
        "by": document.by,
        "decided": utc_text(document.decided),
    }


async def _waiting(ctx: RequestContext, waiting: WaitingProject) -> WaitingDocument:
    request, facts = waiting.request, await upstream_facts(ctx.app.index, waiting.name)
    return {
        "project": waiting.name,
        "by": list(request.by),
        "first": utc_text(request.first),
        "last": utc_text(request.last),
        "count": request.count,
        "releases": facts.releases,
        "uploaded": None if facts.first is None else utc_text(facts.first),
    }

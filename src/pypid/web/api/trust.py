"""Publishers of upstream files: the doubted ones, and their approval: ``/api/trust``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, TypedDict

import msgspec

from pypid.core.accounts.signers import claimed_publishers
from pypid.core.errors import BadRequest, NoSuchFile, NoSuchProject, StorageFull, Withheld
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, same_version
from pypid.core.permissions import Action
from pypid.core.restrictions import HoldKind
from pypid.core.simple_api.entries import utc_text
from pypid.core.trust import PublisherVerdict
from pypid.index.trust import DoubtedFile, PublisherTrust
from pypid.index.upstream.sources import entries_of
from pypid.web.app.app import user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.descriptions import Described, Moment, Removed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json


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
    trust = ctx.app.index.trust
    assert trust is not None
    return trust


@route("GET", "/api/trust", action=Action.ADMIN, describe=Described(DoubtedFiles))
async def doubted(ctx: RequestContext) -> None:
    """List the upstream files without the expected publisher."""
    rules = trust_of(ctx).rules
    document: DoubtedFiles = {
        "ratchet": rules.ratchet.value,
        "require": [f"{rule.projects}={rule.publisher}" for rule in rules.require],
        "files": [_shape(doubt) for doubt in await doubted_files(ctx)],
    }
    send_json(ctx.request, document)


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
        document: AttestationState = {
            "project": project,
            "filename": filename,
            "status": "held",
            "publishers": [],
            "problem": error.reason,
        }
        return send_json(ctx.request, document)
    try:
        data = await ctx.app.index.provenance(file, permission)
    except NoSuchFile:
        return send_json(ctx.request, _state(file, None))
    if file.source is None:  # verified when it was uploaded
        return send_json(
            ctx.request, _state(file, PublisherVerdict(tuple(sorted(claimed_publishers(data)))))
        )
    return send_json(ctx.request, _state(file, await trust_of(ctx).verdict(file, data)))


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
    document: Approved = {"project": project, "files": await approved(ctx, project, wish.files)}
    send_json(ctx.request, document)


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
        details = _details(file)
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
    document: Removed = {"name": project, "removed": True}
    send_json(ctx.request, document)


async def forgotten(ctx: RequestContext, project: ProjectName) -> None:
    """Forget what is remembered of the project."""
    await recorded(ctx, "trust reset", project, trust_of(ctx).reset(project))


def _details(file: File) -> Details:
    return {"sha256": file.sha256 or "", "version": file.version}


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

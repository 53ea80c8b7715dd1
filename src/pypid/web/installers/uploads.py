"""The legacy upload API: what twine, uv, poetry, pdm, flit, hatch and ``setup.py upload`` send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from attrs import evolve, frozen

from pypid.core.accounts.rights import ACCOUNTS, AccountStatus
from pypid.core.accounts.signers import claimed_publishers
from pypid.core.archives.inspection import inspect
from pypid.core.errors import BadRequest, NoSuchUser, Unauthenticated, UploadForbidden, shortened
from pypid.core.model import Upload
from pypid.core.packaging.names import Distribution
from pypid.core.packaging.upload import FormAction, UploadFields, action_of, check, distribution_of
from pypid.core.permissions import Action
from pypid.core.trust import publisher_fits
from pypid.flow import shielded
from pypid.flow.spool import Spool
from pypid.index.local.publish import PublishOutcome
from pypid.metrics.counts import UPLOADS
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, attempted
from pypid.web.app.errors import ErrorResponse, send_refusal
from pypid.web.app.ownership import authorize_write, owning, refuse_taking
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.request import Request
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import send_plain
from pypid.web.http.upload_form import Check, Limits, read_form, refuse_early_form

REGISTERED = "Projects do not have to be registered here: publish a file, and the project exists.\n"


@route("POST", "/legacy/", action=Action.WRITE, below_index=True)
async def upload(ctx: RequestContext) -> None:
    """Publish one distribution (200; with the same bytes again: 200, and nothing changes)."""
    taken = await take(ctx)
    if isinstance(taken, Published):
        send_plain(ctx.request, 200, f"{taken.upload.distribution.filename}: {taken.words}\n")
    else:
        say(ctx.request, taken)


@frozen
class Published:
    """A published file, and the outcome, also in words."""

    upload: Upload
    outcome: PublishOutcome
    words: str


async def take(
    ctx: RequestContext, *, unsaid: str | None = None
) -> Published | ErrorResponse | str:
    """Do what the upload form asks for; return what was published, or another answer, for `say`.
    Raises as `publish`.

    `unsaid` is the action if neither the form nor the address names one.
    """
    limits = Limits(content=ctx.app.settings.max_upload)
    refuse_early_form(ctx.request.body.size, limits)
    # an upload that has begun is finished, and its spool closed, even if the client disconnects (a
    # body that breaks off ends it, too)
    return await shielded(_taken(ctx, limits, unsaid))


@asynccontextmanager
async def upload_spool(ctx: RequestContext) -> AsyncIterator[Spool]:
    """Yield the spool of one upload, which is counted while it is in progress, and dropped at the
    end.
    """
    counts = ctx.app.world.counts
    counts.add(UPLOADS)
    try:
        async with Spool(ctx.app.settings.spool, ctx.app.world.blocking) as spool:
            yield spool
    finally:
        counts.add(UPLOADS, (), -1)


async def receive(
    ctx: RequestContext,
    spool: Spool,
    limits: Limits,
    part: str = "content",
    check: Check = lambda fields: None,
) -> UploadFields:
    """Receive the form of the request, its file into the `spool`; see `read_form`."""
    content_type = header_of(ctx.request, "content-type") or ""
    return await read_form(
        ctx.request.body, content_type, limits=limits, spool=spool, part=part, check=check
    )


async def _taken(
    ctx: RequestContext, limits: Limits, unsaid: str | None
) -> Published | ErrorResponse | str:
    """Receive the form and do what it asks for."""
    async with upload_spool(ctx) as spool:
        form = await receive(ctx, spool, limits)
        match action_of(form, _query_action(ctx.request) or unsaid):
            case FormAction.FILE_UPLOAD:
                return await publish(ctx, form, spool)
            case FormAction.SUBMIT:
                return REGISTERED
            case FormAction.DOC_UPLOAD:
                return ErrorResponse(410, "Documentation is not hosted here.")
            case FormAction.UNKNOWN:
                raise BadRequest("The form's :action is not known here: file_upload is.")


def say(request: Request, answer: ErrorResponse | str) -> None:
    """Send an answer other than that a file was published."""
    if isinstance(answer, ErrorResponse):
        send_refusal(request, answer)
    else:
        send_plain(request, 200, answer)


_WORDS = {
    PublishOutcome.PUBLISHED: "published",
    PublishOutcome.OVERWRITTEN: "published instead of the older file",
    PublishOutcome.UNCHANGED: (
        "this file is already published with identical content; nothing was changed"
    ),
}


UNVERIFIED = (
    "its attestations were not kept, because this server cannot verify any "
    "(the extra attestations is not installed)"
)


async def publish(
    ctx: RequestContext,
    form: UploadFields,
    spool: Spool,
    *,
    overwriting: bool = True,
) -> Published:
    """Check and publish the file in the `spool`, which is finished. To be `shielded`.

    `overwriting`: whether a user who may overwrite does so. Raises `UploadRejected`, `Forbidden`,
    and as `Index.publish`.
    """
    distribution = distribution_of(form)
    await _refuse_removed(ctx)
    # the guard checked for any project; only now the project is known
    await authorize_write(ctx, distribution.project)
    await refuse_taking(ctx, distribution.project, ctx.app.index)
    upload = await ctx.app.inspections.run(
        ctx.app.world.blocking, _checked, ctx.app, form, distribution, spool
    )
    overwrite = overwriting and ctx.may(Action.OVERWRITE, distribution.project)
    publishing = ctx.app.index.publish(
        upload,
        spool.body,
        user_of(ctx.identity),
        overwrite=overwrite,
        own=owning(ctx),
    )
    subject = f"{distribution.project}/{distribution.filename}"
    outcome = await attempted(
        ctx,
        "project publish",
        subject,
        publishing,
        lambda outcome: _published(outcome, upload),
    )
    unverified = (
        upload.attestations
        and upload.provenance is None
        and outcome is not PublishOutcome.UNCHANGED
    )
    return Published(
        upload, outcome, f"{_WORDS[outcome]}; {UNVERIFIED}" if unverified else _WORDS[outcome]
    )


async def _refuse_removed(ctx: RequestContext) -> None:
    """Raise `Unauthenticated` if the account of the client was removed or disabled while its upload
    was received; `PeopleUnknown`.
    """
    who = ctx.identity
    if who.user is None or who.publisher or not who.account.startswith(f"{ACCOUNTS}:"):
        return
    with suppress(NoSuchUser):
        found = await ctx.app.accounts.user(who.user)
        if found.id == who.account and found.status is AccountStatus.ACTIVE:
            return
    raise Unauthenticated("The account was removed or disabled while the file was received.")


def _published(outcome: PublishOutcome, upload: Upload) -> Details | None:
    if outcome is PublishOutcome.UNCHANGED:
        return None
    return {"sha256": upload.digests.sha256, "outcome": outcome.value}


def _checked(app: App, form: UploadFields, distribution: Distribution, spool: Spool) -> Upload:
    """Return the upload, checked. Blocks: opens and inspects the archive, and verifies
    signatures.
    """
    with spool.inspected() as file:
        upload = check(form, distribution, inspect(file, distribution))
    provenance = app.attesting.provenance(upload)
    _check_publisher(app, distribution, provenance)
    return evolve(upload, provenance=provenance)


def _check_publisher(app: App, distribution: Distribution, provenance: bytes | None) -> None:
    """Raise `UploadForbidden` unless the upload has a publisher that ``[trust] require`` asks
    for. `provenance` was made from verified attestations.
    """
    index = app.index
    trust = index.member("").source.trust if index.name else index.source.trust
    required = () if trust is None else trust.rules.required(distribution.project)
    if not required:
        return
    found = frozenset[str]() if provenance is None else claimed_publishers(provenance)
    if not publisher_fits(found, required):
        reason = (
            f"its attestations are by {' and '.join(sorted(found))}"
            if found
            else "it has no verified attestation"
        )
        wanted = shortened(" or ".join(required), 300)
        raise UploadForbidden(
            f"{shortened(distribution.filename)} is refused: {reason}. This index accepts files of "
            f"the project that are attested by {wanted}."
        )


def _query_action(request: Request) -> str | None:
    values = (request.args or {}).get(b":action")
    return values[0].decode("latin-1") if values else None


@route("GET", "/legacy/", action=Action.READ, below_index=True)
async def wrong_method(ctx: RequestContext) -> None:
    """Refuse a browser, or an installer that was given the upload URL, with advice (C71)."""
    advice = (
        "This is where distributions are uploaded (POST, by twine or uv). To install, use "
        "/simple/ as the index URL."
    )
    send_refusal(ctx.request, ErrorResponse(405, advice, ((b"Allow", b"POST"),)))

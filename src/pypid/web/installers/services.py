"""Services for clients beside the Simple API: legacy JSON, classifiers, OSV, configuration files.

Older APIs that clients still use: legacy JSON and classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pypid.core.advisories import (
    MOST_FOUND,
    MOST_QUERIES,
    AdvisorySummary,
    OsvBatch,
    OsvQuery,
    OsvTarget,
    target_of,
)
from pypid.core.errors import (
    BadRequest,
    Busy,
    NoSuchAdvisory,
    NoSuchFile,
    PypidError,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release, describing_file
from pypid.core.permissions import Action, Visibility
from pypid.core.presentation.client_files import CA, FILES, IndexAddress
from pypid.core.simple_api.legacy_json import render_legacy
from pypid.index.context import Pace
from pypid.index.views import UpstreamPermission
from pypid.web.app.advisory_view import UNREAD, hits_for, record_for, without_hidden_names
from pypid.web.app.app import App
from pypid.web.app.errors import ErrorResponse, send_refusal
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.fastpath.response_cache import ResponseDependencies
from pypid.web.http.request_body import read_small
from pypid.web.http.responses import FinishedPage, redirect, send_page
from pypid.web.http.small_responses import send, send_json, send_plain

NO_HOST = (
    "This index does not know its own address: ask by a host that is in [server] allowed_hosts, "
    "or set public_url."
)


@route("GET", "/pypi/<project>/json", action=Action.READ, below_index=True, cross_site=True)
async def project_json(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project, described by its newest release, in legacy JSON (C110)."""
    if ctx.spelling != project:
        return redirect(
            ctx.request, f"/pypi/{project}/json", permanent=True, restricted=ctx.app.restricted
        )
    return await describe(ctx, project, None)


@route(
    "GET", "/pypi/<project>/<version>/json", action=Action.READ, below_index=True, cross_site=True
)
async def release_json(ctx: RequestContext, project: ProjectName, version: str) -> None:
    """Send a release in legacy JSON (C110)."""
    if ctx.spelling != project:
        return redirect(
            ctx.request,
            f"/pypi/{project}/{version}/json",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    return await describe(ctx, project, version)


async def describe(ctx: RequestContext, project: ProjectName, version: str | None) -> None:
    """Send the project in legacy JSON, described by one release; without `version`, by its
    newest.
    """
    base_url = ctx.base_url
    if base_url is None:
        raise BadRequest(NO_HOST)
    permission = ctx.upstream_permission(project)
    found = await ctx.app.index.project(project, permission)
    is_long = len(found.files) > FEW_FILES
    chosen, described = (
        await ctx.app.world.thinking(_describing, found, version)
        if is_long
        else _describing(found, version)
    )
    advisories = None if chosen is None else await _advisories(ctx, project, chosen)
    metadata = None if described is None else await _metadata(ctx.app, described, permission)
    # off the reactor thread: metadata may contain a manual
    elsewhere = ctx.app.world.thinking if is_long else ctx.app.world.blocking
    page = await elsewhere(
        partial(render_legacy, found, version, metadata, base_url=base_url, advisories=advisories)
    )
    if page is None:
        raise NoSuchFile(f"{project} {version}" if version else project)
    # the metadata may be available next time, and advisories change by themselves
    if not ctx.app.advisories.is_configured and (described is None or metadata is not None):
        ctx.request.depends_on(ResponseDependencies(found.name, permission))
    await send_page(
        ctx.request,
        FinishedPage(page, ctx.app.world.blocking),
        serial=found.serial,
        restricted=ctx.app.restricted,
    )


def _describing(project: Project, version: str | None) -> tuple[str | None, File | None]:
    """Return the release that is described, and the file whose metadata describes it, if any."""
    release = choose_release(project, version)
    return release, None if release is None else describing_file(project, release)


async def _advisories(
    ctx: RequestContext, project: ProjectName, version: str
) -> Sequence[AdvisorySummary] | None:
    """Return the advisories that hit the release; None if `[advisories]` names no source, or if no
    source has been read yet.
    """
    advisories = ctx.app.advisories
    if not advisories.is_configured or advisories.is_unread:
        return None
    by = await ctx.advisory_visibility()
    return await without_hidden_names(advisories, hits_for(advisories, project, version, by), by)


async def _metadata(app: App, file: File, permission: UpstreamPermission) -> bytes | None:
    """Return the metadata of the file, or None if it is not available."""
    try:
        return await app.index.metadata(file, permission)
    except PypidError as error:
        if file.source is None or not (
            error is permission.refusal or isinstance(error, (NoSuchFile, UpstreamDown, WrongBytes))
        ):
            raise
        return None


@route("GET", "/pypi/", action=Action.READ, below_index=True)
async def pypi(ctx: RequestContext) -> None:
    """Send the classifiers (``?:action=list_classifiers``, C72), or redirect to the list of
    projects.
    """
    if (ctx.request.args or {}).get(b":action") == [b"list_classifiers"]:
        from trove_classifiers import sorted_classifiers

        return send_plain(ctx.request, 200, "\n".join(sorted_classifiers) + "\n")
    return redirect(ctx.request, "/simple/", permanent=False, restricted=ctx.app.restricted)


# The OSV API for ``pip-audit -s osv --osv-url URL/osv/v1/query`` and ``uv audit --service-url
# URL/osv/``.
#
# It answers from the index's own advisories and asks no other server. All clients who may read
# this index get the public advisories. Private ones exist only for clients who may read their
# projects.

LARGEST_QUERY, LARGEST_BATCH = 16 << 10, 1 << 20
"""Bytes of a query, and of a batch."""
LARGEST_ANSWER = 8 << 20
"""Bytes of records in one answer, about; a page token leads to the others."""
MOST_COMPARED = 20_000
"""Advisories that one batch compares with versions; queries beyond get only a page token."""

T = TypeVar("T")


@route("POST", "/osv/v1/query", action=Action.READ, below_index=True)
async def query(ctx: RequestContext) -> None:
    """Return the advisories that affect a version of a package, as OSV records."""
    _check_read(ctx)
    target = target_of(await _read(ctx, OsvQuery, LARGEST_QUERY))
    by = await ctx.advisory_visibility()
    found, records, size = _found(ctx, target, by), list[bytes](), 0
    taken = 0
    for advisory in found[:MOST_FOUND]:
        if size > LARGEST_ANSWER:
            break
        record = await record_for(ctx.app.advisories, advisory.id, by)
        taken += 1
        if record is not None:
            records.append(record)
            size += len(record)
    fields = [b'"vulns":[' + b",".join(records) + b"]"] if records else []
    if taken < len(found):
        fields.append(b'"next_page_token":"%s"' % str(target.skip + taken).encode())
    send(ctx.request, 200, "application/json", b"{" + b",".join(fields) + b"}")


@route("POST", "/osv/v1/querybatch", action=Action.READ, below_index=True)
async def query_batch(ctx: RequestContext) -> None:
    """Return the ids of the advisories for up to 1000 queries, in their order."""
    _check_read(ctx)
    queries = (await _read(ctx, OsvBatch, LARGEST_BATCH)).queries
    if len(queries) > MOST_QUERIES:
        raise BadRequest(f"A batch has at most {MOST_QUERIES} queries: divide it.")
    each, by, pace = (
        [target_of(one) for one in queries],
        await ctx.advisory_visibility(),
        Pace(ctx.app.world),
    )
    results: list[dict[str, Any]] = []
    compared = 0
    for target in each:
        await pace.keep()
        if compared >= MOST_COMPARED:
            results.append({"next_page_token": str(target.skip)})
            continue
        if target.project is not None:
            # only those that the client may see: their number shows
            compared += len(hits_for(ctx.app.advisories, target.project, None, by))
        results.append(_result(target, _found(ctx, target, by)))
    send_json(ctx.request, {"results": results})


def _check_read(ctx: RequestContext) -> None:
    if ctx.app.advisories.is_unread:  # an audit would take all releases for safe
        raise Busy(UNREAD, 30)


def _result(target: OsvTarget, found: tuple[AdvisorySummary, ...]) -> dict[str, Any]:
    """Return the answer to one query of a batch; without advisories it is empty."""
    if not found:
        return {}
    result: dict[str, Any] = {
        "vulns": [{"id": each.id, "modified": each.modified} for each in found[:MOST_FOUND]]
    }
    if len(found) > MOST_FOUND:
        result["next_page_token"] = str(target.skip + MOST_FOUND)
    return result


@route("GET", "/osv/v1/vulns/<advisory>", action=Action.READ, below_index=True)
async def vulnerability(ctx: RequestContext, advisory: str) -> None:
    """Return an advisory as an OSV record."""
    record = await record_for(ctx.app.advisories, advisory, await ctx.advisory_visibility())
    if record is None:
        raise NoSuchAdvisory(advisory)
    send(ctx.request, 200, "application/json", record)


def _found(ctx: RequestContext, target: OsvTarget, by: Visibility) -> tuple[AdvisorySummary, ...]:
    if target.project is None:
        return ()
    return hits_for(ctx.app.advisories, target.project, target.version, by)[target.skip :]


async def _read(ctx: RequestContext, kind: type[T], most: int) -> T:
    """Return the JSON document in the request, whatever type it declares: pip-audit declares none.
    Raises `BadRequest`, `TooLarge`.
    """
    data = await read_small(ctx.request.body, most)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The JSON document is not what is expected here: {error}") from None


# ``/config/``: configuration files of clients, made for the requested host, and the certificate
# that clients have to trust.

PUBLIC = (
    "There is no certificate to save: this index has no TLS, or behind a proxy that does "
    "it, or its certificate was issued by a public authority, which most systems already trust."
)


@route("GET", "/config/ca.pem", action=ANYBODY, below_index=True)
async def ca(ctx: RequestContext) -> None:
    """Send the self-issued certificates of the chain: what a client has to trust."""
    found = await _roots(ctx.app)
    if not found:
        return send_refusal(ctx.request, ErrorResponse(404, PUBLIC))
    return send(ctx.request, 200, "application/pem-certificate-chain", found)


@route("GET", "/config/<filename>", action=ANYBODY, below_index=True)
async def client_file(ctx: RequestContext, filename: str) -> None:
    """Send pip.conf, .pypirc or uv.toml."""
    write = FILES.get(filename)
    if write is None:
        return send_refusal(
            ctx.request, ErrorResponse(404, f"Here are {', '.join(FILES)} and {CA}.")
        )
    place = await place_of(ctx)
    if place is None:
        raise BadRequest(NO_HOST)
    return send_plain(ctx.request, 200, write(place))


async def place_of(ctx: RequestContext) -> IndexAddress | None:
    """Return the address of the index for this client; None if the host that it named is not
    trusted.
    """
    base = ctx.base_url
    if base is None:
        return None
    has_roots = base.startswith("https:") and bool(await _roots(ctx.app))
    return IndexAddress(
        base, has_roots, login=ctx.app.needs_login(ctx.app.index.name), index=ctx.request.index
    )


async def _roots(app: App) -> bytes:
    chain = app.settings.certificate
    return b"" if chain is None else await app.world.blocking(roots, chain)


def roots(chain: Path) -> bytes:
    """Return the self-issued certificates in the PEM file `chain`, as PEM. Blocks.

    Empty also while the file is being replaced: the certificate in force was read before.
    """
    from cryptography import x509  # here: rarely needed
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificates = x509.load_pem_x509_certificates(chain.read_bytes())
    except (OSError, ValueError):
        return b""
    return b"".join(
        one.public_bytes(Encoding.PEM) for one in certificates if one.issuer == one.subject
    )

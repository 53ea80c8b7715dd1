"""Why something is hidden or missing: ``/api/why/``, for users who may publish and read.

Users who may only read have the page, which omits what upstream failed with, and its address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import TypedDict

import msgspec
from attrs import evolve

from pypid.core.errors import NotYetKnown
from pypid.core.model import Project, Status
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.presentation.explanation import FileWhy, NameStatus, Why
from pypid.core.restrictions import Hold
from pypid.core.simple_api.entries import utc_text
from pypid.core.upstream_choice import PUBLIC
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.index.explain import why, why_in
from pypid.web.app.app import App
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import send, send_json


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


class ProjectWhyCommon(TypedDict):
    """The state of a name. `status` is for programs, and `says` is its text for people.
    `requested_from`: the name of an ``[upstream:<name>]``, or ``public``; null if the name is not
    requested. `taken_from`: below a named index, the indexes whose files it shows, and upstreams
    (``public``, or the name of an ``[upstream:<name>]``), in order of precedence. `local_in`: the
    named indexes with a local project of this name, as far as the client may read it there.
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


class ProjectWhy(ProjectWhyCommon):
    """The state of a name, and its hidden files."""

    hidden: list[FileOfWhy]


class OneFileWhy(ProjectWhyCommon):
    """The state of a name, and why one file of it is visible or not."""

    file: FileOfWhy


@route(
    "GET",
    "/api/why/<project>",
    action=Action.WRITE,
    describe=Described(ProjectWhy, refuses=(NotYetKnown,)),
    below_index=True,
)
async def of_project(ctx: RequestContext, project: ProjectName) -> None:
    """Return the state of a project name, its upstream listing, and each hidden file."""
    found = await found_of(ctx, project)
    # off the reactor thread: ten thousand files may be hidden, while upstream is unreachable
    body = await ctx.app.world.thinking(_encoded, found, breaker_of(ctx.app, found))
    send(ctx.request, 200, "application/json", body)


@route(
    "GET",
    "/api/why/<project>/<filename>",
    action=Action.WRITE,
    describe=Described(OneFileWhy, refuses=(NotYetKnown,)),
    below_index=True,
)
async def of_file(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Return the state of a project name, and why a file is visible or hidden, whether the file
    exists or not.
    """
    found = await found_of(ctx, project)
    document: OneFileWhy = {
        **_document(found, breaker_of(ctx.app, found)),
        "file": _file(found, found.file(filename)),
    }
    send_json(ctx.request, document)


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


def _encoded(found: Why, breaker: CircuitBreaker) -> bytes:
    hidden = [_file(found, file) for file in found.files if not file.visible]
    document: ProjectWhy = {**_document(found, breaker), "hidden": hidden}
    return msgspec.json.encode(document)


def _document(found: Why, breaker: CircuitBreaker) -> ProjectWhyCommon:
    listing = found.upstream.listing
    visible = Counter((file.ours, file.kept) for file in found.files if file.visible)
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
        "visible": {
            "ours": visible[True, False],
            "kept": visible[False, True],
            "upstream": visible[False, False],
        },
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

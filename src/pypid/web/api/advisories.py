"""Advisories that hit stored files, and the check of lock files: ``/api/advisories``.

All users who may read a project see its advisories; only administrators see who downloaded a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import msgspec
from twisted.internet.defer import TimeoutError as TimedOut

from pypid.advisories.service import Advisories
from pypid.core.accounts.client_networks import place_of
from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.advisories.severity import AdvisorySeverity
from pypid.core.errors import (
    BadName,
    BadRequest,
    Busy,
    NotAvailable,
    PeopleUnknown,
    TooLarge,
    TooSlow,
)
from pypid.core.packaging.collection_request import JSON, LARGEST, Texts, parse_dependencies
from pypid.core.packaging.lock_files import DependencyList
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action
from pypid.core.visibility import Visibility
from pypid.flow import start
from pypid.index.context import Pace
from pypid.index.explain import DependencyCheck, ReleaseState
from pypid.web.app.advisory_view import UNREAD, hits_for, without_hidden_names
from pypid.web.app.app import App
from pypid.web.app.descriptions import Described
from pypid.web.app.hosted_advisories import FileDownloads, HostedAdvisory
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import Parameter, names, number, parameters
from pypid.web.http.request_body import read_small, refuse_early
from pypid.web.http.small_responses import send_json

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
    document: HostedAdvisoriesDocument = {
        "advisories": [
            _hosted(each, counted, names_users=names_users)
            for each, counted in zip(shown, downloads, strict=True)
        ],
        "total": len(found),
        "age": ctx.app.advisories.age,
    }
    send_json(ctx.request, document)


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
    document: CheckDocument = {
        # a file that only has requirements without versions is not one that was checked
        "clean": all(map(_is_clean, releases)) and bool(releases or not remarks),
        "releases": releases,
        "unchecked": [{"line": each.line, "reason": each.reason} for each in remarks],
    }
    send_json(ctx.request, document)


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
    refuse_early(ctx.request.body.size, LARGEST)
    with ctx.app.check_bodies.counted(ctx.request.body) as body:
        reading = start(read_small(body, LARGEST))
        reading.addTimeout(READING, ctx.app.world.clock)
        try:
            return await reading
        except TimedOut:
            raise TooSlow(READING) from None


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

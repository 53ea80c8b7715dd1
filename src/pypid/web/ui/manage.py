"""The administration's start page: status, usage, and recent activity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from pypid.advisories.service import Advisories
from pypid.core.accounts.entries import AccountStatus, AuditEntry
from pypid.core.configuration.choices import Mode
from pypid.core.errors import BadName, PypidError
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action
from pypid.index import Index
from pypid.web.api.health import condition_of
from pypid.web.app.app import App
from pypid.web.app.measures import Disk
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.ui.pages import go, part, show, size
from pypid.web.ui.storage import used_of

LAST = 10
"""Number of audit entries that are shown."""


@frozen
class MachinePart:
    """The status of a part of the system: a word (on a badge of this `kind`), a sentence, and what
    to do about it.
    """

    name: str
    word: str
    kind: str
    says: str
    todo: str = ""


@route("GET", "/manage/", action=Action.ADMIN, page=True)
async def manage(ctx: RequestContext) -> None:
    """Show status, usage and recent activity."""
    used, _ = await used_of(ctx.app)
    usage, measures = ctx.app.measures.usage, ctx.app.measures
    disks = {"state": await measures.disk("state"), "storage": await measures.disk("storage")}
    await show(
        ctx,
        "manage.html",
        parts=[*_machine_parts(ctx.app), *_disks(ctx.app, disks), *await _worker_parts(ctx.app)],
        since=ctx.app.since,
        shared=ctx.app.index.shared,
        used=used,
        counting=usage.is_counting,
        limit=ctx.app.settings.max_cache,
        pending=await _pending(ctx.app),
        waiting=0 if ctx.app.decided is None else len(ctx.app.decided.approvals.waiting()),
        deeds=await _recent_entries(ctx.app),
    )


@route("GET", "/manage/why", action=Action.ADMIN, page=True)
async def ask_why(ctx: RequestContext) -> None:
    """Redirect to the page that explains why a name is as it is here."""
    typed, problems = query_fields(ctx.request).text("name").strip(), []
    try:
        return go(ctx.request, f"project/{part(project_name(typed))}/-/why")
    except BadName as error:
        problems = [str(error)] if typed else []
    return await show(
        ctx,
        "why_ask.html",
        status=400 if problems else 200,
        problems=problems,
        name=typed,
    )


# --- status ---------------------------------------------------------------------------------------


def _machine_parts(app: App) -> Iterator[MachinePart]:
    report = condition_of(app)
    yield from _readiness(app, bool(report["ready"]))
    yield _accounts() if report["access"] else _accounts_away()
    yield _catalog(app) if report["cache"] else _catalog_away()
    yield _storage(app, is_well=bool(report["storage"]))
    yield _comparison(app)
    yield _upstream("Upstream", app.index)
    for name, upstream in app.index.upstreams.items():
        yield _upstream(f"Upstream {name}", upstream)
    yield _advisories(app.advisories)


def _accounts() -> MachinePart:
    return MachinePart("Accounts", "OK", "good", "Logging in works.")


def _accounts_away() -> MachinePart:
    says = (
        "Users cannot be authenticated. Administrators defined in the configuration can still "
        "log in."
    )
    todo = "Check that the accounts database ([access] url) answers, and check the log."
    return MachinePart("Accounts", "unreachable", "bad", says, f"{todo} pypid keeps retrying.")


def _catalog(app: App) -> MachinePart:
    return MachinePart(
        "Catalog",
        "OK",
        "good",
        "The shared catalog answers." if app.index.shared else "In memory.",
    )


def _catalog_away() -> MachinePart:
    says = (
        "The shared catalog is unreachable: nothing can be published, and pages are served "
        "for [catalog] stale_for."
    )
    return MachinePart(
        "Catalog",
        "unreachable",
        "bad",
        says,
        "Check that its server ([catalog] url) answers, and check the log.",
    )


def _storage(app: App, *, is_well: bool) -> MachinePart:
    place = app.settings.place
    if is_well:
        return MachinePart("Storage", "OK", "good", f"Reachable: {place}")
    todo = "Is the disk mounted, with free space? Does the bucket accept the keys of [storage]?"
    return MachinePart(
        "Storage",
        "unreachable",
        "bad",
        f"Not reachable: {place}",
        f"{todo} pypid checks it every five seconds.",
    )


def _readiness(app: App, is_ready: bool) -> Iterator[MachinePart]:
    if app.condition.stopping:
        yield MachinePart(
            "Traffic", "stopping", "warn", "pypid is stopping and accepts no new connections."
        )
    elif not is_ready:
        says = "A part that reading needs has failed. /ready reports it to load balancers."
        yield MachinePart("Traffic", "not ready", "bad", says, "See below which part failed.")
    else:
        yield MachinePart(
            "Traffic", "ready", "good", "/ready tells load balancers to send clients here."
        )


def _comparison(app: App) -> MachinePart:
    under_way, name = app.index.maintenance.comparing, "Storage scan"
    if under_way is not None:
        far = (
            f"In progress: {under_way.objects:,} objects listed, {under_way.projects:,} "
            f"projects read."
        )
        return MachinePart(
            name,
            "in progress",
            "warn",
            f"{far} Projects that were not read yet are looked up on request.",
        )
    if app.index.catalog.was_complete:
        return MachinePart(
            name,
            "complete",
            "good",
            "The whole storage has been scanned since the start.",
        )
    says = (
        "The storage has not been scanned completely since the start: projects that were not "
        "read are looked up on request."
    )
    return MachinePart(
        name,
        "incomplete",
        "bad",
        says,
        "pypid repeats the scan until it is complete. See the log for the reason.",
    )


def _upstream(name: str, index: Index) -> MachinePart:
    breaker = index.gate.breaker
    if index.policy.mode is Mode.OFFLINE:
        return MachinePart(name, "offline", "", "No upstream is contacted ([upstream] mode).")
    if breaker.error is None:
        return MachinePart(
            name,
            "OK",
            "good",
            "The last request succeeded, or there was none yet.",
        )
    since = "" if breaker.since is None else f" Since {breaker.since:%-d %b %Y %H:%M} UTC."
    todo = (
        "Check that this machine can reach the upstream index. Stored files are served until "
        "it answers."
    )
    return MachinePart(name, "unreachable", "bad", f"{breaker.error}{since}", todo)


def _advisories(advisories: Advisories) -> MachinePart:
    name, loaded = "Advisories", advisories.loaded
    if not advisories.is_configured:
        says = "No reports of malware are read ([advisories] source)."
        return MachinePart(name, "off", "", says)
    read = "They were never read" if loaded is None else f"Last read {loaded:%-d %b %Y %H:%M} UTC"
    if advisories.failure:
        says = f"[advisories] {advisories.failure} {read}. Installs work."
        todo = f"Check that this machine can read {advisories.source}, or change the key."
        return MachinePart(name, "unreachable", "warn", says, todo)
    if loaded is None:
        return MachinePart(name, "not read yet", "", f"pypid is reading {advisories.source}.")
    return MachinePart(name, "OK", "good", f"{read} from {advisories.source}.")


def _disks(app: App, disks: dict[str, Disk | None]) -> Iterator[MachinePart]:
    names = {"state": "State disk", "storage": "Storage disk"}
    needed = {"state": True, "storage": app.settings.storage_folder is not None}
    for which, disk in disks.items():
        if disk is None and needed[which]:
            todo = "Check the disk, or the network connection to it."
            yield MachinePart(
                names[which], "unknown", "warn", "Reading its free space timed out.", todo
            )
        elif disk is not None:
            says = f"{size(disk.free)} of {size(disk.total)} free."
            todo = "Free some space: a full disk refuses uploads and caches no upstream files."
            yield (
                MachinePart(names[which], "low", "bad", says, todo)
                if disk.is_short
                else MachinePart(names[which], "OK", "good", says)
            )


async def _worker_parts(app: App) -> list[MachinePart]:
    try:
        number, counted = await app.measured()
    except OSError:
        return [
            MachinePart(
                "Processes",
                "unknown",
                "warn",
                "Their counters cannot be read.",
                "See the log for the reason.",
            )
        ]
    alive = [worker for worker in counted if worker.number]
    many = (
        f"{len(alive)} processes are running; this is number {number}."
        if len(alive) > 1
        else "One process is running."
    )
    return [MachinePart("Processes", str(len(alive)), "", many)]


# --- activity -------------------------------------------------------------------------------------


async def _pending(app: App) -> int | None:
    """Return how many registrations wait for approval; None if unknown."""
    if app.registry is None:
        return None
    try:
        return sum(
            1 for account in await app.accounts.users() if account.status is AccountStatus.PENDING
        )
    except PypidError:
        return None


async def _recent_entries(app: App) -> Sequence[AuditEntry] | None:
    """Return the last audit entries, the newest first; None if unavailable."""
    if app.registry is None:
        return None
    try:
        return await app.journal.entries(most=LAST)
    except PypidError:
        return None

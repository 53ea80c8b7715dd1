"""Pages of administration: start, indexes, upstream, storage, configuration, audit log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import datetime
from functools import partial
from typing import get_args
from urllib.parse import quote

from attrs import frozen

from pypid.advisories.service import Advisories
from pypid.core.accounts.rights import AUDIT_ACTIONS, AccountStatus, AuditEntry
from pypid.core.configuration.choices import Mode, NewProjects
from pypid.core.configuration.keys import IndexKeys, keys
from pypid.core.configuration.values import duration_text, exception_text, wait_text
from pypid.core.errors import (
    BadName,
    BadRequest,
    CatalogDown,
    NotAvailable,
    PypidError,
    StorageDown,
)
from pypid.core.indexes import values_of
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action
from pypid.index import Index
from pypid.index.local.adoption import Adopted, Result
from pypid.index.progress import Tell
from pypid.index.usage import ProjectUse, Used
from pypid.web.api.health import condition_of
from pypid.web.api.indexes import (
    ChangedIndex,
    NewIndex,
    PromotionShape,
    changed_index,
    created,
    deleted,
    hidden_project,
    newest_promotions,
    settings_of,
    site_of,
    warnings_of,
)
from pypid.web.api.server import Level, NamedUpstreamDocument, changed, setting_sections
from pypid.web.api.storage import Checkup, checked, rebuilt
from pypid.web.api.upstream import Purge, named_upstreams, purged
from pypid.web.app.app import App
from pypid.web.app.audit import audit_action
from pypid.web.app.measures import Disk
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.http.request import LARGEST_SERIAL, duration_of
from pypid.web.ui.pages import (
    INDEX_MISTAKES,
    ListSlice,
    demand_typed,
    go,
    leaf_of,
    needs_accounts,
    part,
    say,
    sent,
    show,
    show_meanwhile,
    size,
)
from pypid.web.ui.pages import say as say_done

# The storage page: its use by project, and the jobs reconcile, adopt and check.

MOST_TOLD = 500
"""Number of files, or findings, that a page shows; of more only the number."""
SWEEP = "sweep"
"""The word that has to be typed before anything is removed."""


@route("GET", "/manage/storage", action=Action.ADMIN, page=True)
async def storage(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show what is used, and by which projects."""
    used, failure = await used_of(ctx.app)
    leaf: ListSlice[ProjectUse] = leaf_of(() if used is None else used.by_size, ctx.request)
    usage, measures = ctx.app.measures.usage, ctx.app.measures
    await show(
        ctx,
        "storage.html",
        error=error,
        used=used,
        failure=failure,
        counting=(usage.done, usage.of) if usage.is_counting else None,
        leaf=leaf,
        homes=await _homes(ctx.app, leaf.lines),
        place=ctx.app.settings.place,
        disk=await measures.disk("storage"),
        state_disk=await measures.disk("state"),
        word=SWEEP,
        comparing=ctx.app.index.maintenance.comparing,
    )


@route("POST", "/manage/rebuild", action=Action.ADMIN, page=True, form=True)
async def rebuild(ctx: RequestContext) -> None:
    """Reconcile with the storage, and show the progress."""
    typed = sent(ctx.request).text("project").strip()
    try:
        name = project_name(typed) if typed else None
    except PypidError as error:
        return await storage(ctx, error=error)

    async def run(tell: Tell) -> RebuildOutcome:
        found, adopted = await rebuilt(ctx, name, tell)
        return RebuildOutcome(
            found.projects, found.changed, *await ctx.app.world.thinking(_sorted, adopted)
        )

    return await show_meanwhile(ctx, "rebuild.html", run, project=name, most=MOST_TOLD)


@route("POST", "/manage/check", action=Action.ADMIN, page=True, form=True)
async def check(ctx: RequestContext) -> None:
    """Check the storage, and show the progress."""
    form = sent(ctx.request)
    wanted = Checkup(sweep=form.flag("sweep"), hashes=form.flag("hashes"))
    if wanted.sweep and form.text("confirm").strip() != SWEEP:
        problem = (
            f"To delete orphaned files, type {SWEEP} into the confirmation field. Nothing was "
            f"checked."
        )
        return await storage(ctx, error=BadRequest(problem))
    run = partial(checked, ctx, wanted)
    return await show_meanwhile(ctx, "check.html", run, wanted=wanted, most=MOST_TOLD)


@frozen
class RebuildOutcome:
    """The result of a reconciliation, for the page: adopted files, with those that need attention
    first.
    """

    projects: int
    changed: int
    odd: Sequence[Adopted]
    """Refused, left, or adopted with something odd about it."""
    adopted: Sequence[Adopted]
    counts: Counter[str]


def _sorted(adopted: Sequence[Adopted]) -> tuple[list[Adopted], list[Adopted], Counter[str]]:
    odd = [one for one in adopted if one.outcome is not Result.ADOPTED or one.problems]
    odd.sort(key=lambda one: one.outcome is not Result.REFUSED)
    good = [one for one in adopted if one.outcome is Result.ADOPTED and not one.problems]
    return odd, good, Counter(one.outcome.value for one in adopted)


async def _homes(app: App, uses: Sequence[ProjectUse]) -> Mapping[ProjectName, str]:
    """Return the index of each project that is in a named index, and not in the default one."""
    if not app.indexes.settings or not uses:
        return {}
    default, by_index = await app.measures.usage.current(), await app.measures.used_by_index()
    names = {use.name for use in uses}
    return await app.world.thinking(_homes_of, names, default or Used(), by_index)


def _homes_of(
    names: Set[ProjectName], default: Used, by_index: Mapping[str, Used]
) -> Mapping[ProjectName, str]:
    left = names - {use.name for use in default.by_size}
    found = ((use.name, index) for index, used in by_index.items() for use in used.by_size)
    return {name: index for name, index in found if name in left}


async def used_of(app: App) -> tuple[Used | None, str]:
    """Return the usage of all projects, and why it is unknown: administrators can open the page
    also while the catalog is unreachable.
    """
    try:
        return await app.measures.used(), ""
    except CatalogDown as error:
        return None, str(error)


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
        shared=ctx.app.index.context.shared,
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
    typed = query_fields(ctx.request).text("name").strip()
    try:
        return go(ctx.request, f"project/{part(project_name(typed))}/-/why")
    except BadName as error:
        wrong = error if typed else None
    return await show(ctx, "why_ask.html", error=wrong, name=typed)


# --- status ---------------------------------------------------------------------------------------


def _machine_parts(app: App) -> Iterator[MachinePart]:
    report = condition_of(app)
    yield _readiness(app, is_ready=bool(report["ready"]))
    yield _accounts(is_well=bool(report["access"]))
    yield _catalog(app, is_well=bool(report["cache"]))
    yield _storage(app, is_well=bool(report["storage"]))
    yield _comparison(app)
    yield _upstream("Upstream", app.index)
    for name, upstream in app.index.upstreams.items():
        yield _upstream(f"Upstream {name}", upstream)
    yield _advisories(app.advisories)


def _readiness(app: App, *, is_ready: bool) -> MachinePart:
    name = "Traffic"
    if app.condition.stopping:
        says = "pypid is stopping and accepts no new connections."
        return MachinePart(name, "stopping", "warn", says)
    if is_ready:
        return MachinePart(
            name, "ready", "good", "/ready tells load balancers to send clients here."
        )
    says = "A part that reading needs has failed. /ready reports it to load balancers."
    return MachinePart(name, "not ready", "bad", says, "See below which part failed.")


def _accounts(*, is_well: bool) -> MachinePart:
    if is_well:
        return MachinePart("Accounts", "OK", "good", "Logging in works.")
    return MachinePart(
        "Accounts",
        "unreachable",
        "bad",
        "Users cannot be authenticated. Administrators defined in the configuration can still log "
        "in.",
        "Check that the database ([database] url) answers, and check the log. pypid keeps "
        "retrying.",
    )


def _catalog(app: App, *, is_well: bool) -> MachinePart:
    if is_well:
        says = "The shared catalog answers." if app.index.context.shared else "In the state folder."
        return MachinePart("Catalog", "OK", "good", says)
    return MachinePart(
        "Catalog",
        "unreachable",
        "bad",
        "The shared catalog is unreachable: nothing can be published, and pages are served for "
        "[database] stale_for.",
        "Check that its server ([database] url) answers, and check the log.",
    )


def _storage(app: App, *, is_well: bool) -> MachinePart:
    place = app.settings.place
    if is_well:
        return MachinePart("Storage", "OK", "good", f"Reachable: {place}")
    return MachinePart(
        "Storage",
        "unreachable",
        "bad",
        f"Not reachable: {place}",
        "Is the disk mounted, with free space? Does the bucket accept the keys of [storage]? pypid "
        "checks it every five seconds.",
    )


def _comparison(app: App) -> MachinePart:
    under_way, name = app.index.maintenance.comparing, "Storage scan"
    if under_way is not None:
        return MachinePart(
            name,
            "in progress",
            "warn",
            f"In progress: {under_way.objects:,} objects listed, {under_way.projects:,} projects "
            "read. Projects that were not read yet are looked up on request.",
        )
    if app.index.catalog.was_complete:
        says = "The whole storage has been scanned since the start."
        return MachinePart(name, "complete", "good", says)
    return MachinePart(
        name,
        "incomplete",
        "bad",
        "The storage has not been scanned completely since the start: projects that were not read "
        "are looked up on request.",
        "pypid repeats the scan until it is complete. See the log for the reason.",
    )


def _upstream(name: str, index: Index) -> MachinePart:
    breaker = index.gate.breaker
    if index.context.policy.mode is Mode.OFFLINE:
        return MachinePart(name, "offline", "", "No upstream is contacted ([upstream] mode).")
    if breaker.error is None:
        return MachinePart(name, "OK", "good", "The last request succeeded, or there was none yet.")
    since = "" if breaker.since is None else f" Since {breaker.since:%-d %b %Y %H:%M} UTC."
    return MachinePart(
        name,
        "unreachable",
        "bad",
        f"{breaker.error}{since}",
        "Check that this machine can reach the upstream index. Stored files are served until it "
        "answers.",
    )


def _advisories(advisories: Advisories) -> MachinePart:
    name, loaded, source = "Advisories", advisories.loaded, advisories.source
    if not advisories.is_configured:
        return MachinePart(name, "off", "", "No reports of malware are read ([advisories] source).")
    read = "They were never read" if loaded is None else f"Last read {loaded:%-d %b %Y %H:%M} UTC"
    if advisories.failure:
        says = f"[advisories] {advisories.failure} {read}. Installs work."
        todo = f"Check that this machine can read {source}, or change the key."
        return MachinePart(name, "unreachable", "warn", says, todo)
    if loaded is None:
        return MachinePart(name, "not read yet", "", f"pypid is reading {source}.")
    return MachinePart(name, "OK", "good", f"{read} from {source}.")


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
        says, todo = "Their counters cannot be read.", "See the log for the reason."
        return [MachinePart("Processes", "unknown", "warn", says, todo)]
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


# The audit log page: who changed what, when, from where.

MOST = 100
"""Number of lines on a page."""
FILTERS = ("who", "action", "subject", "index")


@route("GET", "/manage/audit", action=Action.ADMIN, page=True)
@needs_accounts
async def audit(ctx: RequestContext) -> None:
    """Show the matching entries, the newest first, before a given serial if there is one."""
    query = query_fields(ctx.request)
    wanted = {name: query.text(name).strip() for name in FILTERS}
    text = query.text("before")
    before = (
        int(text)
        if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_SERIAL
        else None
    )
    narrowed = {name: value for name, value in wanted.items() if value}
    found = await ctx.app.journal.entries(
        before=before,
        most=MOST + 1,
        who=narrowed.get("who"),
        what=audit_action(narrowed.get("action")),
        subject=narrowed.get("subject"),
        index=narrowed.get("index"),
    )
    entries = found[:MOST]
    link = "?" + "".join(f"{name}={quote(value, safe='')}&" for name, value in narrowed.items())
    older = f"{link}before={entries[-1].serial}" if len(found) > MOST else None
    await show(
        ctx,
        "audit.html",
        actions=AUDIT_ACTIONS,
        deeds=entries,
        wanted=wanted,
        older=older,
        newest=link if before else None,
    )


# The page of the effective configuration and the log level.

MOST_LINES = 300
"""Number of lines of a section that are shown: there may be a rule for each project."""
LEVELS: tuple[str, ...] = get_args(Level)

say_done(
    log_level_set=(
        "The log level was changed. It applies until pypid stops or the configuration file sets "
        "another one."
    )
)


@route("GET", "/manage/configuration", action=Action.ADMIN, page=True)
async def configuration(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show the effective configuration and its sources."""
    sections = await setting_sections(ctx.app)
    waiting = [
        f"[{section.section}] {line.key}"
        for section in sections
        for line in section.lines
        if line.waits
    ]
    log_level_control = ctx.app.log_level_control
    await show(
        ctx,
        "configuration.html",
        error=error,
        sections=sections,
        most=MOST_LINES,
        waiting=waiting[:MOST_LINES],
        levels=LEVELS,
        level=None if log_level_control is None else log_level_control.in_force,
        configured=None if log_level_control is None else log_level_control.configured,
    )


@route("POST", "/manage/log-level", action=Action.ADMIN, page=True, form=True)
async def set_log_level(ctx: RequestContext) -> None:
    """Set the log level."""
    wanted = sent(ctx.request).text("level")
    for level in get_args(Level):
        if level == wanted:
            await changed(ctx, level)
            return go(ctx.request, "manage/configuration", done="log-level-set")
    return await configuration(ctx, error=BadRequest(f"Choose a level: {', '.join(LEVELS)}."))


# The upstream page: the settings in force, whether upstream answers, and the cached files, which
# can be purged.

ALL = "everything"
"""The word that has to be typed before all cached files are removed."""
MODES = {
    Mode.CACHE: (
        "Requested files are fetched from upstream, verified, cached and served from here (cache)."
    ),
    Mode.REDIRECT: (
        "Clients see the upstream listings and are redirected to upstream for its files; nothing "
        "is cached (redirect)."
    ),
    Mode.MIRROR: (
        "Requested files are fetched from upstream, verified and cached, and cached projects are "
        "kept up to date (mirror)."
    ),
    Mode.OFFLINE: "No upstream is contacted; stored files are served (offline).",
}
MOST_GLOBS = 200
"""Number of names of a rule that are shown."""


@route("GET", "/manage/upstream", action=Action.ADMIN, page=True)
async def upstream(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show the state of upstream, its settings, and the cached files."""
    policy, used = ctx.app.index.context.policy, (await used_of(ctx.app))[0]
    leaf: ListSlice[ProjectUse] = leaf_of(() if used is None else used.by_kept, ctx.request)
    await show(
        ctx,
        "upstream.html",
        error=error,
        mode=MODES[policy.mode],
        offline=policy.mode is Mode.OFFLINE,
        indexes=ctx.app.settings.indexes,
        outage=ctx.app.index.gate.breaker,
        named=await _named(ctx.app),
        order=ctx.app.index.choice.names,
        most=MOST_GLOBS,
        ttl=duration_text(ctx.app.index.source.ttl),
        cooldown=wait_text(policy.cooldown.wait),
        cools=bool(policy.cooldown.wait or policy.cooldown.exceptions),
        dated=isinstance(policy.cooldown.wait, datetime),
        exceptions=[exception_text(each) for each in policy.cooldown.exceptions[:MOST_GLOBS]],
        asks=policy.new_projects is NewProjects.ASK,
        rules=_rules(ctx.app),
        used=used,
        counting=ctx.app.measures.usage.is_counting,
        limit=ctx.app.settings.max_cache,
        leaf=leaf,
        word=ALL,
    )


@route("POST", "/manage/upstream/purge", action=Action.ADMIN, page=True, form=True)
async def purge(ctx: RequestContext) -> None:
    """Purge cached files: of a project, those unused for long, or all."""
    try:
        wanted = _wanted(sent(ctx.request))
    except PypidError as error:
        return await upstream(ctx, error=error)
    age = "" if wanted.unwanted is None else duration_text(wanted.unwanted)
    return await show_meanwhile(
        ctx, "purge.html", lambda tell: purged(ctx, wanted), wanted=wanted, age=age
    )


def _wanted(fields: Fields) -> Purge:
    """Return the purge that the form requests. Raises `BadRequest`, `BadName`."""
    project, age = fields.text("project").strip(), fields.text("older_than").strip()
    unwanted = duration_of("An age", age) if age else None
    match fields.text("what"):
        case "project" if project:
            return Purge(project_name(project), unwanted=unwanted)
        case "project":
            raise BadRequest("Enter the project name.")
        case "older" if unwanted is not None:
            return Purge(unwanted=unwanted)
        case "older":
            raise BadRequest("Enter for how long files must be unused, e.g. 30d.")
        case "all" if fields.text("confirm").strip() == ALL:
            return Purge()
        case "all":
            raise BadRequest(f"To clear the entire cache, type {ALL}. Nothing was deleted.")
        case _:
            raise BadRequest("The form does not say what to delete.")


async def _named(app: App) -> Sequence[NamedUpstreamDocument]:
    """Return the further upstreams; none while the catalog cannot be read."""
    try:
        return await named_upstreams(app)
    except CatalogDown:
        return ()


def _rules(app: App) -> list[tuple[str, str, Sequence[str]]]:
    """Return the rules of ``[upstream]``: key, meaning, and names and globs."""
    policy = app.index.context.policy
    rules = (
        ("reserved", "Never requested from upstream:", policy.reserved),
        (
            "allow",
            "Only these can come from upstream:",
            () if policy.allow == ("*",) else policy.allow,
        ),
        ("deny", "Cannot come from upstream:", policy.deny),
        (
            "allow_mixed",
            "Local, with upstream files allowed beside local ones:",
            policy.allow_mixed,
        ),
    )
    return [rule for rule in rules if rule[2]]


# The pages of named indexes: the list, and one page for each, to change and delete it.

INDEXES = "/manage/indexes"
MOST_PROMOTIONS = 10
"""Largest number of promotions on a page."""
FIRST_KEYS = ("bases", "read", "write", "volatile", "expires")
"""The keys whose fields are shown first."""

say(
    index_created="The index was created.",
    index_hides="The index was created. Its first page takes the short URL of the local project of "
    "the same name, whose other URLs stay as they are.",
    index_changed="The index was changed.",
    index_deleted="The index was deleted.",
)


@route("GET", INDEXES, action=Action.ADMIN, page=True)
async def indexes(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show the named indexes."""
    settings = ctx.app.indexes.settings
    await show(
        ctx,
        "indexes.html",
        error=error,
        promotions=await _newest_promotions(ctx, None),
        leaf=leaf_of([settings[name] for name in sorted(settings)], ctx.request),
        values={} if error is None else _values(sent(ctx.request)),
        keys=_docs(),
        first=FIRST_KEYS,
    )


@route("POST", INDEXES, action=Action.ADMIN, page=True, form=True)
async def create(ctx: RequestContext) -> None:
    """Create a named index."""
    form = sent(ctx.request)
    wish = NewIndex(form.text("name").strip(), _values(form))
    try:
        settings = await created(ctx, wish)
    except INDEX_MISTAKES as error:
        return await indexes(ctx, error=error)
    if warnings := await warnings_of(ctx, settings, wish.values):
        return await index(
            ctx, wish.name, warnings=[f"The index {wish.name} was created.", *warnings]
        )
    done = "index-hides" if await hidden_project(ctx.app, wish.name) else "index-created"
    return go(ctx.request, f"manage/indexes/{wish.name}", done=done)


@route("GET", INDEXES + "/<name>", action=Action.ADMIN, page=True)
async def index(
    ctx: RequestContext,
    name: str,
    *,
    error: PypidError | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Show an index with its settings."""
    settings, form = settings_of(ctx.app, name), sent(ctx.request)
    await show(
        ctx,
        "index.html",
        error=error,
        promotions=await _newest_promotions(ctx, name),
        warnings=warnings,
        shown=settings,
        values=_values(form) if error is not None and not form.flag("do") else values_of(settings),
        keys=_docs(),
        first=FIRST_KEYS,
        base=f"{site_of(ctx)}/{name}",
    )


@route("POST", INDEXES + "/<name>", action=Action.ADMIN, page=True, form=True)
async def change(ctx: RequestContext, name: str) -> None:
    """Change a named index; an empty field restores the default. Or delete it (``do=delete``): its
    name was typed.
    """
    form = sent(ctx.request)
    try:
        if form.text("do") == "delete":
            demand_typed(form, name)
            await deleted(ctx, name, force=form.flag("files"))
            return go(ctx.request, "manage/indexes", done="index-deleted")
        values = {**dict.fromkeys(keys(IndexKeys)), **_values(form)}
        settings = await changed_index(ctx, name, ChangedIndex(values))
    except INDEX_MISTAKES as error:
        return await index(ctx, name, error=error)
    if warnings := await warnings_of(ctx, settings, values):
        return await index(ctx, name, warnings=[f"The index {name} was changed.", *warnings])
    return go(ctx.request, f"manage/indexes/{name}", done="index-changed")


def _values(form: Fields) -> dict[str, str]:
    """Return the settings in the fields of the form that are not empty."""
    texts = {key: form.text(key).strip() for key in keys(IndexKeys)}
    return {key: text for key, text in texts.items() if text}


def _docs() -> dict[str, str]:
    """Return the description of each key."""
    return {key: declared.doc.replace("``", "") for key, declared in keys(IndexKeys).items()}


async def _newest_promotions(
    ctx: RequestContext, index: str | None
) -> Sequence[PromotionShape] | None:
    """Return the newest promotions into the index (None: into any index); None if they cannot be
    read.
    """
    try:
        return await newest_promotions(ctx, index, MOST_PROMOTIONS)
    except (NotAvailable, StorageDown):
        return None

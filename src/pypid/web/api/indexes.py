"""The JSON API of named indexes and of promotions between them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import aclosing
from functools import partial
from typing import Annotated, TypedDict

import msgspec
from attrs import evolve
from msgspec import UNSET, UnsetType

from pypid.core.errors import (
    BadRequest,
    Busy,
    ChangedElsewhere,
    IndexExpired,
    IndexInUse,
    NameTaken,
    NameUsedUpstream,
    NoSuchFile,
    NoSuchIndex,
    NoSuchProject,
    NotAvailable,
)
from pypid.core.indexes import (
    DEFAULT,
    IndexSettings,
    PromotionRefused,
    check_indexes,
    settings_of_values,
    values_of,
)
from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action, together
from pypid.core.records.documents import PromotionDocument
from pypid.index.local.manage import files_of_releases
from pypid.index.named_indexes import Indexes
from pypid.index.progress import Tell
from pypid.index.promotions import (
    IndexPart,
    Promotions,
    Wanted,
    check_promotion,
    remove_from_source,
)
from pypid.web.app.accounts import warnings_for
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, listed, recorded
from pypid.web.app.ownership import authorize_write, own_promoted, refuse_taking
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, Described, Removed, UtcTime, route
from pypid.web.http.event_stream import run_streamed
from pypid.web.http.request import Parameter, flag, names, number, parameters
from pypid.web.http.small_responses import read_json, send_json

FORCE = (Parameter("force", "Also delete the files of the index.", {"enum": ["", "yes", "no"]}),)


class NewIndex(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create an index. `values`: the keys of ``[index:NAME]`` in the
    configuration, spelled as there.
    """

    name: str
    values: dict[str, str] = {}


class ChangedIndex(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to change an index: new values; null restores the default. Other values
    stay.
    """

    values: dict[str, str | None]


class IndexShape(msgspec.Struct, kw_only=True):
    """A named index. `bases` are those that the user may read. `index` is the URL for installers,
    `upload` that for uploads. `login`: whether only clients that log in may read.

    `warnings`: possible mistakes after a change, and for administrators what is wrong now, such as
    a base that does not exist.

    `values`, `configured` (whether the configuration defines the index, so that it is changed
    there), `created` and `by` are for administrators only. `hides`: of a new index, the project
    whose alias ``/NAME/`` now leads to it, or "".
    """

    name: str
    index: str
    upload: str
    bases: list[str]
    volatile: bool
    expires: UtcTime | None
    login: bool
    values: dict[str, str] | UnsetType = UNSET
    configured: bool | UnsetType = UNSET
    created: UtcTime | UnsetType | None = UNSET
    by: str | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET
    hides: str | UnsetType = UNSET


class IndexList(TypedDict):
    """The indexes that the user may read, by name."""

    indexes: list[IndexShape]


@route("GET", "/api/indexes", action=ANYBODY, describe=Described(IndexList))
async def indexes(ctx: RequestContext) -> None:
    """List the named indexes that the user may read."""
    send_json(ctx.request, IndexList(indexes=[document_of(ctx, each) for each in readable(ctx)]))


@route(
    "GET",
    "/api/indexes/<index>",
    action=ANYBODY,
    describe=Described(IndexShape, refuses=(NoSuchIndex,)),
)
async def index(ctx: RequestContext, index: str) -> None:
    """Return a named index."""
    known = {each.name: each for each in readable(ctx)}
    if index not in known:
        raise NoSuchIndex(index, tuple(known))
    warnings: list[str] = []
    if ctx.is_admin:
        every = _managed(ctx.app)
        found = check_indexes(every.settings.values(), every.only)
        warnings = [f"{problem}." for problem in found if problem.index == index]
    send_json(ctx.request, document_of(ctx, known[index], warnings=warnings or UNSET))


@route(
    "POST",
    "/api/indexes",
    action=Action.ADMIN,
    describe=Described(
        IndexShape,
        status=201,
        takes=NewIndex,
        refuses=(BadRequest, ChangedElsewhere, IndexInUse, NameTaken, NotAvailable),
    ),
)
async def create(ctx: RequestContext) -> None:
    """Create a named index. It exists on the other nodes within two seconds."""
    wish = await read_json(ctx.request, NewIndex)
    settings = await created(ctx, wish)
    hidden = await hidden_project(ctx.app, settings.name)
    warnings = await warnings_of(ctx, settings, wish.values)
    send_json(ctx.request, document_of(ctx, settings, warnings=warnings, hides=hidden), 201)


@route(
    "PATCH",
    "/api/indexes/<index>",
    action=Action.ADMIN,
    describe=Described(
        IndexShape,
        takes=ChangedIndex,
        refuses=(BadRequest, ChangedElsewhere, NoSuchIndex, NotAvailable),
    ),
)
async def change(ctx: RequestContext, index: str) -> None:
    """Change values of a named index."""
    wish = await read_json(ctx.request, ChangedIndex)
    settings = await changed_index(ctx, index, wish)
    warnings = await warnings_of(ctx, settings, wish.values)
    send_json(ctx.request, document_of(ctx, settings, warnings=warnings))


@route(
    "DELETE",
    "/api/indexes/<index>",
    action=Action.ADMIN,
    describe=Described(
        Removed,
        asks=FORCE,
        refuses=(ChangedElsewhere, IndexInUse, NoSuchIndex, NotAvailable),
    ),
)
async def delete(ctx: RequestContext, index: str) -> None:
    """Delete a named index that has no files and is no base of another one. With ``?force``, also
    one with files, which are deleted.
    """
    await deleted(ctx, index, force=flag(parameters(ctx.request, *names(FORCE)), "force"))
    send_json(ctx.request, Removed(name=index, removed=True))


def readable(ctx: RequestContext) -> list[IndexSettings]:
    """Return the indexes that the user may read, by name. Raises `App.closed`."""
    ctx.refuse_if_closed()
    settings, app = ctx.app.indexes.settings, ctx.app
    return [settings[name] for name in app.readable_indexes(ctx.identity)]


async def created(ctx: RequestContext, wish: NewIndex) -> IndexSettings:
    """Create the index; return its settings."""
    settings = evolve(
        _parsed(wish.name, wish.values),
        created=ctx.app.world.now(),
        created_by=user_of(ctx.identity),
    )
    _refuse_past(ctx.app, settings)
    creating = _managed(ctx.app).create(settings)
    await recorded(
        ctx,
        "index create",
        settings.name,
        creating,
        lambda _: values_of(settings),
        index=settings.name,
    )
    return settings


async def changed_index(ctx: RequestContext, name: str, wish: ChangedIndex) -> IndexSettings:
    """Change the index; return its settings."""

    def edit(old: IndexSettings) -> IndexSettings:
        values = {**values_of(old), **wish.values}
        parsed = _parsed(name, {key: text for key, text in values.items() if text is not None})
        if "expires" in wish.values:
            _refuse_past(ctx.app, parsed)
        return parsed

    details: Details = {key: text or "default" for key, text in wish.values.items()}
    changing = _managed(ctx.app).change(name, edit)
    return await recorded(ctx, "index set", name, changing, lambda _: details, index=name)


async def deleted(ctx: RequestContext, name: str, *, force: bool = False) -> None:
    """Delete the index; with `force` also its files."""
    deleting = _managed(ctx.app).delete(name, force=force)
    await recorded(
        ctx, "index delete", name, deleting, lambda removed: {"objects": str(removed)}, index=name
    )


async def warnings_of(
    ctx: RequestContext, settings: IndexSettings, keys: Collection[str]
) -> list[str]:
    """Return warnings about unknown users and groups in those values of the index."""
    values = {"read": settings.read, "write": settings.write, "delete": settings.delete}
    return await warnings_for(
        ctx, together(value for key, value in values.items() if key in keys and value is not None)
    )


def _managed(app: App) -> Indexes:
    """Return the object that changes indexes. Raises `NotAvailable` if there cannot be any."""
    if not isinstance(app.indexes, Indexes):
        raise NotAvailable("named indexes")
    return app.indexes


def settings_of(app: App, name: str) -> IndexSettings:
    """Return the settings of the index. Raises `NoSuchIndex`."""
    settings = app.indexes.settings.get(name)
    if settings is None:
        raise NoSuchIndex(name)
    return settings


def _parsed(name: str, values: dict[str, str]) -> IndexSettings:
    try:
        return settings_of_values(name, values)
    except ValueError as error:
        problem = str(error)
        raise BadRequest(problem if problem.endswith("?") else f"{problem}.") from None


def _refuse_past(app: App, settings: IndexSettings) -> None:
    if settings.has_expired(app.world.now()):
        raise BadRequest("expires: this time has passed. Use a later one, or none.")


async def hidden_project(app: App, name: str) -> str:
    """Return the local project whose alias ``/NAME/`` the index of this name hides; "" if there is
    none.
    """
    found = await app.index.context.local_project(project_name(name))
    return found.name if isinstance(found, Project) else ""


def document_of(
    ctx: RequestContext,
    settings: IndexSettings,
    *,
    warnings: list[str] | UnsetType = UNSET,
    hides: str | UnsetType = UNSET,
) -> IndexShape:
    """Return the document of an index, as far as the user may see it."""
    base, is_admin = f"{site_of(ctx)}/{settings.name}", ctx.is_admin
    return IndexShape(
        name=settings.name,
        index=f"{base}/simple/",
        upload=f"{base}/legacy/",
        bases=readable_bases(ctx, settings),
        volatile=settings.volatile,
        expires=settings.expires,
        login=ctx.app.needs_login(settings.name),
        values=values_of(settings) if is_admin else UNSET,
        configured=settings.configured if is_admin else UNSET,
        created=settings.created if is_admin else UNSET,
        by=settings.created_by if is_admin else UNSET,
        warnings=warnings,
        hides=hides,
    )


def site_of(ctx: RequestContext) -> str:
    """Return the absolute URL of the site: that of the request, or the configured one for clients
    of the control socket.
    """
    is_remote = ctx.request.client_address() is not None
    return (ctx.base_url if is_remote else None) or ctx.app.settings.address.rstrip("/")


def readable_bases(ctx: RequestContext, settings: IndexSettings) -> list[str]:
    """Return the bases of the index that the user may read."""
    return [base for base in settings.bases if ctx.may_some(Action.READ, base)]


# The JSON API of promotions between indexes, below ``/api/indexes/<index>/``.

INHERITED = (
    "It must have been published to this index. Find the index that has it: pypid project why {} "
    "--index {}"
)
"""The advice if the source has no such project: it may inherit one."""
MOST_RELEASES = 1000
MOST_LISTED = 100
"""Largest number of promotions in one answer."""
ASKS = (
    Parameter("index", "Only those into this index; ``default``: the one at the root."),
    Parameter(
        "limit", "Maximum number of promotions.", {"type": "integer", "maximum": MOST_LISTED}
    ),
)
Releases = Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_RELEASES)]


class NewPromotion(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a promotion: the index that has the releases, each as ``NAME==VERSION``. `move`:
    delete the files there afterwards.
    """

    source: str
    releases: Releases
    dry_run: bool = False
    move: bool = False


class PromotionResult(TypedDict):
    """What a promotion did, or would do: the file names by project. `id` is empty if there was
    nothing to promote, and for a dry run.
    """

    id: str
    source: str
    target: str
    files: dict[str, list[str]]


class PromotionShape(msgspec.Struct):
    """A promotion: its releases that the user may publish. `source` is empty if the user may not
    read that index. `state` is ``done``, or ``under way`` while its files are being listed, or
    after a crash until they are.
    """

    id: str
    source: str
    target: str
    when: UtcTime
    by: str
    state: str
    releases: list[str]


class PromotionList(TypedDict):
    """The newest promotions, the newest first."""

    promotions: list[PromotionShape]


@route(
    "GET",
    "/api/promotions",
    action=SOMEBODY,
    describe=Described(PromotionList, asks=ASKS, refuses=(BadRequest, NoSuchIndex, NotAvailable)),
)
async def promotions(ctx: RequestContext) -> None:
    """List the newest promotions into any index, or one, of projects that the user may publish
    there.
    """
    query = parameters(ctx.request, *names(ASKS))
    index, most = query.get("index"), number(query, "limit", 1, MOST_LISTED) or 20
    is_known = index is None or _promotions(ctx).log.part_of(index) is not None
    if index is not None and not (is_known and ctx.may_some(Action.READ, index)):
        raise NoSuchIndex(index)
    send_json(ctx.request, PromotionList(promotions=await newest_promotions(ctx, index, most)))


def _may(ctx: RequestContext, index: str, action: Action, project: ProjectName) -> bool:
    """Return whether the user has the right in this index; in an index that was deleted only
    administrators have rights.
    """
    if _promotions(ctx).log.part_of(index) is None:
        return ctx.is_admin
    return ctx.may(action, project, index)


async def newest_promotions(
    ctx: RequestContext, index: str | None, most: int
) -> list[PromotionShape]:
    """Return the newest promotions into the index (None: into any index) that the user may see, the
    newest first. Raises `NotAvailable`, `StorageDown`.
    """
    known, found = _promotions(ctx), list[PromotionShape]()
    begun = await known.log.begun_ids()
    async with aclosing(known.newest(index)) as newest:
        async for promotion in newest:
            shape = _shape(ctx, promotion, is_done=promotion.id not in begun)
            found += [shape] if shape.releases else []
            if len(found) == most:
                break
    return found


def _shape(ctx: RequestContext, promotion: PromotionDocument, *, is_done: bool) -> PromotionShape:
    projects = {ProjectName(each.project) for each in promotion.files}
    shown = {name for name in projects if _may(ctx, promotion.target, Action.WRITE, name)}
    releases = {f"{each.project}=={each.file.version}": each.project for each in promotion.files}
    is_readable = all(_may(ctx, promotion.source, Action.READ, name) for name in shown)
    return PromotionShape(
        id=promotion.id,
        source=promotion.source if is_readable else "",
        target=promotion.target,
        when=promotion.created,
        by=promotion.by,
        state="done" if is_done else "under way",
        releases=[release for release, project in releases.items() if project in shown],
    )


@route(
    "POST",
    "/api/indexes/<index>/promotions",
    action=SOMEBODY,
    describe=Described(
        PromotionResult,
        takes=NewPromotion,
        refuses=(
            BadRequest,
            Busy,
            IndexExpired,
            NameUsedUpstream,
            NoSuchFile,
            NoSuchIndex,
            NoSuchProject,
            NotAvailable,
            PromotionRefused,
        ),
    ),
)
async def promote(ctx: RequestContext, index: str) -> None:
    """List releases of another index in this one (``default``: the index at the root), all of
    them or none. Needs the right to read them there, and to publish them here; with ``move``, to
    delete them there.
    """
    wish = await read_json(ctx.request, NewPromotion)
    source, target, wanted = await wanted_of(ctx, wish, index)
    await run_streamed(
        ctx.request,
        lambda tell: promoted(ctx, wish, source, target, wanted, tell),
        lambda result: result,
    )


async def promoted(
    ctx: RequestContext,
    wish: NewPromotion,
    source: IndexPart,
    target: IndexPart,
    wanted: Wanted,
    tell: Tell | None = None,
) -> PromotionResult:
    """Promote these files, or check whether they can be; `tell` receives the progress."""
    known, by = _promotions(ctx), user_of(ctx.identity)
    if wish.dry_run:
        try:
            checked = await check_promotion(source, target, wanted)
        except PromotionRefused as error:
            raise evolve(error, was_tried=False) from None
        return _result("", source, target, [(each.project, each.filename) for each in checked.new])
    name = target.name
    own = partial(own_promoted, ctx, source.name, name)
    promoting = known.promote(source, target, wanted, by, tell=tell, own=own)
    done = await recorded(
        ctx, "promote", name, promoting, lambda done: _details(wish, done), index=name
    )
    if wish.move:
        removing = remove_from_source(source, target, wanted, by)
        details = {"target": target.name, "releases": listed(wish.releases)}
        await recorded(
            ctx, "promote --move", source.name, removing, lambda _: details, index=source.name
        )
    files = () if done is None else done.files
    pairs = [(each.project, each.file.filename) for each in files]
    return _result("" if done is None else done.id, source, target, pairs)


async def wanted_of(
    ctx: RequestContext, wish: NewPromotion, index: str
) -> tuple[IndexPart, IndexPart, Wanted]:
    """Return source, target and files of a promotion that the user may make."""
    known, releases = _promotions(ctx), [_release(text) for text in wish.releases]
    projects = {name for name, _ in releases}
    await _authorize(ctx, wish.source, index, projects)
    if wish.move:
        for name in sorted(projects):
            ctx.authorize(Action.DELETE, name, wish.source)
    source, target = _part(known, wish.source), _part(known, index)
    await _refuse_taking(ctx, index, projects)
    return source, target, await _wanted(source, releases)


def targets_of(ctx: RequestContext, project: ProjectName) -> tuple[str, ...]:
    """Return the names of the other indexes that take files, and to which the user may promote the
    project.
    """
    if ctx.app.promotions is None:
        return ()
    own, now = ctx.app.index.name or DEFAULT, ctx.app.world.now()
    known = ctx.app.indexes.settings
    return tuple(
        name
        for name in (DEFAULT, *sorted(each for each in known if not known[each].has_expired(now)))
        if name != own
        and all(ctx.may(action, project, name) for action in (Action.READ, Action.WRITE))
    )


def _promotions(ctx: RequestContext) -> Promotions:
    ctx.refuse_if_closed()
    if ctx.app.promotions is None:
        raise NotAvailable("promotions between indexes")
    return ctx.app.promotions


def _release(text: str) -> tuple[ProjectName, str]:
    name, _, version = text.partition("==")
    if not version.strip():
        raise BadRequest(f"{text[:100]!r} is not a release: use NAME==VERSION.")
    return project_name(name.strip()), version.strip()


async def _authorize(
    ctx: RequestContext, source: str, target: str, projects: Iterable[ProjectName]
) -> None:
    """Raise `Forbidden` or `Unauthenticated` before anything is looked up, so that the answer does
    not disclose what exists.
    """
    for name in sorted(projects):
        ctx.authorize(Action.READ, name, source)
        await authorize_write(ctx, name, target, heir=ctx.app.owner_of(name, source))


async def _refuse_taking(ctx: RequestContext, target: str, projects: Iterable[ProjectName]) -> None:
    """Raise `NameUsedUpstream` in the cases in which an upload raises it."""
    index = ctx.app.indexes.get(target)
    if index is None:
        return
    for name in sorted(projects):
        await refuse_taking(ctx, name, index)


def _part(known: Promotions, name: str) -> IndexPart:
    part = known.log.part_of(name)
    if part is None:
        raise NoSuchIndex(name)
    return part


async def _wanted(source: IndexPart, releases: Iterable[tuple[ProjectName, str]]) -> Wanted:
    versions: dict[ProjectName, set[str]] = {}
    for name, version in releases:
        versions.setdefault(name, set()).add(version)
    wanted: dict[ProjectName, frozenset[str]] = {}
    for name, some in versions.items():
        try:
            project = await source.context.known(name)
            wanted[name] = await source.context.world.thinking(files_of_releases, project, some)
        except NoSuchFile as error:
            raise evolve(error, index=source.name) from None
        except NoSuchProject as error:
            advice = "" if source.name == DEFAULT else INHERITED.format(name, source.name)
            raise evolve(error, index=source.name, advice=advice) from None
    return wanted


def _details(wish: NewPromotion, done: PromotionDocument | None) -> Details | None:
    if done is None:
        return None
    return {"id": done.id, "source": wish.source, "releases": listed(wish.releases)}


def _result(
    id: str, source: IndexPart, target: IndexPart, files: Iterable[tuple[str, str]]
) -> PromotionResult:
    by_project: dict[str, list[str]] = {}
    for project, filename in files:
        by_project.setdefault(project, []).append(filename)
    return {
        "id": id,
        "source": source.name or DEFAULT,
        "target": target.name or DEFAULT,
        "files": by_project,
    }

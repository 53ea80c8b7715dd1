"""The JSON API that creates, lists, changes and deletes named indexes: ``/api/indexes``."""

from __future__ import annotations

from collections.abc import Collection
from typing import NotRequired, TypedDict

import msgspec
from attrs import evolve

from pypid.core.errors import (
    BadRequest,
    ChangedElsewhere,
    IndexInUse,
    IndexNotEmpty,
    NameTaken,
    NoSuchIndex,
    NotAvailable,
)
from pypid.core.indexes import (
    IndexSettings,
    check_indexes,
    settings_of_values,
    values_of,
)
from pypid.core.model import Project
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, together
from pypid.core.simple_api.entries import utc_text
from pypid.index.named_indexes import NamedIndexes
from pypid.web.app.account_names import warnings_for
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import Details, recorded
from pypid.web.app.descriptions import Described, Moment, Removed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.query import Parameter, flag, names, parameters
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


class IndexShape(TypedDict):
    """A named index. `bases` are those that the user may read. `index` is the URL for installers,
    `upload` that for uploads. `login`: whether only clients that log in may read.

    `warnings`: possible mistakes after a change, and for administrators what is wrong now, such as
    a base that does not exist.

    `values`, `configured` (whether the configuration defines the index, so that it is changed
    there), `created` and `by` are for administrators only.
    """

    name: str
    index: str
    upload: str
    bases: list[str]
    volatile: bool
    expires: Moment | None
    login: bool
    values: NotRequired[dict[str, str]]
    configured: NotRequired[bool]
    created: NotRequired[Moment | None]
    by: NotRequired[str]
    warnings: NotRequired[list[str]]


class CreatedIndex(IndexShape):
    """A new index. `hides` is the project whose alias ``/NAME/`` now leads to the index, or ""."""

    hides: str


class IndexList(TypedDict):
    """The indexes that the user may read, by name."""

    indexes: list[IndexShape]


@route("GET", "/api/indexes", action=ANYBODY, describe=Described(IndexList))
async def indexes(ctx: RequestContext) -> None:
    """List the named indexes that the user may read."""
    document: IndexList = {"indexes": [document_of(ctx, each) for each in readable(ctx)]}
    send_json(ctx.request, document)


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
    document = document_of(ctx, known[index])
    if "values" in document:
        every = _managed(ctx.app).all
        found = check_indexes(every.settings.values(), every.only)
        if warnings := [f"{problem}." for problem in found if problem.index == index]:
            document["warnings"] = warnings
    send_json(ctx.request, document)


@route(
    "POST",
    "/api/indexes",
    action=Action.ADMIN,
    describe=Described(
        CreatedIndex,
        status=201,
        takes=NewIndex,
        refuses=(BadRequest, ChangedElsewhere, IndexNotEmpty, NameTaken, NotAvailable),
    ),
)
async def create(ctx: RequestContext) -> None:
    """Create a named index. It exists on the other nodes within two seconds."""
    wish = await read_json(ctx.request, NewIndex)
    settings = await created(ctx, wish)
    hidden = await hidden_project(ctx.app, settings.name)
    warnings = await warnings_of(ctx, settings, wish.values)
    document: CreatedIndex = {**document_of(ctx, settings), "warnings": warnings, "hides": hidden}
    send_json(ctx.request, document, 201)


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
    settings = await changed(ctx, index, wish)
    warnings = await warnings_of(ctx, settings, wish.values)
    document: IndexShape = {**document_of(ctx, settings), "warnings": warnings}
    send_json(ctx.request, document)


@route(
    "DELETE",
    "/api/indexes/<index>",
    action=Action.ADMIN,
    describe=Described(
        Removed,
        asks=FORCE,
        refuses=(ChangedElsewhere, IndexInUse, IndexNotEmpty, NoSuchIndex, NotAvailable),
    ),
)
async def delete(ctx: RequestContext, index: str) -> None:
    """Delete a named index that has no files and is no base of another one. With ``?force``, also
    one with files, which are deleted.
    """
    await deleted(ctx, index, force=flag(parameters(ctx.request, *names(FORCE)), "force"))
    document: Removed = {"name": index, "removed": True}
    send_json(ctx.request, document)


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


async def changed(ctx: RequestContext, name: str, wish: ChangedIndex) -> IndexSettings:
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


def _managed(app: App) -> NamedIndexes:
    """Return the object that changes indexes. Raises `NotAvailable` if there cannot be any."""
    if not isinstance(app.indexes, NamedIndexes):
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


def document_of(ctx: RequestContext, settings: IndexSettings) -> IndexShape:
    """Return the document of an index, as far as the user may see it."""
    base = f"{site_of(ctx)}/{settings.name}"
    document: IndexShape = {
        "name": settings.name,
        "index": f"{base}/simple/",
        "upload": f"{base}/legacy/",
        "bases": readable_bases(ctx, settings),
        "volatile": settings.volatile,
        "expires": None if settings.expires is None else utc_text(settings.expires),
        "login": ctx.app.needs_login(settings.name),
    }
    if ctx.is_admin:
        document["values"] = values_of(settings)
        document["configured"] = settings.configured
        document["created"] = None if settings.created is None else utc_text(settings.created)
        document["by"] = settings.created_by
    return document


def site_of(ctx: RequestContext) -> str:
    """Return the absolute URL of the site: that of the request, or the configured one for clients
    of the control socket.
    """
    is_remote = ctx.request.client_address() is not None
    return (ctx.base_url if is_remote else None) or ctx.app.settings.address.rstrip("/")


def readable_bases(ctx: RequestContext, settings: IndexSettings) -> list[str]:
    """Return the bases of the index that the user may read."""
    return [base for base in settings.bases if may_read(ctx, base)]


def may_read(ctx: RequestContext, index: str) -> bool:
    """Return whether the user may read something in the index."""
    return ctx.may_some(Action.READ, index)

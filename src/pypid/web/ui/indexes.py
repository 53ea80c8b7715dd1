"""The pages of named indexes: the list, and one page for each, to change and delete it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pypid.core.configuration.keys import IndexKeys, keys
from pypid.core.errors import NotAvailable, PypidError, StorageDown
from pypid.core.indexes import values_of
from pypid.core.permissions import Action
from pypid.web.api.indexes import (
    ChangedIndex,
    NewIndex,
    changed,
    created,
    deleted,
    hidden_project,
    settings_of,
    site_of,
    warnings_of,
)
from pypid.web.api.promotions import newest_promotions
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import INDEX_MISTAKES, demand_typed, refused, sent
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import leaf_of

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
async def indexes(ctx: RequestContext) -> None:
    """Show the named indexes."""
    await _list(ctx)


@route("POST", INDEXES, action=Action.ADMIN, page=True, form=True)
async def create(ctx: RequestContext) -> None:
    """Create a named index."""
    form = sent(ctx.request)
    wish = NewIndex(form.text("name").strip(), _values(form))
    try:
        settings = await created(ctx, wish)
    except INDEX_MISTAKES as error:
        return await _list(ctx, error=error, wish=wish)
    if warnings := await warnings_of(ctx, settings, wish.values):
        return await _one(
            ctx, wish.name, warnings=[f"The index {wish.name} was created.", *warnings]
        )
    done = "index-hides" if await hidden_project(ctx.app, wish.name) else "index-created"
    return go(ctx.request, f"manage/indexes/{wish.name}", done=done)


@route("GET", INDEXES + "/<name>", action=Action.ADMIN, page=True)
async def index(ctx: RequestContext, name: str) -> None:
    """Show an index with its settings."""
    await _one(ctx, name)


@route("POST", INDEXES + "/change", action=Action.ADMIN, page=True, form=True)
async def change(ctx: RequestContext) -> None:
    """Change a named index. An empty field restores the default."""
    form = sent(ctx.request)
    name, typed = form.text("name"), _values(form)
    values = {**dict.fromkeys(keys(IndexKeys)), **typed}
    try:
        settings = await changed(ctx, name, ChangedIndex(values))
    except INDEX_MISTAKES as error:
        return await _one(ctx, name, error=error, values=typed)
    if warnings := await warnings_of(ctx, settings, values):
        return await _one(ctx, name, warnings=[f"The index {name} was changed.", *warnings])
    return go(ctx.request, f"manage/indexes/{name}", done="index-changed")


@route("POST", INDEXES + "/delete", action=Action.ADMIN, page=True, form=True)
async def delete(ctx: RequestContext) -> None:
    """Delete a named index, whose name was typed."""
    form = sent(ctx.request)
    name = form.text("name")
    try:
        demand_typed(form, name)
        await deleted(ctx, name, force=form.flag("files"))
    except INDEX_MISTAKES as error:
        return await _one(ctx, name, error=error)
    return go(ctx.request, "manage/indexes", done="index-deleted")


def _values(form: Fields) -> dict[str, str]:
    """Return the settings in the fields of the form that are not empty."""
    texts = {key: form.text(key).strip() for key in keys(IndexKeys)}
    return {key: text for key, text in texts.items() if text}


def _docs() -> dict[str, str]:
    """Return the description of each key."""
    return {key: declared.doc.replace("``", "") for key, declared in keys(IndexKeys).items()}


async def _list(
    ctx: RequestContext, *, error: PypidError | None = None, wish: NewIndex | None = None
) -> None:
    status, problems = refused(ctx.request, error)
    settings = ctx.app.indexes.settings
    await show(
        ctx,
        "indexes.html",
        status=status,
        promotions=await _newest_promotions(ctx, None),
        problems=problems,
        leaf=leaf_of([settings[name] for name in sorted(settings)], ctx.request),
        wish=wish or NewIndex(""),
        keys=_docs(),
        first=FIRST_KEYS,
    )


async def _one(
    ctx: RequestContext,
    name: str,
    *,
    error: PypidError | None = None,
    warnings: Sequence[str] = (),
    values: Mapping[str, str] | None = None,
) -> None:
    settings = settings_of(ctx.app, name)
    status, problems = refused(ctx.request, error)
    await show(
        ctx,
        "index.html",
        status=status,
        promotions=await _newest_promotions(ctx, name),
        problems=problems,
        warnings=warnings,
        shown=settings,
        values=values_of(settings) if values is None else values,
        keys=_docs(),
        first=FIRST_KEYS,
        base=f"{site_of(ctx)}/{name}",
    )


async def _newest_promotions(
    ctx: RequestContext, index: str | None
) -> list[dict[str, object]] | None:
    """Return the newest promotions into the index (None: into any index); None if they cannot be
    read.
    """
    try:
        found = await newest_promotions(ctx, index, MOST_PROMOTIONS)
    except (NotAvailable, StorageDown):
        return None
    return [{**each, "when": datetime.fromisoformat(each["when"])} for each in found]

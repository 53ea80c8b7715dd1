"""The pages of stages: the list, and one page for each, to publish and delete it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from attrs import evolve

from pypid.core.errors import PypidError
from pypid.core.indexes import DEFAULT, IndexSettings
from pypid.core.permissions import Action, may
from pypid.core.presentation.snippets import to_install, to_publish
from pypid.core.stages import StageState, may_use, state_of
from pypid.web.api.indexes import warnings_of
from pypid.web.api.stages import (
    NewStage,
    created,
    deleted,
    files_of,
    published,
    readable,
    readable_base,
    stage_of,
)
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import SOMEBODY, route
from pypid.web.installers.client_files import place_of
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import INDEX_MISTAKES, demand_typed, refused, sent
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import leaf_of

PATH = "account/stages"
FIELDS = ("base", "expires", "name", "read", "write")

say(
    stage_created="The stage was created.",
    stage_published="All files of the stage were published.",
    stage_left="The stage was published, except for files that were uploaded meanwhile. Publish it "
    "again.",
    stage_deleted="The stage was deleted.",
)


@route("GET", "/account/stages", action=SOMEBODY, page=True)
async def stages(ctx: RequestContext) -> None:
    """Show the stages that the user may read."""
    await _list(ctx)


@route("POST", "/account/stages", action=SOMEBODY, page=True, form=True)
async def create(ctx: RequestContext) -> None:
    """Create a stage that belongs to the user."""
    form = sent(ctx.request)
    typed = {key: form.text(key).strip() for key in FIELDS}
    wish = NewStage(**{key: text for key, text in typed.items() if text})
    try:
        stage = await created(ctx, wish)
    except INDEX_MISTAKES as error:
        return await _list(ctx, error=error, wish=wish)
    if warnings := await warnings_of(ctx, stage, ("read", "write")):
        return await _one(ctx, stage.name, warnings=["The stage was created.", *warnings])
    return go(ctx.request, f"{PATH}/{stage.name}", done="stage-created")


@route("GET", "/account/stages/<stage>", action=SOMEBODY, page=True)
async def stage(ctx: RequestContext, stage: str) -> None:
    """Show a stage with its files."""
    await _one(ctx, stage)


@route("POST", "/account/stages/publish", action=SOMEBODY, page=True, form=True)
async def publish(ctx: RequestContext) -> None:
    """Publish a stage."""
    name = sent(ctx.request).text("name")
    try:
        _, done = await published(ctx, name)
    except INDEX_MISTAKES as error:
        return await _one(ctx, name, error=error)
    word = "stage-left" if done.left else "stage-published"
    return go(ctx.request, f"{PATH}/{name}", done=word)


@route("POST", "/account/stages/delete", action=SOMEBODY, page=True, form=True)
async def delete(ctx: RequestContext) -> None:
    """Delete a stage, whose name was typed."""
    form = sent(ctx.request)
    name = form.text("name")
    try:
        demand_typed(form, name)
        await deleted(ctx, name)
    except INDEX_MISTAKES as error:
        return await _one(ctx, name, error=error)
    return go(ctx.request, PATH, done="stage-deleted")


def _bases(ctx: RequestContext) -> list[str]:
    """Return the names of the indexes in which the user may publish something."""
    now = ctx.app.world.now()
    known = [
        name
        for name, each in sorted(ctx.app.indexes.settings.items())
        if not each.stage and each.takes_files(now)
    ]
    return [
        name
        for name in (DEFAULT, *known)
        if all(
            may(ctx.rules_in(name), ctx.identity, action) for action in (Action.READ, Action.WRITE)
        )
    ]


def _states(ctx: RequestContext, stages: Sequence[IndexSettings]) -> dict[str, str]:
    now = ctx.app.world.now()
    return {each.name: state_of(each, now).value for each in stages}


async def _list(
    ctx: RequestContext, *, error: PypidError | None = None, wish: NewStage | None = None
) -> None:
    status, problems = refused(ctx.request, error)
    leaf = leaf_of(readable(ctx), ctx.request)
    await show(
        ctx,
        "stages.html",
        status=status,
        problems=problems,
        leaf=leaf,
        wish=wish or NewStage(),
        states=_states(ctx, leaf.lines),
        base_of=partial(readable_base, ctx),
        bases=_bases(ctx),
    )


async def _one(
    ctx: RequestContext,
    name: str,
    *,
    error: PypidError | None = None,
    warnings: Sequence[str] = (),
) -> None:
    settings = stage_of(ctx, name)
    status, problems = refused(ctx.request, error)
    files, place = await files_of(ctx, settings), await place_of(ctx)
    if place is not None:
        is_open = ctx.rules_in(name).read.everyone
        place = evolve(place, base=f"{place.base}/{name}", index=name, login=not is_open)
    user = ctx.identity.user
    await show(
        ctx,
        "stage.html",
        status=status,
        problems=problems,
        warnings=warnings,
        stage=settings,
        base=readable_base(ctx, settings),
        state=state_of(settings, ctx.app.world.now()),
        states=StageState,
        projects=leaf_of(list(files.items()), ctx.request),
        count=sum(map(len, files.values())),
        may_use=may_use(settings, ctx.identity),
        installing=() if place is None else to_install(place, user)[:2],
        publishing=() if place is None else to_publish(place, user)[:2],
    )

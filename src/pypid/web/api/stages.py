"""The JSON API that creates, lists, publishes and deletes stages: ``/api/stages``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from shlex import quote
from typing import NotRequired, TypedDict

import msgspec
from attrs import evolve

from pypid.core.authorization import account_of, authorize
from pypid.core.errors import (
    BadRequest,
    Busy,
    ChangedElsewhere,
    Forbidden,
    IndexExpired,
    IndexInUse,
    IndexNotEmpty,
    NameTaken,
    NoSuchFile,
    NoSuchIndex,
    NoSuchProject,
    NoSuchStage,
    NotAvailable,
    StageClosed,
)
from pypid.core.indexes import DEFAULT, IndexSettings
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import NOBODY, Action, Principals, may, together
from pypid.core.promotion_rules import PromotionRefused
from pypid.core.simple_api.entries import utc_text
from pypid.core.stages import (
    lifetime_of,
    may_use,
    new_stage,
    random_stage_name,
    stage_name,
    state_of,
)
from pypid.index.stages import PublishedStage, Stages
from pypid.web.api.indexes import document_of as index_document
from pypid.web.api.indexes import may_read, readable_bases, warnings_of
from pypid.web.api.indexes import readable as readable_indexes
from pypid.web.api.owners import known_user
from pypid.web.app.app import user_of
from pypid.web.app.audit import Details, listed, recorded
from pypid.web.app.descriptions import Described, Moment, Removed
from pypid.web.app.ownership import authorize_write, own_promoted
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, route
from pypid.web.http.small_responses import read_json, send_json

NO_OWNER = (
    "A stage belongs to a user: use a token of a user, or set `as_user` of the trusted publisher."
)
MAY_NOT_USE = "use this stage as a whole: its creator may, and those whom its creator named"
ASK_CREATOR = "Ask one of them, or an administrator to add you"


class NewStage(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a stage. `base`: the index into which it will be published.
    `expires`: how long it exists (``12h``, ``7d``); empty: 7 days. `name`: what follows ``stage-``
    in its name; empty: random characters. `read` and `write`: who else may use it, spelled as in
    ``[access]``. `owner`: the user whose stage it is, who needs the right to publish in the base;
    for administrators only.
    """

    base: str = DEFAULT
    expires: str = ""
    name: str = ""
    read: str = ""
    write: str = ""
    owner: str = ""


class StageShape(TypedDict):
    """A stage. `index` is the URL for installers, `upload` that for uploads. `state` is ``open``,
    ``publishing``, ``published`` or ``expired``. `base` is empty if the user may not read that
    index; `read` and `write` are empty for anonymous clients. `warnings`: possible mistakes, after
    it was created.
    """

    name: str
    base: str
    index: str
    upload: str
    state: str
    expires: Moment | None
    created: Moment | None
    owner: str
    read: str
    write: str
    warnings: NotRequired[list[str]]


class StageContent(StageShape):
    """A stage with the names of its files by project, as far as the user may read them."""

    files: dict[str, list[str]]


class StageList(TypedDict):
    """The stages that the user may read, by name."""

    stages: list[StageShape]


class StagePublished(TypedDict):
    """What was published: the file names by project. `promotion` is the id of the promotion, ""
    if the base had all files before. `left` are files that were uploaded at the same time: they
    are in the stage, which is open again.
    """

    name: str
    base: str
    promotion: str
    files: dict[str, list[str]]
    left: list[str]


@route("GET", "/api/stages", action=ANYBODY, describe=Described(StageList))
async def stages(ctx: RequestContext) -> None:
    """List the stages that the user may read."""
    document: StageList = {"stages": [document_of(ctx, each) for each in readable(ctx)]}
    send_json(ctx.request, document)


@route(
    "GET",
    "/api/stages/<stage>",
    action=ANYBODY,
    describe=Described(StageContent, refuses=(NoSuchStage, NotAvailable)),
)
async def stage(ctx: RequestContext, stage: str) -> None:
    """Return a stage with its files."""
    settings = stage_of(ctx, stage)
    document: StageContent = {
        **document_of(ctx, settings),
        "files": await files_of(ctx, settings),
    }
    send_json(ctx.request, document)


@route(
    "POST",
    "/api/stages",
    action=SOMEBODY,
    describe=Described(
        StageShape,
        status=201,
        takes=NewStage,
        refuses=(BadRequest, IndexExpired, IndexNotEmpty, NameTaken, NoSuchIndex, NotAvailable),
    ),
)
async def create(ctx: RequestContext) -> None:
    """Create a stage of an index. Needs the right to publish something there. The stage is
    served by the other nodes within a second.
    """
    settings = await created(ctx, await read_json(ctx.request, NewStage))
    warnings = await warnings_of(ctx, settings, ("read", "write"))
    document: StageShape = {**document_of(ctx, settings), "warnings": warnings}
    send_json(ctx.request, document, 201)


@route(
    "DELETE",
    "/api/stages/<stage>",
    action=SOMEBODY,
    describe=Described(
        Removed, refuses=(ChangedElsewhere, IndexInUse, NoSuchStage, NotAvailable, StageClosed)
    ),
)
async def delete(ctx: RequestContext, stage: str) -> None:
    """Delete a stage and its files."""
    await deleted(ctx, stage)
    document: Removed = {"name": stage, "removed": True}
    send_json(ctx.request, document)


@route(
    "POST",
    "/api/stages/<stage>/publish",
    action=SOMEBODY,
    describe=Described(
        StagePublished,
        refuses=(
            BadRequest,
            Busy,
            ChangedElsewhere,
            IndexExpired,
            NoSuchFile,
            NoSuchIndex,
            NoSuchProject,
            NoSuchStage,
            NotAvailable,
            PromotionRefused,
        ),
    ),
)
async def publish(ctx: RequestContext, stage: str) -> None:
    """List all files of a stage in its base, all of them or none, as one change. Needs the right to
    publish each of its projects there. The request can be repeated.
    """
    base, done = await published(ctx, stage)
    document: StagePublished = {
        "name": stage,
        "base": base,
        "promotion": done.promotion,
        "files": {name: sorted(filenames) for name, filenames in done.files.items()},
        "left": sorted(done.left),
    }
    send_json(ctx.request, document)


# --- shared with the page -------------------------------------------------------------------------


def readable(ctx: RequestContext) -> list[IndexSettings]:
    """Return the stages that the user may read, by name. Raises `App.closed`."""
    return [each for each in readable_indexes(ctx) if each.stage]


def stage_of(ctx: RequestContext, name: str) -> IndexSettings:
    """Return the stage. Raises `NoSuchStage` also if the user may not read it."""
    ctx.refuse_if_closed()
    settings = ctx.app.indexes.settings.get(name)
    if settings is None or not settings.stage:
        raise NoSuchStage(name)
    if not may_read(ctx, name):
        _refuse_token(ctx, name)
        raise NoSuchStage(name)
    return settings


def _refuse_token(ctx: RequestContext, index: str) -> None:
    """Raise `Forbidden` if the user of the token may read the index, and the token may not."""
    who = ctx.identity
    if (
        who.scope is not None
        and not who.publisher
        and may(ctx.rules_in(index), evolve(who, scope=None), Action.READ)
    ):
        raise Forbidden(user_of(who), Action.READ.value, index=index, token=True)


def readable_base(ctx: RequestContext, stage: IndexSettings) -> str:
    """Return the name of the index into which the stage is published; "" if the user may not read
    it.
    """
    return next(iter(readable_bases(ctx, stage)), "")


def document_of(ctx: RequestContext, stage: IndexSettings) -> StageShape:
    """Return the document of the stage."""
    shared, is_user = index_document(ctx, stage), ctx.identity.user is not None
    return {
        "name": stage.name,
        "base": readable_base(ctx, stage),
        "index": shared["index"],
        "upload": shared["upload"],
        "state": state_of(stage, ctx.app.world.now()).value,
        "expires": shared["expires"],
        "created": None if stage.created is None else utc_text(stage.created),
        "owner": stage.created_by,
        "read": stage.read.text() if is_user and stage.read is not None else "",
        "write": stage.write.text() if is_user and stage.write is not None else "",
    }


async def files_of(ctx: RequestContext, stage: IndexSettings) -> dict[str, list[str]]:
    """Return the names of the files by project, as far as the user may read them."""
    rules = ctx.rules_in(stage.name)
    return {
        name: sorted(filenames)
        for name, filenames in (await _managed(ctx).files(stage.name)).items()
        if may(rules, ctx.identity, Action.READ, name)
    }


async def created(ctx: RequestContext, wish: NewStage) -> IndexSettings:
    """Create the stage; return its settings."""
    stages = _managed(ctx)
    _check_base(ctx, wish.base)
    settings = _new(ctx, wish)
    if wish.owner:
        owner = await known_user(ctx.app, wish.owner)
        authorize(ctx.rules_in(wish.base), owner, Action.WRITE)
    details = {"base": wish.base, "owner": settings.created_by}
    creating = stages.create(settings)
    name = settings.name
    await recorded(ctx, "create-stage", name, creating, lambda _: details, index=name)
    return settings


def _check_base(ctx: RequestContext, base: str) -> None:
    """Raise an error unless the user may publish something in the base. An index that the user may
    not read does not exist.
    """
    if base != DEFAULT and base not in ctx.app.indexes.settings:
        raise NoSuchIndex(base)
    scope = ctx.identity.scope
    if scope is not None and Action.READ not in scope.actions:
        _refuse_token(ctx, base)  # it could not publish the stage, which is visible after a login
    if base != DEFAULT and not may_read(ctx, base):
        raise NoSuchIndex(base)
    authorize(ctx.rules_in(base), ctx.identity, Action.WRITE)


def _new(ctx: RequestContext, wish: NewStage) -> IndexSettings:
    who = ctx.identity
    user = who.as_user if who.publisher else who.user
    if user is None:  # a trusted publisher without `as_user`
        raise BadRequest(NO_OWNER)
    if wish.owner not in ("", user):
        authorize(ctx.app.rules, ctx.identity, Action.ADMIN)
    try:
        return new_stage(
            stage_name(wish.name) if wish.name else random_stage_name(ctx.app.world.random),
            wish.base,
            wish.owner or user,
            ctx.app.world.now(),
            lifetime_of(wish.expires),
            _principals("read", wish.read),
            _principals("write", wish.write),
        )
    except ValueError as error:
        raise BadRequest(f"{error}.") from None


def _principals(what: str, text: str) -> Principals:
    try:
        return Principals.parse(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


async def published(ctx: RequestContext, name: str) -> tuple[str, PublishedStage]:
    """Publish the stage; return its base, and what was published."""
    stages, stage = _managed(ctx), _used(ctx, name)
    base = stage.target or ""

    async def check(projects: Collection[ProjectName]) -> None:
        await ctx.app.catch_up()
        for project in projects:
            rules = ctx.rules_in(name)
            authorize(rules, ctx.identity, Action.READ, project)
            try:
                await authorize_write(ctx, ctx.rules_in(base), project, rules.owner_of(project))
            except Forbidden as error:
                if may_read(ctx, base):
                    raise
                raise Forbidden(error.user, error.action, project, error.token) from None

    own = partial(own_promoted, ctx, name, base)
    publishing = stages.publish(name, user_of(ctx.identity), check, own)

    def details_of(done: PublishedStage) -> Details | None:
        if not done.promotion or done.is_repeated:
            return None
        return {"base": base, "promotion": done.promotion, "projects": listed(done.files)}

    return base, await recorded(ctx, "publish-stage", name, publishing, details_of, index=base)


async def deleted(ctx: RequestContext, name: str) -> None:
    """Delete the stage with its files."""
    stages, stage = _managed(ctx), _used(ctx, name)
    scope = ctx.identity.scope
    for project in await stages.files(name) if scope is not None else ():
        if scope is not None and not scope.covers(Action.WRITE, project):
            raise Forbidden(user_of(ctx.identity), Action.DELETE.value, project, token=True)

    def details_of(removed: int) -> Mapping[str, str]:
        return {"base": stage.target or "", "objects": str(removed)}

    await recorded(ctx, "delete-stage", name, stages.delete(name), details_of, index=name)


def _used(ctx: RequestContext, name: str) -> IndexSettings:
    """Return the stage. Raises `Forbidden` unless the user may publish and delete it as a whole."""
    stage = stage_of(ctx, name)
    if not may_use(stage, ctx.identity):
        who = ctx.identity
        is_limited = who.scope is not None and not who.scope.covers(Action.WRITE, None)
        advice = f"{ASK_CREATOR}{_command_to_add(stage, account_of(who))}"
        raise Forbidden(user_of(who), MAY_NOT_USE, token=is_limited, advice=advice)
    return stage


def _command_to_add(stage: IndexSettings, user: str) -> str:
    """Return the command by which an administrator lets the user use the stage."""
    if not user:
        return "."
    added = together([stage.write or NOBODY, Principals(users=frozenset({user}))])
    return f": pypid index set {stage.name} {quote(f'write={added.text()}')}"


def _managed(ctx: RequestContext) -> Stages:
    """Return the stages. Raises `NotAvailable` if there cannot be any."""
    ctx.refuse_if_closed()
    if ctx.app.stages is None:
        raise NotAvailable("stages")
    return ctx.app.stages

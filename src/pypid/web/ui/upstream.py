"""The upstream page: the settings in force, whether upstream answers, and the cached files, which
can be purged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import frozen

from pypid.core.configuration.choices import Mode, NewProjects
from pypid.core.configuration.value_kinds import (
    duration_text,
    exception_text,
    parse_duration,
    wait_text,
)
from pypid.core.errors import BadRequest, CatalogDown, PypidError
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action
from pypid.index.progress import Tell
from pypid.index.usage import ProjectUse
from pypid.web.api.cache import Purge, purged
from pypid.web.api.machine_documents import NamedUpstreamDocument
from pypid.web.api.upstream import named_upstreams
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.pages import show
from pypid.web.ui.pagination import ListSlice, leaf_of
from pypid.web.ui.storage import used_of
from pypid.web.ui.streamed_page import show_meanwhile

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


@frozen
class UpstreamRule:
    """A rule of ``[upstream]``: its key, its meaning, and its names and globs (the first ones)."""

    key: str
    says: str
    globs: Sequence[str]
    more: int


@frozen
class Gone:
    """The result of a purge, for the page."""

    projects: int
    files: int
    size: int


@route("GET", "/manage/upstream", action=Action.ADMIN, page=True)
async def upstream(ctx: RequestContext) -> None:
    """Show the state of upstream, its settings, and the cached files."""
    await _page(ctx)


@route("POST", "/manage/upstream/purge", action=Action.ADMIN, page=True, form=True)
async def purge(ctx: RequestContext) -> None:
    """Purge cached files: of a project, those unused for long, or all."""
    fields = ctx.request.form or Fields()
    try:
        wanted = _wanted(fields)
    except PypidError as error:
        return await _page(ctx, problems=[str(error)], fields=fields)

    async def run(tell: Tell) -> Gone:
        gone = await purged(ctx, wanted)
        return Gone(
            len({file.project for file in gone}),
            sum(file.recorded for file in gone),
            sum(file.size for file in gone),
        )

    return await show_meanwhile(ctx, "purge.html", run, wanted=wanted, age=_age(wanted.unwanted))


def _wanted(fields: Fields) -> Purge:
    """Return the purge that the form requests. Raises `BadRequest`, `BadName`."""
    project, age = fields.text("project").strip(), fields.text("older_than").strip()
    unwanted: timedelta | None = None
    if age:
        try:
            unwanted = parse_duration(age)
        except ValueError:
            raise BadRequest(
                "An age is a whole number with one unit (s, m, h or d), e.g. 30d."
            ) from None
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


def _age(unwanted: timedelta | None) -> str:
    return "" if unwanted is None else duration_text(unwanted)


async def _page(
    ctx: RequestContext,
    *,
    problems: Sequence[str] = (),
    fields: Fields | None = None,
) -> None:
    policy, used = ctx.app.index.policy, (await used_of(ctx.app))[0]
    leaf: ListSlice[ProjectUse] = leaf_of(() if used is None else used.by_kept, ctx.request)
    await show(
        ctx,
        "upstream.html",
        status=400 if problems else 200,
        problems=problems,
        fields=fields or Fields(),
        mode=MODES[policy.mode],
        offline=policy.mode is Mode.OFFLINE,
        indexes=ctx.app.settings.indexes,
        outage=ctx.app.index.gate.breaker,
        named=await _named(ctx.app),
        order=ctx.app.index.choice.names,
        most=MOST_GLOBS,
        ttl=duration_text(ctx.app.index.ttl),
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


async def _named(app: App) -> Sequence[NamedUpstreamDocument]:
    """Return the further upstreams; none while the catalog cannot be read."""
    try:
        return await named_upstreams(app)
    except CatalogDown:
        return ()


def _rules(app: App) -> list[UpstreamRule]:
    policy = app.index.policy
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
    return [
        UpstreamRule(key, says, globs[:MOST_GLOBS], max(0, len(globs) - MOST_GLOBS))
        for key, says, globs in rules
        if globs
    ]

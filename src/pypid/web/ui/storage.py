"""The storage page: its use by project, and the jobs reconcile, adopt and check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

from attrs import field, frozen

from pypid.core.errors import CatalogDown, PypidError
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action
from pypid.index.local.adoption import Adopted, Result
from pypid.index.local.storage_check import Finding
from pypid.index.progress import Tell
from pypid.index.usage import ProjectUse, Used
from pypid.web.api.storage import Checkup, checked, rebuilt
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.pages import show
from pypid.web.ui.pagination import ListSlice, leaf_of
from pypid.web.ui.streamed_page import show_meanwhile

MOST_TOLD = 500
"""Number of files, or findings, that a page shows; of more only the number."""
SWEEP = "sweep"
"""The word that has to be typed before anything is removed."""


@route("GET", "/manage/storage", action=Action.ADMIN, page=True)
async def storage(ctx: RequestContext) -> None:
    """Show what is used, and by which projects."""
    await _page(ctx)


@route("POST", "/manage/rebuild", action=Action.ADMIN, page=True, form=True)
async def rebuild(ctx: RequestContext) -> None:
    """Reconcile with the storage, and show the progress."""
    typed = (ctx.request.form or Fields()).text("project").strip()
    try:
        name = project_name(typed) if typed else None
    except PypidError as error:
        return await _page(ctx, problems=[str(error)], project=typed)

    async def run(tell: Tell) -> RebuildOutcome:
        found, adopted = await rebuilt(ctx, name, tell)
        return RebuildOutcome(
            found.projects, found.changed, *await ctx.app.world.thinking(_sorted, adopted)
        )

    return await show_meanwhile(ctx, "rebuild.html", run, project=name, most=MOST_TOLD)


@route("POST", "/manage/check", action=Action.ADMIN, page=True, form=True)
async def check(ctx: RequestContext) -> None:
    """Check the storage, and show the progress."""
    form = ctx.request.form or Fields()
    wanted = Checkup(sweep=form.flag("sweep"), hashes=form.flag("hashes"))
    if wanted.sweep and form.text("confirm").strip() != SWEEP:
        problem = (
            f"To delete orphaned files, type {SWEEP} into the confirmation field. Nothing was "
            f"checked."
        )
        return await _page(ctx, problems=[problem], sweep=True, hashes=wanted.hashes)

    async def run(tell: Tell) -> CheckOutcome:
        found = await checked(ctx, wanted, tell)
        counts = Counter(finding.wrong.value for finding in found.findings)
        return CheckOutcome(found.objects, found.files, found.kept, counts, found.findings)

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


@frozen
class CheckOutcome:
    """The result of a check, for the page."""

    objects: int
    files: int
    kept: int
    counts: Counter[str]
    findings: Sequence[Finding] = field(repr=False)


def _sorted(adopted: Sequence[Adopted]) -> tuple[list[Adopted], list[Adopted], Counter[str]]:
    odd = [one for one in adopted if one.outcome is not Result.ADOPTED or one.problems]
    odd.sort(key=lambda one: one.outcome is not Result.REFUSED)
    good = [one for one in adopted if one.outcome is Result.ADOPTED and not one.problems]
    return odd, good, Counter(one.outcome.value for one in adopted)


async def _page(
    ctx: RequestContext,
    *,
    problems: Sequence[str] = (),
    project: str = "",
    sweep: bool = False,
    hashes: bool = False,
) -> None:
    used, failure = await used_of(ctx.app)
    leaf: ListSlice[ProjectUse] = leaf_of(() if used is None else used.by_size, ctx.request)
    usage, measures = ctx.app.measures.usage, ctx.app.measures
    await show(
        ctx,
        "storage.html",
        status=400 if problems else 200,
        problems=problems,
        used=used,
        failure=failure,
        counting=(usage.done, usage.of) if usage.is_counting else None,
        leaf=leaf,
        homes=await _homes(ctx.app, leaf.lines),
        place=ctx.app.settings.place,
        disk=await measures.disk("storage"),
        state_disk=await measures.disk("state"),
        project=project,
        sweep=sweep,
        hashes=hashes,
        word=SWEEP,
        comparing=ctx.app.index.maintenance.comparing,
    )


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

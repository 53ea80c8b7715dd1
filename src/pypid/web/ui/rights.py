"""The pages of rights: those of one project, in words, and all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from pypid.core.accounts.rights import NAMED, Right, Whom, project_pattern
from pypid.core.errors import BadName, BadRequest, PypidError
from pypid.core.packaging.globs import ProjectPattern, is_glob
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action, Principals, together
from pypid.web.api.owners import give, owner_document
from pypid.web.api.rights import (
    effective,
    glob_of,
    granted,
    listed,
    rights_now,
    whole,
    whom_of,
    withdrawn,
)
from pypid.web.app.account_names import user_names
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import MISTAKES, has_no_accounts, refused, sent
from pypid.web.ui.pages import go, part, show
from pypid.web.ui.pagination import leaf_of

PROJECT = "/project/<project>/-/rights"
GLOB = "/manage/rights/<glob>"
LINES = 200
"""Number of rights on one page of all."""
MOST = 500
"""Number of names that are suggested."""
DEFAULTS = {
    "read": "Read and install projects",
    "write": "Publish",
    "overwrite": "Replace published files",
    "delete": "Delete",
    "cache_update": "Fetch packages from upstream",
    "collect": "Collect files for requirements",
}

say(
    right_given="The right was granted.",
    right_taken="The right was removed.",
    owner_set="The owner was changed.",
)


@route("GET", "/manage/rights", action=Action.ADMIN, page=True)
async def rights(ctx: RequestContext) -> None:
    """Show the defaults, and all rights on single projects."""
    if await has_no_accounts(ctx):
        return
    form = query_fields(ctx.request)
    named, problems = form.text("project").strip(), []
    if named:
        try:
            go(ctx.request, _page_of(project_pattern(named)))
            return
        except (BadName, ValueError) as error:
            problems = [f"This is neither a project nor a glob: {error}"]
    found, wanted = await listed(ctx.app), form.text("q").strip()
    folded = wanted.casefold()
    matching = [
        right
        for right in found["rights"]
        if folded in right["project"] or folded in right["name"].casefold()
    ]
    defaults = ctx.app.defaults
    await show(
        ctx,
        "rights.html",
        status=400 if problems else 200,
        problems=problems,
        named=named,
        defaults=[(words, key, in_words(defaults[key])) for key, words in DEFAULTS.items()],
        rights=leaf_of(matching, ctx.request, "q", most=LINES),
        wanted=wanted,
    )


@route("GET", PROJECT, action=Action.MANAGE, page=True)
async def project(ctx: RequestContext, project: ProjectName) -> None:
    """Show the rights of one project, and its owner."""
    if not await has_no_accounts(ctx):
        await _one(ctx, project)


@route("GET", GLOB, action=Action.ADMIN, page=True)
async def glob_rights(ctx: RequestContext, glob: str) -> None:
    """Show the rights on a glob of projects."""
    if not await has_no_accounts(ctx):
        await _one(ctx, glob_of(glob))


def _page_of(name: ProjectPattern) -> str:
    return f"manage/rights/{part(name)}" if is_glob(name) else f"project/{name}/-/rights"


async def _one(
    ctx: RequestContext,
    name: ProjectPattern,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    warnings: Sequence[str] = (),
    form: Fields | None = None,
) -> None:
    found = await rights_now(ctx.app)
    read, write = await effective(ctx.app, name, found)
    defaults = ctx.app.defaults
    await show(
        ctx,
        "project_rights.html",
        status=status,
        problems=problems,
        warnings=warnings,
        project=name,
        page=_page_of(name),
        is_glob=is_glob(name),
        is_there=not is_glob(name) and await _is_there(ctx, ProjectName(name)),
        rights=await whole(ctx.app, name, found),
        readers=in_words(together((read, write))),
        writers=in_words(write),
        default_readers=in_words(together((defaults["read"], defaults["write"]))),
        default_writers=in_words(defaults["write"]),
        said_before=form or Fields(),
        known=list(islice(await _names(ctx.app), MOST)) if ctx.identity.admin else [],
        owner=None if is_glob(name) else await owner_document(ctx.app, ProjectName(name)),
    )


async def _is_there(ctx: RequestContext, name: ProjectName) -> bool:
    """Return whether the project has a page: a name can have rights before anything is published
    under it.
    """
    try:
        await ctx.app.index.project(name, ctx.upstream_permission(name, local=True))
    except PypidError:
        return False
    return True


async def _names(app: App) -> Sequence[str]:
    """Return the names of groups and users, as suggestions."""
    configured = app.known.configured()
    groups = {*configured.groups, *await app.accounts.memberships()}
    return sorted(groups | await user_names(app))


@route("POST", PROJECT, action=Action.MANAGE, page=True, form=True)
async def change(ctx: RequestContext, project: ProjectName) -> None:
    """Grant a right, or remove one (``do=withdraw``); warnings are shown at once."""
    await _change(ctx, project)


@route("POST", GLOB, action=Action.ADMIN, page=True, form=True)
async def change_on_glob(ctx: RequestContext, glob: str) -> None:
    """Grant or remove a right on a glob of projects, as for one project."""
    await _change(ctx, glob_of(glob))


async def _change(ctx: RequestContext, project: ProjectPattern) -> None:
    form = sent(ctx.request)
    withdraws = form.text("do") == "withdraw"
    try:
        whom, named = _whom(form)
        if withdraws:
            await _demand_confirmed(ctx.app, (project, whom, named), form)
            after = await withdrawn(ctx, (project, whom, named))
        else:
            if form.text("right") not in ("r", "rw"):
                raise BadRequest("The right must be read, or read and write.")
            right = Right(project, whom, named, form.text("right") == "rw")
            after = await granted(ctx, right, form.text("do") == "grant-new")
    except MISTAKES as error:
        status, problems = refused(ctx.request, error)
        return await _one(ctx, project, status=status, problems=problems, form=form)
    if after.get("warnings"):
        return await _one(ctx, project, warnings=after["warnings"])
    done = "right-taken" if withdraws else "right-given"
    return go(ctx.request, _page_of(project), done=done)


@route("POST", PROJECT + "/owner", action=Action.ADMIN, page=True, form=True)
async def set_owner(ctx: RequestContext, project: ProjectName) -> None:
    """Make a user the owner of the project; without a name, remove its owner."""
    form = sent(ctx.request)
    try:
        await give(ctx, project, form.text("user").strip() or None)
    except MISTAKES as error:
        status, problems = refused(ctx.request, error)
        return await _one(ctx, project, status=status, problems=problems, form=form)
    return go(ctx.request, f"project/{project}/-/rights", done="owner-set")


async def _demand_confirmed(
    app: App, right: tuple[ProjectPattern, Whom, str], form: Fields
) -> None:
    """Raise `BadRequest` if this would open the project and the form did not say so."""
    found = (await rights_now(app)).of(right[0])
    is_last = not found.configured and [each.key for each in found.kept] == [right]
    if is_last and right[1] is Whom.ADMINS and form.text("last") != "yes":
        raise BadRequest(
            "Nothing was changed: without this right the defaults apply to the project. Remove it "
            "again if that is what you want."
        )


def _whom(form: Fields) -> tuple[Whom, str]:
    """Return the principal that the form names. Raises `BadRequest`."""
    kind, name = form.text("kind"), form.text("name").strip()
    is_named = kind in {whom.value for whom in NAMED}
    if is_named and not name:
        raise BadRequest(f"Enter the name of the {kind}.")
    return whom_of(kind, name if is_named else ""), name if is_named else ""


def in_words(principals: Principals) -> list[str]:
    """Return the principals of a rule in words; administrators may do everything anyway."""
    if principals.everyone:
        return ["everyone"]
    found = ["all logged-in users"] if principals.authenticated else []
    found += [f"group {group}" for group in sorted(principals.groups)]
    found += [f"user {user}" for user in sorted(principals.users)]
    return found or ["administrators only"]

"""The pages of rights: those of one project, in words, and all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from pypid.core.accounts.rights import NAMED, Right, Whom
from pypid.core.errors import BadRequest, PypidError
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action, Principals, together
from pypid.web.api.rights import effective, granted, listed, rights_now, whole, whom_of, withdrawn
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import MISTAKES, has_no_accounts, refused, sent
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import leaf_of

PROJECT = "/project/<project>/-/rights"
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

say(right_given="The right was granted.", right_taken="The right was removed.")


@route("GET", "/manage/rights", action=Action.ADMIN, page=True)
async def rights(ctx: RequestContext) -> None:
    """Show the defaults, and all rights on single projects."""
    if await has_no_accounts(ctx):
        return
    found, wanted = await listed(ctx.app), query_fields(ctx.request).text("q").strip()
    folded = wanted.casefold()
    matching = [
        right
        for right in found["rights"]
        if folded in right["project"] or folded in right["name"].casefold()
    ]
    rules = ctx.app.rules
    everybody = {
        "read": rules.read,
        "write": rules.write,
        "overwrite": rules.overwrite,
        "delete": rules.delete,
    }
    everybody |= {"cache_update": rules.fetch, "collect": rules.collect}
    await show(
        ctx,
        "rights.html",
        defaults=[(words, key, in_words(everybody[key])) for key, words in DEFAULTS.items()],
        rights=leaf_of(matching, ctx.request, "q", most=LINES),
        wanted=wanted,
    )


@route("GET", PROJECT, action=Action.ADMIN, page=True)
async def project(ctx: RequestContext, project: ProjectName) -> None:
    """Show the rights of one project."""
    if not await has_no_accounts(ctx):
        await _one(ctx, project)


async def _one(
    ctx: RequestContext,
    name: ProjectName,
    *,
    status: int = 200,
    problems: Sequence[str] = (),
    warnings: Sequence[str] = (),
    form: Fields | None = None,
) -> None:
    found = await rights_now(ctx.app)
    read, write = effective(ctx.app, name, found)
    await show(
        ctx,
        "project_rights.html",
        status=status,
        problems=problems,
        warnings=warnings,
        project=name,
        is_there=await _is_there(ctx, name),
        rights=whole(ctx.app, name, found),
        readers=in_words(together((read, write))),
        writers=in_words(write),
        default_readers=in_words(together((ctx.app.rules.read, ctx.app.rules.write))),
        default_writers=in_words(ctx.app.rules.write),
        said_before=form or Fields(),
        known=list(islice(await _names(ctx.app), MOST)),
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
    users = {*configured.users, *(account.name for account in await app.accounts.users())}
    return sorted(groups | users)


@route("POST", PROJECT, action=Action.ADMIN, page=True, form=True)
async def change(ctx: RequestContext, project: ProjectName) -> None:
    """Grant a right, or remove one (``do=withdraw``); warnings are shown at once."""
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
            after = await granted(ctx, Right(project, whom, named, form.text("right") == "rw"))
    except MISTAKES as error:
        status, problems = refused(ctx.request, error)
        return await _one(ctx, project, status=status, problems=problems, form=form)
    if after.get("warnings"):
        return await _one(ctx, project, warnings=after["warnings"])
    return go(
        ctx.request,
        f"project/{project}/-/rights",
        done="right-taken" if withdraws else "right-given",
    )


async def _demand_confirmed(app: App, right: tuple[ProjectName, Whom, str], form: Fields) -> None:
    """Raise `BadRequest` if this would remove the last right and the form did not say so.

    Another administrator may have removed the others since the form was loaded.
    """
    found = (await rights_now(app)).of(right[0])
    keys = [(each.project, each.whom, each.name) for each in found.kept]
    if not found.configured and keys == [right] and form.text("last") != "yes":
        raise BadRequest(
            "Nothing was changed: this is the last right of the project, and without it the "
            "defaults apply. Remove it again if that is what you want."
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

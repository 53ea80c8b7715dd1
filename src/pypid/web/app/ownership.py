"""Owners of projects: who first publishes a project owns it (`[access] owners = uploader`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from attrs import evolve

from pypid.core.accounts.rights import CLAIM_LASTS, OwnerKey, user_of_account
from pypid.core.configuration.choices import Owners
from pypid.core.indexes import DEFAULT
from pypid.core.packaging.names import ProjectName, ProjectPattern
from pypid.core.permissions import (
    Action,
    Identity,
    ProjectOwners,
    Rules,
    account_of,
    authorize,
    may,
    may_take,
)
from pypid.core.presentation.rights_explanation import ExplainedAction, explained
from pypid.index import Index
from pypid.index.context import IndexContext, Own
from pypid.web.app.app import App
from pypid.web.app.audit import Details, attempted
from pypid.web.app.request_context import RequestContext
from pypid.web.app.visibility import MANY


def owning(ctx: RequestContext) -> Own | None:
    """Return the function that makes the client the owner of its new projects (`Publisher.own`);
    None if users do not become owners.
    """
    is_off = ctx.app.rules.ownership is Owners.NONE or ctx.app.registry is None
    return None if is_off else partial(claim, ctx, lambda: ctx.app.rules)


async def own_promoted(
    ctx: RequestContext,
    source: str,
    index: str,
    target: IndexContext,
    names: Iterable[ProjectName],
) -> None:
    """Give those projects that are new in the target of a promotion, which is the index `index`,
    the owners that they have in the index `source`. A project without an owner there gets the
    client. If the promotion fails, the names stay reserved for `CLAIM_LASTS`. Raises `NotYetKnown`,
    and as `claim`.
    """
    rules = partial(ctx.app.rules_in, index)
    if rules().ownership is Owners.NONE or ctx.app.registry is None:
        return
    await ctx.app.accounts.refresh()
    for name in sorted(names):
        owner = ctx.app.owner_of(name, source)
        await claim(ctx, rules, name, await target.is_new(name), owner)


async def claim(
    ctx: RequestContext,
    rules: Callable[[], Rules],
    name: ProjectName,
    is_new: bool,
    account: str | None = None,
) -> None:
    """Make the account the owner of a new project; None: that of the client. Raises `Forbidden` if
    another account was first, even on a node whose claim is not in force here yet, and the rules do
    not let the client publish in the project. `rules` returns the rules of the index that are in
    force.

    Clients without an account (anonymous ones, trusted publishers without ``as_user``) do not
    become owners.
    """
    before = rules()
    if not is_new:
        await ctx.app.accounts.refresh()
        authorize(rules(), ctx.identity, Action.WRITE, name)
        return
    key, wanted = (before.index, name), ctx.identity.account if account is None else account
    owner = await _claimed(ctx, key, wanted)
    if owner != wanted:
        judged = evolve(before, owners=ProjectOwners({key: owner}))
        authorize(judged, ctx.identity, Action.WRITE, name)


async def _claimed(ctx: RequestContext, key: OwnerKey, account: str) -> str:
    index, name = key

    def details_of(owner: str) -> Details | None:
        is_new = owner == account and bool(account)
        return {"user": user_of_account(account)} if is_new else None

    claiming = ctx.app.accounts.claim(key, account)
    return await attempted(
        ctx, "project set-owner", name, claiming, details_of, index=index or DEFAULT
    )


async def authorize_write(
    ctx: RequestContext, name: ProjectName, index: str | None = None, heir: str | None = None
) -> None:
    """Raise `Unauthenticated` or `Forbidden` unless the client may publish in the project in an
    index (`App.rules_in`). A claim of another user is ignored if no file was published within
    `CLAIM_LASTS`; that of the account `heir`, which becomes the owner by this change, is always
    ignored before the first file.
    """
    rules = ctx.app.rules_in(index)
    if not may(rules, ctx.identity, Action.WRITE, name):
        rules = await without_old_claim(ctx.app, rules, name, heir)
    authorize(rules, ctx.identity, Action.WRITE, name)


async def refuse_taking(ctx: RequestContext, name: ProjectName, index: Index) -> None:
    """Raise `NameUsedUpstream` if an upstream has the project, and the client has no right of its
    own to publish it in this index.
    """
    if not may_take(ctx.app.rules_in(index.name), ctx.identity, name):
        public = ctx.app.public_names
        await index.refuse_used_upstream(
            name, account_of(ctx.identity), None if public is None else public.holds
        )


async def without_old_claim(
    app: App, rules: Rules, name: ProjectName, heir: str | None = None
) -> Rules:
    """Return the rules of an index for one project, without its owner if nothing was published
    within `CLAIM_LASTS` of its claim, or nothing yet and the owner is the account `heir`.
    """
    if rules.owner_of(name) is None or app.registry is None:
        return rules
    owner = (await app.accounts.owners()).get((rules.index, name))
    index = app.indexes.get(rules.index) if rules.index else (app.original or app).index
    is_old = (
        owner is not None
        and index is not None
        and owner.is_claimed
        and (owner.account == heir or app.world.now() - owner.since >= CLAIM_LASTS)
        and await index.context.is_new(name)
    )
    return evolve(rules, ownership=Owners.NONE) if is_old else rules


async def disown(ctx: RequestContext, name: ProjectName) -> None:
    """Remove the owner of a project whose name was released."""
    if ctx.app.registry is not None:
        await ctx.app.accounts.set_owner((ctx.app.index.name, name), None)


async def explain_access(
    app: App, name: ProjectName, who: Identity
) -> tuple[ProjectPattern | None, bool, Sequence[ExplainedAction]]:
    """Return the key of the rule of the project, whether its owner counts, and what the client may
    do with it and why.
    """
    rules = await without_old_claim(app, app.rules, name)
    key = name if name in rules.projects.names else rules.projects.globs.glob(name)
    return key, rules.ownership is Owners.UPLOADER, tuple(explained(rules, who, name))


async def publishable(ctx: RequestContext) -> Sequence[ProjectPattern] | None:
    """Return the projects and globs that the client may publish; None if it may publish any, or if
    they cannot be listed.
    """
    rules, who = ctx.app.rules, ctx.identity
    if who.scope is not None or who.admin or rules.write.include(who):
        return None
    named = partial(_named, rules, who)
    return await ctx.app.world.thinking(named) if len(rules.projects) > MANY else named()


def _named(rules: Rules, who: Identity) -> Sequence[ProjectPattern]:
    globs = rules.projects.globs.values.items()
    if not rules.admitted_writers.include(who):
        return []
    names = rules.projects.names.keys() | rules.owned_by(who)
    return sorted(
        [
            *(name for name in names if may(rules, who, Action.WRITE, name)),
            *(glob for glob, own in globs if own.write.include(who)),
        ]
    )

"""Pages of users, groups and rights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal, cast

import msgspec

from pypid.core.accounts.rights import NAMED, AccountStatus, Right, Whom, project_pattern
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadName, BadRequest, NoSuchGroup, NoSuchUser, PypidError
from pypid.core.packaging.names import ProjectName, ProjectPattern, is_glob
from pypid.core.permissions import Action, Principals, together
from pypid.web.api.accounts import (
    IN_THE_FILE,
    added_group,
    joined,
    left,
    made,
    open_invitations,
    removed_group,
    withdrawn_invitation,
)
from pypid.web.api.rights import (
    effective,
    give,
    glob_of,
    granted,
    listed_rights,
    owner_document,
    rights_now,
    whole,
    whom_of,
    withdrawn_right,
)
from pypid.web.api.tokens import ACTIONS, document_of, state_of
from pypid.web.app.accounts import (
    ELSEWHERE,
    Change,
    NewPassword,
    NewUser,
    WholeUser,
    added,
    changed,
    configured_where,
    listed,
    password_set,
    removed,
    user_document,
    user_names,
)
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.ui.account import MEANS
from pypid.web.ui.pages import (
    MISTAKES,
    demand_typed,
    go,
    leaf_of,
    needs_accounts,
    part,
    say,
    sent,
    show,
)
from pypid.web.ui.project import show_settings

USERS, USER = "/manage/users", "/manage/users/<name>"
MOST = 200
"""Number of rights and tokens of one user that are shown; other pages have all."""

say(
    user_added="The account was created.",
    user_changed="The account was changed.",
    user_removed="The account was removed, with its tokens, sessions, rights and memberships.",
    user_approved="The account was approved.",
    user_refused="The registration was rejected and the account removed.",
    password_set="The password was set. The sessions of the user have ended.",
)


@route("GET", USERS, action=Action.ADMIN, page=True)
@needs_accounts
async def users(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show all users that can be listed, and above them those that wait for approval."""
    found, wanted = await listed(ctx.app), query_fields(ctx.request).text("q").strip()
    pending = [user for user in found["users"] if user["status"] is AccountStatus.PENDING]
    matching = [user for user in found["users"] if wanted.casefold() in user["name"].casefold()]
    by_invitation = ctx.app.settings.people.registration is Registration.TOKEN
    await show(
        ctx,
        "users.html",
        error=error,
        warnings=found["warnings"],
        pending=pending[:MOST],
        waiting=len(pending),
        users=leaf_of(matching, ctx.request, "q"),
        wanted=wanted,
        by_invitation=by_invitation,
        invitations=await open_invitations(ctx.app) if by_invitation else [],
        lifetimes=EXPIRES,
    )


@route("POST", USERS, action=Action.ADMIN, page=True, form=True)
async def add(ctx: RequestContext) -> None:
    """Create an account; a generated password is shown in this response only."""
    form = sent(ctx.request)
    name = form.text("name").strip()
    wanted = NewUser(
        name=name,
        password=form.text("password") or None,
        admin=form.flag("admin"),
        inherit=form.flag("inherit"),
    )
    try:
        password = await added(ctx, wanted)
    except MISTAKES as error:
        return await users(ctx, error=error)
    if password is not None:
        return await show(ctx, "password_made.html", status=201, name=name, password=password)
    return go(ctx.request, f"manage/users/{part(name)}", done="user-added")


@route("GET", USER, action=Action.ADMIN, page=True)
@needs_accounts
async def user(ctx: RequestContext, name: str, *, error: PypidError | None = None) -> None:
    """Show one user, and the forms to change the account."""
    them = await user_document(ctx.app, name)
    tokens, now = await ctx.app.accounts.tokens(name), ctx.app.world.now()
    usable = [document_of(each, now) for each in tokens[::-1] if state_of(each, now) == "usable"]
    configured = ctx.app.known.configured()
    is_first = configured.first_admin is not None and configured.first_admin.name == name
    await show(
        ctx,
        "user.html",
        error=error,
        them=them,
        changed_where=_where(ctx.app, them),
        configured_admin=name in configured.admins and not is_first,
        powers=await _powers(ctx.app, name),
        rights=await _rights(ctx.app, them),
        tokens=usable[:MOST],
        all_tokens=len(tokens),
    )


def _where(app: App, them: WholeUser) -> str | None:
    """Return where that user is changed, if not here, or None."""
    where = ELSEWHERE if them["source"] == "elsewhere" else configured_where(app, them["name"])
    return where and f"The user {them['name']!r} is changed elsewhere: {where}."


async def _powers(app: App, name: str) -> list[tuple[str, bool]]:
    """Return what the user may do, to at least one project of any index; empty if the user cannot
    log in.
    """
    found = await app.known.find(name)
    if found is None:
        return []
    return [(MEANS[word], app.may_somewhere(found, action)) for word, action in ACTIONS.items()]


async def _rights(app: App, them: WholeUser) -> Sequence[Any]:
    """Return the rights that name the user, or a group of the user."""

    def is_theirs(kind: Whom, name: str) -> bool:
        return (kind is Whom.USER and name == them["name"]) or (
            kind is Whom.GROUP and name in them["groups"]
        )

    found = (await listed_rights(app))["rights"]
    return [right for right in found if is_theirs(right["kind"], right["name"])][:MOST]


@route("POST", USER, action=Action.ADMIN, page=True, form=True)
async def change(ctx: RequestContext, name: str) -> None:
    """Change the account, or remove it (``do=remove``), or set its password (``do=set-password``):
    the one that was typed, or a generated one, shown in this response only.
    """
    form = sent(ctx.request)
    try:
        match form.text("do"):
            case "remove":
                return go(ctx.request, "manage/users", done=await _removed(ctx, name, form))
            case "set-password":
                wanted = NewPassword(password=form.text("password") or None)
                password = await password_set(ctx, name, wanted)
                if password is not None:
                    return await show(ctx, "password_made.html", name=name, password=password)
                done = "password-set"
            case _:
                await changed(ctx, name, _wanted(form))
                done = "user-changed"
    except MISTAKES as error:
        if isinstance(error, NoSuchUser):
            raise
        return await user(ctx, name, error=error)
    if form.flag("waiting"):
        return go(ctx.request, "manage/users", done="user-approved")
    return go(ctx.request, f"manage/users/{part(name)}", done=done)


def _wanted(form: Fields) -> Change:
    """Return the change of status, or of administration, that the form requests."""
    status = form.text("status")
    if form.flag("status") and status not in ("active", "disabled"):
        raise BadRequest("The status must be active or disabled.")
    return Change(
        admin=form.text("admin") == "yes" if form.flag("admin") else msgspec.UNSET,
        status=cast(Literal["active", "disabled"], status)
        if form.flag("status")
        else msgspec.UNSET,
    )


async def _removed(ctx: RequestContext, name: str, form: Fields) -> str:
    """Remove the account, whose name was typed; refusing a pending registration takes no
    confirmation. Return the word of the message.
    """
    waits = (
        form.flag("waiting") and (await ctx.app.accounts.user(name)).status is AccountStatus.PENDING
    )
    if not waits:
        demand_typed(form, name)
    await removed(ctx, name)
    return "user-refused" if waits else "user-removed"


EXPIRES = {"1d": "a day", "7d": "a week", "30d": "30 days"}
"""The lifetimes of a new invitation."""

say(
    invitation_withdrawn="The invitation was withdrawn. It can no longer be used.",
    invitation_used=(
        "The invitation cannot be withdrawn: it was already used, or it was withdrawn before."
    ),
)


@route("POST", "/manage/invitations", action=Action.ADMIN, page=True, form=True)
async def invite(ctx: RequestContext) -> None:
    """Create an invitation, shown in this response only; or withdraw the one with the ``id``."""
    form = sent(ctx.request)
    if form.flag("id"):
        done = await withdrawn_invitation(ctx, form.text("id").strip())
        word = "invitation-withdrawn" if done else "invitation-used"
        return go(ctx.request, "manage/users", done=word)
    expires = form.text("expires", "7d")
    if expires not in EXPIRES:
        raise BadRequest(f"The lifetime must be one of: {', '.join(EXPIRES)}.")
    new = await made(ctx, expires)
    base = ctx.base_url
    # in the fragment, which no browser sends: so it is in no log, here or on the way
    link = None if base is None else f"{base}/account/register#invitation={new.secret}"
    return await show(ctx, "invitation_made.html", status=201, invitation=new, link=link)


# The pages of groups: their members and rights.

GROUPS, GROUP = "/manage/groups", "/manage/groups/<name>"

say(
    group_added="The group was created.",
    group_removed="The group was removed, with its rights.",
    joined="The member was added.",
    left="The member was removed.",
)


@route("GET", GROUPS, action=Action.ADMIN, page=True)
@needs_accounts
async def groups(ctx: RequestContext, *, error: PypidError | None = None) -> None:
    """Show all groups but those of a directory, which cannot be listed."""
    configured, kept = ctx.app.known.configured(), await ctx.app.accounts.memberships()
    found = [(group, len(members), "database") for group, members in kept.items()]
    found += [
        (group, len(configured.members.get(group, ())), "configuration")
        for group in configured.groups
    ]
    wanted = query_fields(ctx.request).text("q").strip()
    found = sorted(group for group in found if wanted.casefold() in group[0].casefold())
    leaf = leaf_of(found, ctx.request, "q")
    await show(ctx, "groups.html", error=error, groups=leaf, wanted=wanted)


@route("POST", GROUPS, action=Action.ADMIN, page=True, form=True)
async def add_group(ctx: RequestContext) -> None:
    """Create a group."""
    try:
        name = await added_group(ctx, sent(ctx.request).text("name").strip())
    except MISTAKES as error:
        return await groups(ctx, error=error)
    return go(ctx.request, f"manage/groups/{part(name)}", done="group-added")


@route("GET", GROUP, action=Action.ADMIN, page=True)
@needs_accounts
async def group(ctx: RequestContext, name: str, *, error: PypidError | None = None) -> None:
    """Show a group with its members and rights."""
    configured, kept = ctx.app.known.configured(), await ctx.app.accounts.memberships()
    if name not in kept and name not in configured.groups:
        raise NoSuchGroup(name)
    members = configured.members.get(name, frozenset()) if name in configured.groups else kept[name]
    rights = (await listed_rights(ctx.app))["rights"]
    await show(
        ctx,
        "group.html",
        error=error,
        name=name,
        members=leaf_of(sorted(members), ctx.request),
        changed_where=f"It is changed elsewhere: {IN_THE_FILE}."
        if name in configured.groups
        else None,
        rights=[right for right in rights if right["kind"] is Whom.GROUP and right["name"] == name][
            :MOST
        ],
    )


@route("POST", GROUP, action=Action.ADMIN, page=True, form=True)
async def change_group(ctx: RequestContext, name: str) -> None:
    """Add a user to the group, or remove one (``do=leave``), or remove the group
    (``do=remove``).
    """
    form = sent(ctx.request)
    member = form.text("user").strip()
    try:
        match form.text("do"):
            case "remove":
                demand_typed(form, name)
                await removed_group(ctx, name)
                return go(ctx.request, "manage/groups", done="group-removed")
            case "leave":
                await left(ctx, name, member)
                done = "left"
            case how:
                await joined(ctx, name, member, new_name=how == "add-new")
                done = "joined"
    except MISTAKES as error:
        if isinstance(error, NoSuchGroup):
            raise
        return await group(ctx, name, error=error)
    return go(ctx.request, f"manage/groups/{part(name)}", done=done)


# The pages of rights: those of one project, in words, and all of them.

PROJECT = "/project/<project>/-/rights"
GLOB = "/manage/rights/<glob>"
LINES = 200
"""Number of rights on one page of all."""
MOST_SUGGESTED = 500
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
@needs_accounts
async def rights(ctx: RequestContext) -> None:
    """Show the defaults, and all rights on single projects."""
    form = query_fields(ctx.request)
    named, wrong = form.text("project").strip(), None
    if named:
        try:
            go(ctx.request, _page_of(project_pattern(named)))
            return
        except (BadName, ValueError) as error:
            wrong = BadRequest(f"This is neither a project nor a glob: {error}")
    found, wanted = await listed_rights(ctx.app), form.text("q").strip()
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
        error=wrong,
        named=named,
        defaults=[(words, key, in_words(defaults[key])) for key, words in DEFAULTS.items()],
        rights=leaf_of(matching, ctx.request, "q", most=LINES),
        wanted=wanted,
    )


@route("GET", PROJECT, action=Action.MANAGE, page=True)
@route("GET", GLOB, action=Action.ADMIN, page=True)
@needs_accounts
async def rights_of(
    ctx: RequestContext, project: ProjectName | None = None, glob: str = ""
) -> None:
    """Show the rights of one project, and its owner; or the rights on a glob of projects."""
    await _rights_page(ctx, project or glob_of(glob))


def _page_of(name: ProjectPattern) -> str:
    return f"manage/rights/{part(name)}" if is_glob(name) else f"project/{name}/-/rights"


async def _rights_page(
    ctx: RequestContext,
    name: ProjectPattern,
    *,
    error: PypidError | None = None,
    warnings: Sequence[str] = (),
) -> None:
    found = await rights_now(ctx.app)
    read, write = await effective(ctx.app, name, found)
    defaults = ctx.app.defaults
    await show(
        ctx,
        "project_rights.html",
        error=error,
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
        known=list(islice(await _names(ctx.app), MOST_SUGGESTED)) if ctx.identity.admin else [],
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
@route("POST", GLOB, action=Action.ADMIN, page=True, form=True)
async def change_right(
    ctx: RequestContext, project: ProjectName | None = None, glob: str = ""
) -> None:
    """Grant a right, or remove one (``do=withdraw``); warnings are shown at once."""
    form, pattern = sent(ctx.request), project or glob_of(glob)
    withdraws = form.text("do") == "withdraw"
    try:
        whom, named = _whom(form)
        if withdraws:
            await _demand_confirmed(ctx.app, (pattern, whom, named), form)
            after = await withdrawn_right(ctx, (pattern, whom, named))
        else:
            if form.text("right") not in ("r", "rw"):
                raise BadRequest("The right must be read, or read and write.")
            right = Right(pattern, whom, named, form.text("right") == "rw")
            after = await granted(ctx, right, form.text("do") == "grant-new")
    except MISTAKES as error:
        return await _rights_page(ctx, pattern, error=error)
    if after.get("warnings"):
        return await _rights_page(ctx, pattern, warnings=after["warnings"])
    done = "right-taken" if withdraws else "right-given"
    return go(ctx.request, _page_of(pattern), done=done)


@route(
    "POST",
    "/project/<project>/-/owner",
    action=Action.ADMIN,
    page=True,
    form=True,
    below_index=True,
)
async def set_owner(ctx: RequestContext, project: ProjectName) -> None:
    """Make a user the owner of the project; without a name, remove its owner. The form of the
    default index is on the page of rights, that of a named index on the settings.
    """
    is_named = bool(ctx.app.index.name)
    try:
        await give(ctx, project, sent(ctx.request).text("user").strip() or None)
    except MISTAKES as error:
        if is_named:
            return await show_settings(ctx, project, error=error)
        return await _rights_page(ctx, project, error=error)
    page = "settings" if is_named else "rights"
    return go(ctx.request, f"project/{project}/-/{page}", done="owner-set")


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

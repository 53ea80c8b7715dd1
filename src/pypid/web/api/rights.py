"""The JSON API of rights and owners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from shlex import quote
from typing import Literal, NotRequired, TypedDict

import msgspec
from attrs import frozen

from pypid.core.accounts.rights import NAMED, Right, Whom, grants_of
from pypid.core.errors import BadRequest, ChangedElsewhere, NotAvailable, shortened
from pypid.core.packaging.names import (
    ProjectGlob,
    ProjectName,
    ProjectPattern,
    is_glob,
    project_glob,
)
from pypid.core.permissions import (
    ANONYMOUS,
    NOBODY,
    Action,
    Identity,
    Principals,
    account_name,
    together,
)
from pypid.core.simple_api.listed_files import utc_text
from pypid.web.app.accounts import unknown_names
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.ownership import explain_access
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Described, Moment, route
from pypid.web.http.small_responses import read_json, send_json

RIGHTS = "/api/projects/<project>/rights"
MANY = RIGHTS + "/<kind>"
ONE = MANY + "/<name>"
GLOB = "/api/rights/<glob>"
MANY_OF_GLOB = GLOB + "/<kind>"
ONE_OF_GLOB = MANY_OF_GLOB + "/<name>"


class NewRight(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a grant: to read, or to read and write. With `new_name`, also to a user or group
    that does not exist yet.
    """

    right: Literal["r", "rw"]
    new_name: bool = False


class Origin(Enum):
    """The source of a right."""

    CONFIGURATION = "configuration"
    DATABASE = "database"


class RightDocument(TypedDict):
    """A right. `name`: the user's or the group's, else empty."""

    kind: Whom
    name: str
    right: Literal["r", "rw"]
    source: Origin


class RightOfProject(RightDocument):
    """A right, with its project."""

    project: str


class Defaults(TypedDict):
    """Who may do what in a project without rights of its own, spelled as in the configuration."""

    read: str
    write: str
    overwrite: str
    delete: str
    cache_update: str
    collect: str


class Rights(TypedDict):
    """The defaults, and all rights on single projects."""

    defaults: Defaults
    rights: list[RightOfProject]


class Effective(TypedDict):
    """The effect of all rights of a project together, spelled as in the configuration."""

    read: str
    write: str


class ProjectRights(TypedDict):
    """The rights of one project or glob. `rule`: the project or glob whose rights apply to it; null
    if only the defaults do. `warnings`: possible mistakes, after a change.
    """

    project: str
    rights: list[RightDocument]
    takes_defaults: bool
    rule: str | None
    effective: Effective
    warnings: NotRequired[list[str]]


@frozen
class AllRights:
    """All rights in force. Of duplicates, only the greater one counts."""

    configured: Sequence[Right]
    kept: Sequence[Right]

    @property
    def whole(self) -> Sequence[Right]:
        return (*self.configured, *self.kept)

    def of(self, name: ProjectPattern) -> AllRights:
        return AllRights(
            *(
                [right for right in rights if right.project == name]
                for rights in (self.configured, self.kept)
            )
        )


async def rights_now(app: App) -> AllRights:
    """Return the rights of the configuration and those of the database."""
    return AllRights(app.known.configured().rights, await app.accounts.rights())


# --- reading --------------------------------------------------------------------------------------


@route(
    "GET", "/api/rights", action=Action.ADMIN, describe=Described(Rights, refuses=(NotAvailable,))
)
async def rights(ctx: RequestContext) -> None:
    """List the defaults, and all rights on single projects."""
    send_json(ctx.request, await listed_rights(ctx.app))


@route(
    "GET", RIGHTS, action=Action.MANAGE, describe=Described(ProjectRights, refuses=(NotAvailable,))
)
@route(
    "GET",
    GLOB,
    action=Action.ADMIN,
    describe=Described(ProjectRights, refuses=(BadRequest, NotAvailable)),
)
async def rights_of(
    ctx: RequestContext, project: ProjectName | None = None, glob: str = ""
) -> None:
    """Return the rights of one project, or on a glob of projects, the source of each, and their
    effect together.
    """
    pattern = project or glob_of(glob)
    send_json(ctx.request, await whole(ctx.app, pattern, await rights_now(ctx.app)))


def glob_of(text: str) -> ProjectGlob:
    """Return the normalised glob. Raises `BadRequest`."""
    try:
        return project_glob(text)
    except ValueError as error:
        raise BadRequest(f"{shortened(text)!r} cannot be used: {error}.") from None


async def listed_rights(app: App) -> Rights:
    """Return the defaults, and all rights on single projects, sorted by project."""
    found = await rights_now(app)
    rights: list[RightOfProject] = [
        {"project": right.project, **_document(right, origin)} for right, origin in _each(found)
    ]
    rights.sort(key=lambda right: (right["project"], right["kind"].value, right["name"]))
    return {"defaults": _defaults(app), "rights": rights}


async def whole(app: App, name: ProjectPattern, all_rights: AllRights) -> ProjectRights:
    """Return the rights of one project, the source of each, and their effect together."""
    found, rule = all_rights.of(name), rule_of(app, name, all_rights)
    read, write = await effective(app, name, all_rights)
    return {
        "project": name,
        "rights": [_document(right, origin) for right, origin in _each(found)],
        "takes_defaults": rule is None,
        "rule": rule,
        "effective": {"read": read.text(), "write": write.text()},
    }


async def effective(
    app: App, name: ProjectPattern, all_rights: AllRights
) -> tuple[Principals, Principals]:
    """Return who may read and who may write the project: its owner, and others by all its rights
    together, or by the defaults. The default for publishing does not apply to an owned project.
    """
    rights = all_rights.of(rule_of(app, name, all_rights) or name).whole
    if rights:
        read, write = _read_by(rights), _read_by(right for right in rights if right.write)
    else:
        read, write = app.defaults["read"], app.defaults["write"]
    if is_glob(name) or app.owner_of(ProjectName(name)) is None:
        return read, write
    owner = (await app.accounts.owners()).get((app.index.name, ProjectName(name)))
    owners = NOBODY if owner is None else Principals(users=frozenset({owner.user}))
    readable = read if read.everyone or read.authenticated else together((read, owners))
    return readable, together((write, owners)) if rights else owners


def rule_of(app: App, name: ProjectPattern, all_rights: AllRights) -> ProjectPattern | None:
    """Return the key of the rule of the project: its own name, or the most specific glob that
    matches it; None if only the defaults apply to it.
    """
    if all_rights.of(name).whole:
        return name
    return None if is_glob(name) else app.glob_of(ProjectName(name))


def _read_by(rights: Iterable[Right]) -> Principals:
    return together(grants.read for grants in grants_of(rights).all())


def _each(found: AllRights) -> list[tuple[Right, Origin]]:
    return [(right, Origin.CONFIGURATION) for right in found.configured] + [
        (right, Origin.DATABASE) for right in found.kept
    ]


def _document(right: Right, origin: Origin) -> RightDocument:
    return {
        "kind": right.whom,
        "name": right.name,
        "right": "rw" if right.write else "r",
        "source": origin,
    }


def _defaults(app: App) -> Defaults:
    return Defaults(
        read=app.defaults["read"].text(),
        write=app.defaults["write"].text(),
        overwrite=app.defaults["overwrite"].text(),
        delete=app.defaults["delete"].text(),
        cache_update=app.defaults["cache_update"].text(),
        collect=app.defaults["collect"].text(),
    )


# --- changing -------------------------------------------------------------------------------------


GRANT_DESCRIPTION = Described(ProjectRights, takes=NewRight, refuses=(NotAvailable,))


@route("PUT", MANY, action=Action.MANAGE, describe=GRANT_DESCRIPTION)
@route("PUT", ONE, action=Action.MANAGE, describe=GRANT_DESCRIPTION)
@route("PUT", MANY_OF_GLOB, action=Action.ADMIN, describe=GRANT_DESCRIPTION)
@route("PUT", ONE_OF_GLOB, action=Action.ADMIN, describe=GRANT_DESCRIPTION)
async def grant(
    ctx: RequestContext,
    kind: str,
    name: str = "",
    project: ProjectName | None = None,
    glob: str = "",
) -> None:
    """Grant a right on a project or a glob of projects, replacing the existing one."""
    wanted = await read_json(ctx.request, NewRight)
    right = Right(project or glob_of(glob), whom_of(kind, name), name, wanted.right == "rw")
    send_json(ctx.request, await granted(ctx, right, wanted.new_name))


async def granted(ctx: RequestContext, right: Right, new_name: bool) -> ProjectRights:
    """Grant the right; return the rights of its project or glob after that, with warnings. Raises
    `BadRequest` for what only administrators may grant, and, unless `new_name`, for a user or group
    that does not exist and has no other right: a mistyped first right would shut all others out.
    """
    await _refuse_if_elsewhere(ctx, right.project)
    before = await rights_now(ctx.app)
    warnings = [*_of_the_first(ctx.app, right, before), *_of_the_file(right, before)]
    if ctx.identity.admin:  # an owner does not learn which users exist
        is_known = new_name or (right.whom, right.name) in {r.key[1:] for r in before.whole}
        if not is_known and (unknown := await unknown_names(ctx.app, _named_by(right))):
            raise BadRequest(
                f"Nothing was changed. {unknown[0]} To grant the right before the name exists, use "
                "`pypid right grant --new-name`, or `new_name` in the API."
            )
    elif right.whom is Whom.EVERYONE:
        raise BadRequest(
            "Only administrators grant rights to everyone: it includes clients that have not "
            "logged in. Grant the right to authenticated, a user or a group."
        )

    def details_of(_: None) -> dict[str, str] | None:
        return None if right in before.kept else {"whom": _words(right), "right": right.text}

    await recorded(ctx, "right grant", right.project, ctx.app.accounts.grant(right), details_of)
    return {**await whole(ctx.app, right.project, await rights_now(ctx.app)), "warnings": warnings}


WITHDRAW_DESCRIPTION = Described(
    ProjectRights, refuses=(BadRequest, ChangedElsewhere, NotAvailable)
)


@route("DELETE", MANY, action=Action.MANAGE, describe=WITHDRAW_DESCRIPTION)
@route("DELETE", ONE, action=Action.MANAGE, describe=WITHDRAW_DESCRIPTION)
@route("DELETE", MANY_OF_GLOB, action=Action.ADMIN, describe=WITHDRAW_DESCRIPTION)
@route("DELETE", ONE_OF_GLOB, action=Action.ADMIN, describe=WITHDRAW_DESCRIPTION)
async def withdraw(
    ctx: RequestContext,
    kind: str,
    name: str = "",
    project: ProjectName | None = None,
    glob: str = "",
) -> None:
    """Remove a right on a project or a glob of projects. Removing one that does not exist is no
    error.
    """
    key = (project or glob_of(glob), whom_of(kind, name), name)
    send_json(ctx.request, await withdrawn_right(ctx, key))


async def withdrawn_right(
    ctx: RequestContext, key: tuple[ProjectPattern, Whom, str]
) -> ProjectRights:
    """Remove the right; return the rights of its project after that, with warnings. Raises
    `ChangedElsewhere`, and `BadRequest` for what only administrators may remove.
    """
    await _refuse_if_elsewhere(ctx, key[0])
    before = await rights_now(ctx.app)
    gone, fixed = (
        [right for right in rights if right.key == key]
        for rights in (before.kept, before.configured)
    )
    if fixed and not gone:
        raise ChangedElsewhere(
            f"this right of {key[0]}", "[projects] of the configuration gives it; take it out there"
        )

    def details_of(_: None) -> dict[str, str] | None:
        return {"whom": _words(gone[0]), "right": gone[0].text} if gone else None

    await recorded(ctx, "right revoke", key[0], ctx.app.accounts.withdraw(*key), details_of)
    after = await rights_now(ctx.app)
    warnings = _of_the_last(ctx.app, key[0], before, after)
    if fixed:
        warnings.append(
            f"[projects] of the configuration still gives the right {fixed[0].text} to "
            f"{_words(fixed[0])}."
        )
    return {**await whole(ctx.app, key[0], after), "warnings": warnings}


async def _refuse_if_elsewhere(ctx: RequestContext, pattern: ProjectPattern) -> None:
    """Raise `BadRequest` if the client is no administrator, and a named index has the project,
    where another user owned it before: rights apply in all indexes. The text does not disclose
    which index has it.
    """
    app, name = ctx.app, ProjectName(pattern)
    if ctx.identity.admin:
        return
    owners = await app.accounts.owners()
    mine = owners.get((app.index.name, name))
    for index in app.indexes.settings:
        if (found := app.indexes.get(index)) is None:
            continue
        owner, other = app.owner_of(name, index), owners.get((index, name))
        if mine is not None and other is not None and mine.since < other.since:
            continue  # else anyone could take the rights away by an upload elsewhere
        if owner is None and await found.context.is_new(name):
            continue
        if owner is None or owner != ctx.identity.account:
            raise BadRequest("Only administrators change the rights of this project.")


def whom_of(kind: str, name: str) -> Whom:
    """Return the kind of grantee in an address. Raises `BadRequest`."""
    try:
        whom = Whom(kind)
    except ValueError:
        raise BadRequest(
            f"A right is given to one of: {', '.join(whom.value for whom in Whom)}."
        ) from None
    if (whom in NAMED) != bool(name):
        which = "needs a name behind it" if whom in NAMED else "has no name behind it"
        raise BadRequest(f"In the address of a right '{kind}' {which}.")
    if name:
        try:
            account_name(name)
        except ValueError as error:
            raise BadRequest(f"Invalid name: {error}.") from None
    return whom


def _words(right: Right) -> str:
    return f"{right.whom.value} {right.name}".strip()


# --- warnings -------------------------------------------------------------------------------------


def _of_the_first(app: App, right: Right, before: AllRights) -> list[str]:
    """Return warnings: the first right takes projects out of the defaults, for all users."""
    grants, found = grants_of(before.of(right.project).whole), []
    if not len(grants):
        found.append(
            f"This is the first right of {right.project}: from now on only administrators, an "
            f"owner, and the users and groups with a right on it may read or publish "
            f"{_it(right.project)}. {_rules_before(app, right.project, before)} no longer apply to "
            f"{_it(right.project)}."
        )
    if right.write and all(own.write == NOBODY for own in grants.all()):
        found.append(
            f"All names that match {right.project} are local from now on: they are never requested "
            "from upstream."
            if is_glob(right.project)
            else f"The name {right.project} is local from now on: it is never requested from "
            "upstream."
        )
    return found


def _it(pattern: ProjectPattern) -> str:
    if is_glob(pattern):
        return "projects that match it, unless a more specific rule names them"
    return "it"


def _rules_before(app: App, name: ProjectPattern, before: AllRights) -> str:
    """Return the rules that apply without a right on the project or glob."""
    glob = rule_of(app, name, before)
    if glob not in (None, name):
        return f"The rights on {glob}"
    read, write = app.defaults["read"].text(), app.defaults["write"].text()
    return f"The defaults (read: {read}; write: {write})"


def _named_by(right: Right) -> Principals:
    named = frozenset({right.name})
    return Principals(
        users=named if right.whom is Whom.USER else frozenset(),
        groups=named if right.whom is Whom.GROUP else frozenset(),
    )


def _of_the_file(right: Right, before: AllRights) -> list[str]:
    same = [
        other
        for other in before.configured
        if other.key == right.key and other.write and not right.write
    ]
    return (
        [f"[projects] of the configuration gives {_words(right)} rw, which goes on to hold."]
        if same
        else []
    )


def _of_the_last(app: App, name: ProjectPattern, before: AllRights, after: AllRights) -> list[str]:
    left = after.of(name).whole
    if left and left != before.of(name).whole and all(each.whom is Whom.ADMINS for each in left):
        return [
            f"That was the last right of {name}: only administrators may use {_it(name)} from now "
            f"on. To let the defaults apply: pypid right revoke {quote(name)} admins"
        ]
    if not before.of(name).whole or left:
        return []
    if is_glob(name):
        return [f"That was the last right of {name}: less specific rules, or the defaults, apply."]
    rules = _rules_before(app, name, after)
    return [f"That was the last right of {name}. {rules} apply to it from now on."]


# The JSON API of the owner of a project, ``/api/projects/<project>/owner``, and of the rules that
# decide what a user may do with it, ``/api/projects/<project>/access/<user>``.

OWNER = "/api/projects/<project>/owner"
NO_USER = "anonymous"
"""The user name that stands for a client that has not logged in."""


class OwnerOfProject(TypedDict):
    """The user who owns a project, and the source of that account."""

    user: str
    source: str
    since: Moment


class OwnerDocument(TypedDict):
    """The owner of a project; null if it has none. `index` is empty for the default index;
    `in_force` is false while ``[access] owners`` of the index is ``none``.
    """

    project: str
    index: str
    owner: OwnerOfProject | None
    in_force: bool


class NewOwner(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change of the owner: the name of a user."""

    user: str


class ActionExplained(TypedDict):
    """Whether the user may do the action, and the rule that decides it, as text."""

    action: str
    allowed: bool
    because: str


class AccessExplained(TypedDict):
    """What a user may do with a project. `groups` are the groups of the user; `rule` is the name or
    the glob whose rights apply to the project, null if only the defaults do. `owner_in_force`:
    whether owners have an effect in the index (`owners`).
    """

    project: str
    index: str
    user: str
    admin: bool
    groups: list[str]
    rule: str | None
    owner: str | None
    owner_in_force: bool
    actions: list[ActionExplained]


# --- the owner ------------------------------------------------------------------------------------


@route(
    "GET",
    OWNER,
    action=Action.MANAGE,
    below_index=True,
    describe=Described(OwnerDocument, refuses=(NotAvailable,)),
)
async def owner(ctx: RequestContext, project: ProjectName) -> None:
    """Return the owner of a project, to the owner and to administrators."""
    send_json(ctx.request, await owner_document(ctx.app, project))


@route(
    "PUT",
    OWNER,
    action=Action.ADMIN,
    below_index=True,
    describe=Described(OwnerDocument, takes=NewOwner, refuses=(BadRequest, NotAvailable)),
)
async def set_owner(ctx: RequestContext, project: ProjectName) -> None:
    """Make a user the owner of a project, which may not exist yet."""
    wanted = await read_json(ctx.request, NewOwner)
    await give(ctx, project, wanted.user)
    send_json(ctx.request, await owner_document(ctx.app, project))


@route(
    "DELETE",
    OWNER,
    action=Action.ADMIN,
    below_index=True,
    describe=Described(OwnerDocument, refuses=(NotAvailable,)),
)
async def remove_owner(ctx: RequestContext, project: ProjectName) -> None:
    """Remove the owner of a project: users with the default right to publish may change it then."""
    await give(ctx, project, None)
    send_json(ctx.request, await owner_document(ctx.app, project))


async def owner_document(app: App, name: ProjectName) -> OwnerDocument:
    """Return the owner of a project as the API sends it."""
    found = (await app.accounts.owners()).get((app.index.name, name))
    return {
        "project": name,
        "index": app.index.name,
        "owner": None
        if found is None
        else {
            "user": found.user,
            "source": found.account.partition(":")[0],
            "since": utc_text(found.since),
        },
        "in_force": app.has_owners,
    }


async def give(ctx: RequestContext, name: ProjectName, user: str | None) -> None:
    """Make the user the owner of the project; None: remove its owner. Raises `BadRequest`."""
    key, account = (ctx.app.index.name, name), None
    if user is not None:
        account = (await known_user(ctx.app, user)).account
        if not account:
            raise BadRequest(f"The user {user!r} has no account that can own a project.")
    before = (await ctx.app.accounts.owners()).get(key)

    def details_of(_: None) -> dict[str, str] | None:
        if account == (None if before is None else before.account):
            return None
        was = "" if before is None else before.user
        return {"user": user or "", "was": was}

    setting = ctx.app.accounts.set_owner(key, account)
    await recorded(ctx, "project set-owner", name, setting, details_of)


async def known_user(app: App, user: str) -> Identity:
    """Return the user as whom a client can log in. Raises `BadRequest`."""
    found = await app.known.find(user)
    if found is None:
        raise BadRequest(f"No user can log in as {shortened(user)!r}: is it spelled right?")
    return found


# --- which rule decides ---------------------------------------------------------------------------


@route(
    "GET",
    "/api/projects/<project>/access/<user>",
    action=Action.ADMIN,
    below_index=True,
    describe=Described(AccessExplained, refuses=(BadRequest, NotAvailable)),
)
async def access(ctx: RequestContext, project: ProjectName, user: str) -> None:
    """Explain which rule decides what a user may do with a project; ``anonymous`` stands for a
    client that has not logged in.
    """
    app = ctx.app
    who = ANONYMOUS if user == NO_USER else await known_user(app, user)
    rule, has_owners, actions = await explain_access(app, project, who)
    found = (await app.accounts.owners()).get((app.index.name, project))
    document: AccessExplained = {
        "project": project,
        "index": app.index.name,
        "user": user,
        "admin": who.admin,
        "groups": sorted(who.groups),
        "rule": rule,
        "owner": None if found is None else found.user,
        "owner_in_force": has_owners,
        "actions": [
            {"action": each.action.name.lower(), "allowed": each.allowed, "because": each.because}
            for each in actions
        ],
    }
    send_json(ctx.request, document)

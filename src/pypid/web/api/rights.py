"""Rights on single projects, below ``/api/projects/<project>/rights``; and ``/api/rights``, which
lists all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, NotRequired, TypedDict

import msgspec
from attrs import frozen

from pypid.core.accounts.rights import NAMED, Right, Whom, claimed, grants_of
from pypid.core.errors import BadRequest, ChangedElsewhere, NotAvailable
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action, Principals, account_name
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json

RIGHTS = "/api/projects/<project>/rights"
MANY = RIGHTS + "/<kind>"
ONE = MANY + "/<name>"


class NewRight(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a grant: to read, or to read and write."""

    right: Literal["r", "rw"]


class Origin(Enum):
    """The source of a right."""

    CONFIGURATION = "configuration"
    DATABASE = "database"


RightDocument = TypedDict(
    "RightDocument", {"kind": Whom, "name": str, "right": Literal["r", "rw"], "from": Origin}
)
"""A right. `name`: the user's or the group's, else empty."""


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
    """The rights of one project. `warnings`: possible mistakes, after a change."""

    project: str
    rights: list[RightDocument]
    takes_defaults: bool
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

    def of(self, name: ProjectName) -> AllRights:
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
    send_json(ctx.request, await listed(ctx.app))


@route(
    "GET", RIGHTS, action=Action.ADMIN, describe=Described(ProjectRights, refuses=(NotAvailable,))
)
async def project(ctx: RequestContext, project: ProjectName) -> None:
    """Return the rights of one project, the source of each, and their effect together."""
    send_json(ctx.request, whole(ctx.app, project, await rights_now(ctx.app)))


async def listed(app: App) -> Rights:
    """Return the defaults, and all rights on single projects, sorted by project."""
    found = await rights_now(app)
    rights: list[RightOfProject] = [
        {"project": right.project, **_document(right, origin)} for right, origin in _each(found)
    ]
    rights.sort(key=lambda right: (right["project"], right["kind"].value, right["name"]))
    return {"defaults": _defaults(app), "rights": rights}


def whole(app: App, name: ProjectName, all_rights: AllRights) -> ProjectRights:
    """Return the rights of one project, the source of each, and their effect together."""
    found = all_rights.of(name)
    read, write = effective(app, name, all_rights)
    return {
        "project": name,
        "rights": [_document(right, origin) for right, origin in _each(found)],
        "takes_defaults": not found.whole,
        "effective": {"read": read.text(), "write": write.text()},
    }


def effective(app: App, name: ProjectName, all_rights: AllRights) -> tuple[Principals, Principals]:
    """Return who may read and who may write the project, by all its rights together, or by the
    defaults.
    """
    own = grants_of(all_rights.of(name).whole).get(name)
    return (app.rules.read, app.rules.write) if own is None else (own.read, own.write)


def _each(found: AllRights) -> list[tuple[Right, Origin]]:
    return [(right, Origin.CONFIGURATION) for right in found.configured] + [
        (right, Origin.DATABASE) for right in found.kept
    ]


def _document(right: Right, origin: Origin) -> RightDocument:
    return {
        "kind": right.whom,
        "name": right.name,
        "right": "rw" if right.write else "r",
        "from": origin,
    }


def _defaults(app: App) -> Defaults:
    rules = app.rules
    return {
        "read": rules.read.text(),
        "write": rules.write.text(),
        "overwrite": rules.overwrite.text(),
        "delete": rules.delete.text(),
        "cache_update": rules.fetch.text(),
        "collect": rules.collect.text(),
    }


# --- changing -------------------------------------------------------------------------------------


GRANT_DESCRIPTION = Described(ProjectRights, takes=NewRight, refuses=(NotAvailable,))


@route("PUT", MANY, action=Action.ADMIN, describe=GRANT_DESCRIPTION)
@route("PUT", ONE, action=Action.ADMIN, describe=GRANT_DESCRIPTION)
async def grant(ctx: RequestContext, project: ProjectName, kind: str, name: str = "") -> None:
    """Grant a right, replacing the existing one."""
    wanted = await read_json(ctx.request, NewRight)
    whom = whom_of(kind, name)
    send_json(
        ctx.request,
        await granted(ctx, Right(project, whom, name, wanted.right == "rw")),
    )


async def granted(ctx: RequestContext, right: Right) -> ProjectRights:
    """Grant the right; return the rights of its project after that, with warnings."""
    before = await rights_now(ctx.app)
    warnings = [
        *_of_the_first(ctx.app, right, before),
        *await _unknown_name(ctx.app, right),
        *_of_the_file(right, before),
    ]

    def details_of(_: None) -> dict[str, str] | None:
        return None if right in before.kept else {"whom": _words(right), "right": right.text}

    await recorded(ctx, "set-right", right.project, ctx.app.accounts.grant(right), details_of)
    return {**whole(ctx.app, right.project, await rights_now(ctx.app)), "warnings": warnings}


WITHDRAW_DESCRIPTION = Described(
    ProjectRights, refuses=(BadRequest, ChangedElsewhere, NotAvailable)
)


@route("DELETE", MANY, action=Action.ADMIN, describe=WITHDRAW_DESCRIPTION)
@route("DELETE", ONE, action=Action.ADMIN, describe=WITHDRAW_DESCRIPTION)
async def withdraw(ctx: RequestContext, project: ProjectName, kind: str, name: str = "") -> None:
    """Remove a right. Removing one that does not exist is no error."""
    send_json(
        ctx.request,
        await withdrawn(ctx, (project, whom_of(kind, name), name)),
    )


async def withdrawn(ctx: RequestContext, key: tuple[ProjectName, Whom, str]) -> ProjectRights:
    """Remove the right; return the rights of its project after that, with warnings. Raises
    `ChangedElsewhere`.
    """
    before = await rights_now(ctx.app)
    gone, fixed = (
        [right for right in rights if _key(right) == key]
        for rights in (before.kept, before.configured)
    )
    if fixed and not gone:
        raise ChangedElsewhere(
            f"this right of {key[0]}", "[projects] of the configuration gives it; take it out there"
        )

    def details_of(_: None) -> dict[str, str] | None:
        return {"whom": _words(gone[0]), "right": gone[0].text} if gone else None

    await recorded(ctx, "remove-right", key[0], ctx.app.accounts.withdraw(*key), details_of)
    after = await rights_now(ctx.app)
    warnings = _of_the_last(ctx.app, key[0], before, after)
    if fixed:
        warnings.append(
            f"[projects] of the configuration still gives the right {fixed[0].text} to "
            f"{_words(fixed[0])}."
        )
    return {**whole(ctx.app, key[0], after), "warnings": warnings}


def _key(right: Right) -> tuple[ProjectName, Whom, str]:
    return right.project, right.whom, right.name


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
            raise BadRequest(f"This cannot be a name: {error}.") from None
    return whom


def _words(right: Right) -> str:
    return f"{right.whom.value} {right.name}".strip()


# --- warnings -------------------------------------------------------------------------------------


def _of_the_first(app: App, right: Right, before: AllRights) -> list[str]:
    """Return warnings: the first right takes a project out of the defaults, for all users."""
    grants = grants_of(before.of(right.project).whole)
    found = []
    if not grants:
        read, write = app.rules.read.text(), app.rules.write.text()
        found.append(
            f"This is the first right of {right.project}: from now on only administrators and the "
            f"users and groups with a right on it may read or publish it. The defaults (read: "
            f"{read}; write: {write}) no longer apply to it."
        )
    if right.write and not claimed(grants):
        found.append(
            f"The name {right.project} is local from now on: it is never requested from upstream."
        )
    return found


async def _unknown_name(app: App, right: Right) -> list[str]:
    if right.whom is Whom.USER and await app.known.find(right.name) is None:
        return [f"No user can log in as {right.name!r} now: is it spelled right?"]
    groups = (
        {*app.known.configured().groups, *await app.accounts.memberships()}
        if right.whom is Whom.GROUP
        else ()
    )
    if right.whom is Whom.GROUP and right.name not in groups:
        return [
            (
                f"Neither the configuration nor the database has a group {right.name!r}: a "
                "directory may have it."
            )
        ]
    return []


def _of_the_file(right: Right, before: AllRights) -> list[str]:
    same = [
        other
        for other in before.configured
        if _key(other) == _key(right) and other.write and not right.write
    ]
    return (
        [f"[projects] of the configuration gives {_words(right)} rw, which goes on to hold."]
        if same
        else []
    )


def _of_the_last(app: App, name: ProjectName, before: AllRights, after: AllRights) -> list[str]:
    if not before.of(name).whole or after.of(name).whole:
        return []
    read, write = app.rules.read.text(), app.rules.write.text()
    return [
        (
            f"That was the last right of {name}: from now on the defaults hold for it (read: "
            f"{read}; write: {write})."
        )
    ]

"""pypicloud's ``/admin/`` for rights on packages: ``read`` and ``write`` of users and groups, one
at a time.

In pypicloud a user may write what they may not read. Here the right to write includes the right to
read, so `grant` demands the right to read first; and removing that removes both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from pypid.compat.pypicloud.accounts import demand_changing
from pypid.compat.pypicloud.admin import GROUP, USER, done
from pypid.core.accounts.acl_dump import words_of
from pypid.core.accounts.acl_rights import group_or_word
from pypid.core.accounts.rights import Right, RightKey, Whom, sorted_rights
from pypid.core.errors import BadRequest, ChangedElsewhere, InseparableRight
from pypid.core.packaging.globs import is_glob
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action, account_name
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import send_json

PACKAGE = "/admin/package/<project>"
PERMISSION = PACKAGE + "/<kind>/<name>/<permission>"
IN_THE_FILE = (
    "[projects] of the configuration gives it; take it out there, and reload pypid (SIGHUP)"
)


class OfPackage(TypedDict):
    """The rights of a user or a group on a package."""

    package: str
    permissions: list[str]


class OfUser(TypedDict):
    """The rights of a user."""

    username: str
    permissions: list[str]


class OfGroup(TypedDict):
    """The rights of a group, everyone and authenticated among them."""

    group: str
    permissions: list[str]


class Permissions(TypedDict):
    """The rights on a package."""

    user: list[OfUser]
    group: list[OfGroup]


class WholeGroup(TypedDict):
    """A group; both lists are empty if it does not exist."""

    members: list[str]
    packages: list[OfPackage]


def in_force(*all_rights: Iterable[Right]) -> dict[RightKey, Right]:
    """Return the rights in force on single projects, sorted: of duplicates, the greatest. pypicloud
    has no rights on globs.
    """
    found: dict[RightKey, Right] = {}
    for rights in all_rights:
        for right in rights:
            if is_glob(right.project):
                continue
            before = found.get(right.key)
            found[right.key] = right if before is None or right.write else before
    return {right.key: right for right in sorted_rights(found.values())}


async def _rights(app: App) -> dict[RightKey, Right]:
    return in_force(app.known.configured().rights, await app.accounts.rights())


# --- reading --------------------------------------------------------------------------------------


@route("GET", USER + "/permissions", action=Action.ADMIN)
async def of_user(ctx: RequestContext, name: str) -> None:
    """Send the rights that were granted to a user directly."""
    send_json(ctx.request, _packages(await _rights(ctx.app), Whom.USER, name))


def _packages(rights: dict[RightKey, Right], whom: Whom, name: str) -> list[OfPackage]:
    wanted = name if whom in (Whom.USER, Whom.GROUP) else ""
    these = (right for right in rights.values() if right.whom is whom and right.name == wanted)
    return [
        {"package": right.project, "permissions": words_of(write=right.write)} for right in these
    ]


@route("GET", GROUP, action=Action.ADMIN)
async def of_group(ctx: RequestContext, name: str) -> None:
    """Send a group: its members, and the rights that it gives them."""
    nobody = frozenset[str]()
    members = (await ctx.app.accounts.memberships()).get(
        name, nobody
    ) | ctx.app.known.configured().members.get(name, nobody)
    packages = _packages(await _rights(ctx.app), group_or_word(name), name)
    document: WholeGroup = {"members": sorted(members), "packages": packages}
    send_json(ctx.request, document)


@route("GET", PACKAGE, action=Action.ADMIN)
async def of_package(ctx: RequestContext, project: ProjectName) -> None:
    """Send the rights that a package has of its own."""
    rights = [right for right in (await _rights(ctx.app)).values() if right.project == project]
    document: Permissions = {
        "user": [
            {"username": right.name, "permissions": words_of(write=right.write)}
            for right in rights
            if right.whom is Whom.USER
        ],
        "group": [
            {"group": right.name or right.whom.value, "permissions": words_of(write=right.write)}
            for right in rights
            if right.whom is not Whom.USER
        ],
    }
    send_json(ctx.request, document)


# --- changing -------------------------------------------------------------------------------------


def _right_of(project: ProjectName, kind: str, name: str, permission: str) -> tuple[RightKey, bool]:
    """Return the right that the address names, and whether it is the one to write."""
    if kind not in ("user", "group") or permission not in ("read", "write"):
        raise BadRequest(
            "A right is of a user or a group, and it is read or write: "
            "/admin/package/NAME/user/NAME/read."
        )
    whom = Whom.USER if kind == "user" else group_or_word(name)
    if whom in (Whom.USER, Whom.GROUP):
        try:
            account_name(name)
        except ValueError as error:
            raise BadRequest(f"Invalid name: {error}.") from None
    else:
        name = ""
    return (project, whom, name), permission == "write"


@route("PUT", PERMISSION, action=Action.ADMIN)
async def grant(
    ctx: RequestContext, project: ProjectName, kind: str, name: str, permission: str
) -> None:
    """Grant a right, in addition to the existing one."""
    demand_changing(ctx.app)
    key, write = _right_of(project, kind, name, permission)
    rights = await _rights(ctx.app)
    before = rights.get(key)
    if before is None and write and not _all_read(rights, key):
        address = f"/admin/package/{key[0]}/{kind}/{name}"
        raise InseparableRight(
            f"Give the right to read first (PUT {address}/read), and then this one."
        )
    right = Right(*key, write)
    if before is None or (write and not before.write):
        details = {"whom": f"{right.whom.value} {right.name}".strip(), "right": right.text}
        await recorded(
            ctx,
            "right grant",
            right.project,
            ctx.app.accounts.grant(right),
            lambda _: details,
        )
    done(ctx.request)


def _all_read(rights: dict[RightKey, Right], key: RightKey) -> bool:
    """Return whether all who would read the project by this right may read it anyway."""
    project, whom, _ = key
    words = (Whom.EVERYONE,) if whom is Whom.EVERYONE else (Whom.EVERYONE, Whom.AUTHENTICATED)
    return whom is not Whom.EVERYONE and any((project, word, "") in rights for word in words)


@route("DELETE", PERMISSION, action=Action.ADMIN)
async def withdraw(
    ctx: RequestContext, project: ProjectName, kind: str, name: str, permission: str
) -> None:
    """Remove a right; without the right to read, the right to write is removed, too."""
    demand_changing(ctx.app)
    key, write = _right_of(project, kind, name, permission)
    async with (
        ctx.app.registration_limit.turn
    ):  # else, of two at the same time, neither is the last
        await _withdraw(ctx, key, f"/admin/package/{key[0]}/{kind}/{name}", write=write)
    done(ctx.request)


async def _withdraw(ctx: RequestContext, key: RightKey, address: str, *, write: bool) -> None:
    kept = in_force(await ctx.app.accounts.rights()).get(key)
    fixed = in_force(ctx.app.known.configured().rights).get(key)
    if fixed is not None and (fixed.write or not write):
        raise ChangedElsewhere(f"this right of {key[0]}", IN_THE_FILE)
    if kept is None or (write and not kept.write):
        return
    if (
        kept.write
        and not write
        and len([each for each in await _rights(ctx.app) if each[0] == key[0]]) == 1
    ):
        raise InseparableRight(
            f"This is the last right of {key[0]}, and without any the defaults would hold for it. "
            f"If you mean that, take the right to write away first (DELETE {address}/write), and "
            "then this one; if not, give another user or group a right before."
        )
    subject, details = (
        key[0],
        {"whom": f"{kept.whom.value} {kept.name}".strip(), "right": kept.text},
    )
    if write:
        left = Right(*key, False)
        lowered = {**details, "right": left.text}
        await recorded(ctx, "right grant", subject, ctx.app.accounts.grant(left), lambda _: lowered)
    else:
        await recorded(
            ctx,
            "right revoke",
            subject,
            ctx.app.accounts.withdraw(*key),
            lambda _: details,
        )

"""``POST /api/acl``: import a dump of pypicloud's users and rights, as `pypid user import` does."""

from __future__ import annotations

from typing import TypedDict

from attrs import evolve

from pypid.compat.pypicloud.accounts import demand_changing
from pypid.core.accounts import acl_dump, acl_merge
from pypid.core.accounts.acl_rights import KEPT_CLOSED
from pypid.core.accounts.rights import Whom
from pypid.core.errors import BadRequest, NotAvailable, NotByToken, PeopleFixed
from pypid.core.permissions import Action
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described
from pypid.web.app.registry import Configured
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.request_body import read_small
from pypid.web.http.small_responses import send_json


class OddityDocument(TypedDict):
    """Something in a dump that could not be imported unchanged. `loss`: a user loses a right by it;
    `gain`: a user gets one that they had neither there nor here.
    """

    what: str
    done: str
    loss: bool
    gain: bool


class Import(TypedDict):
    """The result of an import: how much of the dump was new here, and what was odd about it."""

    users: int
    users_there: int
    groups: int
    members: int
    rights: int
    oddities: list[OddityDocument]


@route(
    "POST",
    "/api/acl",
    action=Action.ADMIN,
    describe=Described(
        Import, takes=acl_dump.AclDocument, refuses=(NotByToken, PeopleFixed, NotAvailable)
    ),
)
async def take_in(ctx: RequestContext) -> None:
    """Import a pypicloud dump. What is missing here is added, and existing users stay unchanged."""
    if ctx.identity.scope is not None:
        raise NotByToken()
    demand_changing(ctx.app)
    data = await read_small(ctx.request.body, acl_dump.LARGEST)
    if not data:
        raise BadRequest("Send a dump of ppc-export: JSON, gzipped or plain.")
    taken = _without_configured(ctx.app, await ctx.app.world.thinking(acl_dump.read_dump, data))

    def details_of(merged: acl_merge.Merged) -> dict[str, str] | None:
        counts = {
            "users": len(merged.users),
            "groups": merged.groups,
            "members": merged.members,
            "rights": merged.rights,
        }
        return {name: str(count) for name, count in counts.items()} if merged.changed else None

    merged = await recorded(
        ctx, "user import", "pypicloud", ctx.app.accounts.merge(taken.dump), details_of
    )
    document: Import = {
        "users": len(merged.users),
        "users_there": merged.there,
        "groups": merged.groups,
        "members": merged.members,
        "rights": merged.rights,
        "oddities": [
            {"what": oddity.what, "done": oddity.done, "loss": oddity.grave, "gain": oddity.wider}
            for oddity in (*taken.oddities, *merged.oddities())
        ],
    }
    send_json(ctx.request, document)


def _without_configured(app: App, taken: acl_dump.ParsedAcl) -> acl_dump.ParsedAcl:
    """Return the dump without the users and groups of the configuration, which takes precedence.
    Raises `BadRequest` if a group that must be empty has members there.
    """
    configured = app.known.configured()
    users, of_users = _users_without(taken.dump, configured)
    groups, of_groups = _groups_without(taken.dump, configured)
    return acl_dump.ParsedAcl(
        evolve(taken.dump, users=users, groups=groups), (*taken.oddities, *of_users, *of_groups)
    )


def _users_without(
    dump: acl_dump.Dump, configured: Configured
) -> tuple[tuple[acl_dump.DumpedPerson, ...], list[acl_dump.Oddity]]:
    users, oddities = [], []
    for person in dump.users:
        if person.name not in configured.users:
            users.append(person)
            continue
        loses = person.admin and person.name not in configured.admins
        done = "no account is made; what the dump gives to the name holds"
        if loses:
            done += ", but for being an administrator: write the name into [access] admins"
        oddities.append(
            acl_dump.Oddity(
                f"the user {person.name!r} is defined in the configuration", done, loses
            )
        )
    return tuple(users), oddities


def _groups_without(
    dump: acl_dump.Dump, configured: Configured
) -> tuple[dict[str, frozenset[str]], list[acl_dump.Oddity]]:
    groups, oddities = dict(dump.groups), []
    granted_groups = {right.name for right in dump.rights if right.whom is Whom.GROUP}
    for name in sorted((groups.keys() | granted_groups) & configured.groups):
        imported, ours = groups.pop(name, frozenset()), configured.members.get(name, frozenset())
        if name.startswith(KEPT_CLOSED) and ours and not imported:
            raise BadRequest(
                f"The group {name!r} of the configuration has members, and has to be empty: it "
                "keeps projects closed. Rename it there, reload, and try again. Nothing was done."
            )
        if ours - imported and name in granted_groups:
            oddities.append(acl_merge.grown(name, ours - imported))
        if name not in dump.groups:
            continue
        missing = imported - ours
        done = "its members are those in the configuration"
        if missing:
            done += f"; not there: {' '.join(sorted(missing)[:20])}"
        oddities.append(
            acl_dump.Oddity(
                f"the group {name!r} is defined in the configuration", done, bool(missing)
            )
        )
    return groups, oddities

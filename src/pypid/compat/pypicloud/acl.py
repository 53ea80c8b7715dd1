"""All users and rights as a pypicloud dump: ``/admin/acl.json.gz``, and ``/api/acl``, which `pypid
acl` uses.
"""

from __future__ import annotations

from typing import Any, TypedDict

from attrs import evolve

from pypid import __version__
from pypid.compat.pypicloud.accounts import demand_changing
from pypid.compat.pypicloud.permissions import in_force
from pypid.core.accounts import acl_dump, acl_merge
from pypid.core.accounts.acl_rights import KEPT_CLOSED
from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.accounts.rights import Whom, on_names
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, NotAvailable, NotByToken, PeopleFixed
from pypid.core.permissions import Action
from pypid.web.app.app import App
from pypid.web.app.audit import note, recorded
from pypid.web.app.descriptions import Described
from pypid.web.app.registry import Configured
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.request_body import read_small
from pypid.web.http.small_responses import send, send_json

FILENAME = "acl.json.gz"


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


async def _dump(app: App) -> acl_dump.Dump:
    """Return all users of the configuration and the accounts database, with groups and rights.
    Users who cannot log in here await approval there. A right on a glob is one on each local
    project that it matches: without it these projects would be open there.
    """
    configured, known = app.known.configured(), await app.accounts.users()

    def is_active(account: Account) -> bool:
        return configured.accounts_log_in and account.status is AccountStatus.ACTIVE

    users = {
        account.name: acl_dump.DumpedPerson(
            name=account.name,
            hash=account.hash,
            admin=is_active(account) and (account.admin or account.name in configured.admins),
            pending=not is_active(account),
        )
        for account in known
    }
    for name, hash in configured.hashes.items():  # the configuration takes precedence at login
        users[name] = acl_dump.DumpedPerson(name=name, hash=hash, admin=name in configured.admins)
    groups = {
        name: frozenset(members) for name, members in (await app.accounts.memberships()).items()
    }
    for name, members in configured.members.items():
        groups[name] = groups.get(name, frozenset()) | members
    stored = [*configured.rights, *await app.accounts.rights()]
    names = (each.name for each in await app.index.catalog.local.summaries())
    rights = await app.world.thinking(on_names, stored, names)
    return acl_dump.Dump(
        users=tuple(users[name] for name in sorted(users)),
        groups=dict(sorted(groups.items())),
        rights=tuple(in_force(rights).values()),
        allow_register=app.settings.people.registration
        in (Registration.APPROVAL, Registration.OPEN),
    )


async def _exported(ctx: RequestContext) -> Any:
    """Return the dump with all password hashes. Tokens are refused: they may be stored carelessly.
    Raises `NotByToken`.
    """
    if ctx.identity.scope is not None:
        raise NotByToken()
    dump = await _dump(ctx.app)
    await note(ctx, "acl export", "all", {"users": str(len(dump.users))})
    return acl_dump.document_of(dump, __version__)


@route("GET", f"/admin/{FILENAME}", action=Action.ADMIN)
async def download(ctx: RequestContext) -> None:
    """Send the dump, as ``ppc-import`` reads it."""
    packed = await ctx.app.world.thinking(acl_dump.write_dump, await _exported(ctx))
    disposition = f'attachment; filename="{FILENAME}"'.encode()
    ctx.request.responseHeaders.setRawHeaders(b"Content-Disposition", [disposition])
    send(ctx.request, 200, "application/gzip", packed)


@route(
    "GET",
    "/api/acl",
    action=Action.ADMIN,
    describe=Described(dict[str, Any], refuses=(NotByToken, NotAvailable)),
)
async def export(ctx: RequestContext) -> None:
    """Return all users and rights as a pypicloud dump, with the password hashes."""
    send_json(ctx.request, await _exported(ctx))


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
        ctx, "acl import", "pypicloud", ctx.app.accounts.merge(taken.dump), details_of
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

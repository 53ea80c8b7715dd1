"""Names of accounts: a new one is refused if it is in use, or has already been granted something;
warnings are about names that do not exist.
"""

from __future__ import annotations

from collections.abc import Set
from shlex import quote
from typing import Annotated
from unicodedata import normalize

from msgspec import Meta

from pypid.core.accounts.rights import Whom
from pypid.core.configuration.checks import nearest
from pypid.core.errors import BadRequest, NameTaken, PeopleUnknown
from pypid.core.permissions import Principals, account_name
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext

LONGEST = 100
"""Maximum length of a new name in characters; names in a directory may be longer."""
NewName = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": LONGEST})]
"""A name in a request body, not yet checked by `new_name`, which also refuses other names."""
OPERATOR = "operator/"
"""Prefix of the names of administrators on the server, such as ``operator/root``. They have no
account.
"""
TAKEN = frozenset({"anonymous", "operator"})
"""Names that the log uses for other actors."""


def new_name(text: str) -> str:
    """Return `text` if a new account or group can have this name. Raises `BadRequest` with the
    reason.

    Stricter than the rules for names from other sources: a new name becomes part of URLs and log
    lines.
    """
    try:
        name = account_name(text)
    except ValueError as error:
        raise BadRequest(f"Invalid name: {error}.") from None
    if len(name) > LONGEST:
        raise BadRequest(f"Invalid name: it has more than {LONGEST} characters.")
    if "/" in name or "\\" in name or name in (".", ".."):
        raise BadRequest("Invalid name: it cannot contain / or \\, and cannot be . or ..")
    if name.startswith("__"):
        raise BadRequest("Invalid name: names of tokens and sessions begin with __.")
    if name != normalize("NFC", name):
        raise BadRequest("Invalid name: write it with composed characters (Unicode NFC).")
    return name


async def demand_free(app: App, text: str, *, inherit: bool = False) -> None:
    """Raise `BadRequest` or `NameTaken` unless an account can be created under this name.

    A name that has rights, or is in a group, counts as taken, so that self-registration cannot take
    it over; an administrator may create an account with all that (`inherit`). Raises
    `PeopleUnknown` if a source of users is unavailable.
    """
    name = new_name(text)
    known = await user_names(app)
    alike = [other for other in known | TAKEN if _folded(other) == _folded(name)]
    if alike:
        raise NameTaken(name, "" if name in known else f"it looks like {alike[0]!r}")
    if await app.known.find(name) is not None:
        raise NameTaken(name, "another source of users has a user of that name")
    where = None if inherit else await _mentioned(app, name)
    if where is not None:
        advice = (
            "to create an account with these rights, an administrator uses `pypid user create "
            "--inherit`, or `inherit` in the API"
        )
        raise NameTaken(name, f"{where} gives it rights; {advice}")


async def _mentioned(app: App, name: str) -> str | None:
    """Return where the name is granted something although no account has it, or None."""
    if name in app.known.configured().mentioned:
        return "the configuration"
    if any(right.whom is Whom.USER and right.name == name for right in await app.accounts.rights()):
        return "a right of a project"
    group = next(
        (group for group, members in (await app.accounts.memberships()).items() if name in members),
        None,
    )
    return None if group is None else f"the group {group!r}"


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold()


# --- names that do not exist ----------------------------------------------------------------------


async def user_names(app: App) -> Set[str]:
    """Return the users of the configuration and of the database; a directory may have others."""
    return app.known.configured().users | {each.name for each in await app.accounts.users()}


async def unknown_names(app: App, principals: Principals) -> list[str]:
    """Return a warning for each of these users and groups that does not exist now. It may exist
    later, and a directory does not list its groups. Raises `PeopleUnknown`.
    """
    users = [
        user
        for user in sorted(principals.users)
        if not user.startswith(OPERATOR) and await app.known.find(user) is None
    ]
    known = users and await user_names(app)
    warnings = [
        f"No user can log in as {user!r} now{nearest(user, known) or ': is it spelled right?'}"
        for user in users
    ]
    if principals.groups:
        groups = {*app.known.configured().groups, *await app.accounts.memberships()}
        warnings += [
            f"There is no group {group!r} in the configuration or the database"
            f"{nearest(group, groups) or '.'} Create it, unless a directory has it: pypid group "
            f"create {quote(group)}"
            for group in sorted(principals.groups - groups)
        ]
    return warnings


async def warnings_for(ctx: RequestContext, principals: Principals) -> list[str]:
    """Return warnings about users and groups to whom the client gives access to an index. A client
    that may not administer, such as a token for uploads, does not learn which ones exist, only of
    which groups it is no member.
    """
    if not ctx.is_admin:
        others = sorted(principals.groups - ctx.identity.groups)
        return [f"You are not in the group {group!r}: is it spelled right?" for group in others]
    try:
        return [] if ctx.app.registry is None else await unknown_names(ctx.app, principals)
    except PeopleUnknown as error:
        return [f"The names of users and groups were not checked: {error}"]

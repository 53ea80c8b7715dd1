"""Which names an account can be made under: none that is anybody's, and none that has been given
something already.
"""

from __future__ import annotations

from typing import Annotated
from unicodedata import normalize

from msgspec import Meta

from pypid.core.accounts.rights import Whom
from pypid.core.errors import BadRequest, NameTaken
from pypid.core.permissions import account_name
from pypid.web.app.app import App

LONGEST = 100
"""Characters of a name that is made here; a directory may have longer ones."""
NewName = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": LONGEST})]
"""Before `new_name` has looked at it, which refuses others, too."""
TAKEN = frozenset({"anonymous", "operator"})
"""What the log calls others by."""


def new_name(text: str) -> str:
    """`text`, if an account or a group can be made under it. Raises `BadRequest` with the reason.

    Stricter than what is understood of others' names: it is part of addresses and of lines of the
    log.
    """
    try:
        name = account_name(text)
    except ValueError as error:
        raise BadRequest(f"This cannot be a name: {error}.") from None
    if len(name) > LONGEST:
        raise BadRequest(f"This cannot be a name: it has more than {LONGEST} characters.")
    if "/" in name or "\\" in name or name in (".", ".."):
        raise BadRequest(
            "This cannot be a name: a name made here has no / and no \\, and is not . or .."
        )
    if name.startswith("__"):
        raise BadRequest(
            "This cannot be a name: those that begin with __ stand for tokens and sessions."
        )
    if name != normalize("NFC", name):
        raise BadRequest("This cannot be a name: write it with composed characters (Unicode NFC).")
    return name


async def demand_free(face: App, text: str, *, inherit: bool = False) -> None:
    """Raise `BadRequest` or `NameTaken` unless an account can be made under this name.

    A name that has rights, or is in a group, already is somebody's, so nobody may take it for
    himself (registration); an administrator may make an account with all that (`inherit`). Raises
    `PeopleUnknown` where a source cannot be asked.
    """
    name = new_name(text)
    known = {
        account.name for account in await face.accounts.users()
    } | face.known.configured().users
    alike = [other for other in known | TAKEN if _folded(other) == _folded(name)]
    if alike:
        raise NameTaken(name, "" if name in known else f"it looks like {alike[0]!r}")
    if await face.known.find(name) is not None:
        raise NameTaken(name, "another source of people has somebody of that name")
    where = None if inherit else await _mentioned(face, name)
    if where is not None:
        handing = (
            "an administrator can make the account with all that (pypid user add --inherit, or "
            "'inherit')"
        )
        raise NameTaken(name, f"{where} gives something to it; {handing}")


async def _mentioned(face: App, name: str) -> str | None:
    """Where something is given to the name, though nobody has it."""
    if name in face.known.configured().mentioned:
        return "the configuration"
    if any(
        right.whom is Whom.USER and right.name == name for right in await face.accounts.rights()
    ):
        return "a right of a project"
    group = next(
        (
            group
            for group, members in (await face.accounts.memberships()).items()
            if name in members
        ),
        None,
    )
    return None if group is None else f"the group {group!r}"


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold()

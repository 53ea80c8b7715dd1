"""Texts that a database can store: PostgreSQL accepts no NUL, and no database accepts half a
character.
"""

from __future__ import annotations

from pypid.core.errors import BadRequest
from pypid.core.permissions import account_name, is_account_name

LONGEST_NAME = 200
"""Characters of a user's or group's name."""
LONGEST = 1000
"""Characters of any other text; longer ones are cut."""


def storable(text: str, most: int = LONGEST) -> str:
    """Return the text, cut, and with U+FFFD in place of what cannot be stored."""
    return text[:most].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def is_name(name: str) -> bool:
    """Return whether a user or a group can have this name."""
    return is_account_name(name, LONGEST_NAME)


def new_name(name: str) -> str:
    """Return the name, if a new user or group can have it. Raises `BadRequest` with the reason."""
    if len(name) > LONGEST_NAME:
        raise BadRequest(f"a name of a user or group has at most {LONGEST_NAME} characters")
    try:
        return account_name(name)
    except ValueError as error:
        raise BadRequest(str(error)) from None

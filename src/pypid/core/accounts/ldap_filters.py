"""Parse LDAP search filters (RFC 4515) with placeholders for the user, as in ``[ldap]``."""

from __future__ import annotations

import re
from collections.abc import Callable

USER_FILTER = "(&(objectClass=person)(uid={user}))"
"""Finds the user's entry if ``[ldap] user_filter`` is empty."""
GROUP_FILTER = "(|(member={dn})(uniqueMember={dn})(memberUid={user}))"
"""Finds the entries of the user's groups if ``[ldap] group_filter`` is empty."""

_ITEM = re.compile(
    r"\((?:[A-Za-z0-9][\w.;-]*(?:=|~=|>=|<=)"
    r"|(?:[A-Za-z0-9][\w.;-]*)?(?::dn)?(?::[\w.]+)?:=)[^()\0]*\)",
    re.ASCII,
)
_SEVERAL = re.compile(r"\(\s*(?:[&|][\s\0]*|!\s*\0\s*)\)")
_NAMED = re.compile(r"\(([A-Za-z][A-Za-z0-9-]*)=\{user\}\)")
_PLACE = re.compile(r"\{(user|dn)\}")
_LINE_END = re.compile(r"\s*\n\s*")


def user_filter(text: str) -> str:
    """Return `text` in one line if it can find users. Raises `ValueError` with the reason."""
    text = _whole(text)
    attributes = _NAMED.findall(text)
    if not attributes:
        raise ValueError(
            "it has to hold (attribute={user}), as in (uid={user}): the attribute that is the "
            "user's name"
        )
    if (
        "{dn}" in text
        or len(attributes) != text.count("{user}")
        or len({name.lower() for name in attributes}) > 1
    ):
        raise ValueError(
            "{user} stands alone, in (attribute={user}), and for one attribute only: a user has "
            "one name here"
        )
    return text


def group_filter(text: str) -> str:
    """Return `text` on one line if it can find a user's groups. Raises `ValueError`."""
    text = _whole(text)
    if not _PLACE.search(text):
        raise ValueError("it has to hold {dn} or {user}, as in (member={dn}) or (memberUid={user})")
    return text


def name_attribute(text: str) -> str:
    """Return the attribute that holds the user's name, according to a `user_filter`."""
    match = _NAMED.search(text)
    if match is None:
        raise ValueError("no user_filter")
    return match[1]


def filled(text: str, escape: Callable[[str], str], *, user: str, dn: str = "") -> str:
    """Return the filter with its placeholders filled in, each value escaped once."""
    values = {"user": escape(user), "dn": escape(dn)}
    return _PLACE.sub(lambda place: values[place[1]], text)


def _whole(text: str) -> str:
    text = _LINE_END.sub("", text.strip())
    if "\0" in text:
        raise ValueError("it has a NUL character")
    rest, before = _ITEM.sub("\0", text), ""
    while rest != before:
        rest, before = _SEVERAL.sub("\0", rest), rest
    if rest != "\0":
        raise ValueError(
            "it is no search filter of LDAP (RFC 4515): each condition, and the whole, needs ( )"
        )
    return text

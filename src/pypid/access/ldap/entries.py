"""Entries of the directory, their names, and the groups that they are in. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ldap.dn
import ldap.filter
from attrs import field, frozen

from pypid.core.accounts.ldap_filters import filled

Key = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name in a form in which equivalent names are equal."""

DEEPEST = 8
"""Levels of nested groups that are followed."""
AT_ONCE = 50
"""Groups whose parent groups one search looks up."""
MOST_GROUPS = 1000
"""Maximum number of groups of one user; Active Directory returns no more in one answer either."""


def key_of(dn: str) -> Key:
    """Return the normalized name: lower case, and without variations of spelling. Raises
    `ldap.LDAPError` for an invalid name.
    """
    return tuple(
        tuple(
            sorted(
                (attribute.casefold(), " ".join(value.casefold().split()))
                for attribute, value, _ in rdn
            )
        )
        for rdn in ldap.dn.str2dn(dn)
    )


@frozen
class DirectoryEntry:
    """An entry: its name, and the values of its attributes by their names in lower case."""

    dn: str
    values: Mapping[str, Sequence[bytes]] = field(repr=False)

    @classmethod
    def of(cls, dn: str, values: Mapping[str, Sequence[bytes]]) -> DirectoryEntry:
        """Return the entry for a result of python-ldap."""
        return cls(dn, {attribute.lower(): texts for attribute, texts in values.items()})

    def only(self, attribute: str) -> str | None:
        """Return the one value of the attribute, as the directory spells it; of several the one in
        the first part of its distinguished name.

        None if there is no value, or if it is ambiguous.
        """
        try:
            spellings = [value.decode() for value in self.values.get(attribute.lower(), ())]
        except UnicodeDecodeError:
            return None
        if len(spellings) <= 1:
            return spellings[0] if spellings else None
        first = [
            value
            for name, value, _ in ldap.dn.str2dn(self.dn)[0]
            if name.lower() == attribute.lower()
        ]
        return first[0] if first and first[0] in spellings else None


def groups_of(
    search: Callable[[str], Sequence[DirectoryEntry]], group_filter: str, dn: str, user: str
) -> Sequence[DirectoryEntry]:
    """Return the groups that the user is in, directly or through other groups; each once, also in
    cycles.

    `search` returns the entries for a filter. Raises `ldap.SIZELIMIT_EXCEEDED` beyond
    `MOST_GROUPS`.
    """
    known: dict[Key, DirectoryEntry] = {}
    members = [dn]
    for _ in range(DEEPEST):
        new: dict[Key, DirectoryEntry] = {}
        for start in range(0, len(members), AT_ONCE):
            for entry in search(_any_of(group_filter, members[start : start + AT_ONCE], user)):
                new.setdefault(key_of(entry.dn), entry)
        members = [entry.dn for key, entry in new.items() if key not in known]
        known |= {key: entry for key, entry in new.items() if key not in known}
        if len(known) > MOST_GROUPS:
            raise ldap.SIZELIMIT_EXCEEDED(
                {
                    "desc": "Size limit exceeded",
                    "info": f"more than {MOST_GROUPS} groups of one user",
                }
            )
        if not members or "{dn}" not in group_filter:
            break
    return list(known.values())


def _any_of(group_filter: str, members: Sequence[str], user: str) -> str:
    filters = [
        filled(group_filter, ldap.filter.escape_filter_chars, user=user, dn=dn) for dn in members
    ]
    return filters[0] if len(filters) == 1 else f"(|{''.join(filters)})"

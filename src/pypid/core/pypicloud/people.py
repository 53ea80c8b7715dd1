"""Translate ``user.*``, ``group.*`` and ``auth.admins`` into ``[users]``, ``[groups]`` and
``[access] admins``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from pypid.core.configuration.ini import printable
from pypid.core.permissions import WORDS, account_name
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.settings import PypicloudSettings

HASHES = (
    "$6$",
    "$5$",
    "$pbkdf2-sha512$",
    "$pbkdf2-sha256$",
    "$2a$",
    "$2b$",
    "$2y$",
    "$argon2id$",
    "$argon2i$",
    "$argon2d$",
)
"""Prefixes of the hashes that pypicloud made and that can be verified here (`access.passwords`; a
test compares).
"""
_HASH = re.compile(r"[\x21-\x7e]+\Z")
EVERYONE = frozenset({"everyone", "system.Everyone"})
AUTHENTICATED = frozenset({"authenticated", "system.Authenticated"})
_ALL_HAVE = EVERYONE | AUTHENTICATED
"""pypicloud's built-in groups: members listed in a file had no effect."""


@frozen
class PypicloudGroups:
    """The groups of the file: members by pypicloud's name, and pypid's names. `others`: there may
    be more, in a database.
    """

    members: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    others: bool = False

    def name(self, group: str) -> str | None:
        """Return the group's name here; None if no such group can exist."""
        if group in self.names:
            return self.names[group]
        return group if self.others and may_be_called(group) else None


def may_be_called(name: str) -> bool:
    """Return whether an account or a group can have the name here."""
    try:
        account_name(name)
    except ValueError:
        return False
    return True


def users(settings: PypicloudSettings, ledger: Ledger) -> frozenset[str]:
    """Translate the users who can log in; returns their names. Users who could not log in before,
    or cannot have their name here, are left out.
    """
    there = set()
    for name, entry in settings.family("user."):
        key, hashed = f"user.{name}", entry.text.strip()
        if not may_be_called(name):
            ledger.note(_uncalled("user"), entry, key)
        elif not hashed.startswith(HASHES) or not _HASH.match(hashed):
            reason = (
                "this is no hash that can be verified, so the user cannot log in with it: `pypid "
                "gen-password` makes one"
            )
            ledger.note(reason, entry, key)
        else:
            ledger.put("users", name, hashed, entry, key)
            there.add(name)
    return frozenset(there)


def groups(settings: PypicloudSettings, ledger: Ledger) -> PypicloudGroups:
    """Translate the members of each group. A group whose name is not valid here is renamed."""
    members: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    entries = dict(settings.family("group."))
    for group, entry in entries.items():
        key = f"group.{group}"
        if group in _ALL_HAVE:
            ledger.note(
                "everybody is in it anyway; pypicloud did not look at its members either",
                entry,
                key,
            )
            continue
        ours = group if may_be_called(group) else _another(group, {*entries, *names.values()})
        if ours != group:
            ledger.note(f"no group can be called so here; it is {ours}", entry, key)
        words = entry.text.split()
        odd = [word for word in words if not may_be_called(word)]
        if odd:
            ledger.note(f"left out, as no user can be called so here: {_listed(odd)}", entry, key)
        members[group] = tuple(dict.fromkeys(word for word in words if word not in odd))
        names[group] = ours
        ledger.put("groups", ours, " ".join(members[group]), entry, key)
    return PypicloudGroups(members, names)


def admins(settings: PypicloudSettings, ledger: Ledger, there: frozenset[str]) -> frozenset[str]:
    """Translate the administrators among the users who can log in; returns their names."""
    setting = settings.find("auth.admins")
    if setting is None:
        return frozenset()
    key, entry = setting.key, setting.entry
    words = list(dict.fromkeys(entry.text.split()))
    absent = [word for word in words if word not in there]
    if absent:
        reason = (
            f"left out, as no user can log in by these names: {_listed(absent)}; who gets one "
            f"later is no administrator"
        )
        ledger.note(reason, entry, key)
    present = [word for word in words if word in there]
    if present:
        ledger.put("access", "admins", " ".join(present), entry, key)
    return frozenset(present)


def _another(group: str, taken: set[str]) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", group)
    name = f"pypicloud-{cleaned}"
    while name in taken:
        name += "-"
    return name


def _uncalled(what: str) -> str:
    return (
        f"no {what} can be called so here (no : = ; , and no white space, nor "
        f"{' '.join(sorted(WORDS))}): give another name"
    )


def _listed(words: list[str]) -> str:
    shown = " ".join(printable(word) for word in words[:20])
    return shown if len(words) <= 20 else f"{shown} ..."

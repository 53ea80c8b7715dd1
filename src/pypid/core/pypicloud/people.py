"""Translate ``user.*``, ``group.*`` and ``auth.admins`` into ``[users]``, ``[groups]`` and
``[access] admins``; ``auth.ldap.*`` into ``[ldap]``, as far as their meanings agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from pypid.core.accounts.ldap_filters import name_attribute, user_filter
from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.configuration.value_kinds import DN, is_readable_on_the_way
from pypid.core.permissions import WORDS, account_name
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.settings import PypicloudSettings, asbool

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
                "this is not a password hash that can be verified. Run `pypid gen-password NAME` "
                "and paste its line"
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
            ledger.note(f"not a valid group name here; it is {ours}", entry, key)
        words = entry.text.split()
        odd = [word for word in words if not may_be_called(word)]
        if odd:
            ledger.note(
                f"left out, as these usernames are not valid here: {_listed(odd)}", entry, key
            )
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
            f"ignored: no user of these names exists: {_listed(absent)}. Creating one later will "
            f"not make it an administrator"
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
        f"not a valid name of a {what} (no : = ; , and no whitespace, nor "
        f"{' '.join(sorted(WORDS))}): choose another name"
    )


def _listed(words: list[str]) -> str:
    shown = " ".join(printable(word) for word in words[:20])
    return shown if len(words) <= 20 else f"{shown} ..."


# --- users of a directory (LDAP) ------------------------------------------------------------------

NO_GROUPS = "(&(objectClass=pypicloudKnowsNoGroups)(member={dn}))"
"""A filter that finds no groups: a group of the directory must not be mistaken for one of the file.
"""
_L = "auth.ldap."


def directory(settings: PypicloudSettings, ledger: Ledger, *, in_file: bool) -> None:
    """Translate where users are searched, and which of them are administrators. pypicloud does not
    use the groups of a directory. `in_file`: groups and rights come from the file.
    """
    _copied(settings, ledger, "url", "url")
    url = settings.found.get(f"{_L}url")
    if (
        url is not None
        and url.text.strip().startswith("ldap:")
        and is_readable_on_the_way(url.text.strip())
    ):
        reason = (
            "passwords never go over the network in clear: pypid begins with StartTLS, which the "
            "directory has to know"
        )
        ledger.note(reason, url, f"{_L}url")
    _copied(settings, ledger, "bind_dn", "service_dn")
    _copied(settings, ledger, "bind_password", "service_password")
    _copied(settings, ledger, "base_dn", "base_dn")
    form = settings.find(f"{_L}user_dn_format")
    if form is not None:
        advice = (
            "it names one entry, and pypid would search below it, where others may be: say "
            "auth.ldap.base_dn and auth.ldap.user_search_filter"
        )
        ledger.refuse(advice, form.entry, form.key)
    found = _user_filter(settings, ledger)
    admin_group = _admins(settings, ledger, found, in_file=in_file)
    if not admin_group:
        ledger.put("ldap", "group_filter", NO_GROUPS)
    for key in ("ignore_cert", "ignore_multiple_results"):
        if f"{_L}{key}" in settings.found and not asbool(settings.found[f"{_L}{key}"].text):
            settings.find(f"{_L}{key}")  # already the behaviour of pypid


def _copied(settings: PypicloudSettings, ledger: Ledger, key: str, pypicloud_key: str) -> None:
    setting = settings.find(f"{_L}{pypicloud_key}")
    if setting is not None and setting.text:
        ledger.put("ldap", key, setting.text, setting.entry, setting.key)


def _user_filter(settings: PypicloudSettings, ledger: Ledger) -> str | None:
    """Translate and return the user filter; None if there is none."""
    setting = settings.find(f"{_L}user_search_filter")
    if setting is not None and setting.text:
        text = setting.text.replace("{username}", "{user}")
        ledger.put("ldap", "user_filter", text, setting.entry, setting.key)
        return text
    everybody, name = settings.find(f"{_L}all_user_search"), settings.text(f"{_L}id_field")
    if everybody is None or not everybody.text:
        return None
    condition = everybody.text
    condition = condition if condition.startswith("(") else f"({condition})"
    text = f"(&{condition}({name or 'cn'}={{user}}))"
    ledger.put("ldap", "user_filter", text, everybody.entry, everybody.key, f"{_L}id_field")
    return text


def _admins(
    settings: PypicloudSettings, ledger: Ledger, found: str | None, *, in_file: bool
) -> bool:
    """Translate the administrators, where possible; returns whether a group of the directory gives
    them that right.
    """
    field, value = settings.find(f"{_L}admin_field"), settings.find(f"{_L}admin_value")
    if field is None or value is None:
        return False
    attribute = field.text
    values = [line.strip() for line in value.entry.text.splitlines() if line.strip()]
    if (
        found is not None
        and _is_name(attribute, found)
        and all(map(may_be_called, values))
        and values
    ):
        ledger.put("access", "admins", " ".join(values), value.entry, value.key, field.key)
        return False
    if attribute.lower() == "memberof" and len(values) == 1 and not in_file and _is_dn(values[0]):
        ledger.put("ldap", "admin_group", values[0], value.entry, value.key, field.key)
        ledger.put("ldap", "group_base_dn", values[0], value.entry, value.key, field.key)
        return True
    _leave(ledger, field.entry, field.key, value.key)
    return False


def _leave(ledger: Ledger, entry: IniEntry, *keys: str) -> None:
    reason = (
        "an attribute makes no user an administrator here: name them in [access] admins "
        "(PYPID_ACCESS_ADMINS), or their group in"
        " [ldap] admin_group"
    )
    ledger.note(reason, entry, *keys)


def _is_name(attribute: str, found: str) -> bool:
    """Return whether the attribute is the one that holds users' names."""
    try:
        return (
            name_attribute(user_filter(found)).lower() == attribute.lower()
            and re.fullmatch(r"[\w-]+", attribute) is not None
        )
    except ValueError:
        return False


def _is_dn(text: str) -> bool:
    try:
        DN.parse(text)
    except ValueError:
        return False
    return True

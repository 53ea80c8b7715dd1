"""Translate ``auth.ldap.*`` into ``[ldap]``, as far as their meanings agree. pypicloud does not use
the groups of a directory.
"""

from __future__ import annotations

import re

from pypid.core.accounts.ldap_filters import name_attribute, user_filter
from pypid.core.configuration.ini import IniEntry
from pypid.core.configuration.value_kinds import DN, is_readable_on_the_way
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.people import may_be_called
from pypid.core.pypicloud.settings import PypicloudSettings, asbool

NO_GROUPS = "(&(objectClass=pypicloudKnowsNoGroups)(member={dn}))"
"""A filter that finds no groups: a group of the directory must not be mistaken for one of the file.
"""
_L = "auth.ldap."


def directory(settings: PypicloudSettings, ledger: Ledger, *, in_file: bool) -> None:
    """Translate where users are searched, and which of them are administrators. `in_file`: groups
    and rights come from the file.
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
    form = settings.entry(f"{_L}user_dn_format")
    if form is not None:
        advice = (
            "it names one entry, and pypid would search below it, where others may be: say "
            "auth.ldap.base_dn and auth.ldap.user_search_filter"
        )
        ledger.refuse(advice, form[1], form[0])
    found = _user_filter(settings, ledger)
    admin_group = _admins(settings, ledger, found, in_file=in_file)
    if not admin_group:
        ledger.say("ldap", "group_filter", NO_GROUPS)
    for key in ("ignore_cert", "ignore_multiple_results"):
        if f"{_L}{key}" in settings.found and not asbool(settings.found[f"{_L}{key}"].text):
            settings.entry(f"{_L}{key}")  # already the behaviour of pypid


def _copied(settings: PypicloudSettings, ledger: Ledger, ours: str, theirs: str) -> None:
    said = settings.entry(f"{_L}{theirs}")
    if said is not None and said[1].text.strip():
        ledger.say("ldap", ours, said[1].text.strip(), said[1], said[0])


def _user_filter(settings: PypicloudSettings, ledger: Ledger) -> str | None:
    """Translate and return the user filter; None if there is none."""
    said = settings.entry(f"{_L}user_search_filter")
    if said is not None and said[1].text.strip():
        text = said[1].text.strip().replace("{username}", "{user}")
        ledger.say("ldap", "user_filter", text, said[1], said[0])
        return text
    everybody, name = settings.entry(f"{_L}all_user_search"), settings.text(f"{_L}id_field")
    if everybody is None or not everybody[1].text.strip():
        return None
    condition = everybody[1].text.strip()
    condition = condition if condition.startswith("(") else f"({condition})"
    text = f"(&{condition}({name or 'cn'}={{user}}))"
    ledger.say("ldap", "user_filter", text, everybody[1], everybody[0], f"{_L}id_field")
    return text


def _admins(
    settings: PypicloudSettings, ledger: Ledger, found: str | None, *, in_file: bool
) -> bool:
    """Translate the administrators, where possible; returns whether a group of the directory gives
    them that right.
    """
    field, value = settings.entry(f"{_L}admin_field"), settings.entry(f"{_L}admin_value")
    if field is None or value is None:
        return False
    attribute = field[1].text.strip()
    values = [line.strip() for line in value[1].text.splitlines() if line.strip()]
    if (
        found is not None
        and _is_name(attribute, found)
        and all(map(may_be_called, values))
        and values
    ):
        ledger.say("access", "admins", " ".join(values), value[1], value[0], field[0])
        return False
    if attribute.lower() == "memberof" and len(values) == 1 and not in_file and _is_dn(values[0]):
        ledger.say("ldap", "admin_group", values[0], value[1], value[0], field[0])
        ledger.say("ldap", "group_base_dn", values[0], value[1], value[0], field[0])
        return True
    _leave(ledger, field[1], field[0], value[0])
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

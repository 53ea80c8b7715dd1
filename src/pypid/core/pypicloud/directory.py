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

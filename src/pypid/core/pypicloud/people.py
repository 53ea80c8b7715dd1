"""pypicloud's users, groups and access rules, translated.

Translate ``user.*``, ``group.*`` and ``auth.admins`` into ``[users]``, ``[groups]`` and
``[access] admins``; ``auth.ldap.*`` into ``[ldap]``, as far as their meanings agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import frozen

from pypid.core.accounts.ldap_filters import name_attribute, user_filter
from pypid.core.configuration.choices import Mode
from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.configuration.values import DN, is_readable_on_the_way
from pypid.core.errors import BadName
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import WORDS, is_account_name
from pypid.core.pypicloud.keys import Ledger
from pypid.core.pypicloud.paste import PypicloudSettings, asbool, is_boolean, origin_of

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
"""Prefixes of pypicloud's hashes that are verified here (`access.passwords`; tested)."""
_HASH = re.compile(r"[\x21-\x7e]+\Z")
EVERYONE = frozenset({"everyone", "system.Everyone"})
AUTHENTICATED = frozenset({"authenticated", "system.Authenticated"})
_ALL_HAVE = EVERYONE | AUTHENTICATED
"""pypicloud's built-in groups: members listed in a file had no effect."""


@frozen
class PypicloudGroups:
    """The groups of the file, by pypicloud's name. `others`: a database may have more."""

    members: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    others: bool = False

    def name(self, group: str) -> str | None:
        """Return the group's name here; None if no such group can exist."""
        if group in self.names:
            return self.names[group]
        return group if self.others and is_account_name(group) else None


def users(settings: PypicloudSettings, ledger: Ledger) -> frozenset[str]:
    """Translate the users who can log in; returns their names. Users who could not log in before,
    or cannot have their name here, are left out.
    """
    there = set()
    for name, entry in settings.family("user."):
        key, hashed = f"user.{name}", entry.text.strip()
        if not is_account_name(name):
            ledger.note(
                "not a valid name of a user (no : = ; , and no whitespace, nor "
                f"{' '.join(sorted(WORDS))}): choose another name",
                entry,
                key,
            )
        elif not hashed.startswith(HASHES) or not _HASH.match(hashed):
            ledger.note(
                "this is not a password hash that can be verified. Run `pypid gen-password NAME` "
                "and paste its line",
                entry,
                key,
            )
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
        ours = group if is_account_name(group) else _another(group, {*entries, *names.values()})
        if ours != group:
            ledger.note(f"not a valid group name here; it is {ours}", entry, key)
        words = entry.text.split()
        odd = [word for word in words if not is_account_name(word)]
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
    words = list(dict.fromkeys(setting.entry.text.split()))
    absent = [word for word in words if word not in there]
    if absent:
        ledger.note(
            f"ignored: no user of these names exists: {_listed(absent)}. Creating one later will "
            f"not make it an administrator",
            setting.entry,
            setting.key,
        )
    present = [word for word in words if word in there]
    if present:
        ledger.put("access", "admins", " ".join(present), setting.entry, setting.key)
    return frozenset(present)


def _another(group: str, taken: set[str]) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", group)
    name = f"pypicloud-{cleaned}"
    while name in taken:
        name += "-"
    return name


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
    settings.copy("ldap", "url", f"{_L}url")
    url = settings.found.get(f"{_L}url")
    if (
        url is not None
        and url.text.strip().startswith("ldap:")
        and is_readable_on_the_way(url.text.strip())
    ):
        ledger.note(
            "passwords never go over the network in clear: pypid begins with StartTLS, which the "
            "directory has to know",
            url,
            f"{_L}url",
        )
    settings.copy("ldap", "bind_dn", f"{_L}service_dn")
    settings.copy("ldap", "bind_password", f"{_L}service_password")
    settings.copy("ldap", "base_dn", f"{_L}base_dn")
    form = settings.find(f"{_L}user_dn_format")
    if form is not None:
        ledger.refuse(
            "it names one entry, and pypid would search below it, where others may be: say "
            "auth.ldap.base_dn and auth.ldap.user_search_filter",
            form.entry,
            form.key,
        )
    found = _user_filter(settings, ledger)
    admin_group = _admins(settings, ledger, found, in_file=in_file)
    if not admin_group:
        ledger.put("ldap", "group_filter", NO_GROUPS)
    for key in ("ignore_cert", "ignore_multiple_results"):
        if f"{_L}{key}" in settings.found and not asbool(settings.found[f"{_L}{key}"].text):
            settings.find(f"{_L}{key}")  # already the behaviour of pypid


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
    """Translate the administrators; return whether a group of the directory names them."""
    field, value = settings.find(f"{_L}admin_field"), settings.find(f"{_L}admin_value")
    if field is None or value is None:
        return False
    attribute = field.text
    values = [line.strip() for line in value.entry.text.splitlines() if line.strip()]
    if (
        found is not None
        and _is_name(attribute, found)
        and all(map(is_account_name, values))
        and values
    ):
        ledger.put("access", "admins", " ".join(values), value.entry, value.key, field.key)
        return False
    if attribute.lower() == "memberof" and len(values) == 1 and not in_file and _is_dn(values[0]):
        ledger.put("ldap", "admin_group", values[0], value.entry, value.key, field.key)
        ledger.put("ldap", "group_base_dn", values[0], value.entry, value.key, field.key)
        return True
    ledger.note(
        "an attribute makes no user an administrator here: name them in [access] admins "
        "(PYPID_ACCESS_ADMINS), or their group in [ldap] admin_group",
        field.entry,
        field.key,
        value.key,
    )
    return False


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


# Translate access rules: the defaults and ``package.*`` into ``[access]`` and ``[projects]``.
# Never grants more than pypicloud.
#
# pypicloud's rule (1.3.12, ``access/base.py``): the defaults do not apply to a package with any
# entry of its own, even if the entry allows nothing; otherwise the lists of groups apply. Names of
# packages are compared as they are spelled, with normalised ones.

SHUT = "pypicloud-nobody"
"""A group without members, for projects whose rules grant access to no user."""


def _listed_groups(words: Iterable[str], groups: PypicloudGroups, *, admin: bool) -> str:
    """Return a pypicloud list of specials and groups as ``[access]`` spells it, without unknown
    groups. `admin`: that word also means administrators.
    """
    found: list[str] = []
    for word in words:
        if word in EVERYONE:
            found.append("everyone")
        elif word in AUTHENTICATED:
            found.append("authenticated")
        else:
            found.extend(["admins"] if admin and word == "admin" else [])
            group = groups.name(word if admin else word.removeprefix("group:"))
            found.extend([f"group:{group}"] if group is not None else [])
    return " ".join(dict.fromkeys(found)) or "nobody"


def defaults(
    settings: PypicloudSettings, ledger: Ledger, groups: PypicloudGroups, mode: Mode | None
) -> None:
    """Translate the rules for projects without rules of their own.

    Version 0.1 had no rules: everyone could read, and every user could publish.
    """
    first = settings.is_first_generation
    if first:
        ledger.note(
            "the keys are those of pypicloud 0.1, so its rights apply: everyone may read and every"
            " user may publish. To change that, set pypi.default_read and pypi.default_write",
            settings.found["aws.bucket"],
            "aws.bucket",
        )
    _list(
        settings,
        ledger,
        groups,
        "read",
        "pypi.default_read",
        "everyone" if first else "authenticated",
    )
    _list(settings, ledger, groups, "write", "pypi.default_write", "authenticated" if first else "")
    if mode is Mode.REDIRECT:  # every reader is redirected
        setting = settings.find("pypi.cache_update")
        if setting is not None:
            ledger.note(
                "pypicloud looks at it with pypi.fallback = cache only", setting.entry, setting.key
            )
        ledger.put("access", "cache_update", "everyone")
    else:
        _list(settings, ledger, groups, "cache_update", "pypi.cache_update", "authenticated")
    _changes(settings, ledger, groups, "overwrite", "pypi.allow_overwrite", "")
    _changes(settings, ledger, groups, "delete", "pypi.allow_delete", "authenticated")
    ledger.put("access", "delete_needs", "write")
    ledger.put("access", "owners", "none")


def _list(
    settings: PypicloudSettings,
    ledger: Ledger,
    groups: PypicloudGroups,
    ours: str,
    key: str,
    default: str,
) -> None:
    setting = settings.find(key)
    words = (setting.entry.text if setting else default).split()
    admin = ours not in ("read", "write")
    unknown = [word for word in words if _listed_groups([word], groups, admin=admin) == "nobody"]
    if setting and unknown:
        ledger.note(
            f"left out, as there is no such group: {' '.join(unknown[:20])} (users cannot be "
            f"listed there)",
            setting.entry,
            key,
        )
    ledger.put("access", ours, _listed_groups(words, groups, admin=admin), *origin_of(setting))


def _changes(
    settings: PypicloudSettings,
    ledger: Ledger,
    groups: PypicloudGroups,
    ours: str,
    old: str,
    default: str,
) -> None:
    """Translate who may overwrite or delete: a list of groups, or the older yes or no."""
    key = f"{old}_groups"
    setting = settings.find(old) if old in settings.found and key not in settings.found else None
    if setting is None:
        _list(settings, ledger, groups, ours, key, default)
        if old in settings.found:
            settings.find(key, old)
    else:
        allowed = asbool(setting.entry.text)
        ledger.put("access", ours, "authenticated" if allowed else "nobody", setting.entry, old)
        word = setting.text
        if word and not is_boolean(word):
            ledger.note(
                f"{printable(word)!r} is neither yes nor no, so only administrators may: to allow "
                f"groups, list them in {key}",
                setting.entry,
                old,
            )
        elif word and not allowed:
            ledger.note("no means no here; pypicloud 1.3 took any text for yes", setting.entry, old)
    if ours == "delete" and ledger.values["access"]["delete"].entry.text == "nobody":
        entry = ledger.values["access"]["delete"].entry
        ledger.note("administrators may delete all the same", entry, old if setting else key)


# --- of projects ----------------------------------------------------------------------------------


@frozen
class _Rule:
    """One entry of a package. `whom`: ``user`` or ``group``, as pypicloud spells it."""

    key: str
    entry: IniEntry
    package: str
    whom: str
    name: str

    @property
    def can(self) -> frozenset[str]:
        """The rights ``read`` and ``write``, as ``access/config.py`` parses the value."""
        text = self.entry.text.strip()
        if len(text) > 2:
            return frozenset(text.split()) & {"read", "write"}
        return frozenset(word for letter, word in (("r", "read"), ("w", "write")) if letter in text)


def projects(settings: PypicloudSettings, ledger: Ledger, groups: PypicloudGroups) -> None:
    """Translate the rules of projects."""
    by_package: dict[str, list[_Rule]] = {}
    for rest, entry in settings.family("package."):
        rule = _rule(rest, entry, ledger)
        if rule is not None:
            by_package.setdefault(rule.package, []).append(rule)
    by_project: dict[ProjectName, dict[str, list[_Rule]]] = {}
    for package, rules in by_package.items():
        try:
            by_project.setdefault(project_name(package), {})[package] = rules
        except BadName:
            ledger.note("not a valid project name", rules[0].entry, *(rule.key for rule in rules))
    for project, spellings in by_project.items():
        if project in spellings:
            others = [
                rule for package, rules in spellings.items() if package != project for rule in rules
            ]
            if others:
                ledger.note(
                    "pypicloud compares normalised names (- for _ and ., in lower case), and "
                    "there are rules for that one",
                    others[0].entry,
                    *(rule.key for rule in others),
                )
            _say(ledger, groups, project, ((rule, rule.can) for rule in spellings[project]))
        else:
            _odd(
                settings,
                ledger,
                groups,
                project,
                [rule for rules in spellings.values() for rule in rules],
            )


def _rule(rest: str, entry: IniEntry, ledger: Ledger) -> _Rule | None:
    key, pieces = f"package.{rest}", rest.split(".")
    if len(pieces) != 3 or pieces[1] not in ("user", "group"):
        ledger.note(
            "pypicloud ignored it, silently, so no user has had this right (it takes exactly "
            "package.<name>.user.<name> and package.<name>.group.<name>, without more dots): "
            "write it into [projects] if it is meant",
            entry,
            key,
        )
        return None
    return _Rule(key, entry, *pieces)


def _odd(
    settings: PypicloudSettings,
    ledger: Ledger,
    groups: PypicloudGroups,
    project: ProjectName,
    rules: list[_Rule],
) -> None:
    """Translate the rules for a spelling that is not normalised: pypicloud applied them before 0.4,
    and the defaults later.

    The result never grants more than both do.
    """
    ledger.note(
        f"pypicloud does not heed it since 0.4, where names are normalised: it is for {project} "
        "here, with no more than what the defaults allow, too. Spell it so and it holds as it is",
        rules[0].entry,
        *(rule.key for rule in rules),
    )
    lists = {
        "read": _words(settings, "pypi.default_read", "authenticated"),
        "write": _words(settings, "pypi.default_write", ""),
    }
    _say(
        ledger,
        groups,
        project,
        (
            (rule, frozenset(word for word in rule.can if _within(rule, lists[word], groups)))
            for rule in rules
        ),
    )


def _words(settings: PypicloudSettings, key: str, default: str) -> frozenset[str]:
    return frozenset((settings.found[key].text if key in settings.found else default).split())


def _within(rule: _Rule, listed: frozenset[str], groups: PypicloudGroups) -> bool:
    """Return whether all principals of the rule are in one of the groups of the list."""
    if listed & EVERYONE:
        return True
    if rule.whom == "group" and rule.name in EVERYONE:
        return False
    if listed & AUTHENTICATED:
        return True
    if rule.whom == "group":
        return rule.name in listed
    return any(
        rule.name in groups.members.get(group.removeprefix("group:"), ()) for group in listed
    )


def _say(
    ledger: Ledger,
    groups: PypicloudGroups,
    project: ProjectName,
    rules: Iterable[tuple[_Rule, frozenset[str]]],
) -> None:
    is_any_set = False
    entry, keys = IniEntry("", ledger.filename), []
    for rule, can in rules:
        entry = rule.entry
        keys.append(rule.key)
        whom = _whom(rule, groups)
        if whom is None:
            what = "not a valid username" if rule.whom == "user" else "there is no such group"
            ledger.note(
                f"{what}, so it lets in no user; the defaults do not hold for the project all the "
                "same, as with pypicloud",
                rule.entry,
                rule.key,
            )
        elif can == {"write"}:
            ledger.note(
                "the right to write without the right to read does not exist here: it is taken "
                "for no right at all; rw gives both",
                rule.entry,
                rule.key,
            )
        elif "read" in can:
            right = "rw" if "write" in can else "r"
            ledger.put("projects", f"{project}.{whom}", right, rule.entry, rule.key)
            is_any_set = True
    if not is_any_set:
        shut = SHUT
        while shut in groups.names.values():
            shut += "-"
        ledger.put("groups", shut, "")
        ledger.put("projects", f"{project}.group.{shut}", "r", entry, *keys)


def _whom(rule: _Rule, groups: PypicloudGroups) -> str | None:
    if rule.whom == "user":
        return f"user.{rule.name}" if is_account_name(rule.name) else None
    if rule.name in EVERYONE:
        return "everyone"
    if rule.name in AUTHENTICATED:
        return "authenticated"
    group = groups.name(rule.name)
    return None if group is None else f"group.{group}"

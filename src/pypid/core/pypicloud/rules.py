"""Translate access rules: the defaults and ``package.*`` into ``[access]`` and ``[projects]``.
Never grants more than pypicloud.

pypicloud's rule (1.3.12, ``access/base.py``): the defaults do not apply to a package with any entry
of its own, even if the entry allows nothing; otherwise the lists of groups apply. Names of packages
are compared as they are spelled, with normalised ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import frozen

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.errors import BadName
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.people import AUTHENTICATED, EVERYONE, PypicloudGroups, may_be_called
from pypid.core.pypicloud.settings import PypicloudSettings, asbool, is_boolean, origin_of

SHUT = "pypicloud-nobody"
"""A group without members, for projects whose rules grant access to no user."""


@frozen
class ListedGroups:
    """Groups in a pypicloud list, as spelled there. `words`: specials and names of groups."""

    words: tuple[str, ...]

    def text(self, groups: PypicloudGroups, *, admin: bool) -> str:
        """Return the list as ``[access]`` spells it, without unknown groups. `admin`: that word
        also means administrators.
        """
        found: list[str] = []
        for word in self.words:
            if word in EVERYONE:
                found.append("everyone")
            elif word in AUTHENTICATED:
                found.append("authenticated")
            else:
                found.extend(["admins"] if admin and word == "admin" else [])
                group = groups.name(word if admin else word.removeprefix("group:"))
                found.extend([f"group:{group}"] if group is not None else [])
        return " ".join(dict.fromkeys(found)) or "nobody"

    def unknown(self, groups: PypicloudGroups, *, admin: bool) -> list[str]:
        """Return the words that name no known group."""
        return [
            word
            for word in self.words
            if ListedGroups((word,)).text(groups, admin=admin) == "nobody"
        ]


def defaults(
    settings: PypicloudSettings, ledger: Ledger, groups: PypicloudGroups, mode: Mode | None
) -> None:
    """Translate the rules for projects without rules of their own.

    Version 0.1 had no rules: everyone could read, and every user could publish.
    """
    first = settings.is_first_generation
    if first:
        reason = (
            "the keys are those of pypicloud 0.1, so its rights apply: everyone may read and every"
            " user may publish. To change that, set pypi.default_read and pypi.default_write"
        )
        ledger.note(reason, settings.found["aws.bucket"], "aws.bucket")
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
    listed = ListedGroups(tuple((setting.entry.text if setting else default).split()))
    admin = ours not in ("read", "write")
    unknown = listed.unknown(groups, admin=admin)
    if setting and unknown:
        ledger.note(
            (
                f"left out, as there is no such group: {' '.join(unknown[:20])} (users cannot be "
                f"listed there)"
            ),
            setting.entry,
            key,
        )
    ledger.put("access", ours, listed.text(groups, admin=admin), *origin_of(setting))


def _changes(
    settings: PypicloudSettings,
    ledger: Ledger,
    groups: PypicloudGroups,
    ours: str,
    old: str,
    default: str,
) -> None:
    """Translate the rule for overwriting or deleting, given as a list of groups or as the older yes
    or no.
    """
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
            reason = (
                f"{printable(word)!r} is neither yes nor no, so only administrators may: to allow "
                f"groups, list them in {key}"
            )
            ledger.note(reason, setting.entry, old)
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
                reason = (
                    "pypicloud compares normalised names (- for _ and ., in lower case), and "
                    "there are rules for that one"
                )
                ledger.note(reason, others[0].entry, *(rule.key for rule in others))
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
        reason = (
            "pypicloud ignored it, silently, so no user has had this right (it takes exactly "
            "package.<name>.user.<name> and package.<name>.group.<name>, without more dots): "
            "write it into [projects] if it is meant"
        )
        ledger.note(reason, entry, key)
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
    reason = (
        f"pypicloud does not heed it since 0.4, where names are normalised: it is for {project} "
        "here, with no more than what the defaults allow, too. Spell it so and it holds as it is"
    )
    ledger.note(reason, rules[0].entry, *(rule.key for rule in rules))
    lists = {
        "read": _words(settings, "pypi.default_read", "authenticated"),
        "write": _words(settings, "pypi.default_write", ""),
    }
    _say(ledger, groups, project, _narrowed(rules, lists, groups))


def _words(settings: PypicloudSettings, key: str, default: str) -> frozenset[str]:
    return frozenset((settings.found[key].text if key in settings.found else default).split())


def _narrowed(
    rules: Iterable[_Rule], lists: Mapping[str, frozenset[str]], groups: PypicloudGroups
) -> Iterator[tuple[_Rule, frozenset[str]]]:
    for rule in rules:
        yield rule, frozenset(word for word in rule.can if _within(rule, lists[word], groups))


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
            ledger.note(_nobody(rule), rule.entry, rule.key)
        elif can == {"write"}:
            reason = (
                "the right to write without the right to read does not exist here: it is taken "
                "for no right at all; rw gives both"
            )
            ledger.note(reason, rule.entry, rule.key)
        elif "read" in can:
            ledger.put(
                "projects",
                f"{project}.{whom}",
                "rw" if "write" in can else "r",
                rule.entry,
                rule.key,
            )
            is_any_set = True
    if not is_any_set:
        shut = SHUT
        while shut in groups.names.values():
            shut += "-"
        ledger.put("groups", shut, "")
        ledger.put("projects", f"{project}.group.{shut}", "r", entry, *keys)


def _whom(rule: _Rule, groups: PypicloudGroups) -> str | None:
    if rule.whom == "user":
        return f"user.{rule.name}" if may_be_called(rule.name) else None
    if rule.name in EVERYONE:
        return "everyone"
    if rule.name in AUTHENTICATED:
        return "authenticated"
    group = groups.name(rule.name)
    return None if group is None else f"group.{group}"


def _nobody(rule: _Rule) -> str:
    what = "not a valid username" if rule.whom == "user" else "there is no such group"
    return (
        f"{what}, so it lets in no user; the defaults do not hold for the project all the same, "
        f"as with pypicloud"
    )

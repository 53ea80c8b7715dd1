"""Refusals: they say which right a client lacks, and who can give it, how. Pure."""

from __future__ import annotations

from shlex import quote

from pypid.core.errors import Forbidden, PeopleUnknown, Unauthenticated
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action, Identity, Rules, is_account_name, may

ASK = "Ask an administrator"
_KEYS = {
    Action.OVERWRITE: "overwrite",
    Action.DELETE: "delete",
    Action.FETCH: "fetch",
    Action.COLLECT: "collect",
}
"""The principals that these actions need besides the right to read or publish."""
_CHANGES = (Action.WRITE, Action.OVERWRITE, Action.DELETE)
_SPELLED = {"fetch": "cache_update"}


def authorize(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> None:
    """Raise `Unauthenticated` (anonymous) or `Forbidden` (a user) unless `may` allows the action;
    `PeopleUnknown` if the project has rights or an owner, and they cannot be read now.
    """
    if may(rules, who, action, project):
        return
    if rules.is_stale and project is not None:
        own, owner = rules.projects.get(project), rules.owner_of(project)
        if own is not None or owner is not None:
            raise PeopleUnknown("the accounts database")
    if who.user is None:
        raise Unauthenticated()
    limited = who.scope is not None and not who.publisher and not who.scope.covers(action, project)
    advice = access_advice(rules, who, action, project)
    raise Forbidden(who.user, action.value, project, limited, rules.index, advice)


def access_advice(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> str:
    """Return who can give the client the missing right, and how.

    It depends on the settings of the index, and on the owner of a project that the client may read;
    on no right of other users, and on no project that the client may not read.
    """
    user = account_of(who)
    if not user or action in (Action.ADMIN, Action.METRICS):
        return f"{ASK} for access."
    if rules.volatile and action in (Action.OVERWRITE, Action.DELETE):
        action = Action.WRITE
    if key := _excluding(rules, who, action):
        return f"{ASK} to add {user!r} to {_place(rules, user, key)}"
    way = _way_in(who, user, action, project)
    if action not in (Action.WRITE, Action.MANAGE) or not _knows_owner(rules, who, project):
        return f"{ASK} for access{way}"
    if rules.index:  # owners grant rights of projects in the default index only
        return f"The project has an owner in this index. {ASK} for access{way}"
    return f"The project has an owner: ask the owner or an administrator for access{way}"


def account_of(who: Identity) -> str:
    """Return the name of the account for which this identity acts; "" if there is none."""
    name = who.as_user if who.publisher else who.user
    return name if name is not None and is_account_name(name) else ""


def _excluding(rules: Rules, who: Identity, action: Action) -> str:
    """Return the key that excludes the client, whatever rights on a project say, or ""."""
    if action is Action.WRITE and not rules.admitted_writers.include(who):
        return "write"
    if not rules.admitted.include(who):
        return "read"
    key = _KEYS.get(action, "")
    return key if key and not getattr(rules, key).include(who) else ""


def _place(rules: Rules, user: str, key: str) -> str:
    """Return where an administrator adds the user to the key. The command does not contain the
    value: the client may not know it.
    """
    index = rules.index
    if not index or key not in ("read", "write", "delete"):
        return f"[access] {_SPELLED.get(key, key)}"
    if not rules.is_created:
        return f"[index:{index}] {key}"
    source = f"pypid index show {index}" if key in rules.own_keys else f"[access] {key}"
    value = quote(f"VALUE {user}")
    return f"the VALUE of `{key}` of this index ({source}): pypid index set {index} {key}={value}"


def _knows_owner(rules: Rules, who: Identity, project: ProjectName | None) -> bool:
    """Return whether the project has an owner, and the client may know that."""
    is_owned = project is not None and rules.owner_of(project) is not None
    return is_owned and may(rules, who, Action.READ, project)


def _way_in(who: Identity, user: str, action: Action, project: ProjectName | None) -> str:
    """Return the end of a sentence: the command that gives the user a right on the project."""
    if action is Action.MANAGE:
        return "."
    if who.publisher:
        return ": the rule of the trusted publisher does not allow it."
    key, right = ("write", "rw") if action in _CHANGES else ("read", "r")
    grant = f"pypid right grant {project or 'PROJECT'} {quote(user)} {right}"
    return f": {grant}" if project is not None else f": [access] {key}, or {grant}"

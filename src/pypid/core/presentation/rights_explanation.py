"""Which rule of `core.permissions` decides what a user may do with a project."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from pypid.core.configuration.choices import Owners
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import ANONYMOUS, Action, Identity, Principals, Rules, may

EXPLAINED = (
    Action.READ,
    Action.WRITE,
    Action.OVERWRITE,
    Action.DELETE,
    Action.MANAGE,
    Action.FETCH,
)
"""The actions on a project, in the order in which they are shown."""


@frozen
class ExplainedAction:
    """Whether the user may do the action, and the rule that decides it."""

    action: Action
    allowed: bool
    because: str


def explained(rules: Rules, who: Identity, project: ProjectName) -> Iterator[ExplainedAction]:
    """Yield each action of `EXPLAINED` with the rule that decides it."""
    for action in EXPLAINED:
        yield ExplainedAction(
            action, may(rules, who, action, project), _reason(rules, who, action, project)
        )


def _reason(rules: Rules, who: Identity, action: Action, project: ProjectName) -> str:
    if who.scope is not None:
        return _of_token(rules, who, action, project)
    if who.admin and action is not Action.OVERWRITE:
        return "the user is an administrator"
    if not who.admin and not rules.admitted.include(who):
        return f"only {rules.admitted.text()} may use the index {rules.index}"
    if action is Action.WRITE and not who.admin and not rules.admitted_writers.include(who):
        return f"only {rules.admitted_writers.text()} may publish in the index {rules.index}"
    is_volatile = rules.volatile and action in (Action.OVERWRITE, Action.DELETE)
    if is_volatile and may(rules, who, Action.WRITE, project):
        return f"the index is volatile, and {_reason(rules, who, Action.WRITE, project)}"
    match action:
        case Action.READ | Action.WRITE:
            return _by_rule(rules, who, action, project)
        case Action.MANAGE:
            return _of_managing(rules, who, project)
        case Action.OVERWRITE:
            return _and(rules, who, project, "overwrite", rules.overwrite, Action.WRITE)
        case Action.DELETE:
            return _and(rules, who, project, "delete", rules.delete, _needed(rules, project))
        case _:
            return _and(rules, who, project, "cache_update", rules.fetch, Action.READ)


def _of_token(rules: Rules, who: Identity, action: Action, project: ProjectName) -> str:
    scope = who.scope
    assert scope is not None
    if scope.covers(action, project):
        return "the token may, within its scope"
    return f"the scope of the token does not cover it; {_reason(rules, ANONYMOUS, action, project)}"


def _needed(rules: Rules, project: ProjectName) -> Action:
    """Return the right that deleting needs besides `delete`."""
    is_plain = rules.projects.get(project) is None and rules.owner_of(project) is None
    return rules.delete_needs if is_plain else Action.WRITE


def _by_rule(rules: Rules, who: Identity, action: Action, project: ProjectName) -> str:
    """Return the rule for reading or publishing."""
    owner = rules.owner_of(project)
    if owner is not None and owner == who.account:
        return "the user owns the project"
    own, glob = rules.projects.get(project), rules.projects.globs.glob(project)
    if own is None:
        if action is Action.WRITE and owner is not None:
            return "the project has an owner, so that the default for publishing does not apply"
        principals = rules.read if action is Action.READ else rules.write
        key = "read" if action is Action.READ else "write"
        return f"{_default(rules, key)} = {principals.text()}"
    where = f"project {project}" if project in rules.projects.names else f"glob {glob}"
    granted = own.read if action is Action.READ else own.write
    if action is Action.READ and not granted.include(who) and own.write.include(who):
        granted = own.write
    return f"rights on the {where}: {granted.text()}"


def _of_managing(rules: Rules, who: Identity, project: ProjectName) -> str:
    """Return the rule for managing the rights of the project."""
    if rules.ownership is Owners.NONE:
        return f"only administrators may ({_default(rules, 'owners')} = {Owners.NONE.value})"
    owns = rules.owner_of(project) is not None and may(rules, who, Action.MANAGE, project)
    return "the user owns the project" if owns else "only its owner and administrators may"


def _default(rules: Rules, key: str) -> str:
    """Return where the key is set that applies in the index."""
    if key not in rules.own_keys:
        return f"[access] {key}"
    if rules.is_created:
        return f"{key} of the index {rules.index}"
    return f"[index:{rules.index}] {key}"


def _and(
    rules: Rules,
    who: Identity,
    project: ProjectName,
    key: str,
    principals: Principals,
    needed: Action,
) -> str:
    """Return the reason of an action that needs a key and another right."""
    default = _default(rules, key)
    if not principals.include(who):
        return f"{default} = {principals.text()}"
    if may(rules, who, needed, project):
        return f"{default} = {principals.text()}, and the user may {needed.value} it"
    return f"it needs the right to {needed.value}: {_reason(rules, who, needed, project)}"

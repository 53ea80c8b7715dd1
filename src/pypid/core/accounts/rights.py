"""Rights on single projects, as the configuration and the accounts database store them, and the
rules that follow from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from attrs import evolve, frozen

from pypid.core.errors import BadName
from pypid.core.packaging.globs import (
    NameSet,
    ProjectPattern,
    is_glob,
    project_glob,
)
from pypid.core.packaging.names import project_name
from pypid.core.permissions import NOBODY, Grants, Principals, ProjectRules, account_name


class Whom(Enum):
    """The kind of principal that a right names; the values are pypicloud's words.

    `ADMINS` closes a project: the defaults do not apply to it. It takes the place of the last right
    that is removed, so that nothing opens because a user, a group or a right was removed.
    """

    USER = "user"
    GROUP = "group"
    EVERYONE = "everyone"
    AUTHENTICATED = "authenticated"
    ADMINS = "admins"


NAMED = frozenset({Whom.USER, Whom.GROUP})
"""The kinds that need a name."""

RightKey = tuple[ProjectPattern, Whom, str]
"""The key of a right: there is at most one for each."""


@frozen
class Right:
    """The right to read a project, or to read and `write` it. `name` is the user's or the group's,
    else empty.
    """

    project: ProjectPattern
    whom: Whom
    name: str = ""
    write: bool = False

    @property
    def key(self) -> RightKey:
        """Project, kind and name."""
        return self.project, self.whom, self.name

    @property
    def text(self) -> str:
        """``r`` or ``rw``, as the configuration spells it."""
        return "rw" if self.write else "r"


def sorted_rights(rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return the rights sorted by project, kind and name."""
    return tuple(sorted(rights, key=lambda right: (right.project, right.whom.value, right.name)))


def grants_of(rights: Iterable[Right]) -> ProjectRules:
    """Return the rule of each project and glob that has rights, from all its rights together."""
    readers: dict[ProjectPattern, list[Right]] = {}
    for right in rights:
        readers.setdefault(right.project, []).append(right)
    found = {
        name: Grants(_principals(these), _principals(right for right in these if right.write))
        for name, these in readers.items()
    }
    return ProjectRules.of(found)


def _principals(rights: Iterable[Right]) -> Principals:
    everyone = authenticated = admins = False
    users, groups = [], []
    # ten thousand projects may have rights: allocate no more for each than necessary
    for right in rights:
        match right.whom:
            case Whom.USER:
                users.append(right.name)
            case Whom.GROUP:
                groups.append(right.name)
            case Whom.EVERYONE:
                everyone = True
            case Whom.AUTHENTICATED:
                authenticated = True
            case Whom.ADMINS:
                admins = True
    return Principals(everyone, authenticated, admins, frozenset(users), frozenset(groups))


def parse_right(key: str, value: str) -> Right:
    """Parse one line of ``[projects]``. Raises `ValueError` with all reasons.

    ``<project>.user.<name> = r``: cut at the first ``.user.`` or ``.group.``, else at the last
    ``.everyone`` or ``.authenticated``; to the left is the project's name or a glob, to the right
    the user's or group's name, dots included.
    """
    problems = []
    if value not in ("r", "rw"):
        problems.append(f"invalid value {value[:80]!r} (allowed: r, rw)")
    try:
        project, whom, name = _cut(key)
        pattern = project_pattern(project)
        right = Right(pattern, whom, account_name(name) if whom in NAMED else "", value == "rw")
    except (ValueError, BadName) as error:
        problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return right


def project_pattern(text: str) -> ProjectPattern:
    """Return the normalised name of a project, or the normalised glob. Raises `BadName`,
    `ValueError` with the reason for a glob.
    """
    return project_glob(text) if is_glob(text) else project_name(text)


def _cut(key: str) -> tuple[str, Whom, str]:
    cuts = [(at, whom) for whom in NAMED if (at := key.find(f".{whom.value}.")) >= 0]
    if cuts:
        at, whom = min(cuts, key=lambda cut: cut[0])
        return key[:at], whom, key[at + len(whom.value) + 2 :]
    for whom in (Whom.EVERYONE, Whom.AUTHENTICATED):
        if key.endswith(f".{whom.value}"):
            return key[: -len(whom.value) - 1], whom, ""
    raise ValueError(
        "invalid key (allowed: <project>.user.<name>, <project>.group.<name>, <project>.everyone, "
        "<project>.authenticated)"
    )


def repeated(rights: Mapping[str, Right]) -> Mapping[str, str]:
    """Return the keys whose rule repeats an earlier key in another spelling of the project's name,
    each with that earlier key.

    Of two such rules the weaker one would have no effect, and removing the right would mean finding
    both.
    """
    first: dict[Right, str] = {}
    earlier = {
        key: first.setdefault(evolve(right, write=False), key) for key, right in rights.items()
    }
    return {key: other for key, other in earlier.items() if other != key}


def claimed(rules: ProjectRules) -> NameSet:
    """Return the projects that are local by the rules, even if nothing is published yet: those that
    some user may publish. A name that matches a glob with a right to publish is local even if a
    more specific rule lets no user publish it.
    """
    all_rules = (rules.names, rules.globs.values)
    return NameSet.of(
        key for each in all_rules for key, grants in each.items() if grants.write != NOBODY
    )

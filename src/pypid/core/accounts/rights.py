"""Rights on single projects, as the configuration and the accounts database store them, and the
rules that follow from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType

from attrs import evolve, frozen

from pypid.core.errors import BadName
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import NOBODY, Grants, Principals, account_name


class Whom(Enum):
    """The kind of principal that a right names; the values are pypicloud's words."""

    USER = "user"
    GROUP = "group"
    EVERYONE = "everyone"
    AUTHENTICATED = "authenticated"


NAMED = frozenset({Whom.USER, Whom.GROUP})
"""The kinds that need a name."""


@frozen
class Right:
    """The right to read a project, or to read and `write` it. `name` is the user's or the group's,
    else empty.
    """

    project: ProjectName
    whom: Whom
    name: str = ""
    write: bool = False

    @property
    def text(self) -> str:
        """``r`` or ``rw``, as the configuration spells it."""
        return "rw" if self.write else "r"


def grants_of(rights: Iterable[Right]) -> Mapping[ProjectName, Grants]:
    """Return the rules of each project that has rights, from all its rights together."""
    readers: dict[ProjectName, list[Right]] = {}
    for right in rights:
        readers.setdefault(right.project, []).append(right)
    found = {
        name: Grants(_principals(these), _principals(right for right in these if right.write))
        for name, these in readers.items()
    }
    return MappingProxyType(found)


def _principals(rights: Iterable[Right]) -> Principals:
    everyone = authenticated = False
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
    return Principals(everyone, authenticated, False, frozenset(users), frozenset(groups))


def parse_right(key: str, value: str) -> Right:
    """Parse one line of ``[projects]``. Raises `ValueError` with all reasons.

    ``<project>.user.<name> = r``: cut at the first ``.user.`` or ``.group.``, else at the last
    ``.everyone`` or ``.authenticated``; to the left is the project's name, to the right the user's
    or group's, dots included.
    """
    problems = []
    if value not in ("r", "rw"):
        problems.append(f"invalid value {value[:80]!r} (allowed: r, rw)")
    try:
        project, whom, name = _cut(key)
        right = Right(
            project_name(project), whom, account_name(name) if whom in NAMED else "", value == "rw"
        )
    except (ValueError, BadName) as error:
        problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return right


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


def claimed(projects: Mapping[ProjectName, Grants]) -> frozenset[ProjectName]:
    """Return the projects that are local by their rules, even if nothing is published yet: a user
    may write them.
    """
    return frozenset(name for name, grants in projects.items() if grants.write != NOBODY)

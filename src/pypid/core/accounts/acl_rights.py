"""Convert the rights of a pypicloud dump to pypid's rights. Pure.

Two of pypicloud's rules cannot be expressed here: that a user may write a package but not read it,
and that a package has rules of its own which grant access to no user. The conversion never grants
more than pypicloud did: see `rights_in`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import count

from attrs import define, field, frozen

from pypid.core.accounts.rights import NAMED, Right, Whom
from pypid.core.errors import BadName, shortened
from pypid.core.packaging.names import ProjectName, project_name

KEPT_CLOSED = "kept-closed"
"""The group without members that keeps the defaults from applying to a project."""

Whose = tuple[Whom, str]
Spelled = Mapping[Whose, frozenset[str]]
"""The rights on a package under one spelling of its name."""


def group_or_word(name: str) -> Whom:
    """Return what pypicloud means by the name of a group: ``everyone`` and ``authenticated`` stand
    for many users, and ``admins`` is how a closed project is written there.
    """
    words = {whom.value: whom for whom in Whom if whom not in NAMED}
    return words.get(name, Whom.GROUP)


@frozen
class AclRights:
    """The converted rights, sorted; the name of the empty group that they need, if any; and the
    oddities: what, what was done, and whether a user loses a right.
    """

    rights: tuple[Right, ...]
    closed: str | None
    oddities: tuple[tuple[str, str, bool], ...]


def rights_in(
    users: Mapping[str, Mapping[str, list[str]]],
    groups: Mapping[str, Mapping[str, list[str]]],
    named: Callable[[str, str], bool],
    taken: frozenset[str],
) -> AclRights:
    """Return the rights of all packages. `named` returns whether a ``user`` or a ``group`` can have
    a name; `taken` are the existing groups.

    A user or group that may write but not read gets nothing, unless all users who are logged in may
    read. If none of a package's rules can be expressed, the package is granted to a group without
    members, so that the defaults do not apply. For a package in several spellings, the rules of the
    normalised spelling apply, which is what installers request; without one, what all spellings
    grant.
    """
    judge = _Judge(named)
    rights: list[Right] = []
    closed_projects: list[ProjectName] = []
    for project, spellings in _by_project(judge, users, groups).items():
        rules = judge.chosen(
            project, {spelling: these for spelling, these in spellings.items() if these}
        )
        found = list(judge.rights(project, rules))
        rights += found
        if not found and any(spellings.values()):
            closed_projects.append(project)
    closed = None
    if closed_projects:
        closed = _free_group(taken | {right.name for right in rights if right.whom is Whom.GROUP})
        rights += judge.close(closed_projects, closed)
    rights.sort(key=lambda right: (right.project, right.whom.value, right.name))
    return AclRights(tuple(rights), closed, tuple(judge.oddities))


def _by_project(
    judge: _Judge,
    users: Mapping[str, Mapping[str, list[str]]],
    groups: Mapping[str, Mapping[str, list[str]]],
) -> Mapping[ProjectName, Mapping[str, Spelled]]:
    """Return the rules of each project, by its spelling."""
    by_project: dict[ProjectName, dict[str, dict[Whose, frozenset[str]]]] = {}
    for whom_of, packages in ((lambda _: Whom.USER, users), (group_or_word, groups)):
        for spelling, entries in packages.items():
            project = judge.project(spelling)
            if project is None:
                continue
            rules = by_project.setdefault(project, {}).setdefault(spelling, {})
            for name, words in entries.items():
                whom = whom_of(name)
                rules[whom, name if whom in NAMED else ""] = judge.words(words)
    return by_project


def _free_group(used: Set[str]) -> str:
    """Return the name of a new group that keeps projects closed."""
    names = (KEPT_CLOSED if number == 1 else f"{KEPT_CLOSED}-{number}" for number in count(1))
    return next(name for name in names if name not in used)


@define
class _Judge:
    """Takes over what can be expressed and records the rest as oddities."""

    named: Callable[[str, str], bool]
    oddities: list[tuple[str, str, bool]] = field(factory=list)

    def odd(self, what: str, done: str, *, grave: bool = False) -> None:
        self.oddities.append((what, done, grave))

    def close(self, projects: Iterable[ProjectName], group: str) -> Iterator[Right]:
        """Yield the rights of the group without members that keeps the projects closed."""
        done = (
            f"only administrators may read it: its one right is of the group {group}, which has no "
            f"members"
        )
        for project in projects:
            self.odd(
                f"none of the rules of {project} can be expressed here, or they let no user in",
                done,
            )
            yield Right(project, Whom.GROUP, group)

    def project(self, spelling: str) -> ProjectName | None:
        try:
            return project_name(spelling)
        except BadName:
            self.odd(
                f"no project can be called {shortened(ascii(spelling))}",
                "its rules are passed over: it has no files",
            )
            return None

    def words(self, words: list[str]) -> frozenset[str]:
        for word in words:
            if word not in ("read", "write"):
                self.odd(
                    f"there is a right called {shortened(ascii(word))}",
                    "it is passed over: there are read and write",
                )
        return frozenset(words) & {"read", "write"}

    def chosen(self, project: ProjectName, spellings: Mapping[str, Spelled]) -> Spelled:
        """Return the rules that apply, out of those under each spelling of the project's name."""
        shown = ", ".join(shortened(repr(spelling)) for spelling in sorted(spellings))
        match list(spellings.values()):
            case []:
                return {}
            case [only]:
                if project not in spellings:
                    self.odd(
                        f"there are rules of {shown}",
                        f"they are those of {project}, however it is spelled",
                    )
                return only
            case [first, *others] as every:
                common = {
                    whose: words.intersection(*(other[whose] for other in others))
                    for whose, words in first.items()
                    if all(whose in other for other in others)
                }
                rules = spellings.get(project, common)
                lost = any(
                    words - rules.get(whose, frozenset())
                    for each in every
                    for whose, words in each.items()
                )
                which = (
                    f"those of {project} hold"
                    if project in spellings
                    else "what all of them give holds"
                )
                self.odd(
                    f"{shown} are one project, and have rules of their own each", which, grave=lost
                )
                return rules
        raise AssertionError("there are no other lists")

    def rights(self, project: ProjectName, rules: Spelled) -> Iterator[Right]:
        everyone = "read" in rules.get((Whom.EVERYONE, ""), ())
        known = everyone or "read" in rules.get((Whom.AUTHENTICATED, ""), ())
        for (whom, name), words in rules.items():
            if whom in (Whom.USER, Whom.GROUP) and not self.named(whom.value, name):
                continue
            if "read" in words:
                yield Right(project, whom, name, "write" in words)
            elif "write" in words:
                holder = f"{whom.value} {name}".strip()
                all_read = everyone or (known and whom is not Whom.EVERYONE)
                if all_read:
                    self.odd(
                        f"{holder} may write {project}, without read",
                        "it is read and write: all may read it anyway",
                    )
                    yield Right(project, whom, name, True)
                else:
                    done = (
                        "neither is taken over: here the right to write includes the right to "
                        "read. Grant both if you mean it (pypid right grant)"
                    )
                    self.odd(f"{holder} may write {project} and not read it", done, grave=True)

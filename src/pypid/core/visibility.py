"""Which projects a viewer may read: the decisions of `core.permissions`, for whole lists."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from attrs import evolve, frozen

from pypid.core.errors import Unauthenticated
from pypid.core.packaging.globs import GlobTable, matches
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import ANONYMOUS, Action, Grants, Identity, Rules


@frozen
class Visibility:
    """The set of projects that a viewer may read: viewers who see the same have equal values.

    Contains projects to which only the defaults apply if `usual`; of those that a glob matches, the
    ones whose glob is `shown`; `others` are the exceptions. For a token this holds only `within`
    some names, and beyond them `anyway` applies.
    """

    usual: bool
    others: frozenset[ProjectName]
    within: tuple[str, ...] | None = None
    anyway: Visibility | None = None
    shown: GlobTable[bool] | None = None
    """Whether the viewer may read the projects of each glob; None if `usual` applies to all globs.
    """
    bases: tuple[tuple[str, Visibility], ...] = ()
    """What the viewer may read in other indexes by name (empty: the default one), if their files
    may be on one page with those of this index.
    """

    def sees(self, name: ProjectName) -> bool:
        """Return whether the viewer may read this project."""
        if self.within is None or matches(name, self.within):
            return (name in self.others) != self._shows(name)
        return self.anyway is not None and self.anyway.sees(name)

    def _shows(self, name: ProjectName) -> bool:
        shown = None if self.shown is None else self.shown.of(name)
        return self.usual if shown is None else shown

    def check_base(self, index: str, name: ProjectName) -> None:
        """Raise `Unauthenticated` if the viewer may not read the project in this one of `bases`."""
        if any(base == index and not seen.sees(name) for base, seen in self.bases):
            raise Unauthenticated()

    def sees_bases(self, name: ProjectName) -> bool:
        """Return whether the viewer may read the project in all `bases`."""
        return all(seen.sees(name) for _, seen in self.bases)

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden from the viewer."""
        return self.usual and not self.others and self.within is None and self.shown is None

    @property
    def has_patterns(self) -> bool:
        """Whether globs or a token decide about some names, besides `usual` and `others`."""
        return self.within is not None or self.shown is not None


EVERYTHING = Visibility(True, frozenset())
"""The visibility of an administrator."""
NOTHING = Visibility(False, frozenset())
"""The visibility of a client who may read no project."""


def without(by: Visibility, hidden: AbstractSet[ProjectName]) -> Visibility:
    """Return the visibility of a viewer who may read none of the projects `hidden` either."""
    if not hidden:
        return by
    inside = evolve(by, within=None)
    seen = [name for name in hidden if inside.sees(name)]
    anyway = None if by.anyway is None else without(by.anyway, hidden)
    return evolve(by, others=by.others.symmetric_difference(seen), anyway=anyway)


def visibility_of(rules: Rules, who: Identity) -> Visibility:
    """Return what `who` may read. Takes microseconds for each project with rules of its own, so
    keep the result.
    """
    scope = who.scope
    if scope is None:
        return _readable_by(rules, who)
    anyway = _readable_by(rules, ANONYMOUS)
    if Action.READ not in scope.actions:
        return anyway
    inside = (
        EVERYTHING if who.publisher and rules.admitted.include(who) else _readable_by(rules, who)
    )
    return (
        inside if scope.projects == ("*",) else evolve(inside, within=scope.projects, anyway=anyway)
    )


def _readable_by(rules: Rules, who: Identity) -> Visibility:
    if who.admin:
        return EVERYTHING
    if not rules.admitted.include(who):
        return NOTHING
    usual, globs, owned = rules.read.include(who), rules.projects.globs, rules.owned_by(who)
    by_glob = globs.map(lambda own: _reads(own, who))
    shown = None if all(seen is usual for seen in by_glob.values.values()) else by_glob
    default = Visibility(usual, frozenset(), shown=shown)
    others = [
        name
        for name, own in rules.projects.names.items()
        if (name in owned or _reads(own, who)) is not default.sees(name)
    ]
    others += [name for name in owned - rules.projects.names.keys() if not default.sees(name)]
    return evolve(default, others=frozenset(others))


def _reads(own: Grants, who: Identity) -> bool:
    # repeats `Principals.include`, to save calls for each of ten thousand rules
    user, groups, read = who.user, who.groups, own.read
    return (
        read.everyone
        or (
            user is not None
            and (read.authenticated or user in read.users or not groups.isdisjoint(read.groups))
        )
        or own.write.include(who)
    )

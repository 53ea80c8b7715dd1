"""Project names and globs in the configuration, matched under every spelling of a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import translate
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Generic, NewType, TypeVar

from attrs import define, field, frozen

from pypid.core.packaging.names import ProjectName

V = TypeVar("V")
W = TypeVar("W")
ProjectGlob = NewType("ProjectGlob", str)
"""A normalised glob of project names with at least one wildcard; made only by `project_glob`."""
ProjectPattern = ProjectName | ProjectGlob

_SETS = re.compile(r"(\[!?\]?[^\]]*\])")
_RUNS = re.compile(r"[-_.]+")
_FIRST_WILD = re.compile(r"[*?\[]")
_STARS = re.compile(r"\*+")
WILD = frozenset("*?[")
"""The characters that make a glob more than the name of one project."""


LONGEST_GLOB = 200
_ALLOWED = re.compile(r"[A-Za-z0-9._*?\[\]!-]+\Z")
MOST_COMPILED = 16_384
"""Maximum number of compiled globs that are cached: if all lists together had more, each comparison
would compile a glob again.
"""
MOST_MEMOIZED = 16_384
"""Maximum number of names whose glob a `GlobTable` remembers."""


@lru_cache(maxsize=MOST_COMPILED)
def _compiled(glob: str) -> Callable[[str], object]:
    normal = _normal(glob)
    if WILD.isdisjoint(glob):
        # most lists are of names, and compiling a regular expression takes as long as a small
        # request
        return normal.__eq__
    return re.compile(translate(normal)).match


def _normal(glob: str) -> str:
    """Return the glob normalised like a name (PEP 503), except that in [...] a - means a range."""
    return "".join(
        _set(part) if part.startswith("[") else _RUNS.sub("-", part) for part in _SETS.split(glob)
    ).lower()


def _set(part: str) -> str:
    """Return a set normalised: ``[_.]`` means a separator, which is ``-`` in a normalised name; at
    the end of a set ``-`` is literal.
    """
    return part[:-1] + "-]" if re.search(r"[._]", part) and part.endswith("]") else part


def matches(name: ProjectName, globs: Iterable[str]) -> bool:
    """Return whether the name is one of the names, or matches one of the globs."""
    return any(_compiled(glob)(name) for glob in globs)


def first_match(name: ProjectName, globs: Iterable[str]) -> str | None:
    """Return the first of `globs` that the name matches, or None."""
    return next((glob for glob in globs if _compiled(glob)(name)), None)


def is_glob(text: str) -> bool:
    """Return whether the text is a glob rather than the name of one project."""
    return not WILD.isdisjoint(text)


def project_glob(text: str) -> ProjectGlob:
    """Return the normalised form of a glob. Raises `ValueError` with the reason, also for a glob
    without a letter or digit, which matches every project.
    """
    if len(text) > LONGEST_GLOB or not _ALLOWED.match(text) or not is_glob(text):
        raise ValueError(
            "a glob of projects has letters, digits, . _ - and at least one * ? or [...] "
            f"(at most {LONGEST_GLOB} characters)"
        )
    normal = _STARS.sub("*", _normal(text))
    literal = "".join(part for part in _SETS.split(normal) if not _SETS.fullmatch(part))
    if "[" in literal or "]" in literal:
        raise ValueError("a set in a glob begins with [ and ends with ]")
    if not any(character.isalnum() for character in literal):
        raise ValueError(
            "a glob of projects has a letter or digit outside of [...] (rules for all projects "
            "are the defaults of [access])"
        )
    return ProjectGlob(normal)


def specificity(glob: str) -> tuple[int, int, str]:
    """Return the key by which the most specific of several globs is the greatest: the number of
    literal characters, then of ``?`` and sets, then the text.
    """
    outside, sets = _SETS.split(glob)[::2], _SETS.findall(glob)
    singles = len(sets) + sum(text.count("?") for text in outside)
    literal = sum(len(text) - text.count("?") - text.count("*") for text in outside)
    return literal, singles, glob


@frozen(eq=False)
class _Entry:
    """A glob of a `GlobTable`: the text before its first and behind its last wildcard, and the
    comparison with a name, None if that text says it all.
    """

    glob: ProjectGlob
    rank: tuple[int, int, str]
    before: str
    behind: str
    fits: Callable[[str], object] | None

    @classmethod
    def of(cls, glob: ProjectGlob) -> _Entry:
        before = _FIRST_WILD.split(glob, maxsplit=1)[0]
        behind = "" if "[" in glob else re.split(r"[*?]", glob)[-1]
        is_plain = glob in (f"{before}*", f"*{behind}")
        fits = None if is_plain else re.compile(translate(glob)).match
        return cls(glob, specificity(glob), before, behind, fits)


_rank_of = attrgetter("rank")


@define(eq=False)
class _GlobIndex:
    """Finds the most specific glob that matches a name.

    Globs are indexed by the text before their first wildcard, or else behind their last one, so
    that few of ten thousand are compared with a name.
    """

    _before: dict[str, list[_Entry]] = field(factory=dict, init=False)
    _behind: dict[str, list[_Entry]] = field(factory=dict, init=False)
    _memo: dict[ProjectName, ProjectGlob | None] = field(factory=dict, init=False)

    @classmethod
    def of(cls, globs: Iterable[ProjectGlob]) -> _GlobIndex:
        made = cls()
        # the most specific globs come first in each list
        for entry in sorted(map(_Entry.of, globs), key=_rank_of, reverse=True):
            if entry.before:
                made._before.setdefault(entry.before, []).append(entry)
            else:
                made._behind.setdefault(entry.behind, []).append(entry)
        return made

    def find(self, name: ProjectName) -> ProjectGlob | None:
        memo = self._memo
        try:
            return memo[name]
        except KeyError:
            if len(memo) >= MOST_MEMOIZED:
                memo.clear()
            entry = max(self._matching(name), key=_rank_of, default=None)
            found = memo[name] = None if entry is None else entry.glob
            return found

    def _matching(self, name: ProjectName) -> Iterator[_Entry]:
        """Yield the first match of each list, which is the most specific one of that list."""
        for index, keys in (
            (self._before, (name[:length] for length in range(1, len(name) + 1))),
            (self._behind, (name[length:] for length in range(len(name) + 1))),
        ):
            if not index:
                continue
            for key in keys:
                for entry in index.get(key, ()):
                    if entry.fits is None or entry.fits(name):
                        yield entry
                        break


@frozen(eq=False)
class GlobTable(Generic[V]):
    """Values by globs; of the globs that match a name the most specific one decides."""

    values: Mapping[ProjectGlob, V] = field(factory=dict)
    _index: _GlobIndex = field(repr=False)

    @_index.default
    def _new_index(self) -> _GlobIndex:
        return _GlobIndex.of(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GlobTable):
            return NotImplemented
        return self is other or self.values == other.values

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(frozenset(self.values))

    def glob(self, name: ProjectName) -> ProjectGlob | None:
        """Return the most specific glob that matches the name, or None."""
        return self._index.find(name) if self.values else None

    def of(self, name: ProjectName) -> V | None:
        """Return the value of the most specific glob that matches the name, or None."""
        glob = self.glob(name)
        return None if glob is None else self.values[glob]

    def map(self, change: Callable[[V], W]) -> GlobTable[W]:
        """Return the table with changed values; it shares the index of this one."""
        values = {glob: change(value) for glob, value in self.values.items()}
        return GlobTable(values, self._index)


@frozen
class NameSet:
    """A set of project names: those listed, and those that a glob matches."""

    names: frozenset[ProjectName] = frozenset()
    globs: GlobTable[None] = field(factory=GlobTable)

    @classmethod
    def of(cls, patterns: Iterable[ProjectPattern]) -> NameSet:
        """Return the set of these names and globs."""
        found = list(patterns)
        names = frozenset(ProjectName(each) for each in found if not is_glob(each))
        return cls(names, GlobTable({ProjectGlob(each): None for each in found if is_glob(each)}))

    def __contains__(self, name: object) -> bool:
        return name in self.names or (
            isinstance(name, str) and self.globs.glob(ProjectName(name)) is not None
        )

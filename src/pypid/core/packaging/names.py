"""Project names, and the parsing of distributions' file names.

Sources: packaging.python.org "Names and normalization" (the regular expressions), "Binary
distribution format" and "Source distribution format" (file names), PEP 440 (versions).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from fnmatch import translate
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NewType, TypeVar

from attrs import define, field, frozen
from packaging.version import InvalidVersion, Version

from pypid.core.errors import BadFilename, BadName

if TYPE_CHECKING:
    from packaging.tags import Tag


ProjectName = NewType("ProjectName", str)
"""A normalised project name; made only by `project_name`."""

LONGEST_NAME = 200
LONGEST_FILENAME = 220
"""Leaves room for pypid's suffixes (`layout`) below the 255 bytes that file systems allow."""

_VALID = re.compile(r"([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])\Z", re.IGNORECASE | re.ASCII)
_RUNS = re.compile(r"[-_.]+")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]*\Z")
_EGG = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-py(?P<python>\d+(\.\d+)?))?(-.+)?\.egg\Z")


@lru_cache(maxsize=8192)
def project_name(text: str) -> ProjectName:
    """Return the normalised form of `text`. Raises `BadName` if it is not a project name (also over
    200 characters).
    """
    if len(text) > LONGEST_NAME or not _VALID.match(text):
        raise BadName(text)
    return ProjectName(_RUNS.sub("-", text).lower())


def valid_name(text: str) -> ProjectName | None:
    """Return the normalised form of `text`; None if it is not a project name."""
    try:
        return project_name(text)
    except BadName:
        return None


class Packagetype(Enum):
    """The type of a distribution; the values are those of the legacy upload API's ``filetype``."""

    WHEEL = "bdist_wheel"
    SDIST = "sdist"
    EGG = "bdist_egg"


@frozen
class Distribution:
    """The parts of a distribution's file name. `version` is PEP 440 normalised."""

    filename: str
    project: ProjectName
    version: str
    packagetype: Packagetype
    python_version: str
    """As the legacy API's ``pyversion``: ``source``, or the Python tag (``py3``, ``cp311``)."""
    tags: frozenset[Tag] = frozenset()


SDIST_SUFFIXES = (".tar.gz", ".zip")
OLD_SDIST_SUFFIXES = (".tar.bz2", ".tgz", ".tar.xz")
"""Made by old tools; pip installs them, so they may be published and adopted."""
UPSTREAM_SDIST_SUFFIXES = (".tar", ".tbz", ".txz", ".tlz", ".tar.lz", ".tar.lzma")
"""pip accepts these as well (``pip._internal.utils.filetypes``): listed if an upstream has them,
and never published here.
"""
ALL_SDIST_SUFFIXES = (*SDIST_SUFFIXES, *OLD_SDIST_SUFFIXES, *UPSTREAM_SDIST_SUFFIXES)


_WORDS = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*"
_USUAL_TAGS = re.compile(
    rf"(?:[0-9][A-Za-z0-9_.]*-)?"
    rf"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*-{_WORDS}-{_WORDS}\Z"
).match
_USUAL_NAME = re.compile(r"[A-Za-z0-9]+(?:[._][A-Za-z0-9]+)*\Z").match
_USUAL_VERSION = re.compile(r"[A-Za-z0-9.!+_]+\Z").match
_NUMBER = r"(?:0|[1-9][0-9]*+)"
_CANONICAL = re.compile(
    rf"{_NUMBER}(?:\.{_NUMBER})*+"
    rf"(?:(?:a|b|rc){_NUMBER})?+(?:\.post{_NUMBER})?+(?:\.dev{_NUMBER})?+\Z",
    re.ASCII,
).match
"""A version already in PEP 440's canonical spelling (its appendix B, without epochs)."""


def project_and_version(filename: str) -> tuple[ProjectName, str]:
    """Return project and version as `parse_filename` does, and raise the same, but ten times
    faster: a page has ten thousand files of few kinds.
    """
    if len(filename) <= LONGEST_NAME:
        found = _usual(filename)
        if found is not None:
            return found
    parsed = parse_filename(filename)
    return parsed.project, parsed.version


def _usual(filename: str) -> tuple[ProjectName, str] | None:
    """Parse a file name of the usual form; return None for any other, which may still be valid."""
    if filename.endswith(".whl"):
        components = filename[:-4].split("-", 2)
        return (
            usual_name_and_version(components[0], components[1])
            if len(components) == 3 and are_usual_tags(components[2])
            else None
        )
    if filename.endswith(".tar.gz"):
        written, _, version = filename[:-7].rpartition("-")
        return usual_name_and_version(written, version)
    return None


@lru_cache(maxsize=4096)  # more than one page has; an entry takes 500 bytes
def usual_name_and_version(written: str, version: str) -> tuple[ProjectName, str] | None:
    """Return the name and the version in a file name of the usual form, normalised; else None."""
    name, spelled = _usual_name(written), _spelled(version)
    return None if name is None or spelled is None else (name, spelled)


@lru_cache(maxsize=4096)
def are_usual_tags(text: str) -> bool:
    """Return whether these are the tags of a wheel, perhaps with a build number before them."""
    return _USUAL_TAGS(text) is not None


def _usual_name(text: str) -> ProjectName | None:
    return project_name(text) if _USUAL_NAME(text) else None


def _spelled(version: str) -> str | None:
    """Return the version as PEP 440 spells it, or None if it is invalid."""
    if _CANONICAL(version):
        return version
    if not _USUAL_VERSION(version):
        return None
    try:
        return str(Version(version))
    except ValueError:
        return None


def is_safe_filename(filename: str) -> bool:
    """Return whether the name has only characters of distribution names, and no path separators."""
    return _FILENAME.match(filename) is not None


def parse_filename(filename: str) -> Distribution:
    """Return the parts of a distribution's file name.

    Accepts wheels, sdists (also ``.tar.bz2``, ``.tgz`` and ``.tar.xz`` of old tools) and eggs.
    Raises `BadFilename` with the reason for anything else: other characters, path separators, more
    than 220 characters, no PEP 440 version.
    """
    if len(filename) > LONGEST_FILENAME:
        raise BadFilename(filename, f"it is longer than {LONGEST_FILENAME} characters.")
    if not is_safe_filename(filename):
        raise BadFilename(
            filename,
            "only letters, digits and . _ + ! ~ - are allowed, and it begins with a letter or "
            "digit.",
        )
    try:
        if filename.endswith(".whl"):
            return _wheel(filename)
        if filename.endswith(".egg"):
            return _egg(filename)
        return _sdist(filename)
    except BadName as error:
        raise BadFilename(filename, str(error)) from None


def _wheel(filename: str) -> Distribution:
    from packaging.utils import (
        InvalidWheelFilename,
        parse_wheel_filename,
    )  # imported here: no page needs it

    try:
        name, version, _build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise BadFilename(filename, f"{error}.") from None
    python = filename[:-4].split("-")[-3]
    return Distribution(
        filename, project_name(str(name)), str(version), Packagetype.WHEEL, python, tags
    )


def wheel_tags(filename: str) -> list[str] | None:
    """Return the Python, ABI and platform tags in the filename of a wheel; None if there are too
    few parts. Quick, and checks nothing.
    """
    segments = filename[:-4].split("-")
    return segments[-3:] if len(segments) >= 5 else None


def _egg(filename: str) -> Distribution:
    match = _EGG.match(filename)
    if match is None:
        raise BadFilename(filename, "an egg is named name-version[-pyX.Y][-platform].egg.")
    return Distribution(
        filename,
        project_name(match["name"]),
        _version(filename, match["version"]),
        Packagetype.EGG,
        match["python"] or "",
    )


def _sdist(filename: str) -> Distribution:
    for suffix in OLD_SDIST_SUFFIXES:
        if filename.endswith(suffix):
            plain = filename.removesuffix(suffix) + ".tar.gz"
            break
    else:
        if not filename.endswith(SDIST_SUFFIXES):
            raise BadFilename(
                filename,
                "it ends neither in .whl nor in .tar.gz, .zip, .egg, .tar.bz2, .tgz or .tar.xz.",
            )
        plain = filename
    from packaging.utils import (
        InvalidSdistFilename,
        parse_sdist_filename,
    )  # imported here: no page needs it

    try:
        name, version = parse_sdist_filename(plain)
    except InvalidSdistFilename as error:
        raise BadFilename(filename, f"{error}.") from None
    return Distribution(
        filename, project_name(str(name)), str(version), Packagetype.SDIST, "source"
    )


def _version(filename: str, text: str) -> str:
    try:
        return str(Version(text.replace("_", "-")))
    except InvalidVersion:
        raise BadFilename(filename, f"{text!r} is not a version (PEP 440).") from None


@lru_cache(maxsize=16384)  # an entry takes 700 bytes
def _parsed(version: str) -> Version:
    return Version(version)


def version_of(text: str) -> Version:
    """Parse a version. Raises `ValueError`. It may be no longer than a file name, so that no client
    can have endless digits parsed (Python itself refuses more than 4,300 of them, by another
    exception than `InvalidVersion`).
    """
    if len(text) > LONGEST_FILENAME:
        raise InvalidVersion(f"Invalid version: {text[:40]!r}...")
    return _parsed(text)


def version_key(version: str) -> tuple[int, Any]:
    """Return a sort key for versions: those invalid by PEP 440 come first, by their text."""
    try:
        return (1, version_of(version))
    except ValueError:
        return (0, version)


VersionKeys = frozenset[tuple[int, Any]]
"""Versions by their `version_key`: all spellings of a release are one."""


def same_version(one: str, other: str) -> bool:
    """Return whether both spell one release (``1.0`` and ``1.0.0`` do, PEP 440)."""
    return version_key(one) == version_key(other)


def is_prerelease(version: str) -> bool:
    """Return whether `version` is a pre- or development release, or invalid by PEP 440."""
    try:
        return version_of(version).is_prerelease
    except ValueError:
        return True


# Project names and globs in the configuration, matched under every spelling of a name.

V = TypeVar("V")
W = TypeVar("W")
ProjectGlob = NewType("ProjectGlob", str)
"""A normalised glob of project names with at least one wildcard; made only by `project_glob`."""
ProjectPattern = ProjectName | ProjectGlob

_SETS = re.compile(r"(\[!?\]?[^\]]*\])")
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


# File names on an upstream page: knowing the project, more names can be parsed than without.
#
# Installers strip the project's name from the front of an sdist's name, and the rest is the
#   version
# (pip's ``_find_name_version_sep``, uv's ``SourceDistFilename::parse``): so it may contain
#   hyphens,
# as in ``cffi-1.2.0-1.tar.gz``.

_OLD_VERSION = re.compile(r"[0-9][^/]*\Z|[^-/]+\Z").match
"""A version that is not valid by PEP 440, and that pip accepted until 24.0; ``bar-1.0`` is rather
the end of another project's name.
"""


def listed_version(filename: str, name: ProjectName) -> str | None:
    """Return the version in the file name; None for a file that no installer takes, or of another
    project.

    It is normalised by PEP 440, except that the invalid version of an old sdist
    (``mercurial-4.x-rc.tar.gz``) is returned as written: old installers take it, new ones ignore
    it.
    """
    try:
        project, version = project_and_version(filename)
    except BadFilename:
        return _version_of_sdist(filename, name)
    return version if project == name else _version_of_sdist(filename, name)


def _version_of_sdist(filename: str, name: ProjectName) -> str | None:
    suffix = next((suffix for suffix in ALL_SDIST_SUFFIXES if filename.endswith(suffix)), None)
    if suffix is None or len(filename) > LONGEST_FILENAME or not is_safe_filename(filename):
        return None
    prefix = _prefix(name).match(filename)
    if prefix is None:
        return None
    version = filename[prefix.end() : -len(suffix)]
    try:
        return str(Version(version))
    except InvalidVersion:
        return version if _OLD_VERSION(version) else None


@lru_cache(maxsize=1024)
def _prefix(name: ProjectName) -> re.Pattern[str]:
    """Return a pattern for the name under any spelling, with the hyphen after it."""
    return re.compile(
        "[-_.]+".join(map(re.escape, name.split("-"))) + "-", re.IGNORECASE | re.ASCII
    )

"""Names that can be mistaken for others: what typosquatting and starjacking rely on. Pure.

A name is compared with a `NameIndex` of known names by look-ups only, so that the time for one name
depends on its own length and not on the number of known names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import cache
from importlib.resources import files

from attrs import field, frozen

from pypid.core.packaging.names import ProjectName

LONGEST_COMPARED = 64
"""Names with more characters are compared by their first ones only in `SPELLING` and `WORDS`, and
not by edits: their number grows with the length.
"""
SHORTEST_EDITED = 5
"""Fewest characters, without separators, of a name whose edits are looked up: of short names,
nearly all are one edit from another.
"""
MOST_FOUND = 20


class Likeness(Enum):
    """How two names resemble each other; the values are shown to users."""

    SPELLING = "differs in separators or in characters that look alike"
    WORDS = "has the same words in another order"
    AFFIX = "differs by a usual prefix or suffix"
    EDIT = "differs by one character, or two neighbours are swapped"


@frozen
class SimilarName:
    """A known name that resembles another one, and how."""

    name: ProjectName
    likeness: Likeness


_LOOK_ALIKE = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("0", "o"), ("1", "l"), ("i", "l"))
"""Characters that fonts show alike. Names are lower case and ASCII (`project_name`)."""
_AFFIXES = frozenset(
    (
        *("py", "py2", "py3", "python", "python2", "python3", "pypi", "lib", "libs", "pkg"),
        *("api", "app", "base", "cli", "client", "common", "core", "dev", "devel", "helper"),
        *("helpers", "module", "new", "next", "ng", "official", "package", "plus", "pro"),
        *("sdk", "server", "setup", "test", "testing", "tool", "tools", "util", "utils"),
        *("v2", "v3", "wrapper", "x"),
    )
)
"""Words that a name may have more or fewer of at its ends, and still look like the same project."""
_GLUED = ("python", "py", "lib")
"""Affixes that are written without a separator, too."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def skeleton(name: str) -> str:
    """Return the name without separators, and with one character for all that look alike."""
    shape = name[: LONGEST_COMPARED * 2].replace("-", "")
    for seen, meant in _LOOK_ALIKE:
        shape = shape.replace(seen, meant)
    return shape[:LONGEST_COMPARED]


def _words(name: str) -> str:
    return "-".join(sorted(name[: LONGEST_COMPARED * 2].split("-")))


def _bare(name: str) -> str:
    """Return the skeleton of the name without usual affixes; "" if nothing is left."""
    words = name[: LONGEST_COMPARED * 2].split("-")
    while words and words[-1] in _AFFIXES:
        words.pop()
    while words and words[0] in _AFFIXES:
        words.pop(0)
    text = "".join(words)
    for affix in _GLUED:
        rest = text.removeprefix(affix).removesuffix(affix)
        if rest != text and len(rest) >= SHORTEST_EDITED:
            text = rest
            break
    return skeleton(text)


def _edits(shape: str) -> Iterator[str]:
    """Yield the texts that are one insertion, deletion, replacement or swap away."""
    for place in range(len(shape) + 1):
        before, after = shape[:place], shape[place:]
        for letter in _LETTERS:
            yield f"{before}{letter}{after}"
            if after:
                yield f"{before}{letter}{after[1:]}"
        if after:
            yield before + after[1:]
        if len(after) > 1:
            yield f"{before}{after[1]}{after[0]}{after[2:]}"


@frozen(eq=False)
class NameIndex:
    """Known names, by what other names are compared with. Of names that are equal in one respect,
    the first is found.
    """

    shapes: Mapping[str, ProjectName] = field(repr=False)
    words: Mapping[str, ProjectName] = field(repr=False)
    bare: Mapping[str, ProjectName] = field(repr=False)

    @classmethod
    def of(cls, names: Iterable[ProjectName]) -> NameIndex:
        """Return the index of these names, the most important first. It takes some 5 microseconds a
        name.
        """
        shapes: dict[str, ProjectName] = {}
        words: dict[str, ProjectName] = {}
        bare: dict[str, ProjectName] = {}
        for name in names:
            shapes.setdefault(skeleton(name), name)
            bare.setdefault(_bare(name), name)
            if "-" in name:
                words.setdefault(_words(name), name)
        bare.pop("", None)
        return cls(shapes, words, bare)

    def similar(self, name: ProjectName) -> tuple[SimilarName, ...]:
        """Return the known names that resemble this one, at most `MOST_FOUND`, the closest first;
        never the name itself.
        """
        found: dict[ProjectName, Likeness] = {}
        for other, likeness in self._candidates(name):
            if other is not None and other != name:
                found.setdefault(other, likeness)
        pairs = [SimilarName(other, likeness) for other, likeness in found.items()]
        return tuple(pairs[:MOST_FOUND])

    def _candidates(self, name: ProjectName) -> Iterator[tuple[ProjectName | None, Likeness]]:
        shape = skeleton(name)
        yield self.shapes.get(shape), Likeness.SPELLING
        yield self.words.get(_words(name)), Likeness.WORDS
        bare = _bare(name)
        yield self.bare.get(bare), Likeness.AFFIX
        yield self.shapes.get(bare), Likeness.AFFIX
        if SHORTEST_EDITED <= len(shape) < LONGEST_COMPARED:
            for edit in _edits(shape):
                yield self.shapes.get(edit), Likeness.EDIT


@cache
def popular_names() -> tuple[ProjectName, ...]:
    """Return names of the public index's most used projects, sorted: a file of this package."""
    text = files("pypid.core.packaging").joinpath("popular_names.txt").read_text("ascii")
    return tuple(ProjectName(line) for line in text.split() if line)

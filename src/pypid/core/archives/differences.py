"""Comparison of two releases of a project: their files, the members of two of these, and two texts.

By value: comparing in the other direction gives the same with the sides exchanged, and nothing
differs from itself. The version in a path is not a difference: members are in
``spam-1.0.dist-info`` here and in ``spam-2.0.dist-info`` there, or below ``spam-1.0/`` and
``spam-2.0/``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Generic, TypeVar

from attrs import field, frozen
from packaging.requirements import InvalidRequirement, Requirement

from pypid.core.archives.contents import Inner
from pypid.core.errors import BadName
from pypid.core.model import File
from pypid.core.packaging.core_metadata import CoreMetadata
from pypid.core.packaging.names import ProjectName, project_name, valid_name

# Comparison of the metadata of two releases, field by field. The order of values, and white space,
# are ignored.

T = TypeVar("T")

_BEFORE, _AFTER = 20, 40
"""Characters of a description that are shown before and after the first difference."""

MOST_VALUES, LONGEST_VALUE = 500, 1000
"""Values of one field that are compared, and characters of a value that are shown."""
_FIELDS = {
    "summary": "Summary",
    "requires_python": "Requires-Python",
    "requires_dist": "Requires-Dist",
    "provides_extra": "Provides-Extra",
    "license_expression": "License-Expression",
    "license": "License",
    "license_files": "License-File",
    "classifiers": "Classifier",
    "keywords": "Keywords",
    "home_page": "Home-page",
    "download_url": "Download-URL",
    "project_urls": "Project-URL",
    "author": "Author",
    "author_email": "Author-email",
    "maintainer": "Maintainer",
    "maintainer_email": "Maintainer-email",
    "requires_external": "Requires-External",
    "platforms": "Platform",
    "description_content_type": "Description-Content-Type",
    "description": "Description",
    "metadata_version": "Metadata-Version",
}
"""The fields that are compared, named as in `packaging.metadata`, in the order of the page."""


@frozen
class Changed(Generic[T]):
    """A value that is on both sides, and differs."""

    old: T
    new: T


@frozen
class FieldDifference:
    """The differences in one field of the metadata, whose name is spelled as in the specification.

    `changed` pairs corresponding values: those of a single-valued field, requirements of one
    project, URLs with one label.
    """

    name: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[Changed[str], ...] = ()


def metadata_differences(old: CoreMetadata, new: CoreMetadata) -> tuple[FieldDifference, ...]:
    """Return the fields that differ. Of a description only the length and the first difference are
    reported: its lines can be compared as members of the files.
    """
    found: list[FieldDifference] = []
    for word, name in _FIELDS.items():
        one, other = old.fields.get(word), new.fields.get(word)
        if word == "description":
            if _texts(one) != _texts(other):
                found.append(_single(name, *_descriptions(_texts(one), _texts(other))))
            continue
        texts = _values(word, one), _values(word, other)
        if set(texts[0]) == set(texts[1]):
            continue
        if isinstance(one, str) or isinstance(other, str):
            found.append(_single(name, *texts))
        else:
            found.append(_several(name, *texts, _IDENTITIES.get(word, lambda value: None)))
    return tuple(found)


def _single(name: str, old: Sequence[str], new: Sequence[str]) -> FieldDifference:
    """Return the difference of a field of at most one value."""
    if len(old) == len(new) == 1:
        return FieldDifference(name, changed=(Changed(_shown(old[0]), _shown(new[0])),))
    return FieldDifference(name, added=tuple(map(_shown, new)), removed=tuple(map(_shown, old)))


def _several(
    name: str, old: Sequence[str], new: Sequence[str], identity: Callable[[str], str | None]
) -> FieldDifference:
    """Return the difference of a field of many values; `identity` returns the same for
    corresponding values, None for a value without a counterpart.
    """
    removed = {value: identity(value) for value in old if value not in new}
    added = {value: identity(value) for value in new if value not in old}
    before, after = _once(removed), _once(added)
    changed = [Changed(before[known], after[known]) for known in before if known in after]
    paired = {each.old for each in changed}, {each.new for each in changed}
    return FieldDifference(
        name,
        added=tuple(_shown(value) for value in added if value not in paired[1]),
        removed=tuple(_shown(value) for value in removed if value not in paired[0]),
        changed=tuple(Changed(_shown(each.old), _shown(each.new)) for each in changed),
    )


def _once(values: Mapping[str, str | None]) -> dict[str, str]:
    """Return the values by identity, for identities that occur once."""
    counts = Counter(values.values())
    return {
        known: value for value, known in values.items() if known is not None and counts[known] == 1
    }


def _required(requirement: str) -> str | None:
    try:
        return project_name(Requirement(requirement).name)
    except (InvalidRequirement, BadName, RecursionError):
        return None


_IDENTITIES: Mapping[str, Callable[[str], str | None]] = {
    "requires_dist": _required,
    "project_urls": lambda value: value.partition(", ")[0],
}
"""Requirements correspond if they are of one project, URLs if they have one label."""


def _values(word: str, value: object) -> tuple[str, ...]:
    """Return the values of the field, each once, on one line."""
    texts = [" ".join(text.split()) for text in _texts(value)]
    if word == "requires_dist":
        texts = [_canonical(text) for text in texts]
    return tuple(dict.fromkeys(texts))[:MOST_VALUES]


def _texts(value: object) -> tuple[str, ...]:
    match value:
        case str():
            values: Iterable[object] = (value,)
        case Mapping():
            values = [f"{label}, {url}" for label, url in value.items()]
        case Sequence():
            values = value
        case _:
            values = ()
    return tuple(
        text.encode(errors="replace").decode()
        for text in values
        if isinstance(text, str) and text.strip() not in _NOTHING
    )


_NOTHING = ("", "UNKNOWN")
"""Texts without information; the second is from distutils."""


def _canonical(requirement: str) -> str:
    if len(requirement) > LONGEST_VALUE:
        return requirement
    try:
        return str(Requirement(requirement))
    except (InvalidRequirement, RecursionError):
        return requirement


def _descriptions(old: Sequence[str], new: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the lengths of both descriptions; with the first difference, if there are both."""
    lengths = [
        [f"{len(text)} characters in {text.rstrip().count(chr(10)) + 1} lines" for text in texts]
        for texts in (old, new)
    ]
    if old and new:
        shortest = min(len(old[0]), len(new[0]))
        position = next((i for i in range(shortest) if old[0][i] != new[0][i]), shortest)
        number = old[0].count("\n", 0, position) + 1
        for texts, length in zip((old, new), lengths, strict=True):
            excerpt = texts[0][max(0, position - _BEFORE) : position + _AFTER]
            length[0] += f"; line {number}: {excerpt!r}"
    return lengths[0], lengths[1]


def _shown(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."


MOST_LINES, CONTEXT = 2000, 3
"""Maximum number of lines compared, from the first to the last difference of two texts; and number
of lines of context shown around each difference.
"""
SDIST = "sdist"
_PURE = "none-any"

_INFO = re.compile(r"(?P<name>.+)-[^-]+(?P<suffix>\.(?:dist-info|data))\Z")


@frozen
class Pair:
    """The files of one kind in both releases; at least one of them is not None.

    `kind` is the tags of a wheel, with its build number (``py3-none-any``), ``sdist``, or ``egg
    py3.6``.
    """

    kind: str
    old: File | None
    new: File | None


@frozen
class MemberDifferences:
    """The differences in the contents of two archives, by path without the version
    (``spam-*.dist-info/METADATA``), in order.

    `same`: how many members do not differ.
    """

    added: Mapping[str, Inner] = field(factory=dict, repr=False)
    removed: Mapping[str, Inner] = field(factory=dict, repr=False)
    changed: Mapping[str, Changed[Inner]] = field(factory=dict, repr=False)
    same: int = 0


@frozen
class DiffLine:
    """A line of a comparison of two texts: its number in each that has it, from 1. Without both:
    some lines are omitted here.
    """

    old: int | None
    new: int | None
    text: str = field(repr=False)

    @property
    def mark(self) -> str:
        """``+``, ``-``, a blank, or ``@`` for the gap."""
        if self.old is None:
            return "@" if self.new is None else "+"
        return "-" if self.new is None else " "


# --- files ----------------------------------------------------------------------------------------


def pairs_of(old: Iterable[File], new: Iterable[File]) -> tuple[Pair, ...]:
    """Return the files of two releases by kind, each in one pair; in the order of the kinds."""
    one, other = _by_kind(old), _by_kind(new)
    return tuple(Pair(kind, one.get(kind), other.get(kind)) for kind in sorted({*one, *other}))


def choose_pair(pairs: Sequence[Pair], kind: str | None = None) -> Pair | None:
    """Return the pair of that kind; without a kind, the most informative pair with files in both
    releases: pure wheels, other wheels, sdists. Return None if there is no such pair.
    """
    if kind is not None:
        return next((pair for pair in pairs if pair.kind == kind), None)
    whole = [pair for pair in pairs if pair.old is not None and pair.new is not None]
    return min(
        whole,
        key=lambda pair: (not pair.kind.endswith(_PURE), pair.kind.startswith((SDIST, "egg"))),
        default=None,
    )


def _by_kind(files: Iterable[File]) -> dict[str, File]:
    found: dict[str, File] = {}
    last: dict[
        str, int
    ] = {}  # per kind: else each of thousands of one kind would count from the first
    for file in sorted(files, key=lambda file: file.filename):
        kind = kind_of(file.filename)
        number = last.get(kind, 0) + 1
        while (name := kind if number == 1 else f"{kind} ({number})") in found:
            number += 1
        last[kind] = number
        found[name] = file
    return found


def kind_of(filename: str) -> str:
    """Return the kind of a file; see `Pair.kind`."""
    if filename.endswith((".whl", ".egg")):
        tags = filename[:-4].split("-", 2)[2:]
        return "-".join(tags) if filename.endswith(".whl") else " ".join(("egg", *tags))
    return SDIST


# --- members --------------------------------------------------------------------------------------


def member_differences(
    old: Sequence[Inner], new: Sequence[Inner], project: ProjectName
) -> MemberDifferences:
    """Return the differences between the members of two archives of the project: by size, CRC-32 if
    both are known, kind and link.
    """
    one, other = _normal(old, project), _normal(new, project)
    changed = {
        path: Changed(one[path][-1], other[path][-1])
        for path in sorted(one.keys() & other.keys())
        if not _alike(one[path], other[path])
    }
    return MemberDifferences(
        added={path: other[path][-1] for path in sorted(other.keys() - one.keys())},
        removed={path: one[path][-1] for path in sorted(one.keys() - other.keys())},
        changed=changed,
        same=len(one.keys() & other.keys()) - len(changed),
    )


def _normal(members: Sequence[Inner], project: ProjectName) -> dict[str, list[Inner]]:
    """Return the members by path without the version; usually one of each."""
    tops = {member.path.partition("/")[0] for member in members}
    top = (
        f"{next(iter(tops))}/"
        if len(tops) == 1 and all("/" in member.path for member in members)
        else ""
    )
    if not _is_top(top, project):
        top = ""
    found: dict[str, list[Inner]] = {}
    for member in members:
        path = member.path.removeprefix(top)
        found.setdefault(path if top else _versionless(path, project), []).append(member)
    return found


def _is_top(top: str, project: ProjectName) -> bool:
    """Return whether it is the top folder of an sdist."""
    return (
        not top.endswith((".dist-info/", ".data/"))
        and valid_name(top.rpartition("-")[0]) == project
    )


def _versionless(path: str, project: ProjectName) -> str:
    first, slash, rest = path.partition("/")
    match = _INFO.match(first) if slash else None
    if match is None or valid_name(match["name"]) != project:
        return path
    return f"{match['name']}-*{match['suffix']}/{rest}"


def _alike(old: Sequence[Inner], new: Sequence[Inner]) -> bool:
    return len(old) == len(new) and all(map(_same, sorted(old, key=_mark), sorted(new, key=_mark)))


def _mark(member: Inner) -> tuple[str, int, int]:
    return member.kind.value, member.size, member.crc or 0


def _same(old: Inner, new: Inner) -> bool:
    if (old.kind, old.size, _target(old)) != (new.kind, new.size, _target(new)):
        return False
    return old.crc == new.crc or None in (old.crc, new.crc)


def _target(member: Inner) -> str:
    """Return the target of a link; that of a hard link begins with the top folder, with which the
    member's own path begins.
    """
    return member.link.removeprefix(member.path.partition("/")[0] + "/")


# --- texts ----------------------------------------------------------------------------------------


def text_differences(old: str, new: str) -> tuple[DiffLine, ...] | None:
    """Return the lines that differ, with context; None if too many would have to be compared."""
    one, other = old.split("\n"), new.split("\n")
    shortest, first, last = min(len(one), len(other)), 0, 0
    while first < shortest and one[first] == other[first]:
        first += 1
    while last < shortest - first and one[-1 - last] == other[-1 - last]:
        last += 1
    first, last = max(0, first - CONTEXT), max(0, last - CONTEXT)
    one, other = one[first : len(one) - last], other[first : len(other) - last]
    if max(len(one), len(other)) > MOST_LINES + 2 * CONTEXT:
        return None
    return tuple(_lines(one, other, first + 1))


def _lines(one: Sequence[str], other: Sequence[str], first: int) -> Iterable[DiffLine]:
    for count, group in enumerate(SequenceMatcher(None, one, other).get_grouped_opcodes(CONTEXT)):
        if count:
            yield DiffLine(None, None, "")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                    yield DiffLine(first + i, first + j, one[i])
                continue
            for i in range(i1, i2):
                yield DiffLine(first + i, None, one[i])
            for j in range(j1, j2):
                yield DiffLine(None, first + j, other[j])

"""Comparison of two releases of a project: their files, the members of two of these, and two texts.

By value: comparing in the other direction gives the same with the sides exchanged, and nothing
differs from itself. The version in a path is not a difference: members are in
``spam-1.0.dist-info`` here and in ``spam-2.0.dist-info`` there, or below ``spam-1.0/`` and
``spam-2.0/``. (For the metadata see `metadata_differences`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

from attrs import field, frozen

from pypid.core.archives.contents import Inner
from pypid.core.archives.metadata_differences import Changed
from pypid.core.errors import BadName
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, project_name

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
    return not top.endswith((".dist-info/", ".data/")) and _is(top.rpartition("-")[0], project)


def _versionless(path: str, project: ProjectName) -> str:
    first, slash, rest = path.partition("/")
    match = _INFO.match(first) if slash else None
    if match is None or not _is(match["name"], project):
        return path
    return f"{match['name']}-*{match['suffix']}/{rest}"


def _is(name: str, project: ProjectName) -> bool:
    try:
        return project_name(name) == project
    except BadName:
        return False


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

"""Comparison of the metadata of two releases, field by field.

Comparing in the other direction gives the same with the sides exchanged, and nothing differs from
itself. The order of values, and white space, are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from attrs import frozen
from packaging.requirements import InvalidRequirement, Requirement

from pypid.core.errors import BadName
from pypid.core.packaging.core_metadata import CoreMetadata
from pypid.core.packaging.names import project_name

T = TypeVar("T")

_BEFORE, _AFTER = 20, 40
"""Characters of a description that are shown before and after the first difference."""

MOST_VALUES, LONGEST_VALUE = 500, 1000
"""Maximum number of values of one field that are compared, and of characters of a value that are
shown.
"""
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
"""The fields that are compared, by their names in `packaging.metadata`, in the order in which they
are shown.
"""


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

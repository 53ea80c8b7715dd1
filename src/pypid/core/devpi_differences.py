"""How devpi-server inherits projects, and which pages of the imported indexes differ. Pure.

Source: ``sro`` and ``op_sro_check_mirror_whitelist`` in devpi-server 6.20's ``model.py``. A page
lists the files of the index and of all its bases. Mirrors come last, and are hidden if one of the
others has the project, unless a whitelist names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from pypid.core.devpi_export import DevpiIndex, normalized

STAGE, MIRROR = "stage", "mirror"
"""The types of indexes that devpi-server itself knows."""
_MOST_NAMED = 20
"""How many names one remark lists."""


@frozen
class ImportRemark:
    """A part of the export that is not imported unchanged, or that needs a decision first."""

    subject: str
    what: str
    advice: str


def few(names: Sequence[str]) -> str:
    """Return the first of the names, and the number of the others."""
    others = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {others} more" if others > 0 else "")


def searched(index: DevpiIndex, indexes: Mapping[str, DevpiIndex]) -> list[DevpiIndex]:
    """Return the indexes that devpi-server searches for this one, in its order: the index, its
    bases, their bases, and so on.
    """
    found, waiting = dict[str, DevpiIndex](), [index]
    for each in waiting:
        if each.name not in found:
            found[each.name] = each
            waiting += [indexes[base] for base in each.bases if base in indexes]
    return list(found.values())


def searched_here(index: DevpiIndex, indexes: Mapping[str, DevpiIndex]) -> list[DevpiIndex]:
    """Return the same indexes in the order of pypid: each base is followed by its own bases."""
    found, waiting = dict[str, DevpiIndex](), [index]
    while waiting:
        each = waiting.pop()
        if each.name not in found:
            found[each.name] = each
            waiting += [indexes[base] for base in reversed(each.bases) if base in indexes]
    return list(found.values())


def whitelist_of(index: DevpiIndex, indexes: Mapping[str, DevpiIndex]) -> frozenset[str]:
    """Return the projects for which the index shows local files and those of mirrors together; may
    contain ``*``. Without a mirror, there are none: their names stay private.
    """
    those = searched(index, indexes)
    if not any(each.kind == MIRROR for each in those):
        return frozenset()
    those = those if index.inherits_whitelist else [index]
    return frozenset(
        normalized(name) if name != "*" else name
        for each in those
        for name in each.mirror_whitelist
    )


class Differences:
    """Finds pages that differ from those of devpi-server."""

    def __init__(self, indexes: Iterable[DevpiIndex]) -> None:
        self._indexes = {index.name: index for index in indexes}
        self._stages = {name: each for name, each in self._indexes.items() if each.kind == STAGE}
        self._local = {
            name: frozenset(normalized(file.project) for file in each.files)
            for name, each in self._stages.items()
        }
        self._mixed = {
            name: whitelist_of(each, self._indexes) for name, each in self._stages.items()
        }
        contents = defaultdict[str, dict[str, str | None]](dict)
        for name, index in self._stages.items():
            for file in index.files:
                contents[file.filename][name] = file.sha256
        self._conflicts = {
            filename: found for filename, found in contents.items() if len({*found.values()}) > 1
        }

    def remarks(self) -> Iterator[ImportRemark]:
        """Yield a remark for each index and each kind of difference."""
        private = {
            project
            for name, projects in self._local.items()
            for project in projects
            if not self._mixed[name] & {"*", project}
        }
        for name, index in self._stages.items():
            names = private if "*" in self._mixed[name] else private & self._mixed[name]
            if names:
                what = (
                    f"mirror_whitelist names local projects of other indexes: {few(sorted(names))}"
                )
                advice = (
                    "pypid does not send names upstream that are local in an index without them"
                )
                yield ImportRemark(name, what, advice)
            mirrors = [each.name for each in searched(index, self._indexes) if each.kind == MIRROR]
            if len(mirrors) > 1:
                what = f"it shows the files of several mirrors together: {few(mirrors)}"
                advice = "pypid shows a project from the first one that has it"
                yield ImportRemark(name, what, advice)
            if others := sorted(self._from_another_index(index)):
                what = f"several bases have other files of the same name: {few(others)}"
                yield ImportRemark(
                    name, what, "pypid shows that of the first base, or of its bases"
                )

    def _from_another_index(self, index: DevpiIndex) -> Iterator[str]:
        """Yield the files for which pypid shows the content that another index has."""
        orders = [order(index, self._stages) for order in (searched, searched_here)]
        for filename, contents in self._conflicts.items():
            there, here = (
                next((contents[each.name] for each in order if each.name in contents), None)
                for order in orders
            )
            if there != here:
                yield filename

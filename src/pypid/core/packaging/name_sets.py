"""Very many project names, sorted: a million of them in some hundred texts.

As a tuple they would take four times the memory, and freeing it, or a pass of the garbage collector
over it, would block the process for 50 milliseconds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, overload

from attrs import field, frozen

from pypid.core.packaging.names import ProjectName

RUN = 2000
"""Names in one text; as many are merged without a pause."""
_LINES = re.compile(r"[^\n]+").finditer


@frozen(eq=False, hash=False)
class ManyNames(Sequence[ProjectName]):
    """A sorted sequence of distinct names. Equal to any sequence of the same names."""

    _runs: tuple[str, ...] = field(default=(), repr=False)
    """Each has `RUN` names separated by line ends; the last may have fewer."""
    _length: int = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[ProjectName]:
        for run in self._runs:
            yield from map(ProjectName, run.split("\n"))

    @overload
    def __getitem__(self, index: int) -> ProjectName: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ProjectName]: ...

    def __getitem__(self, index: int | slice) -> ProjectName | Sequence[ProjectName]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(self._length)))
        if not -self._length <= index < self._length:
            raise IndexError(index)
        run, place = divmod(index % self._length, RUN)
        return ProjectName(self._runs[run].split("\n")[place])

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or not name or "\n" in name:
            return False
        run = bisect_right(
            self._runs, f"{name}\n~"
        )  # after the run that begins with it: "~" sorts after all names
        return run > 0 and f"\n{name}\n" in f"\n{self._runs[run - 1]}\n"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(other) == self._length
            and all(map(str.__eq__, self, other))
        )

    # what equals both lists and tuples cannot have a hash
    __hash__ = None  # type: ignore[assignment]


def in_order(sorted_lists: Iterable[Iterable[ProjectName]]) -> Generator[None, None, ManyNames]:
    """Merge the names of all parts, each of which is sorted, in slices; duplicates are dropped."""
    runs: list[str] = []
    run: list[str] = []
    last = ""
    for name in merge(*sorted_lists):
        if name != last:
            run.append(name)
            last = name
            if len(run) == RUN:
                runs.append("\n".join(run))
                run.clear()
                yield
    length = len(runs) * RUN + len(run)
    return ManyNames((*runs, "\n".join(run)) if run else tuple(runs), length)


def lines(names: Iterable[ProjectName]) -> Iterable[ProjectName]:
    """Return an iterable of the same names that holds them as one text."""
    return _Lines("\n".join(names))


@frozen
class _Lines:
    text: str = field(repr=False)

    def __iter__(self) -> Iterator[Any]:
        return (found[0] for found in _LINES(self.text))

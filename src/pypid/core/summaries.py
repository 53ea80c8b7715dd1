"""The list of projects, split into runs, so that a change costs one run and not the whole list.

A run ends after each name whose CRC-32 selects it, one in `RUN`: the split depends on the names in
the list and on nothing else. So everything derived from a run (a viewer's part of it, its piece of
a page, that piece compressed) stays valid as long as nothing in the run changes, and is the same in
every process, however the list was built.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import overload
from zlib import crc32

from attrs import define, field, frozen

from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName

RUN = 512
"""Average number of names in a run."""

Run = tuple[Summary, ...]
name_of = attrgetter("name")


def _last_of(run: Run) -> ProjectName:
    return run[-1].name


def ends_run(name: str) -> bool:
    """Return whether a run ends after this name, in every list."""
    return crc32(name.encode()) % RUN == 0


@frozen(eq=False, hash=False)
class Summaries(Sequence[Summary]):
    """Projects by name, each once; equal to any sequence of the same items."""

    runs: tuple[Run, ...] = field(default=(), repr=False)
    """No run is empty; each but the last ends where `ends_run` is true, and nowhere before."""
    _length: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_length", sum(map(len, self.runs)))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Summary]:
        return chain.from_iterable(self.runs)

    @overload
    def __getitem__(self, index: int) -> Summary: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Summary]: ...

    def __getitem__(self, index: int | slice) -> Summary | Sequence[Summary]:
        if isinstance(index, slice):
            return tuple(self)[index]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return next(islice(self, index % self._length, None))

    def has(self, name: ProjectName) -> bool:
        """Return whether a project of this name is in the list."""
        return self.find(name) is not None

    def find(self, name: ProjectName) -> Summary | None:
        """Return the summary of the project, or None if it is not in the list."""
        number = bisect_left(self.runs, name, key=_last_of)
        run = self.runs[number] if number < len(self.runs) else ()
        place = bisect_left(run, name, key=name_of)
        return run[place] if place < len(run) and run[place].name == name else None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Summaries):
            return self.runs == other.runs
        return (
            isinstance(other, Sequence)
            and len(other) == self._length
            and all(map(Summary.__eq__, self, other))
        )

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none


def cut(ordered: Iterable[Summary]) -> Iterator[Run]:
    """Split ordered summaries into runs."""
    run: list[Summary] = []
    for summary in ordered:
        run.append(summary)
        if ends_run(summary.name):
            yield tuple(run)
            run.clear()
    if run:
        yield tuple(run)


def only(run: Run, stays: Callable[[Summary], bool]) -> Run:
    """Return the items of a run that stay; the run itself if all do."""
    kept = tuple(filter(stays, run))
    return run if len(kept) == len(run) else kept


def in_runs(ordered: Sequence[Summary]) -> Summaries:
    """Return the summaries split into runs; `Summaries` are returned unchanged."""
    return ordered if isinstance(ordered, Summaries) else Summaries(tuple(cut(ordered)))


def differing(old: Summaries, new: Summaries) -> tuple[set[ProjectName], set[ProjectName]]:
    """Return the names whose lines are new or changed, and those that are removed; runs that are
    the same object are skipped.
    """
    if old is new:
        return set(), set()
    before, after = {id(run) for run in old.runs}, {id(run) for run in new.runs}
    had = {summary.name: summary for run in old.runs if id(run) not in after for summary in run}
    has = {summary.name: summary for run in new.runs if id(run) not in before for summary in run}
    return {
        name for name, summary in has.items() if had.get(name) != summary
    }, had.keys() - has.keys()


class MutableSummaries:
    """A mutable list of projects, by name and in order. The initial mapping is changed in place."""

    def __init__(self, heads: dict[ProjectName, Summary] | None = None) -> None:
        self.heads: dict[ProjectName, Summary] = {} if heads is None else heads
        """Read-only for callers."""
        self._runs = list(cut(map(self.heads.__getitem__, sorted(self.heads))))
        self._ends = [run[-1].name for run in self._runs]
        self._summaries: Summaries | None = None

    def __len__(self) -> int:
        return len(self.heads)

    def put(self, summary: Summary) -> None:
        """Add the summary, in place of an older one of this name."""
        name = summary.name
        old = self.heads.get(name)
        if old == summary:
            return
        self.heads[name] = summary
        number, run, place = self._find(name)
        changed = (*run[:place], summary, *run[place + (old is not None) :])
        # of the run's names only the last one ended it before
        is_split = old is None and place < len(run) and ends_run(name)
        runs = (changed[: place + 1], changed[place + 1 :]) if is_split else (changed,)
        self._replace(number, number + 1, runs)

    def drop(self, name: ProjectName) -> None:
        """Remove the project. Raises `KeyError` if it is not in the list."""
        del self.heads[name]
        number, run, place = self._find(name)
        rest = (*run[:place], *run[place + 1 :])
        if ends_run(name):  # the names that follow belong to this run now
            following = self._runs[number + 1] if number + 1 < len(self._runs) else ()
            self._replace(number, number + 2, [rest + following] if rest or following else [])
        else:
            self._replace(number, number + 1, [rest] if rest else [])

    def summaries(self) -> Summaries:
        """Return the current list; the same object until something changes."""
        if self._summaries is None:
            self._summaries = Summaries(tuple(self._runs))
        return self._summaries

    def _find(self, name: ProjectName) -> tuple[int, Run, int]:
        """Return the index of the run that the name is in, or belongs into, the run, and the
        position in it; a new run after the last, if that one has ended.
        """
        number = bisect_left(self._ends, name)
        if number == len(self._runs) and number and not ends_run(self._ends[-1]):
            number -= 1
        run = self._runs[number] if number < len(self._runs) else ()
        return number, run, bisect_left(run, name, key=name_of)

    def _replace(self, start: int, stop: int, runs: Iterable[Run]) -> None:
        self._runs[start:stop] = runs = tuple(runs)
        self._ends[start:stop] = [run[-1].name for run in runs]
        self._summaries = None


# --- lists that are made of lists -----------------------------------------------------------------


_Key = tuple[object, ...]


@define(eq=False)
class _Joints:
    """Joins parts of runs into runs; those that it joined the last time stay the same objects."""

    _last: Mapping[tuple[int, ...], tuple[list[Run], Run]] = field(
        factory=dict, init=False, repr=False
    )

    def joined(self, pieces: Iterable[Run]) -> Summaries:
        """Return the list of these parts, in order; where a run ends a part ends."""
        made: dict[tuple[int, ...], tuple[list[Run], Run]] = {}
        runs: list[Run] = []
        pending: list[Run] = []

        def join() -> None:
            nonlocal pending
            key = tuple(map(id, pending))
            known = self._last.get(key)
            run = (
                pending[0]
                if len(pending) == 1
                else known[1]
                if known
                else tuple(chain.from_iterable(pending))
            )
            made[key] = (pending, run)  # keeps the parts alive, so that their ids stay valid
            runs.append(run)
            pending = []

        for piece in pieces:
            if piece:
                pending.append(piece)
                if ends_run(piece[-1].name):
                    join()
        if pending:
            join()
        self._last = made
        return Summaries(tuple(runs))


@define(eq=False)
class Sieve:
    """A filter of a list that processes only runs that it did not see the last time."""

    _keep: Callable[[Run], Run] = field(repr=False)
    """Return the items of a run that stay, in order; the run itself if all do."""
    _last: Mapping[int, tuple[Run, Run]] = field(factory=dict, init=False, repr=False)
    _joints: _Joints = field(factory=_Joints, init=False, repr=False)

    def of(self, names: Summaries) -> Summaries:
        """Return the list of the items that stay; the same object if all do."""
        last = self._last
        made = {id(run): last.get(id(run)) or (run, self._keep(run)) for run in names.runs}
        self._last = made
        if all(run is kept for run, kept in made.values()):
            return names
        return self._joints.joined(kept for _, kept in made.values())


@define(eq=False)
class Merger:
    """A combination of two lists that processes only parts that it did not see the last time."""

    _merge: Callable[[Run, Run], Run] = field(repr=False)
    """Combine a stretch of both lists, from one name to another; deterministic."""
    _last: Mapping[_Key, tuple[Run, Run, Run]] = field(factory=dict, init=False, repr=False)
    _joints: _Joints = field(factory=_Joints, init=False, repr=False)

    def of(self, one: Summaries, other: Summaries) -> Summaries:
        """Return the two lists combined."""
        last = self._last
        made: dict[_Key, tuple[Run, Run, Run]] = {}
        for first, second, low, high in _stretches(one, other):
            key = (id(first), id(second), low, high)
            made[key] = last.get(key) or (
                first,
                second,
                self._merge(_between(first, low, high), _between(second, low, high)),
            )
        self._last = made
        return self._joints.joined(blended for *_, blended in made.values())


def _stretches(one: Summaries, other: Summaries) -> Iterator[tuple[Run, Run, str, str]]:
    """Yield both lists in parallel, cut wherever either is: the run of each, and the names that
    bound the stretch, after the first up to the second; the first is "" at the start.
    """
    low = ""
    ones, others = list(one.runs), list(other.runs)
    first = second = 0
    while first < len(ones) or second < len(others):
        these = ones[first] if first < len(ones) else ()
        those = others[second] if second < len(others) else ()
        ends = [run[-1].name for run in (these, those) if run]
        high = min(ends)
        yield these, those, low, high
        first += bool(these) and these[-1].name == high
        second += bool(those) and those[-1].name == high
        low = high


def _between(run: Run, low: str, high: str) -> Run:
    """Return the items after `low`, up to and including `high`."""
    if not run or (run[0].name > low and run[-1].name <= high):
        return run
    start = bisect_left(run, low, key=name_of)
    start += start < len(run) and run[start].name == low
    stop = bisect_left(run, high, key=name_of)
    stop += stop < len(run) and run[stop].name == high
    return run[start:stop]

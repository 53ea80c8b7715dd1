"""Lists of projects in runs: whatever happens to them, they are what they would be if they were
made anew.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core import summaries
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.summaries import (
    Merger,
    MutableSummaries,
    Run,
    Sieve,
    Summaries,
    differing,
    ends_run,
    in_runs,
    name_of,
    only,
)

modest = settings(max_examples=30, deadline=None, database=None)
NAMES = [ProjectName(f"p{number:02}") for number in range(40)]
numbers = st.sampled_from(NAMES)
changes = st.lists(st.tuples(numbers, st.one_of(st.none(), st.integers(0, 9))), max_size=60)
"""Each a name, and the serial that it gets, or None where it goes."""


def change(roll: MutableSummaries, name: ProjectName, serial: int | None) -> None:
    """Do one of them."""
    if serial is not None:
        roll.put(Summary(name, serial))
    elif name in roll.heads:
        roll.drop(name)


class Short(SynchronousTestCase):
    """With runs of some three names, so that a few dozen names are a long list."""

    def setUp(self) -> None:
        self.patch(summaries, "RUN", 3)

    def is_anew(self, names: Summaries, expected: dict[Any, Summary]) -> None:
        """The list has these, and is cut as if it had just been made of them."""
        ordered = tuple(sorted(expected.values(), key=name_of))
        self.assertEqual(tuple(names), ordered)
        self.assertEqual(names.runs, in_runs(ordered).runs)


class RollTests(Short):
    """`MutableSummaries`."""

    @modest
    @given(changes)
    def test_any(self, some: list[tuple[ProjectName, int | None]]) -> None:
        """After each change it is what one of the same projects is that begins with them; a list
        that was taken stays.
        """
        roll, held = MutableSummaries(), dict[ProjectName, Summary]()
        for name, serial in some:
            before, was = roll.summaries(), tuple(roll.summaries())
            change(roll, name, serial)
            held.pop(name, None)
            if serial is not None:
                held[name] = Summary(name, serial)
            self.is_anew(roll.summaries(), held)
            self.assertEqual(tuple(before), was)
        self.assertEqual(MutableSummaries(dict(held)).summaries(), roll.summaries())
        self.assertEqual(roll.heads, held)

    def test_costs_a_run(self) -> None:
        """A change leaves all runs but its own the same objects, and the list the same where
        nothing changes.
        """
        roll = MutableSummaries({name: Summary(name, 1) for name in NAMES})
        before = roll.summaries()
        roll.put(Summary(NAMES[20], 1))
        self.assertIs(roll.summaries(), before)
        roll.put(Summary(NAMES[20], 2))
        after = roll.summaries()
        self.assertGreater(len(after.runs), 5)
        self.assertEqual(
            sum(one is not other for one, other in zip(before.runs, after.runs, strict=True)), 1
        )

    def test_not_there(self) -> None:
        """Nothing goes that is not there."""
        self.assertRaises(KeyError, MutableSummaries().drop, NAMES[0])


class SequenceTests(Short):
    """`Summaries`."""

    @modest
    @given(st.sets(numbers), st.integers(-50, 50), st.slices(50))
    def test_as_a_tuple(self, names: set[ProjectName], index: int, some: slice) -> None:
        """It is what a tuple of the same would be."""
        made = tuple(Summary(name, 1) for name in sorted(names))
        found = in_runs(made)
        self.assertEqual(
            (len(found), list(found), found[some]), (len(made), list(made), made[some])
        )
        self.assertTrue(found == made == in_runs(made) and found == list(made))
        self.assertFalse(found == (*made, Summary(ProjectName("z"), 1)) or found == 3)
        self.assertIs(in_runs(found), found)
        if -len(made) <= index < len(made):
            self.assertEqual(found[index], made[index])
        else:
            self.assertRaises(IndexError, found.__getitem__, index)

    @modest
    @given(st.sets(numbers))
    def test_has(self, names: set[ProjectName]) -> None:
        """It has the projects that are in it, and no others."""
        found = in_runs(tuple(Summary(name, 1) for name in sorted(names)))
        self.assertEqual(
            {name for name in (*NAMES, ProjectName("a"), ProjectName("z")) if found.has(name)},
            names,
        )

    @modest
    @given(changes, changes)
    def test_differing(
        self, some: list[tuple[ProjectName, int | None]], more: list[tuple[ProjectName, int | None]]
    ) -> None:
        """Between two lists are those that are new or others, and those that are gone."""
        roll = MutableSummaries()
        for name, serial in some:
            change(roll, name, serial)
        old, had = roll.summaries(), dict(roll.heads)
        for name, serial in more:
            change(roll, name, serial)
        changed, gone = differing(old, roll.summaries())
        self.assertEqual(
            changed, {name for name, summary in roll.heads.items() if had.get(name) != summary}
        )
        self.assertEqual(gone, had.keys() - roll.heads.keys())


class SieveTests(Short):
    """`Sieve`."""

    @modest
    @given(changes, st.frozensets(numbers))
    def test_any(
        self, some: list[tuple[ProjectName, int | None]], hidden: frozenset[ProjectName]
    ) -> None:
        """After each change what stays is what would stay of a new list, cut as if there had never
        been anything else.
        """
        roll, sieve = (
            MutableSummaries(),
            Sieve(lambda run: only(run, lambda summary: summary.name not in hidden)),
        )
        for name, serial in some:
            change(roll, name, serial)
            found = sieve.of(roll.summaries())
            self.is_anew(
                found, {each.name: each for each in roll.summaries() if each.name not in hidden}
            )

    def test_only_what_changed(self) -> None:
        """Only runs that are new are gone through; what stays of the others is the same objects."""
        gone_through: list[Run] = []
        ending = next(name for name in NAMES[10:] if ends_run(name))  # two runs are one without it

        def keep(run: Run) -> Run:
            gone_through.append(run)
            return only(run, lambda summary: summary.name != ending)

        roll, sieve = MutableSummaries({name: Summary(name, 1) for name in NAMES}), Sieve(keep)
        before = sieve.of(roll.summaries())
        roll.put(Summary(NAMES[-1], 2))
        gone_through.clear()
        after = sieve.of(roll.summaries())
        self.assertEqual(gone_through, [roll.summaries().runs[-1]])
        self.assertEqual(
            [one is other for one, other in zip(before.runs, after.runs, strict=True)].count(False),
            1,
        )
        all_of_it = Sieve(lambda run: run)
        self.assertIs(all_of_it.of(roll.summaries()), roll.summaries())


class MergerTests(Short):
    """`Merger`."""

    @modest
    @given(
        st.lists(
            st.tuples(st.booleans(), numbers, st.one_of(st.none(), st.integers(0, 9))), max_size=60
        )
    )
    def test_any(self, some: list[tuple[bool, ProjectName, int | None]]) -> None:
        """After each change of either list it is what a blend of new ones is; here, what one of
        them has.
        """
        rolls = MutableSummaries(), MutableSummaries()
        merger = Merger(_either)
        for which, name, serial in some:
            change(rolls[which], name, serial)
            one, other = (roll.heads for roll in rolls)
            expected = {name: {**one, **other}[name] for name in one.keys() ^ other.keys()}
            self.is_anew(merger.of(rolls[0].summaries(), rolls[1].summaries()), expected)

    def test_only_what_changed(self) -> None:
        """Only stretches of which a run is new are gone through."""
        stretches = 0

        def counted(one: Run, other: Run) -> Run:
            nonlocal stretches
            stretches += 1
            return _either(one, other)

        ours, theirs = (
            MutableSummaries({name: Summary(name, 1) for name in NAMES[start::2]})
            for start in (0, 1)
        )
        merger = Merger(counted)
        merger.of(ours.summaries(), theirs.summaries())
        everything, stretches = stretches, 0
        ours.put(Summary(NAMES[20], 2))
        merger.of(ours.summaries(), theirs.summaries())
        self.assertTrue(0 < stretches < everything // 2, (stretches, everything))


def _either(one: Run, other: Run) -> Run:
    """Those that are in one of them only."""
    found = {summary.name: summary for summary in (*one, *other)}
    for both in {summary.name for summary in one} & {summary.name for summary in other}:
        del found[both]
    return tuple(sorted(found.values(), key=name_of))

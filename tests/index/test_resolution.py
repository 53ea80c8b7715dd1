"""Impossible lines are found, and the others are resolved together."""

from collections.abc import Sequence

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unresolvable
from pypid.core.packaging.install_targets import InstallTarget, target
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.requirements import parse_requirements
from pypid.flow import start
from pypid.index.resolution import MOST_RUNS, NOT_TRIED, LineResolution

LINUX = target("linux", "3.12")


@define
class Picky:
    """Cannot resolve `impossible`, nor two of the `rivals` together."""

    impossible: frozenset[str] = frozenset()
    rivals: frozenset[str] = frozenset()
    runs: list[Sequence[str]] = field(factory=list)

    async def resolve(
        self, requirements: Sequence[str], target: InstallTarget, *, prereleases: bool
    ) -> Sequence[tuple[ProjectName, str]]:
        self.runs.append(requirements)
        wanted = set(requirements)
        if wanted & self.impossible:
            raise Unresolvable(f"{min(wanted & self.impossible)} cannot be")
        if len(wanted & self.rivals) > 1:
            raise Unresolvable("they exclude each other")
        return [(project_name(name), "1.0") for name in requirements]


def resolved(resolver: Picky, names: Sequence[str]) -> LineResolution:
    lines = LineResolution(resolver, LINUX, False)
    failures: list[object] = []
    start(lines.resolve(parse_requirements("\n".join(names)).wanted)).addErrback(failures.append)
    assert not failures, failures
    return lines


NAMES = st.lists(st.sampled_from([f"p{number}" for number in range(24)]), unique=True, max_size=24)


class LinesTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None, database=None)
    @given(NAMES, st.sets(st.integers(0, 23)), st.sets(st.integers(0, 23), max_size=4))
    def test_isolated(self, names: list[str], impossible: set[int], rivals: set[int]) -> None:
        """Exactly the impossible lines fail, and of lines that exclude each other all but the
        first; the rest is resolved.
        """
        resolver = Picky(
            frozenset(f"p{n}" for n in impossible), frozenset(f"p{n}" for n in rivals - impossible)
        )
        lines = resolved(resolver, names)
        second = [name for name in names if name in resolver.rivals][1:]
        failed = {name for name in names if name in resolver.impossible or name in second}
        self.assertEqual({line.project for line, _ in lines.failed}, failed)
        self.assertEqual({pin.project for pin in lines.pins}, set(names) - failed)
        for line, problem in lines.failed:
            self.assertEqual((problem.line, problem.target), (line.line, LINUX))
            self.assertIn(problem.reason, (f"{line.project} cannot be", "they exclude each other"))

    def test_bounded(self) -> None:
        """However many lines are bad, the resolver is asked a bounded number of times, and each
        line is told.
        """
        names = [f"n{number}" for number in range(1000)]
        resolver = Picky(frozenset(names))
        lines = resolved(resolver, names)
        self.assertEqual(len(resolver.runs), MOST_RUNS)
        self.assertEqual({line.project for line, _ in lines.failed}, set(names))
        self.assertTrue(any(problem.reason == NOT_TRIED for _, problem in lines.failed))

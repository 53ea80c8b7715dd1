"""Resolution of requirements together when some may be impossible: those are found, and the rest is
resolved.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from pypid.core.errors import Unresolvable
from pypid.core.packaging.collection import Problem
from pypid.core.packaging.install_targets import InstallTarget
from pypid.core.packaging.lock_files import Pin
from pypid.core.packaging.requirements import RequirementLine
from pypid.ports import Resolver

MOST_RUNS = 200
"""Maximum number of resolver runs per target: enough for some 25 impossible lines among 2,000."""
NOT_TRIED = (
    "it was not tried: too many of the other lines cannot be resolved. Correct those, and collect "
    "again."
)


@define
class LineResolution:
    """The resolution of many lines for one target."""

    resolver: Resolver
    target: InstallTarget
    prereleases: bool
    pins: tuple[Pin, ...] = field(default=(), init=False)
    """The pins of the lines that can be resolved together."""
    failed: list[tuple[RequirementLine, Problem]] = field(factory=list, init=False)
    _good: list[RequirementLine] = field(factory=list, init=False)

    async def resolve(self, wanted: Sequence[RequirementLine]) -> None:
        """Resolve as many lines as are compatible. Of two lines that exclude each other the first
        one is resolved.

        A part that fails is halved until a single failing line remains; lines known to be good are
        always included, so that the last result covers all good lines.
        """
        todo = [list(wanted)] if wanted else []
        for _ in range(MOST_RUNS):
            if not todo:
                return
            part = todo.pop()
            try:
                await self._try(part)
            except Unresolvable as error:
                if len(part) == 1:
                    self._fail(part[0], error.reason)
                else:
                    half = len(part) // 2
                    todo += (part[half:], part[:half])
        for part in reversed(todo):
            for line in part:
                self._fail(line, NOT_TRIED)

    async def _try(self, part: Sequence[RequirementLine]) -> None:
        together = [*self._good, *part]
        found = await self.resolver.resolve(
            [line.text for line in together], self.target, prereleases=self.prereleases
        )
        self.pins = tuple(Pin(project, version) for project, version in found)
        self._good = together

    def _fail(self, line: RequirementLine, reason: str) -> None:
        self.failed.append((line, Problem(line.line, reason, self.target)))

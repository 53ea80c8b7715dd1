"""Results of checks, and running checks side by side in bounded time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum

from attrs import frozen
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.logger import Logger

from pypid.core.errors import PypidError
from pypid.flow import World, start

LIMIT = 10.0
"""Seconds that one check may take."""
_log = Logger()


class Severity(Enum):
    """What a result means for production."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@frozen
class CheckResult:
    """A fact that a check found, and what to do about it."""

    area: str
    severity: Severity
    text: str
    advice: str = ""


@frozen
class Area:
    """Makes the results of one area."""

    name: str

    def ok(self, text: str) -> CheckResult:
        """Return the result of a check that passed."""
        return CheckResult(self.name, Severity.OK, text)

    def warning(self, text: str, advice: str) -> CheckResult:
        """Return a result that does not stop production."""
        return CheckResult(self.name, Severity.WARNING, text, advice)

    def problem(self, text: str, advice: str) -> CheckResult:
        """Return a result that has to be corrected before production."""
        return CheckResult(self.name, Severity.PROBLEM, text, advice)


Check = Callable[[], Awaitable[Iterable[CheckResult]]]


async def run_checks(
    checks: Sequence[tuple[str, Check]], world: World, on_done: Callable[[int], object]
) -> Sequence[CheckResult]:
    """Return the results of all checks, in their order. They run side by side, each for at most
    `LIMIT` seconds; `on_done` gets the number of those that are done.
    """
    done = 0

    def count(results: Sequence[CheckResult]) -> Sequence[CheckResult]:
        nonlocal done
        done += 1
        on_done(done)
        return results

    running = [start(_run(name, check, world)).addCallback(count) for name, check in checks]
    gathered: Deferred[list[Sequence[CheckResult]]] = gatherResults(running)
    return [result for results in await gathered for result in results]


async def _run(name: str, check: Check, world: World) -> Sequence[CheckResult]:
    area = Area(name)

    async def work() -> Sequence[CheckResult]:
        return tuple(await check())

    try:
        return await start(work()).addTimeout(LIMIT, world.clock)
    except TimeoutError:
        text = f"no answer within {LIMIT:g} s"
        return (area.problem(text, "Check the network, and that the service runs."),)
    except PypidError as error:
        return (area.problem(str(error), "Correct this, and run the command again."),)
    except Exception as error:
        _log.failure("a check failed")
        text = f"the check itself failed ({type(error).__name__}: {error})"
        return (area.problem(text, "Report this as a defect of pypid."),)

"""Checks of a machine before production, on a stopped and on a running pypid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pypid.core.configuration.lookup import display_name
from pypid.daemon.state import where
from pypid.wiring.checks.start_check import check_file
from pypid.wiring.doctor.machine import MachineChecks
from pypid.wiring.doctor.report import Area, Check, CheckResult, Severity, run_checks
from pypid.wiring.doctor.services import ServiceChecks, service_checks
from pypid.wiring.platform import Platform
from pypid.wiring.single_command import run

__all__ = ["CheckResult", "Severity", "examine"]


def examine(
    file: Path, platform: Platform, on_done: Callable[[int, int], object]
) -> Sequence[CheckResult]:
    """Return the results of all checks of the configuration and of this machine. Runs the reactor,
    once. `on_done` gets the number of finished checks, and of all. Raises `BadConfig` for a file
    that cannot be read.
    """
    checked = check_file(file, platform)
    area = Area("configuration")
    results = [area.problem(str(problem), "") for problem in checked.problems]
    results += [area.warning(str(warning), "") for warning in checked.warnings]
    if checked.problems:
        results.append(area.problem("the other checks need a valid configuration", ""))
        return results
    if not results:
        results.append(area.ok(f"valid: {display_name(file)}"))
    config, paths = checked.config, where(checked.config, platform.environ)
    world, reactor = platform.world, platform.reactor
    checks: list[tuple[str, Check]] = [
        (name, partial(world.blocking, _all, check))
        for name, check in _machine_checks(MachineChecks(config, paths, reactor, world.now()))
    ]
    checks += service_checks(ServiceChecks(config, paths, world, reactor))

    async def work() -> Sequence[CheckResult]:
        return await run_checks(checks, world, lambda done: on_done(done, len(checks)))

    return [*results, *run(reactor, work)]


def _machine_checks(
    checks: MachineChecks,
) -> Iterator[tuple[str, Callable[[], Iterator[CheckResult]]]]:
    yield "versions", checks.versions
    yield "limits", checks.limits
    yield "folders", checks.folders
    yield "catalog", checks.catalog_dump
    yield "accounts", checks.administrators
    yield "backup", checks.backup
    yield "advisories", checks.advisories


def _all(check: Callable[[], Iterator[CheckResult]]) -> Sequence[CheckResult]:
    return tuple(check())

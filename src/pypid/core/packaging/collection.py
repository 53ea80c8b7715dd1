"""What is to be collected, and what became of it. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen

from pypid.core.packaging.install_targets import InstallTarget
from pypid.core.packaging.lock_files import Lock, Pin
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.requirements import RequirementLine, Requirements


@frozen
class CollectOptions:
    """What somebody wants to have here: requirements, which have to be resolved, and locks, which
    are; for each target.
    """

    requirements: Requirements
    locks: tuple[Lock, ...]
    targets: tuple[InstallTarget, ...]
    lines: Mapping[InstallTarget, tuple[RequirementLine, ...]] = field(hash=False)
    """Those of the requirements whose markers hold there."""


class CollectOutcome(Enum):
    """What became of a file."""

    KEPT = "kept"
    """It was fetched, and is stored now."""
    HAD = "had"
    """It was stored before, or is ours."""
    REFUSED = "refused"
    """A rule of this index, or a hash that somebody gave, is against it."""
    FAILED = "failed"
    """It could not be fetched."""


@frozen(kw_only=True)
class FileReport:
    """One file. `needs_build`: an installer has to build it (it is an sdist). `reason`: why it is
    not here, else empty.
    """

    project: ProjectName
    version: str
    filename: str
    targets: tuple[InstallTarget, ...]
    outcome: CollectOutcome
    needs_build: bool = False
    reason: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it can be installed from here now."""
        return self.outcome in (CollectOutcome.KEPT, CollectOutcome.HAD)


@frozen
class Problem:
    """Why a line was not collected, or not wholly. `target` is None where it is so for
    all of them.
    """

    line: str
    reason: str
    target: InstallTarget | None = None


@frozen
class Collected:
    """The whole outcome."""

    files: tuple[FileReport, ...]
    failed: tuple[Problem, ...]
    requirements: Requirements
    resolved: tuple[Resolved, ...]

    @property
    def complete(self) -> bool:
        """Whether all that was asked for is here."""
        return (
            not self.failed
            and not self.requirements.unparseable
            and all(file.is_here for file in self.files)
        )


# --- how far it is --------------------------------------------------------------------------------


@frozen
class Resolving:
    """It is worked out what a target needs. `seconds`: for how long already; said
    again and again.
    """

    target: InstallTarget
    seconds: float


@frozen
class Resolved:
    """What a target needs."""

    target: InstallTarget
    pins: tuple[Pin, ...] = field(repr=False)


@frozen
class FileDone:
    """One of the files is settled: the `done`-th of `of`."""

    report: FileReport
    done: int
    of: int


Event = Resolving | Resolved | FileDone

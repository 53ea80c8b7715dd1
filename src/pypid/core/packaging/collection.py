"""The request and the result of a collection. Pure values."""

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
    """What to collect: requirements, which have to be resolved, and lock files, which are; for each
    target.
    """

    requirements: Requirements
    locks: tuple[Lock, ...]
    targets: tuple[InstallTarget, ...]
    lines: Mapping[InstallTarget, tuple[RequirementLine, ...]] = field(hash=False)
    """The requirement lines whose markers hold there."""


class CollectOutcome(Enum):
    """The outcome for a file."""

    KEPT = "kept"
    """It was fetched, and is stored now."""
    HAD = "had"
    """It was stored before, or is local."""
    REFUSED = "refused"
    """Refused by a rule of this index, or by a hash in the request."""
    FAILED = "failed"
    """It could not be fetched."""


@frozen(kw_only=True)
class FileReport:
    """The report on one file. `needs_build`: an installer has to build it (it is an sdist).
    `reason`: why it is not here, else empty.
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
    """Why a line was not collected, or not completely. `target` is None if it concerns all
    of them.
    """

    line: str
    reason: str
    target: InstallTarget | None = None


@frozen
class Collected:
    """The whole result."""

    files: tuple[FileReport, ...]
    failed: tuple[Problem, ...]
    requirements: Requirements
    resolved: tuple[Resolved, ...]

    @property
    def complete(self) -> bool:
        """Whether everything requested is here."""
        return (
            not self.failed
            and not self.requirements.unparseable
            and all(file.is_here for file in self.files)
        )


# --- how far it is --------------------------------------------------------------------------------


@frozen
class Resolving:
    """Progress: a target is being resolved. `seconds`: for how long already; sent repeatedly."""

    target: InstallTarget
    seconds: float


@frozen
class Resolved:
    """Progress: the pins that a target needs."""

    target: InstallTarget
    pins: tuple[Pin, ...] = field(repr=False)


@frozen
class FileDone:
    """Progress: one of the files is done, the `done`-th of `of`."""

    report: FileReport
    done: int
    of: int


Event = Resolving | Resolved | FileDone

"""Storage classes: which files go into a cheaper one, and which of the classes
are archives. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from attrs import frozen
from packaging.version import Version

from pypid.core.errors import BadRequest
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, version_key, version_of

ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""What lies in these cannot be read before it was restored, which takes hours. (GLACIER_IR is none
of them.)
"""
STANDARD = "STANDARD"
"""The class of what has none."""
_CLASS = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")


@frozen
class TieringRule:
    """Files go into `storage_class` that are older than `older_than` and not of the newest `keep`
    versions.
    """

    older_than: timedelta
    keep: int
    storage_class: str

    def __attrs_post_init__(self) -> None:
        """Raises `BadRequest`, which says what is allowed."""
        if not _CLASS.match(self.storage_class):
            raise BadRequest(
                f"{self.storage_class[:80]!r} is not a storage class: they are spelled like "
                f"GLACIER_IR."
            )
        if self.keep < 0:
            raise BadRequest("The number of versions to keep is 0 or more.")
        if self.older_than < timedelta():
            raise BadRequest("The age is 0 or more.")


def due(files: Iterable[File], rule: TieringRule, now: datetime) -> tuple[File, ...]:
    """The files of one project that the rule is for, in their order.

    Of the newest versions there are two lists: of all, and of those that an installer takes by
    itself (no pre-release, not yanked). A file stays that is in either: ten betas do not drive out
    the release that everybody installs.
    """
    files = tuple(files)
    kept = _newest(files, rule.keep) | _newest(
        (file for file in files if _is_taken(file)), rule.keep
    )
    return tuple(
        file for file in files if _release(file) not in kept and _age(file, now) > rule.older_than
    )


def _newest(files: Iterable[File], keep: int) -> set[tuple[int, Any]]:
    versions = {_release(file) for file in files}
    return set(sorted(versions)[len(versions) - keep :] if keep < len(versions) else versions)


def _release(file: File) -> tuple[int, Any]:
    """The version without its local part: 1.0+cpu and 1.0+cu118 are one release, made for different
    machines.
    """
    kind, version = version_key(file.version)
    return (kind, version_of(version.public)) if isinstance(version, Version) else (kind, version)


def _is_taken(file: File) -> bool:
    _, version = version_key(file.version)
    return file.yanked is None and isinstance(version, Version) and not version.is_prerelease


def _age(file: File, now: datetime) -> timedelta:
    """Since it was published; a file of which nobody knows when that was is new."""
    return timedelta() if file.uploaded is None else now - file.uploaded


class TieringOutcome(Enum):
    """What became of a file; the values are words for programs."""

    MOVED = "moved"
    WOULD_MOVE = "would-move"
    """In a dry run."""
    THERE = "there"
    """It is in that class already."""
    ARCHIVED = "archived"
    """It lies in an archive, and has to be restored before it can go anywhere else."""
    FAILED = "failed"


@frozen(kw_only=True)
class Moved:
    """One file that was due. `size` in bytes; `before` is the class that it was in; `reason`: why
    it failed, else empty.
    """

    project: ProjectName
    filename: str
    size: int
    before: str
    outcome: TieringOutcome
    reason: str = ""


@frozen
class Tiered:
    """What a run did: how many projects and files it looked at, and each file that was due."""

    projects: int
    files: int
    moved: tuple[Moved, ...]

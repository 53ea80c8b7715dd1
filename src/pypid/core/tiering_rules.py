"""Rules for storage classes: which files move to a cheaper one, and what is an archive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from attrs import frozen
from packaging.version import Version

from pypid.core.errors import BadRequest
from pypid.core.model import F, File
from pypid.core.packaging.names import ProjectName, version_key, version_of

ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Classes whose blobs take hours to be restored before a read. (Not GLACIER_IR.)"""
STANDARD = "STANDARD"
"""The class of blobs without one."""
_CLASS = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")


@frozen
class TieringRule:
    """A rule that moves files into `storage_class` if they are older than `older_than` and not of
    the newest `keep` versions.
    """

    older_than: timedelta
    keep: int
    storage_class: str

    def __attrs_post_init__(self) -> None:
        """Raise `BadRequest`, which says what is allowed, if a value is invalid."""
        if not _CLASS.match(self.storage_class):
            raise BadRequest(
                f"{self.storage_class[:80]!r} is not a storage class: they are spelled like "
                f"GLACIER_IR."
            )
        if self.keep < 0:
            raise BadRequest("The number of versions to keep is 0 or more.")
        if self.older_than < timedelta():
            raise BadRequest("The age is 0 or more.")


def due(files: Iterable[F], rule: TieringRule, now: datetime) -> tuple[F, ...]:
    """Return the files of one project that the rule applies to, in their order.

    The newest versions are computed twice: of all, and of those that an installer selects by itself
    (no pre-release, not yanked). A file in either stays: ten betas do not push out the release that
    users install.
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
    """Return the version without its local part: 1.0+cpu and 1.0+cu118 are one release, made for
    different machines.
    """
    kind, version = version_key(file.version)
    return (kind, version_of(version.public)) if isinstance(version, Version) else (kind, version)


def _is_taken(file: File) -> bool:
    _, version = version_key(file.version)
    return file.yanked is None and isinstance(version, Version) and not version.is_prerelease


def _age(file: File, now: datetime) -> timedelta:
    """Return the time since publication; a file of unknown upload time counts as new."""
    return timedelta() if file.uploaded is None else now - file.uploaded


class TieringOutcome(Enum):
    """The result for a file; the values are words for programs."""

    MOVED = "moved"
    WOULD_MOVE = "would-move"
    """The file would move (dry run)."""
    THERE = "there"
    """The file is in that class already."""
    ARCHIVED = "archived"
    """The file is in an archive, and has to be restored before it can move."""
    FAILED = "failed"


@frozen(kw_only=True)
class Moved:
    """A file that was due. `size` in bytes; `before`: its former class; `reason`: of a failure."""

    project: ProjectName
    filename: str
    size: int
    before: str
    outcome: TieringOutcome
    reason: str = ""


@frozen
class Tiered:
    """The result of a run: numbers of projects and files examined, and the files that were due."""

    projects: int
    files: int
    moved: tuple[Moved, ...]

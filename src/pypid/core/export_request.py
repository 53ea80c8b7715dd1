"""Requests for an export and their results. Pure; shared by the callers that request an export and
the code that writes it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from posixpath import normpath

from attrs import frozen


@frozen(kw_only=True)
class ExportWanted:
    """The options of an export. `target`: an absolute folder, or ``s3://bucket/prefix``.
    `files_url` and `signed` exclude each other. `verifies`: also compare the pages of projects that
    have not changed since the last export.
    """

    target: str
    copies: bool = False
    files_url: str | None = None
    signed: bool = False
    as_user: str | None = None
    clears: bool = False
    dated: bool = True
    releases: bool = True
    verifies: bool = False
    index: str = ""
    """The named index that is exported; empty: the default one."""


@frozen(kw_only=True)
class Exported:
    """The result of an export. `hidden`: projects that the export's user cannot see; `left`:
    projects that are still there but no longer visible; `unchanged`: projects that have not changed
    since the last export, so that their pages were not compared; pages `written` or found the
    `same`, files `copied`, paths `removed`.
    """

    projects: int
    hidden: int
    left: int
    unchanged: int = 0
    written: int
    same: int
    copied: int
    removed: int


def bucket_of(target: str) -> tuple[str, str] | None:
    """Return the bucket and the prefix (empty, or with its last slash) of ``s3://bucket/prefix``;
    None for a folder.

    Raises `ValueError`, with advice.
    """
    if not target.startswith("s3:"):
        return None
    bucket, _, prefix = target.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not target.startswith("s3://") or not bucket or "//" in prefix:
        raise ValueError("a bucket is written as s3://bucket/prefix")
    return bucket, f"{prefix}/" if prefix else ""


def overlap(one: str, other: str) -> bool:
    """Return whether two absolute folders are the same, or one contains the other."""
    first, second = PurePosixPath(normpath(one)), PurePosixPath(normpath(other))
    return first.is_relative_to(second) or second.is_relative_to(first)


def overlap_of_prefixes(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two prefixes, each with its bucket, are equal, or one contains the other."""
    if one[0] != other[0]:
        return False
    return one[1].startswith(other[1]) or other[1].startswith(one[1])

"""Requests for an export and their results."""

from __future__ import annotations

from pathlib import PurePosixPath
from posixpath import normpath

import msgspec


class Export(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of an export: its target, an absolute folder or ``s3://bucket/prefix``, and options.
    `files_url` and `signed_links` exclude each other. `verify`: also compare the pages of projects
    that have not changed since the last export. `index`: the named index to export; empty: the
    index at the root.
    """

    target: str
    copy_files: bool = False
    files_url: str | None = None
    signed_links: bool = False
    as_user: str | None = None
    delete: bool = False
    timestamp: bool = True
    per_release_json: bool = True
    verify: bool = False
    index: str = ""


class ExportedIndex(msgspec.Struct, frozen=True):
    """The result of an export. `hidden` projects are left out, since the user of the export may not
    see them; `left` ones are still in the target, though they are no longer visible; the pages of
    `unchanged` ones were not compared, since they have not changed since the last export.
    """

    target: str
    projects: int
    hidden: int
    left: int
    unchanged: int
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

"""Requests for an export and their results. Pure; shared by the callers that request an export and
the code that writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from posixpath import normpath

from attrs import frozen

from pypid.core.configuration.checks import nearest
from pypid.core.configuration.choices import AccessStore, StorageBackend
from pypid.core.configuration.keys import (
    AccessSettings,
    PublishSettings,
    ServerSettings,
    StorageSettings,
)

FIRST_ADMIN = "admin"
"""The user that a first run creates; no configuration names it."""


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


def misfits_of_publish(
    publish: PublishSettings,
    storage: StorageSettings,
    server: ServerSettings,
    access: AccessSettings,
    users: frozenset[str],
    indexes: Collection[str],
    ini: str,
) -> Iterator[tuple[str, str]]:
    """Yield the problems of `[publish]`: key and advice. `users`: those of the file `ini`;
    `indexes`: the names of its sections `[index:NAME]`.
    """
    if publish.target is None:
        return
    if publish.index is not None and publish.index not in indexes:
        advice = nearest(publish.index, indexes) or ""
        yield "index", f"there is no section [index:{publish.index}]{advice}"
    try:
        bucket = bucket_of(publish.target)
    except ValueError as error:
        yield "target", str(error)
        return
    if bucket is None:
        folders = {
            "storage": storage.path if storage.backend is StorageBackend.FILES else None,
            "state": server.state,
        }
        for what, folder in folders.items():
            if folder is not None and overlap(
                _relative_to_file(ini, publish.target), _relative_to_file(ini, folder)
            ):
                yield (
                    "target",
                    f"a tree of its own is needed: this is in, or around, the {what} folder",
                )
    elif storage.backend is StorageBackend.S3 and overlap_of_prefixes(
        bucket, (storage.bucket or "", storage.prefix or "")
    ):
        yield (
            "target",
            "a prefix of its own is needed: this one is in, or around, that of [storage]",
        )
    unknown = publish.as_user is not None and publish.as_user not in users | {FIRST_ADMIN}
    if unknown and access.backend == (AccessStore.CONFIG,):
        yield (
            "as_user",
            f"[users] has no {publish.as_user!r}, and [access] backend names no other source",
        )


def overlap(one: str, other: str) -> bool:
    """Return whether two absolute folders are the same, or one contains the other."""
    first, second = PurePosixPath(normpath(one)), PurePosixPath(normpath(other))
    return first.is_relative_to(second) or second.is_relative_to(first)


def overlap_of_prefixes(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two prefixes, each with its bucket, are equal, or one contains the other."""
    if one[0] != other[0]:
        return False
    return one[1].startswith(other[1]) or other[1].startswith(one[1])


def _relative_to_file(ini: str, path: str) -> str:
    return str(PurePosixPath("/", ini).parent / path)

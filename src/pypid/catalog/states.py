"""What the catalog derives from the state of a project: its head, what clients see of it, and its
weight in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve

from pypid.core.model import File, LocalProject, Status, Summary, UpstreamEntry
from pypid.core.records.table_keys import project_of
from pypid.core.simple_api.listed_files import ListedFiles
from pypid.core.simple_api.shown_files import weight_of
from pypid.ports import TableKey

HISTORY_WEIGHT = 500
"""Bytes that the history of a file takes in memory."""


def listed_files(entry: UpstreamEntry) -> Sequence[File] | None:
    """Return the files in the upstream listing; None if there is no listing, or no such project
    upstream.
    """
    return None if entry.listing is None else entry.listing.files


def count_for_writing(entry: UpstreamEntry) -> int:
    """Return how many files take as long to write as those of the entry: packed ones are copied."""
    listed = listed_files(entry) or ()
    return len(listed) // (16 if isinstance(listed, ListedFiles) else 1) + len(entry.kept)


def local_summary(key: TableKey, project: LocalProject) -> Summary:
    """Return what a project list says of a local project."""
    return Summary(key, project.serial, project.status)


def upstream_summary(key: TableKey, entry: UpstreamEntry) -> Summary:
    """Return what a project list says of an upstream project."""
    listing = entry.listing
    status = Status.ACTIVE if listing is None else listing.status
    gone = listing is not None and listing.files is None
    return Summary(key, entry.serial, status, kept=bool(entry.kept), gone=gone)


def same(old: LocalProject | None, new: LocalProject | None) -> bool:
    """Return whether both are equal, apart from the serial, which the catalog sets."""
    if old is None or new is None:
        return old is new
    return evolve(new, serial=old.serial) == old


def changed(
    key: TableKey,
    project: LocalProject | None,
    change: Callable[[LocalProject | None], LocalProject | None],
) -> LocalProject | None:
    """Return the result of the edit of a local project. Raises `ValueError` for another project."""
    new = change(project)
    if new is not None and new.name != project_of(key):
        raise ValueError(f"an edit of {key} returned the project {new.name}")
    return new


def visible_state(entry: UpstreamEntry) -> object:
    """Return the visible part of the entry: without the time of the request and the validators."""
    listing = entry.listing
    return (
        entry.kept,
        listing and (listing.files, listing.status, listing.status_reason),
        entry.history,
        entry.since,
    )


def local_weight(project: LocalProject) -> int:
    """Return how many bytes a local project takes in memory."""
    return weight_of(project.files) + HISTORY_WEIGHT * len(project.history)


def upstream_weight(entry: UpstreamEntry) -> int:
    """Return how many bytes an upstream entry takes in memory."""
    listed, history = listed_files(entry) or (), entry.history
    return weight_of(listed) + weight_of(entry.kept) + HISTORY_WEIGHT * len(history)

"""Derived values of the catalog's entries, shared by all implementations."""

from __future__ import annotations

from attrs import evolve

from pypid.core.model import File, Project, Status, Summary, UpstreamEntry


def files_said(heard: UpstreamEntry) -> tuple[File, ...] | None:
    """Return the files in the upstream listing; None if there is no listing, or no such project
    upstream.
    """
    return None if heard.said is None else heard.said.files


def files_of(heard: UpstreamEntry) -> int:
    """Return how many files the entry has."""
    return len(files_said(heard) or ()) + len(heard.kept)


def our_head(project: Project) -> Summary:
    """Return what a project list says of a local project."""
    return Summary(project.name, project.serial, project.status)


def their_head(heard: UpstreamEntry) -> Summary:
    """Return what a project list says of an upstream project."""
    said = heard.said
    status = Status.ACTIVE if said is None else said.status
    gone = said is not None and said.files is None
    return Summary(heard.name, heard.serial, status, kept=bool(heard.kept), gone=gone)


def same(old: Project | None, new: Project | None) -> bool:
    """Return whether both are equal, apart from the serial, which the catalog sets."""
    if old is None or new is None:
        return old is new
    return evolve(new, serial=old.serial) == old


def seen(heard: UpstreamEntry) -> object:
    """Return the visible part of the entry: without the time of the request and the validators."""
    said = heard.said
    return (
        heard.kept,
        said and (said.files, said.status, said.status_reason),
        heard.history,
        heard.since,
    )

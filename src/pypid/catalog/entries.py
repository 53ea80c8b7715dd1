"""What a catalog tells of the projects that it holds, wherever it holds them."""

from __future__ import annotations

from attrs import evolve

from pypid.core.model import File, Project, Status, Summary, UpstreamEntry


def files_said(heard: UpstreamEntry) -> tuple[File, ...] | None:
    """The files that another index says the project has; None where nobody knows, or there is no
    such project.
    """
    return None if heard.said is None else heard.said.files


def files_of(heard: UpstreamEntry) -> int:
    """How many files the entry has."""
    return len(files_said(heard) or ()) + len(heard.kept)


def our_head(project: Project) -> Summary:
    """What a list says of a project of ours."""
    return Summary(project.name, project.serial, project.status)


def their_head(heard: UpstreamEntry) -> Summary:
    """What a list says of a project of theirs."""
    said = heard.said
    status = Status.ACTIVE if said is None else said.status
    gone = said is not None and said.files is None
    return Summary(heard.name, heard.serial, status, kept=bool(heard.kept), gone=gone)


def same(old: Project | None, new: Project | None) -> bool:
    """Whether nothing changes; the serial is ours to set, so it does not count."""
    if old is None or new is None:
        return old is new
    return evolve(new, serial=old.serial) == old


def seen(heard: UpstreamEntry) -> object:
    """What of it can be seen: not when it was asked, and not what it is revalidated with."""
    said = heard.said
    return (
        heard.kept,
        said and (said.files, said.status, said.status_reason),
        heard.history,
        heard.since,
    )

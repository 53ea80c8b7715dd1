"""Every decision about what is visible and what may come in. Pure: values in, a value or an exception out."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve, frozen

from pypid.core.errors import ProjectClosed
from pypid.core.model import File, Presence, Project, Summary, Upload
from pypid.core.names import ProjectName


@frozen
class Policy:
    """The settings that the rules below look at (made from the configuration by `service`)."""

    offline: bool = True
    """[upstream] mode = offline: only what is stored; nobody is asked."""


@frozen
class Serve:
    """The bytes are ours to give: they lie in the storage under the file's key."""

    file: File


Delivery = Serve


def asks_upstream(policy: Policy, name: ProjectName, ours: Project | Presence) -> bool:
    """Whether the upstream index may hear this name. A name that is ours, or may be, never goes out."""
    return not policy.offline and ours is Presence.ABSENT


def view(policy: Policy, ours: Project, theirs: Project | None, now: datetime) -> Project:
    """What a client may see of a project. Pages and files both come out of here: what is hidden cannot be downloaded."""
    if not ours.status.offers_files:
        return evolve(ours, files=())
    return ours


def is_listed(project: Summary) -> bool:
    """Whether the list of projects names this one: not while it is quarantined (as the public index does)."""
    return project.status.offers_files


def delivery(policy: Policy, file: File) -> Delivery:
    """How the bytes of a visible file reach the client."""
    return Serve(file)


def admits(policy: Policy, upload: Upload, ours: Project | Presence) -> None:
    """Whether the upload may be published; raises `ProjectClosed` where the project's status refuses it (PEP 792)."""
    if isinstance(ours, Project) and not ours.status.takes_uploads:
        raise ProjectClosed(ours.name, ours.status.value)

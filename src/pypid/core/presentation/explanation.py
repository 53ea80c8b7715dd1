"""Why a client sees of a project what it sees: the rules of `policy`, asked one by one, for people.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import Enum

from attrs import evolve, frozen

from pypid.core.configuration.choices import Mode
from pypid.core.model import File, Presence, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import (
    NEVER,
    Hidden,
    Policy,
    Silence,
    UpstreamState,
    hidden,
    listed,
    silence,
    visible_from,
)


class NameStatus(Enum):
    """What a name is here; the values complete the sentence "the name is ..."."""

    OURS = "ours"
    BLENDED = "ours, and upstream's files stand beside ours ([upstream] blend)"
    THEIRS = "not ours, and may come from upstream"
    OFFLINE = "not ours, and pypid is offline ([upstream] mode): of it there is what is stored"
    RESERVED = "reserved ([upstream] reserved)"
    CLAIMED = "claimed as ours by rules of its own, and nothing of it was published yet"
    DENIED = "denied ([upstream] deny)"
    NOT_ALLOWED = "not allowed ([upstream] allow)"
    UNKNOWN = "not known yet to be ours or not"


class Absent(Enum):
    """Why a file is not there, where no rule about upstream hides it; the values are for people."""

    CLOSED = "the project is in quarantine here (`pypid status` ends it)"
    NOT_LISTED = (
        "it is not stored here, and the upstream index did not list it when it was asked last"
    )
    UNHEARD = "it is not stored here, and the upstream index has not been asked for the project yet"


Reason = Hidden | Silence | Absent
"""What hides a file."""


@frozen
class FileWhy:
    """One file: what hides it, or None if it is visible; `until` when it becomes visible by itself,
    if it will.

    `ours` says whose it is; `kept` that it is theirs, and stored here.
    """

    filename: str
    ours: bool
    kept: bool
    because: Reason | None = None
    until: datetime | None = None

    @property
    def visible(self) -> bool:
        """Whether clients see it."""
        return self.because is None


@frozen(kw_only=True)
class Why:
    """All that can be said of a name. `files` are those of ours, then those of theirs, each
    `in_order`.

    `told` is why the name is not asked upstream (None: it may be), `shown` why files of theirs are
    not shown even if they are stored (None: they may be).
    """

    name: ProjectName
    standing: NameStatus
    told: Silence | None
    shown: Silence | None
    ours: Project | Presence
    theirs: UpstreamState
    files: tuple[FileWhy, ...]

    def file(self, filename: str) -> FileWhy:
        """Of the file of this name, whether it is known or not. Ours is meant, where
        both have one.
        """
        found = next((file for file in self.files if file.filename == filename), None)
        if found is not None:
            return found
        return FileWhy(filename, ours=False, kept=False, because=self._nowhere())

    def _nowhere(self) -> Reason:
        """Why there is no file of a name that nobody has spoken of."""
        if self.shown is not None:
            return self.shown
        if self.theirs.said is not None:
            return Absent.NOT_LISTED
        return Absent.UNHEARD if self.told is None else self.told


def explain(
    policy: Policy,
    name: ProjectName,
    ours: Project | Presence,
    theirs: UpstreamState,
    now: datetime,
) -> Why:
    """Why clients see of the project what `policy.view` shows them.

    `theirs` is all that is known of the project of theirs, also where nothing of it may be shown;
    `reachable` in it says whether upstream answered the last time that it was asked.
    """
    told = silence(policy, name, ours)
    shown = silence(evolve(policy, mode=Mode.CACHE), name, ours)
    return Why(
        name=name,
        standing=_standing(policy, ours, shown),
        told=told,
        shown=shown,
        ours=ours,
        theirs=theirs,
        files=(*_our_files(ours), *_their_files(policy, ours, theirs, now, shown)),
    )


def _standing(policy: Policy, ours: Project | Presence, shown: Silence | None) -> NameStatus:
    match shown:
        case None if isinstance(ours, Project):
            return NameStatus.BLENDED
        case None:
            return NameStatus.OFFLINE if policy.mode is Mode.OFFLINE else NameStatus.THEIRS
        case _:
            return NameStatus[shown.name]  # OFFLINE is none of these


def _our_files(ours: Project | Presence) -> Iterator[FileWhy]:
    if isinstance(ours, Project):
        because = None if ours.status.offers_files else Absent.CLOSED
        yield from (
            FileWhy(file.filename, ours=True, kept=False, because=because) for file in ours.files
        )


def _their_files(
    policy: Policy,
    ours: Project | Presence,
    theirs: UpstreamState,
    now: datetime,
    shown: Silence | None,
) -> Iterator[FileWhy]:
    """As `policy.view` decides: first for all of them, then for each."""
    closed = isinstance(ours, Project) and not ours.status.offers_files
    all_hidden: Reason | None = Absent.CLOSED if closed else shown
    taken = (
        frozenset(file.filename for file in ours.files)
        if isinstance(ours, Project)
        else frozenset()
    )
    files = listed(theirs)
    for file in files:
        because = all_hidden or hidden(policy, file, theirs, taken, now)
        until = _until(policy, file, because)
        yield FileWhy(
            file.filename, ours=False, kept=file.key is not None, because=because, until=until
        )
    names = {file.filename for file in files}
    for file in theirs.kept:
        if file.filename not in names:
            yield FileWhy(file.filename, ours=False, kept=True, because=all_hidden or Hidden.GONE)


def _until(policy: Policy, file: File, because: Reason | None) -> datetime | None:
    """When it becomes visible by itself: only time that passes is certain to come."""
    if because is not Hidden.COOLDOWN:
        return None
    time = visible_from(policy, file)
    return None if time == NEVER else time

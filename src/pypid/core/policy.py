"""Every decision about what is visible and what may come in. Pure: values in, a value or an
exception out.

The heart of it is that pages and files come out of the same `view`, and that a name which is ours,
or may be, is never told to anybody else (`asks_upstream`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import assert_never

from attrs import define, evolve, field, frozen
from msgspec.structs import replace

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.value_kinds import Cooldown
from pypid.core.errors import ProjectClosed, PypidError
from pypid.core.model import File, Listing, Presence, Project, Status, Summary, Upload, in_order
from pypid.core.packaging.expected_digest import claim_of, is_copy
from pypid.core.packaging.globs import first_match, matches
from pypid.core.packaging.names import ProjectName
from pypid.core.records.file_history import FileHistory
from pypid.core.simple_api.metadata_offer import offering

BEGINNING = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


class EveryName:
    """All names there can be."""

    def __contains__(self, name: object) -> bool:
        return True


EVERY_NAME = EveryName()
"""While the rules are not known any name may be claimed."""


@define(eq=False)
class Claims:
    """The names that rules of their own say are ours, though perhaps nothing was published yet
    (`core.accounts.rights.claimed`).

    The set is replaced whole when the rules change.
    """

    names: frozenset[ProjectName] | EveryName = frozenset()


@frozen(kw_only=True)
class Policy:
    """The settings that the rules below look at: `[upstream]` of the configuration,
    and the claims.
    """

    mode: Mode = Mode.OFFLINE
    reserved: tuple[str, ...] = ()
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    blend: tuple[str, ...] = ()
    cooldown: Cooldown = field(factory=Cooldown)
    require_hashes: bool = False
    restored: tuple[str, ...] = ()
    """Files that as-of views show although upstream removed them soon after their upload
    (`core.records.history`).
    """
    claims: Claims = field(factory=Claims, eq=False)


# --- may the other index hear this name? ----------------------------------------------------------


class Silence(Enum):
    """Why a name is not asked upstream; the values are for people."""

    OFFLINE = "pypid is offline ([upstream] mode): only what is stored is served"
    RESERVED = "the name is reserved ([upstream] reserved): it is never asked upstream"
    OURS = "the name is ours: it never goes upstream (unless [upstream] blend lists it)"
    CLAIMED = (
        "the name is ours, since a rule of its own lets somebody publish it: it never goes "
        "upstream (unless blend lists it)"
    )
    UNKNOWN = "whether the name is ours is not known yet: it is not asked upstream until it is"
    DENIED = "the name may not come from upstream ([upstream] deny)"
    NOT_ALLOWED = "the name is not among those that may come from upstream ([upstream] allow)"


@define
class UnknownOwner(PypidError):
    """The name must not go to another index, and so nobody was asked."""

    name: str
    why: Silence

    def text(self) -> str:
        return f"{self.name!r} is not asked upstream: {self.why.value}."


def silence(policy: Policy, name: ProjectName, ours: Project | Presence) -> Silence | None:
    """Why the name must not be told to the other index, or None if it may be."""
    return Silence.OFFLINE if policy.mode is Mode.OFFLINE else _silence_online(policy, name, ours)


def _silence_online(policy: Policy, name: ProjectName, ours: Project | Presence) -> Silence | None:
    if ours is Presence.UNKNOWN:
        return Silence.UNKNOWN
    if matches(name, policy.reserved):
        return Silence.RESERVED
    if isinstance(ours, Project) and not matches(name, policy.blend):
        return Silence.OURS
    if name in policy.claims.names and not matches(name, policy.blend):
        return Silence.UNKNOWN if policy.claims.names is EVERY_NAME else Silence.CLAIMED
    if matches(name, policy.deny):
        return Silence.DENIED
    return None if matches(name, policy.allow) else Silence.NOT_ALLOWED


def asks_upstream(policy: Policy, name: ProjectName, ours: Project | Presence) -> bool:
    """Whether the upstream index may hear this name."""
    return silence(policy, name, ours) is None


def may_show_theirs(policy: Policy, name: ProjectName, ours: Project | Presence) -> bool:
    """Whether files of theirs that are stored may be shown: as `asks_upstream`, but stored files
    are served offline too.
    """
    return _silence_online(policy, name, ours) is None


# --- what is visible ------------------------------------------------------------------------------


@frozen(kw_only=True)
class UpstreamState:
    """All that is known of a project of the other index.

    `said` is what it said last, None where it was never heard; `kept` are the files of theirs that
    are stored (with their keys); `reachable` is whether it can be asked now; if not because it
    failed, `failure` is how.
    """

    said: Listing | None = None
    kept: tuple[File, ...] = ()
    reachable: bool = True
    serial: int = 0
    failure: PypidError | None = None
    history: tuple[FileHistory, ...] = field(default=(), repr=False)
    """How what it said has changed since then (`core.records.history`); no rule of today looks at
    it.
    """
    since: datetime | None = None

    @property
    def stored_only(self) -> bool:
        """Whether only stored files may be shown. Not after a failure: installers would silently
        pick an older release.
        """
        return not self.reachable and self.failure is None


class Hidden(Enum):
    """Why a file of theirs is not visible; the values are for people."""

    OURS = "a file of ours has this name"
    COOLDOWN = "it is too young ([upstream] cooldown)"
    QUARANTINED = "the upstream index has put the project in quarantine"
    GONE = "the upstream index does not list it any more"
    UNVERIFIED = (
        "the upstream index lists no hash that it could be verified by ([upstream] require_hashes)"
    )
    NOT_KEPT = "only stored files are served (offline, /local/), and this one is not stored"


def view(
    policy: Policy,
    ours: Project | Presence,
    theirs: UpstreamState | None,
    now: datetime,
    name: ProjectName,
) -> Project:
    """What a client may see of a project. Pages and files both come out of here: what is hidden
    cannot be downloaded.
    """
    own = ours if isinstance(ours, Project) else None
    if own is not None and not own.status.offers_files:
        return evolve(own, files=())
    if theirs is None or not may_show_theirs(policy, name, ours):
        return own or Project(name=name)
    own_files = own.files if own else ()
    taken = frozenset(file.filename for file in own_files)
    visible = _visible(policy, theirs, taken, now, name)
    if own is not None:
        return evolve(own, files=in_order((*own_files, *visible)))
    said = theirs.said
    status = said.status if said is not None else Status.ACTIVE
    reason = said.status_reason if said is not None else ""
    # what upstream listed is in order already
    return Project(
        name=name, files=visible, status=status, status_reason=reason, serial=theirs.serial
    )


def _visible(
    policy: Policy, theirs: UpstreamState, taken: frozenset[str], now: datetime, name: ProjectName
) -> tuple[File, ...]:
    """The files of theirs that no rule hides; without looking at each of ten thousand where no rule
    can.
    """
    files, age = listed(theirs), cooldown_of(policy, name)
    offered = theirs.said is None or theirs.said.status.offers_files
    any_hides = (
        taken or age or theirs.stored_only or policy.require_hashes or policy.mode is Mode.OFFLINE
    )
    if offered and not any_hides:
        return files
    return tuple(file for file in files if _hidden(policy, file, theirs, taken, now, age) is None)


def exists(theirs: UpstreamState) -> bool:
    """Whether there is such a project of theirs: the index lists it, or, where it was never heard,
    files of it are stored.
    """
    return bool(theirs.kept) if theirs.said is None else theirs.said.files is not None


def listed(theirs: UpstreamState) -> tuple[File, ...]:
    """The files of theirs: what upstream listed, with the keys of those that are stored; never
    heard: what is stored.

    Of their metadata each says what can be served now (`core.simple_api.metadata_offer`).
    """
    if theirs.said is None or theirs.said.files is None:
        return theirs.kept if theirs.said is None else ()
    if not theirs.kept and theirs.reachable:
        return theirs.said.files
    kept = {file.filename: file for file in theirs.kept}
    # while upstream is away, what a stored file offers must be servable; a file that is not stored
    # fails as a whole
    return tuple(
        _joined(file, kept[file.filename], reachable=theirs.reachable)
        if file.filename in kept
        else file
        for file in theirs.said.files
    )


def _joined(file: File, kept: File, *, reachable: bool) -> File:
    """What upstream says now, with our copy of the bytes, if it is a copy of these bytes."""
    same = is_copy(kept, file) if file.sha256 is None else kept.sha256 == file.sha256
    if not same:
        return offering(file, None, reachable=reachable)
    return offering(
        replace(file, key=kept.key, sha256=kept.sha256, size=kept.size), kept, reachable=reachable
    )


def hidden(
    policy: Policy, file: File, theirs: UpstreamState, taken: frozenset[str], now: datetime
) -> Hidden | None:
    """Why this file of theirs is not visible, or None. `taken` are the names of our files."""
    return _hidden(policy, file, theirs, taken, now, cooldown_of(policy, file.project))


def _hidden(
    policy: Policy,
    file: File,
    theirs: UpstreamState,
    taken: frozenset[str],
    now: datetime,
    age: timedelta,
) -> Hidden | None:
    if file.filename in taken:
        return Hidden.OURS
    said = theirs.said
    if said is not None and not said.status.offers_files:
        return Hidden.QUARANTINED
    if now < _visible_from(file, age):
        return Hidden.COOLDOWN
    if policy.require_hashes and file.key is None and claim_of(file) is None:
        return Hidden.UNVERIFIED
    if file.key is None and (policy.mode is Mode.OFFLINE or theirs.stored_only):
        return Hidden.NOT_KEPT
    return None


def visible_from(policy: Policy, file: File) -> datetime:
    """When the file is old enough: its age counts from upstream's upload time, else from when it
    was first seen here.
    """
    return _visible_from(file, cooldown_of(policy, file.project))


def _visible_from(file: File, age: timedelta) -> datetime:
    begun = file.uploaded or file.seen
    if begun is None:
        return NEVER if age else BEGINNING
    return begun + age


def changes_at(
    policy: Policy, theirs: UpstreamState, name: ProjectName, now: datetime
) -> datetime | None:
    """When the next file becomes old enough, and the view another one without anybody's doing;
    None: not by itself.
    """
    age = cooldown_of(policy, name)
    files = (
        theirs.kept if theirs.said is None else theirs.said.files
    )  # those that `listed` starts from
    if not files or not age:
        return None
    times = (_visible_from(file, age) for file in files)
    return min((time for time in times if now < time < NEVER), default=None)


def cooldown_of(policy: Policy, name: ProjectName) -> timedelta:
    """How old files of the project have to be."""
    ages = dict(policy.cooldown.exceptions)
    fitting = first_match(name, ages)
    return policy.cooldown.age if fitting is None else ages[fitting]


def is_listed(project: Summary) -> bool:
    """Whether the list of projects names this one: not while it is quarantined (as the public index
    does), nor one of theirs that is gone.
    """
    return project.status.offers_files and not project.gone


# --- how the bytes travel -------------------------------------------------------------------------


@frozen
class Serve:
    """The bytes are ours to give: they lie in the storage under the file's key."""

    file: File


@frozen
class PassOn:
    """The client is sent to the other index, with a redirect."""

    url: str


@frozen
class Keep:
    """The bytes are fetched, given to the client as they come, and stored."""

    file: File
    url: str


Delivery = Serve | PassOn | Keep


def delivery(policy: Policy, file: File) -> Delivery:
    """How the bytes of a visible file reach the client."""
    if file.key is not None:
        return Serve(file)
    assert file.source is not None  # a file that is neither stored nor theirs is not visible
    match policy.mode:
        case Mode.REDIRECT:
            return PassOn(file.source)
        case Mode.CACHE | Mode.MIRROR:
            return Keep(file, file.source)
        case Mode.OFFLINE:
            raise AssertionError("offline, a file that is not stored is not visible")
        case _ as never:
            assert_never(never)


# --- what may be published ------------------------------------------------------------------------


def admits(policy: Policy, upload: Upload, ours: Project | Presence) -> None:
    """Whether the upload may be published; raises `ProjectClosed` where the project's status
    refuses it (PEP 792).
    """
    if isinstance(ours, Project) and not ours.status.takes_uploads:
        raise ProjectClosed(ours.name, ours.status.value)

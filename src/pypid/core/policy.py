"""What is visible, which upstreams are asked, and how the bytes of a file reach the client. Pure.

Two invariants matter most: pages and files come from the same `view`, and a name that is local, or
may be, is never sent to another index (`asks_upstream`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from itertools import chain, repeat, starmap
from types import MappingProxyType
from typing import assert_never

from attrs import define, evolve, field, frozen
from msgspec.structs import replace

from pypid.core.configuration.choices import Mode, NewProjects
from pypid.core.cooldown import NEVER, Cooldown, CooldownRules
from pypid.core.errors import PypidError
from pypid.core.model import (
    F,
    File,
    FileHistory,
    ListedFile,
    Listing,
    Presence,
    Project,
    Status,
    StoredFile,
    Summary,
    UpstreamEntry,
    as_stored,
    in_order,
)
from pypid.core.packaging.names import (
    NameSet,
    ProjectName,
    VersionKeys,
    is_prerelease,
    matches,
    version_key,
)
from pypid.core.packaging.releases import claim_of, is_copy, release_versions
from pypid.core.restrictions import (
    WAITING,
    Hold,
    Restrictions,
    RestrictionsInForce,
    StatusOverride,
    is_approved,
    unrestricted,
    withheld_positions,
)
from pypid.core.simple_api.listed_files import ListedFiles, ShownFiles, packed

# The names that are local by the rules of projects, even if nothing is published yet.


class EveryName:
    """The set of all possible names."""

    def __contains__(self, name: object) -> bool:
        return True


EVERY_NAME = EveryName()
"""The claims while the rules are unknown: any name may be local."""
NO_NAMES = NameSet()


@define(eq=False)
class Claims:
    """The names that are local by their own rules, even if nothing is published yet
    (`core.accounts.rights.claimed`).

    The set is replaced as a whole when the rules change.
    """

    names: NameSet | EveryName = NO_NAMES

    def replace(self, names: NameSet | EveryName) -> None:
        """Replace the names, after a change of the rules."""
        self.names = names


# Which core metadata of an upstream file a page offers: never more than can be served (PEP 658,
# 714).
#
# An installer that was promised metadata and gets a 404 stops (pip) or starts again (uv).


def offering(listed: F, kept: StoredFile | None, *, reachable: bool) -> F:
    """Return `listed`, with the metadata that can be served now.

    `kept` is the cached copy of the file, if there is one; `reachable`: upstream can be asked. A
    known hash is included; ``metadata_offered`` alone becomes a mere ``true`` on the page.
    """
    if kept is not None and kept.metadata_sha256 is not None:
        return replace(listed, metadata_sha256=kept.metadata_sha256)
    if not reachable:
        return replace(listed, metadata_sha256=None, metadata_offered=False)
    return listed


def with_metadata(entry: UpstreamEntry, filename: str, sha256: str) -> UpstreamEntry:
    """Return `entry` with the hash of a file's metadata (read from the file, or offered by upstream
    without a hash).

    It is not remembered for a listed file without SHA-256, whose bytes may change unnoticed.
    """
    kept = tuple(
        replace(file, metadata_sha256=sha256) if file.filename == filename else file
        for file in entry.kept
    )
    listing = entry.listing
    if listing is not None and listing.files is not None:
        files = packed(listing.files)
        file = files.named(filename)
        if file is not None and file.metadata_sha256 is None and file.sha256 is not None:
            files = evolve(files, learnt={**files.learnt, filename: sha256})
            listing = evolve(listing, files=files)
    return evolve(entry, listing=listing, kept=kept)


@frozen(kw_only=True)
class Policy:
    """The settings that the rules below use: `[upstream]` of the configuration, and the claims."""

    mode: Mode = Mode.OFFLINE
    reserved: tuple[str, ...] = ()
    allow: tuple[str, ...] = ("*",)
    only: tuple[str, ...] = ("*",)
    """The names that this upstream is for, of those in `allow` (`[upstream:NAME] only`)."""
    elsewhere: tuple[str, ...] = ()
    """The names that only another upstream may be asked for (`[upstream:NAME] exclusive`)."""
    deny: tuple[str, ...] = ()
    allow_mixed: tuple[str, ...] = ()
    cooldown: Cooldown = field(factory=Cooldown)
    require_hashes: bool = False
    new_projects: NewProjects = NewProjects.OPEN
    restored: tuple[str, ...] = ()
    """Files in as-of views although upstream soon removed them (`core.records.history`)."""
    claims: Claims = field(factory=Claims, eq=False)
    restrictions: RestrictionsInForce = field(factory=RestrictionsInForce, eq=False, repr=False)
    """Blocks, advisories and approvals, which change while pypid runs."""


# --- may the other index hear this name? ----------------------------------------------------------


class Silence(Enum):
    """The reasons not to ask upstream for a name; the values are shown to users."""

    OFFLINE = "pypid is offline ([upstream] mode) and serves stored files only"
    RESERVED = "the name is reserved ([upstream] reserved)"
    OURS = "the name is local (to list upstream files too: [upstream] allow_mixed)"
    CLAIMED = (
        "the name is local because users have the right to publish it (to list upstream files "
        "too: [upstream] allow_mixed)"
    )
    UNKNOWN = "pypid does not know yet whether the name is local"
    OTHER_INDEX = "the name is reserved for local projects of this pypid"
    DENIED = "the name is denied ([upstream] deny)"
    NOT_ALLOWED = "the name is not in [upstream] allow"
    ELSEWHERE = "no upstream of the index is for this name ([upstream] upstreams, only)"


@define(slots=False, repr=False)
class UnknownOwner(PypidError, status=404):
    """The name must not be sent to another index, so no index was asked."""

    name: str
    why: Silence

    def text(self) -> str:
        return f"{self.name!r} is not asked upstream: {self.why.value}."


def silence(policy: Policy, name: ProjectName, ours: Project | Presence) -> Silence | None:
    """Return why the name must not be sent to upstream, or None if it may be."""
    return Silence.OFFLINE if policy.mode is Mode.OFFLINE else _silence_online(policy, name, ours)


def _silence_online(policy: Policy, name: ProjectName, ours: Project | Presence) -> Silence | None:
    if ours is Presence.UNKNOWN:
        return Silence.UNKNOWN
    if matches(name, policy.reserved):
        return Silence.RESERVED
    if isinstance(ours, Project) and not matches(name, policy.allow_mixed):
        return Silence.OURS
    if name in policy.claims.names and not matches(name, policy.allow_mixed):
        return Silence.UNKNOWN if policy.claims.names is EVERY_NAME else Silence.CLAIMED
    if ours is Presence.ELSEWHERE and not matches(name, policy.allow_mixed):
        return Silence.OTHER_INDEX
    if matches(name, policy.deny):
        return Silence.DENIED
    if not matches(name, policy.only) or matches(name, policy.elsewhere):
        return Silence.ELSEWHERE
    return None if matches(name, policy.allow) else Silence.NOT_ALLOWED


def asks_upstream(policy: Policy, name: ProjectName, ours: Project | Presence) -> bool:
    """Return whether the name may be sent to upstream."""
    return silence(policy, name, ours) is None


def may_show_upstream(policy: Policy, name: ProjectName, ours: Project | Presence) -> bool:
    """Return whether cached upstream files may be shown: as `asks_upstream`, and offline."""
    return _silence_online(policy, name, ours) is None


# --- what is visible ------------------------------------------------------------------------------


@frozen(kw_only=True)
class UpstreamState:
    """Everything known about a project of the upstream index.

    `listing` is the last one, or None if there was none; `kept` are the cached files (with their
    keys); `reachable` is whether upstream can be asked now; if it failed, `failure` is the error.
    """

    listing: Listing | None = None
    kept: tuple[StoredFile, ...] = ()
    reachable: bool = True
    serial: int = 0
    failure: PypidError | None = None
    history: tuple[FileHistory, ...] = field(default=(), repr=False)
    """The listing's changes since `since` (`core.records.history`); unused by the current view."""
    since: datetime | None = None

    @property
    def stored_only(self) -> bool:
        """Whether only cached files may be shown. False after a failure: installers would silently
        pick an older release.
        """
        return not self.reachable and self.failure is None


class Hidden(Enum):
    """The reasons to hide an upstream file; the values are shown to users."""

    OURS = "a local file has this name"
    COOLDOWN = "it is too young ([upstream] cooldown)"
    TOO_NEW = "it is newer than the date in [upstream] cooldown"
    QUARANTINED = "the upstream index has put the project in quarantine"
    GONE = "the upstream index no longer lists it"
    UNVERIFIED = "the upstream index lists no hash to verify it ([upstream] require_hashes)"
    NOT_KEPT = "it is not stored, and only stored files are served (offline, /local/)"


def view(
    policy: Policy,
    ours: Project | Presence,
    upstream: UpstreamState | None,
    now: datetime,
    name: ProjectName,
) -> Project:
    """Return what a client may see of a project, on pages and as files alike."""
    own = ours if isinstance(ours, Project) else None
    if own is not None and not own.status.offers_files:
        return evolve(own, files=())
    restrictions = policy.restrictions.current
    if upstream is None or not may_show_upstream(policy, name, ours):
        return Project(name=name) if own is None else _unrestricted(restrictions, own)
    if waits(policy, ours, upstream, name):
        return Project(name=name, status_reason=WAITING.reason, serial=upstream.serial)
    # a local file that is withheld still takes its name
    taken = frozenset(file.filename for file in (own.files if own else ()))
    visible = _visible(policy, upstream, taken, now, name)
    if own is not None:
        files = _unrestricted(restrictions, own).files
        return evolve(own, files=in_order((*files, *visible)))
    marker = _marker(restrictions, upstream, name)
    # upstream's files are already in order
    return Project(
        name=name,
        files=visible,
        status=marker.status,
        status_reason=marker.reason,
        serial=upstream.serial,
    )


def waits(
    policy: Policy, ours: Project | Presence, upstream: UpstreamState | None, name: ProjectName
) -> bool:
    """Return whether an upstream project waits for approval (`[upstream] new_projects = ask`): no
    file of it is cached, and no version is approved.

    A local project whose page lists upstream files, too, never waits: the configuration names it.
    """
    return (
        policy.new_projects is NewProjects.ASK
        and not isinstance(ours, Project)
        and upstream is not None
        and not upstream.kept
        and not is_approved(policy.restrictions.current.of(name))
    )


def page_of_waiting(
    policy: Policy,
    ours: Project | Presence,
    upstream: UpstreamState,
    now: datetime,
    name: ProjectName,
) -> Project:
    """Return what the project page for installers lists while the project `waits`: the files that
    it will have. Installers show the refusal of a file, and nothing of an empty page.
    """
    opened = evolve(policy, new_projects=NewProjects.OPEN)
    return evolve(view(opened, ours, upstream, now, name), status_reason=WAITING.reason)


def _unrestricted(restrictions: Restrictions, project: Project) -> Project:
    if not restrictions.hides_any(project.name):
        return project
    return evolve(project, files=unrestricted(restrictions, project.files))


def _marker(
    restrictions: Restrictions, upstream: UpstreamState, name: ProjectName
) -> StatusOverride:
    """Return the status of an upstream project: upstream's quarantine, else the administrator's
    override, else upstream's status.
    """
    listing, found = upstream.listing, restrictions.of(name)
    if listing is not None and not listing.status.offers_files:
        return StatusOverride(listing.status, listing.status_reason)
    if found is not None and found.status is not None:
        return found.status
    if listing is None:
        return StatusOverride(Status.ACTIVE)
    return StatusOverride(listing.status, listing.status_reason)


def _visible(
    policy: Policy, upstream: UpstreamState, taken: frozenset[str], now: datetime, name: ProjectName
) -> Sequence[File]:
    """Return the upstream files that no rule hides, looking at each only if a rule can hide one."""
    files, rules = listed(upstream), cooldown_rules(policy, name, now)
    restrictions = policy.restrictions.current
    if not _marker(restrictions, upstream, name).status.offers_files:
        return ()
    stored_only = upstream.stored_only or policy.mode is Mode.OFFLINE
    if isinstance(files, ListedFiles | ShownFiles) and not taken:
        return _visible_listed(policy, files, now, rules, stored_only=stored_only)
    is_withheld = restrictions.hides_any(name)
    may_hide = policy.cooldown.may_hide(name) or policy.require_hashes
    if not (taken or may_hide or stored_only or is_withheld):
        return files
    return tuple(
        file for file in files if _hidden(policy, file, upstream, taken, now, rules) is None
    )


def _visible_listed(
    policy: Policy,
    files: ListedFiles | ShownFiles,
    now: datetime,
    rules: CooldownRules,
    *,
    stored_only: bool,
) -> Sequence[File]:
    """Return the files that no rule hides; times and hashes are read only if any can hide one."""
    shown = files if isinstance(files, ShownFiles) else ShownFiles(files)
    restrictions, known = policy.restrictions.current, shown.listed
    is_withheld = restrictions.hides_any(known.project)
    if stored_only:
        cached = (shown.replaced[position] for position in sorted(shown.replaced))
        found = tuple(
            file
            for file in cached
            if isinstance(file, StoredFile) and now >= rules.visible_from(file)
        )
        return unrestricted(restrictions, found) if is_withheld else found
    hidden = set(withheld_positions(restrictions, shown) if is_withheld else ())
    hidden.update(position for position, time in rules.times(known, now) if now < time)
    if policy.require_hashes and not known.facts.hashed:
        hidden.update(
            position
            for position, file in enumerate(shown)
            if not isinstance(file, StoredFile) and claim_of(file) is None
        )
    return evolve(shown, hidden=frozenset(hidden)) if hidden else files


def files_looked_at(
    policy: Policy,
    ours: Project | Presence,
    upstream: UpstreamState,
    now: datetime,
    name: ProjectName,
) -> int:
    """Return how many files `view` looks at: not all of a listing if no rule can hide any."""
    listing = upstream.listing
    files = (listing.files if listing is not None else None) or ()
    if not isinstance(files, ListedFiles) or isinstance(ours, Project):
        return len(upstream.kept) + len(files)
    is_judged = cooldown_rules(policy, name, now).may_hide(files.latest, now) or (
        policy.require_hashes and not files.facts.hashed
    )
    judged = max(policy.restrictions.current.judged(files), len(files) * is_judged)
    return 8 * len(upstream.kept) + judged


def exists(upstream: UpstreamState) -> bool:
    """Return whether upstream has the project: listed, or, without a listing, with cached files."""
    return bool(upstream.kept) if upstream.listing is None else upstream.listing.files is not None


def listed(upstream: UpstreamState) -> Sequence[File]:
    """Return the upstream files: those listed, with the keys of the cached ones; without a listing,
    the cached files.

    The metadata offer of each file is what can be served now (`core.policy`).
    """
    if upstream.listing is None or upstream.listing.files is None:
        return upstream.kept if upstream.listing is None else ()
    files = upstream.listing.files
    if not upstream.kept:
        return files
    kept = {file.filename: file for file in upstream.kept}
    # while upstream is unreachable, what a cached file offers must be servable; a file that is not
    # cached fails as a whole
    if isinstance(files, ListedFiles):
        replaced = {
            position: _joined(file, kept[filename], reachable=upstream.reachable)
            for filename, (position, file) in files.find(kept).items()
        }
        return ShownFiles(files, replaced)
    return tuple(
        _joined(file, kept[file.filename], reachable=upstream.reachable)
        if file.filename in kept
        else file
        for file in files
    )


def _joined(file: ListedFile, kept: StoredFile, *, reachable: bool) -> File:
    """Return the file as upstream lists it, with the key of a cached copy of the same bytes."""
    same = is_copy(kept, file) if file.sha256 is None else kept.sha256 == file.sha256
    if not same:
        return offering(file, None, reachable=reachable)
    own = {"key": kept.key, "sha256": kept.sha256, "size": kept.size, "attested": kept.attested}
    stored = as_stored(file, **own)
    return offering(stored, kept, reachable=reachable)


def hidden(
    policy: Policy, file: File, upstream: UpstreamState, taken: frozenset[str], now: datetime
) -> Hidden | Hold | None:
    """Return why this upstream file is not visible, or None. `taken` are the local file names."""
    return _hidden(policy, file, upstream, taken, now, cooldown_rules(policy, file.project, now))


def _hidden(
    policy: Policy,
    file: File,
    upstream: UpstreamState,
    taken: frozenset[str],
    now: datetime,
    rules: CooldownRules,
) -> Hidden | Hold | None:
    if file.filename in taken:
        return Hidden.OURS
    listing, restrictions = upstream.listing, policy.restrictions.current
    if listing is not None and not listing.status.offers_files:
        return Hidden.QUARANTINED
    if (hold := restrictions.hold(file)) is not None:
        return hold
    if now < rules.visible_from(file):
        is_dated = isinstance(rules.wait_of(file.version), datetime)
        return Hidden.TOO_NEW if is_dated else Hidden.COOLDOWN
    if isinstance(file, StoredFile):
        return None
    if policy.require_hashes and claim_of(file) is None:
        return Hidden.UNVERIFIED
    if policy.mode is Mode.OFFLINE or upstream.stored_only:
        return Hidden.NOT_KEPT
    return None


def cooldown_rules(policy: Policy, name: ProjectName, now: datetime) -> CooldownRules:
    """Return how long the files of a project wait, by the configuration and the known fixes."""
    return policy.cooldown.rules_of(name, now, _fixed(policy, name))


def _fixed(policy: Policy, name: ProjectName) -> VersionKeys:
    restrictions = policy.restrictions.current.of(name)
    return frozenset() if restrictions is None else restrictions.fixed


def visible_from(policy: Policy, file: File, now: datetime) -> datetime:
    """Return from when on the cooldown does not hide the file, or `NEVER`; a time that has passed
    if it does not hide it now.
    """
    return policy.cooldown.visible_from(file, now, _fixed(policy, file.project))


def changes_at(
    policy: Policy, upstream: UpstreamState, name: ProjectName, now: datetime
) -> datetime | None:
    """Return when the next file becomes old enough, or an exception of the cooldown expires, which
    changes the view without any event; None: never.
    """
    rules = cooldown_rules(policy, name, now)
    # the files that `listed` starts from
    files = upstream.kept if upstream.listing is None else upstream.listing.files
    if not files or not policy.cooldown.may_hide(name):
        return None
    if isinstance(files, ListedFiles):
        times = [time for _, time in rules.times(files, now)]
    else:
        times = [rules.visible_from(file) for file in files]
    return min(
        (time for time in (*times, rules.until or NEVER) if now < time < NEVER), default=None
    )


@frozen
class HiddenVersion:
    """A version that the cooldown, a block or an advisory hides."""

    version: str
    because: Hidden | Hold
    until: datetime | None
    """When it becomes visible by itself; None: never."""


def newest_hidden(
    policy: Policy, shown: Project, upstream: UpstreamState, now: datetime, name: ProjectName
) -> HiddenVersion | None:
    """Return the version that installers would choose if the cooldown, a block or an advisory did
    not hide it; None: they choose one that is `shown`.
    """
    restrictions = policy.restrictions.current
    may_hide = policy.cooldown.may_hide(name) or restrictions.hides_any(name)
    if not may_hide or not shown.status.offers_files or upstream.stored_only:
        return None
    files, rules = listed(upstream), cooldown_rules(policy, name, now)
    positions, versions = set[int](), list[str]()
    if isinstance(files, ListedFiles | ShownFiles):
        every = files if isinstance(files, ShownFiles) else ShownFiles(files)
        positions.update(
            position for position, time in rules.times(every.listed, now) if now < time
        )
        if restrictions.hides_any(name):
            positions.update(withheld_positions(restrictions, every))
        if positions:
            versions += chain.from_iterable(starmap(repeat, every.listed.runs))
    else:
        versions += [file.version for file in files]
        positions.update(range(len(files)))
    newest = max(map(_rank, release_versions(shown)), default=None) if positions else None
    for position in sorted(positions, key=lambda each: _rank(versions[each]), reverse=True):
        if newest is not None and _rank(versions[position]) <= newest:
            break
        file = files[position]
        because = _hidden(policy, file, upstream, frozenset(), now, rules)
        if isinstance(because, Hold):
            return HiddenVersion(file.version, because, None)
        if because in (Hidden.COOLDOWN, Hidden.TOO_NEW):
            time = visible_from(policy, file, now)
            return HiddenVersion(file.version, because, None if time == NEVER else time)
    return None


def _rank(version: str) -> tuple[bool, object]:
    """Return the order in which installers prefer versions."""
    return not is_prerelease(version), version_key(version)


def is_listed(project: Summary) -> bool:
    """Return whether the list of projects names this one: not while it is quarantined (like the
    public index), nor if upstream has removed it.
    """
    return project.status.offers_files and not project.gone


# Which upstreams are asked for a name. Pure.
#
# A name that matches `only` of a chosen `[upstream:NAME]` is requested from that upstream only, so
# that no other upstream can provide the project. All other names go to the public index, if that
# is chosen.

PUBLIC = "public"
"""The name of `[upstream] url` in lists of upstreams and of bases."""
_ANY_NAME = ("*",)
"""The patterns of an upstream that was removed from the configuration: it may be for any name."""
NO_PATTERNS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@frozen
class UpstreamChoice:
    """The upstreams of one index, in order: names of sections, and `PUBLIC`."""

    names: tuple[str, ...] = (PUBLIC,)
    only: Mapping[str, tuple[str, ...]] = NO_PATTERNS
    """The names and globs of each `[upstream:NAME]`."""

    @classmethod
    def of(
        cls, chosen: tuple[str, ...] | None, only: Mapping[str, tuple[str, ...]] = NO_PATTERNS
    ) -> UpstreamChoice:
        """Return the choice of an index: `chosen`, or all upstreams for None."""
        return cls((*only, PUBLIC) if chosen is None else chosen, only)

    @property
    def named(self) -> tuple[str, ...]:
        """The chosen upstreams without `PUBLIC`."""
        return tuple(name for name in self.names if name != PUBLIC)

    def upstreams_of(self, project: ProjectName) -> tuple[str, ...]:
        """Return the upstreams to ask for the project, in order: those whose patterns match, else
        the public index; none if that is not chosen. An upstream that was removed from the
        configuration is returned for each name, so that its private names do not go to the public
        index.
        """
        found = tuple(
            name for name in self.named if matches(project, self.only.get(name, _ANY_NAME))
        )
        if found:
            return found
        return (PUBLIC,) if PUBLIC in self.names else ()


# How the bytes of a visible file reach the client. Pure.


@frozen
class Serve:
    """The bytes are served from the storage, under the file's key."""

    file: StoredFile


@frozen
class PassOn:
    """The client is redirected to the upstream index."""

    url: str


@frozen
class Keep:
    """The bytes are fetched, streamed to the client as they arrive, and stored."""

    file: File
    url: str


Delivery = Serve | PassOn | Keep


def delivery(policy: Policy, file: File) -> Delivery:
    """Return how the bytes of a visible file reach the client."""
    if isinstance(file, StoredFile):
        return Serve(file)
    assert isinstance(file, ListedFile)  # others are not visible
    match policy.mode:
        case Mode.REDIRECT:
            return PassOn(file.source)
        case Mode.CACHE | Mode.MIRROR:
            return Keep(file, file.source)
        case Mode.OFFLINE:
            raise AssertionError("offline, a file that is not stored is not visible")
        case _ as never:
            assert_never(never)

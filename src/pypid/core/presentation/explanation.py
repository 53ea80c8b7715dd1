"""Explain what a client sees of a project: the rules of `policy` applied one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from shlex import quote

from attrs import evolve, field, frozen

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import NEVER
from pypid.core.indexes import IndexSettings, blocks_of, inherits
from pypid.core.model import File, Presence, Project, StoredFile
from pypid.core.packaging.names import ProjectName, matches
from pypid.core.policy import (
    Hidden,
    Policy,
    Silence,
    UpstreamState,
    hidden,
    listed,
    silence,
    visible_from,
    waits,
)
from pypid.core.restrictions import WAITING, Hold, Restrictions


class NameStatus(Enum):
    """The status of a name here; the values complete the sentence "the name is ..."."""

    OURS = "local"
    MIXED = "local, and upstream files are listed too ([upstream] allow_mixed)"
    UPSTREAM = "not local, so pypid looks it up upstream"
    OFFLINE = "not local, and pypid is offline ([upstream] mode): it serves stored files only"
    RESERVED = "reserved ([upstream] reserved)"
    CLAIMED = "local because users have the right to publish it, although nothing was published yet"
    DENIED = "denied ([upstream] deny)"
    NOT_ALLOWED = "not allowed ([upstream] allow)"
    ELSEWHERE = "not local, and no upstream of the index is for it ([upstream] upstreams, only)"
    OTHER_INDEX = "reserved for local projects of this pypid"
    NOT_INHERITED = "not inherited by this index ([index:...] allow, deny)"
    UNKNOWN = "not yet known to be local or not"


class Absent(Enum):
    """Why a file is missing that no upstream rule hides; the values are shown to users."""

    CLOSED = "the project is in quarantine here (to end that: `pypid project set-status`)"
    NOT_LISTED = "it is not stored here, and the last answer of the upstream index did not list it"
    INDEX_RULES = "the index hides it ([index:...] block, cooldown)"
    FILE_OF_ANOTHER = "an earlier index has a file of this name"
    UNHEARD = "it is not stored here, and pypid has not looked the project up upstream yet"


Reason = Hidden | Hold | Silence | Absent
"""The reasons to hide a file."""


@frozen
class FileWhy:
    """One file: what hides it, or None if it is visible; `until` when it becomes visible by itself,
    if it will.

    `ours` tells whether it is local; `kept` whether it is an upstream file that is cached.
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
    """Everything known about the visibility of a name. `files` are the local ones, then those of
    upstream, each `in_order`.

    `not_requested` is why the name is not sent to upstream (None: it may be), `not_shown` why
    upstream files are not shown even if they are cached (None: they may be).
    """

    name: ProjectName
    status: NameStatus
    not_requested: Silence | None
    not_shown: Silence | None
    ours: Project | Presence
    upstream: UpstreamState
    files: tuple[FileWhy, ...]
    upstream_name: str = ""
    """The `[upstream:NAME]` that is explained; empty for `[upstream]`."""
    taken_from: tuple[str, ...] = ()
    """For a named index: the indexes and upstreams whose files it shows, in order of precedence, as
    in `bases` and `upstreams`.
    """
    local_in: tuple[str, ...] = ()
    """The named indexes that have a local project of this name, and that the client may read."""
    texts: Mapping[Enum, str] = field(factory=dict)
    """The texts of reasons that depend on the index, in place of their values."""

    def text(self, reason: Reason | NameStatus) -> str:
        """Return the reason for users."""
        return self.texts.get(reason, reason.value) if isinstance(reason, Enum) else reason.value

    def file(self, filename: str) -> FileWhy:
        """Return the entry of a file name, known or not; a local file wins over upstream's."""
        found = next((file for file in self.files if file.filename == filename), None)
        if found is not None:
            return found
        return FileWhy(filename, ours=False, kept=False, because=self._nowhere())

    def _nowhere(self) -> Reason:
        """Return the reason for a file name that neither the local project nor upstream has."""
        if self.not_shown is not None:
            return self.not_shown
        if self.upstream.listing is not None:
            return Absent.NOT_LISTED
        return Absent.UNHEARD if self.not_requested is None else self.not_requested


def explain(
    policy: Policy,
    name: ProjectName,
    ours: Project | Presence,
    upstream: UpstreamState,
    now: datetime,
) -> Why:
    """Return why clients see what `policy.view` shows them of the project.

    `upstream` is everything known about the upstream project, even if nothing of it may be shown;
    its `reachable` tells whether upstream answered the last request.
    """
    not_requested = silence(policy, name, ours)
    not_shown = silence(evolve(policy, mode=Mode.CACHE), name, ours)
    return Why(
        name=name,
        status=_status(policy, ours, not_shown),
        not_requested=not_requested,
        not_shown=not_shown,
        ours=ours,
        upstream=upstream,
        files=(
            *_our_files(ours, policy.restrictions.current),
            *_upstream_files(policy, name, ours, upstream, now, not_shown),
        ),
    )


def _status(policy: Policy, ours: Project | Presence, not_shown: Silence | None) -> NameStatus:
    match not_shown:
        case None if isinstance(ours, Project):
            return NameStatus.MIXED
        case None:
            return NameStatus.OFFLINE if policy.mode is Mode.OFFLINE else NameStatus.UPSTREAM
        case _:
            return NameStatus[not_shown.name]  # never OFFLINE


def _our_files(ours: Project | Presence, restrictions: Restrictions) -> Iterator[FileWhy]:
    if isinstance(ours, Project):
        closed = None if ours.status.offers_files else Absent.CLOSED
        for file in ours.files:
            because = closed or restrictions.hold(file)
            yield FileWhy(file.filename, ours=True, kept=False, because=because)


def _upstream_files(
    policy: Policy,
    name: ProjectName,
    ours: Project | Presence,
    upstream: UpstreamState,
    now: datetime,
    not_shown: Silence | None,
) -> Iterator[FileWhy]:
    """Yield the upstream files, judged like `policy.view`: first all together, then each."""
    closed = isinstance(ours, Project) and not ours.status.offers_files
    all_hidden: Reason | None = Absent.CLOSED if closed else not_shown
    if all_hidden is None and waits(policy, ours, upstream, name):
        all_hidden = WAITING
    taken = (
        frozenset(file.filename for file in ours.files)
        if isinstance(ours, Project)
        else frozenset()
    )
    files = listed(upstream)
    for file in files:
        because = all_hidden or hidden(policy, file, upstream, taken, now)
        until = _until(policy, file, because, now)
        yield FileWhy(
            file.filename,
            ours=False,
            kept=isinstance(file, StoredFile),
            because=because,
            until=until,
        )
    names = {file.filename for file in files}
    for file in upstream.kept:
        if file.filename not in names:
            yield FileWhy(file.filename, ours=False, kept=True, because=all_hidden or Hidden.GONE)


def _until(policy: Policy, file: File, because: Reason | None, now: datetime) -> datetime | None:
    """Return when the cooldown lets the file appear; None if something else hides it."""
    if because not in (Hidden.COOLDOWN, Hidden.TOO_NEW):
        return None
    time = visible_from(policy, file, now)
    return None if time == NEVER else time


# --- named indexes --------------------------------------------------------------------------------


def explain_layers(layers: Sequence[tuple[str, Why]], shown: Collection[str]) -> Why:
    """Return why a named index shows these files of the layers that have the project: each an index
    or upstream, by its name in `bases` or `upstreams`. `shown`: the names of the files.
    """
    files, taken = list[FileWhy](), set[str]()
    for _, why in layers:
        for file in why.files:
            if not file.visible:
                files.append(file)
            elif file.filename in taken:
                files.append(evolve(file, because=Absent.FILE_OF_ANOTHER))
            elif file.filename in shown:
                files.append(file)
            else:
                files.append(evolve(file, because=Absent.INDEX_RULES))
        taken.update(file.filename for file in why.files if file.ours)
    found, last = layers[0][1], layers[-1][1]
    if isinstance(found.ours, Project) and not isinstance(last.ours, Project):
        found = evolve(last, status=NameStatus.MIXED, ours=found.ours)
    return evolve(found, files=tuple(files), taken_from=tuple(name for name, _ in layers))


# --- how to change what a named index shows -------------------------------------------------------


def how_to_set(settings: IndexSettings, key: str, names: Collection[str], *, reveals: bool) -> str:
    """Return how to set a key of the index to these names: in its section, or by a command. The
    command has the other names of the key: only with `reveals`.
    """
    if settings.configured:
        return f"[index:{settings.name}] {key}"
    if not reveals:
        return f"{key} of the index {settings.name}, which an administrator can change"
    return f"pypid index set {settings.name} {key}={quote(' '.join(sorted(names)))}"


def texts_of(
    name: ProjectName,
    settings: IndexSettings,
    local: IndexSettings | None,
    *,
    mixable: bool,
    reveals: bool,
) -> Mapping[Enum, str]:
    """Return the texts for the reasons that depend on a named index, in place of their values.

    `settings`: of the index that is explained; `local`: of the named index that has the project;
    `mixable`: whether it has an upstream for the name; `reveals`: whether the user may know the
    values of keys.
    """
    texts: dict[Enum, str] = {
        NameStatus.NOT_INHERITED: _not_inherited(name, settings, reveals=reveals),
        Absent.INDEX_RULES: _hidden_by_rules(name, settings),
    }
    if not inherits(settings, name):
        key = "deny" if matches(name, settings.deny) else "allow"
        place = (
            f"[index:{settings.name}] {key}"
            if settings.configured
            else f"{key} of the index {settings.name}"
        )
        texts[Silence.ELSEWHERE] = f"the index does not inherit the project ({place})"
    if local is not None:
        texts[NameStatus.MIXED] = (
            f"local, and upstream files are listed too (allow_mixed of the index {local.name})"
        )
        texts[Silence.OURS] = "the name is local"
        if mixable:
            names = {*local.allow_mixed, name}
            how = how_to_set(local, "allow_mixed", names, reveals=reveals)
            texts[Silence.OURS] += f" (to list upstream files too: {how})"
    return texts


def _not_inherited(name: ProjectName, settings: IndexSettings, *, reveals: bool) -> str:
    if not matches(name, settings.deny):
        how = how_to_set(settings, "allow", {*settings.allow, name}, reveals=reveals)
        return f"not inherited by this index (to inherit it: {how})"
    others = [each for each in settings.deny if each != name]
    if matches(name, others):  # which names a glob has to deny is for the administrator to say
        return f"not inherited by this index (deny of the index {settings.name})"
    how = how_to_set(settings, "deny", others, reveals=reveals)
    return f"not inherited by this index (to inherit it: {how})"


def _hidden_by_rules(name: ProjectName, settings: IndexSettings) -> str:
    applied = {
        "block": blocks_of(settings, name),
        "cooldown": settings.cooldown is not None and settings.cooldown.may_hide(name),
    }
    keys = [key for key, applies in applied.items() if applies]
    if not keys:
        return "a base of the index hides it (its block or cooldown)"
    return f"the index {settings.name} hides it ({', '.join(keys)})"

"""Explain why a project is shown as it is, and why a file or a pinned release is not here.

Explanations are made of what is known here now. Only `DependencyCheck` asks upstream, as an
installer would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from attrs import evolve, frozen

from pypid.core.configuration.choices import Mode
from pypid.core.errors import (
    Forbidden,
    NoSuchProject,
    NotYetKnown,
    PypidError,
    StorageDown,
    Unauthenticated,
)
from pypid.core.indexes import IndexSettings, blocks_of, inherits
from pypid.core.model import File, Files, Presence, Project, in_order
from pypid.core.packaging.names import ProjectName, same_version, version_key
from pypid.core.packaging.releases import releases
from pypid.core.packaging.requirements import Pin, named
from pypid.core.policy import (
    Policy,
    Silence,
    UpstreamState,
    exists,
    hidden,
    listed,
    may_show_upstream,
    silence,
    view,
    waits,
)
from pypid.core.presentation.explanation import (
    NameStatus,
    Why,
    explain,
    explain_layers,
    texts_of,
)
from pypid.core.presentation.project_view import ReleaseLine, line_of
from pypid.core.restrictions import (
    DECIDED,
    WAITING,
    Hold,
    HoldKind,
    ProjectRestrictions,
    Restrictions,
    RestrictionsInForce,
    withheld_files,
)
from pypid.index.decisions import FOLDER, StoredBlock
from pypid.index.index import Index
from pypid.index.progress import all_of
from pypid.index.upstream.public_names import asked_source, entries_of
from pypid.index.views import STORED, UpstreamPermission, ViewSources

AT_ONCE = 8
"""Projects that are looked up at once: each may be requested from upstream."""


async def why(index: Index, name: ProjectName, *, reveals: bool) -> Why:
    """Return the explanation for the name. `reveals`: see `why_in`. Raises `StorageDown` if not
    even the cached state can be read.

    A query changes nothing: the last upstream listing is used, and no new one is requested.
    """
    ours = await _ours(index, name)
    if ours is Presence.ELSEWHERE and not reveals:
        ours = Presence.ABSENT
    source = await asked_source(index, name)
    if source is None:
        policy, state = evolve(index.context.policy, only=()), UpstreamState()
    else:
        policy, state = source.context.policy, await source.listings.shown_state(name)
    if index.all_settings and not reveals:
        state = _without_absence(state)
    # off the reactor thread: ten thousand files take more than 100 ms
    found = await index.context.world.thinking(
        explain, policy, name, ours, state, index.context.world.now()
    )
    return evolve(found, upstream_name="" if source is None else source.name)


def _without_absence(state: UpstreamState) -> UpstreamState:
    """Return the state as if upstream had not been asked yet, if it has no such project: it is
    never asked for the names of private indexes, which look the same.
    """
    return state if exists(state) else UpstreamState()


async def why_in(
    index: Index,
    name: ProjectName,
    may_read: Callable[[str, ProjectName], None],
    *,
    reveals: bool,
) -> Why:
    """Return the explanation for the name in an index with bases; it covers the layers that have
    the project. `may_read`: see `UpstreamPermission`. `reveals`: whether the client may know the
    settings of indexes, and which names are private. Raises `StorageDown`.
    """
    settings = index.settings
    if settings is None:
        return await why(index, name, reveals=reveals)
    permission = evolve(STORED, known=True, may_read=may_read)
    try:
        seen = await index.seen(name, permission)
    except NoSuchProject:
        found = await _why_unknown(index, name, reveals=reveals)
        is_kept = isinstance(found.ours, Project) or inherits(settings, name)
        if not is_kept:
            found = evolve(found, status=NameStatus.NOT_INHERITED)
        return _advised(index, settings, found, (), reveals=reveals)
    now, layers, upstreams = index.context.world.now(), [], index.member("").upstreams
    for leaf in seen.single_views:
        member = index.member(leaf.origin)
        policy, state = _policy_of(member), leaf.upstream_state or UpstreamState()
        # off the reactor thread: ten thousand files take more than 100 ms
        found = await index.context.world.thinking(explain, policy, name, leaf.ours, state, now)
        upstream_name = leaf.origin if leaf.origin in upstreams else ""
        layers.append((leaf.provider, evolve(found, upstream_name=upstream_name)))
    shown = {file.filename for file in seen.view.project.files}
    found = explain_layers(layers, shown)
    return _advised(index, settings, found, seen.single_views, reveals=reveals)


def _advised(
    index: Index,
    settings: IndexSettings,
    found: Why,
    views: Sequence[ViewSources],
    *,
    reveals: bool,
) -> Why:
    """Return the explanation with the keys of the indexes that decide."""
    home = views[0].origin if views else index.name
    local = index.member(home).settings if isinstance(found.ours, Project) else None
    mixable = local is not None and _has_upstream(index.member(home), found.name)
    texts = texts_of(found.name, settings, local, mixable=mixable, reveals=reveals)
    return evolve(found, texts=texts)


def _has_upstream(index: Index, name: ProjectName) -> bool:
    try:
        return bool(index.asked_upstreams(name))
    except NotYetKnown:  # one of its bases does not exist
        return False


async def _why_unknown(index: Index, name: ProjectName, *, reveals: bool) -> Why:
    """Return the explanation for a name of which a named index shows nothing that is known."""
    ours = await _ours(index, name)
    if ours is Presence.ELSEWHERE and not reveals:
        ours = Presence.ABSENT
    source = next(iter(index.asked_upstreams(name)), None)
    policy, state, upstream_name = _policy_of(index), UpstreamState(), ""
    if not isinstance(ours, Project) and source is not None:
        policy, state = source.context.policy, await source.listings.shown_state(name)
        ours, upstream_name = await _ours(source, name), source.name
        if not reveals:
            state = _without_absence(state)
        # the client may not know that another index has it
        if isinstance(ours, Project) or ours is Presence.ELSEWHERE:
            ours = Presence.ELSEWHERE if reveals else Presence.ABSENT
    now = index.context.world.now()
    # off the reactor thread: ten thousand files take more than 100 ms
    found = await index.context.world.thinking(explain, policy, name, ours, state, now)
    return evolve(found, upstream_name=upstream_name)


def _policy_of(index: Index) -> Policy:
    """Return the policy that explains what the index shows. A named index has no upstream of its
    own, which is no reason to show.
    """
    return (
        evolve(index.context.policy, mode=Mode.CACHE)
        if index.settings is not None
        else index.context.policy
    )


async def is_upstream(index: Index, name: ProjectName) -> bool:
    """Return whether the name is not local, and upstream files may be shown under it."""
    ours = await index.context.local_project(name)
    return not isinstance(ours, Project) and may_show_upstream(index.context.policy, name, ours)


async def is_known_upstream(index: Index, name: ProjectName) -> bool:
    """Return whether it is a project that upstream is known to have, or whose status an
    administrator has set.
    """
    if not await is_upstream(index, name):
        return False
    restrictions = index.context.policy.restrictions.current.of(name)
    has_status = restrictions is not None and restrictions.status is not None
    if has_status:
        return True
    async for entry in entries_of(index, name):
        if exists(UpstreamState(listing=entry.listing, kept=entry.kept)):
            return True
    return False


async def known_project(index: Index, name: ProjectName) -> Project:
    """Return the project as a client would see it; it may not exist."""
    ours = await index.context.local_project(name)
    source = await asked_source(index, name)
    home = source or index
    state = await home.listings.shown_state(name)
    # off the reactor thread: ten thousand files may be judged
    return await index.context.world.thinking(
        view, home.context.policy, ours, state, index.context.world.now(), name
    )


async def _ours(index: Index, name: ProjectName) -> Project | Presence:
    """Return the local project as a client sees it: with the storage unavailable, a project that
    the catalog does not hold is unknown.
    """
    try:
        return await index.context.local_project(name)
    except StorageDown:
        return Presence.UNKNOWN


@frozen
class Hiding:
    """Files that a rule hides, and the rule in words."""

    files: Sequence[File]
    rule: str


async def why_not_found(index: Index, name: ProjectName, error: PypidError) -> str:
    """Return why the project was not found, without asking upstream; `error` is the result of
    looking it up.
    """
    if not isinstance(error, NoSuchProject) or index.settings is not None:
        return str(error)  # for a named index, its bases decide
    source = await asked_source(index, name)
    policy = index.context.policy if source is None else source.context.policy
    why = silence(policy, name, await index.context.local_project(name))
    # the user may not be allowed to know that another index has a project of this name
    if why is None or why is Silence.OTHER_INDEX:
        return str(error)
    return f"{error} Upstream was not asked: {why.value}."


async def hiding_of(index: Index, name: ProjectName, fits: Callable[[str], bool]) -> Hiding | None:
    """Return the upstream files with matching versions that a rule hides; None if no rule is
    the cause.
    """
    ours = await index.context.local_project(name)
    source = await asked_source(index, name)
    if source is None or silence(source.context.policy, name, ours) is not None:
        return None
    state = evolve(await source.listings.known(name), reachable=True)
    taken = (
        frozenset(file.filename for file in ours.files)
        if isinstance(ours, Project)
        else frozenset[str]()
    )
    waiting, now = waits(source.context.policy, ours, state, name), source.context.world.now()
    files, rule = [], ""
    for file in listed(state):
        why = WAITING if waiting else hidden(source.context.policy, file, state, taken, now)
        if why is not None and fits(file.version):
            files.append(file)
            rule = f"{file.filename}: {why.value}"
    return Hiding(files, rule) if files else None


# --- withheld releases ----------------------------------------------------------------------------


def held_releases(index: Index, seen: ViewSources) -> Sequence[ReleaseLine]:
    """Return the releases of which files are withheld, each with a reason."""
    held = list(held_files(index, seen))
    reasons = {file.version: hold for file, hold in reversed(held)}
    project = Project(name=seen.view.project.name, files=in_order(file for file, _ in held))
    return [line_of(release, reasons[release.version]) for release in releases(project)]


def held_files(
    index: Index, seen: ViewSources, outer: Sequence[IndexSettings] = ()
) -> Iterator[tuple[File, Hold]]:
    """Yield the files that rules or the status of the project withhold, each with the reason.
    `outer`: the indexes that inherit the view, and whose blocks apply as well.
    """
    restricted_by = (*seen.restricted_by, *outer)
    for part in seen.mixed_from:
        yield from held_files(index, part, restricted_by)
    if seen.mixed_from:
        return
    name, project = seen.view.project.name, seen.view.project
    if not project.status.offers_files:
        hold = Hold(HoldKind.QUARANTINED, project.status_reason or DECIDED)
        yield from ((file, hold) for files in _all_files(seen) for file in files)
        return
    rules = [index.member(seen.origin).context.policy.restrictions.current]
    rules += [_blocks_in(settings, name) for settings in restricted_by]
    for files in _all_files(seen):
        for each in rules:
            if each.hides_any(name):
                yield from withheld_files(each, files)


def _blocks_in(settings: IndexSettings, name: ProjectName) -> Restrictions:
    reason, found = f"the index {settings.name} does not serve it", RestrictionsInForce()
    rules = tuple(StoredBlock("", spec, reason, None) for spec in blocks_of(settings, name))
    found.replace(FOLDER, {name: ProjectRestrictions(rules)})
    return found.current


def _all_files(leaf: ViewSources) -> Iterator[Sequence[File]]:
    """Yield the local and the upstream files of a single view, including hidden ones."""
    if isinstance(leaf.ours, Project):
        yield leaf.ours.files
    if leaf.upstream_state is not None:
        yield listed(leaf.upstream_state)


def count_files(seen: ViewSources) -> int:
    """Return how many files the project has, including hidden ones."""
    return sum(len(files) for leaf in seen.single_views for files in _all_files(leaf))


# --- pinned releases ------------------------------------------------------------------------------


@frozen
class ReleaseState:
    """What an installer would find of a pinned release."""

    pin: Pin
    holds: tuple[Hold, ...] = ()
    """Why files of it are withheld."""
    quarantine: str | None = None
    """The reason of the project's quarantine, "" without a reason; None: there is none."""
    yanked: str | None = None
    """The reason of its yank, "" without a reason; None: it is not yanked."""
    gone: str = ""
    """Why no file of it is available; "": there is one, or the reason is one of the above."""
    attested: bool = False
    """Whether a file of it has attestations."""
    unknown: str = ""
    """Why nothing can be said of it, such as an upstream index that does not answer."""


@frozen
class DependencyCheck:
    """One check. `permission_for` returns the permission under which a project is read, and raises
    if the user may not read it.
    """

    index: Index
    permission_for: Callable[[ProjectName], UpstreamPermission]

    async def check(self, pins: Sequence[Pin]) -> list[ReleaseState]:
        """Return the state of each release, in the order of the pins."""
        by_project: dict[ProjectName, list[Pin]] = {}
        for pin in pins:
            by_project.setdefault(pin.project, []).append(pin)
        looking = [partial(self._look, name, each) for name, each in by_project.items()]
        found = [state for states in await all_of(looking, AT_ONCE) for state in states]
        by_release = {(state.pin.project, state.pin.version): state for state in found}
        return [by_release[pin.project, pin.version] for pin in pins]

    async def _look(self, name: ProjectName, pins: Sequence[Pin]) -> list[ReleaseState]:
        try:
            sources = await self.index.seen(name, self.permission_for(name))
        except (NoSuchProject, Forbidden, Unauthenticated):
            # alike, so that the answer does not tell whether a hidden project exists
            missing = str(NoSuchProject(name))
            return [ReleaseState(pin, gone=missing) for pin in pins]
        except PypidError as error:
            return [ReleaseState(pin, unknown=str(error)) for pin in pins]
        return [self._state(sources, pin) for pin in pins]

    def _state(self, sources: ViewSources, pin: Pin) -> ReleaseState:
        project = sources.view.project
        if not project.status.offers_files:
            return ReleaseState(pin, quarantine=project.status_reason)
        files = [file for file in files_of(project.files, pin.version) if named(file, pin)]
        holds = tuple(dict.fromkeys(self._holds(sources, pin)))
        if not files:
            gone = "" if holds else self._why_gone(sources, pin)
            return ReleaseState(pin, holds, gone=gone)
        yanks = [file.yanked for file in files if file.yanked is not None]
        return ReleaseState(
            pin,
            holds,
            yanked=next(filter(None, yanks), "") if len(yanks) == len(files) else None,
            attested=any(file.attested or file.provenance_url for file in files),
        )

    def _policy(self, sources: ViewSources) -> Policy:
        """Return the policy of the upstream that has the project."""
        return self.index.upstreams.get(sources.origin, self.index).context.policy

    def _holds(self, sources: ViewSources, pin: Pin) -> Iterator[Hold]:
        policy, state = self._policy(sources), sources.upstream_state
        restrictions, upstream = policy.restrictions.current, () if state is None else listed(state)
        if waits(policy, sources.ours, state, pin.project):
            yield from (WAITING for file in files_of(upstream, pin.version) if named(file, pin))
        if not restrictions.hides_any(pin.project):
            return
        known = [sources.ours.files] if isinstance(sources.ours, Project) else []
        for files in (*known, upstream):
            for file in files_of(files, pin.version):
                hold = restrictions.hold(file) if named(file, pin) else None
                if hold is not None:
                    yield hold

    def _why_gone(self, sources: ViewSources, pin: Pin) -> str:
        state, policy = sources.upstream_state, self._policy(sources)
        shown = sources.view.project.files
        if state is not None and may_show_upstream(policy, pin.project, sources.ours):
            taken = frozenset(
                file.filename
                for file in (sources.ours.files if isinstance(sources.ours, Project) else ())
            )
            for file in files_of(listed(state), pin.version):
                rule = hidden(policy, file, state, taken, self.index.context.world.now())
                if rule is not None:
                    return f"{file.filename}: {rule.value}"
        if any(True for _ in files_of(shown, pin.version)):
            return "None of the files that the lock file names is available."
        return "This index does not have this release."


def files_of(files: Sequence[File], version: str) -> Iterator[File]:
    """Yield the files of one version, in any spelling, without decoding those of others."""
    if not isinstance(files, Files):
        yield from (file for file in files if same_version(file.version, version))
        return
    start, key = 0, version_key(version)
    for spelling, count in files.runs:
        if version_key(spelling) == key:
            yield from files[start : start + count]
        start += count

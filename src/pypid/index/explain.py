"""Explain why a project is shown as it is, and why a file or a pinned release is not here.

Explanations are made of what is known here now. Only `DependencyCheck` asks upstream, as an
installer would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from attrs import define, evolve, field, frozen

from pypid.core.approvals import WAITING
from pypid.core.errors import Forbidden, NoSuchProject, PypidError, StorageDown, Unauthenticated
from pypid.core.model import File, Files, Presence, Project
from pypid.core.packaging.file_choice import named
from pypid.core.packaging.lock_files import Pin
from pypid.core.packaging.names import ProjectName, same_version, version_key
from pypid.core.policy import exists, hidden, listed, may_show_upstream, silence, view, waits
from pypid.core.presentation.explanation import Why, explain
from pypid.core.restrictions import Hold
from pypid.index.index import Index
from pypid.index.job_group import JobGroup
from pypid.index.views import UpstreamPermission, ViewSources

AT_ONCE = 8
"""Projects that are looked up at once: each may be requested from upstream."""


async def why(index: Index, name: ProjectName) -> Why:
    """Return the explanation for the name. Raises `StorageDown` if not even the cached state can be
    read.

    A query changes nothing: the last upstream listing is used, and no new one is requested.
    """
    ours = await _ours(index, name)
    state = await index.listings.shown_state(name)
    # off the reactor thread: ten thousand files take more than 100 ms
    return await index.world.thinking(explain, index.policy, name, ours, state, index.world.now())


async def is_upstream(index: Index, name: ProjectName) -> bool:
    """Return whether the name is not local, and upstream files may be shown under it."""
    ours = await index.context.local_project(name)
    return not isinstance(ours, Project) and may_show_upstream(index.policy, name, ours)


async def is_known_upstream(index: Index, name: ProjectName) -> bool:
    """Return whether it is a project that upstream is known to have, or whose status an
    administrator has set.
    """
    if not await is_upstream(index, name):
        return False
    restrictions = index.policy.restrictions.current.of(name)
    has_status = restrictions is not None and restrictions.status is not None
    return has_status or exists(await index.listings.known(name))


async def known_project(index: Index, name: ProjectName) -> Project:
    """Return the project as a client would see it; it may not exist."""
    ours = await index.context.local_project(name)
    state = await index.listings.shown_state(name)
    # off the reactor thread: ten thousand files may be judged
    return await index.world.thinking(view, index.policy, ours, state, index.world.now(), name)


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


@frozen
class Reasons:
    """Explains missing projects and files from what is known, without asking upstream."""

    index: Index

    async def of_nothing(self, name: ProjectName, error: PypidError) -> str:
        """Return why the project was not found; `error` is the result of looking it up."""
        if not isinstance(error, NoSuchProject):
            return str(error)
        why = silence(self.index.policy, name, await self.index.context.local_project(name))
        return str(error) if why is None else f"{error} Upstream was not asked: {why.value}."

    async def of_hiding(self, name: ProjectName, fits: Callable[[str], bool]) -> Hiding | None:
        """Return the upstream files with matching versions that a rule hides; None if no rule is
        the cause.
        """
        index = self.index
        ours = await index.context.local_project(name)
        if silence(index.policy, name, ours) is not None:
            return None
        state = evolve(await index.listings.known(name), reachable=True)
        taken = (
            frozenset(file.filename for file in ours.files)
            if isinstance(ours, Project)
            else frozenset[str]()
        )
        waiting, now = waits(index.policy, ours, state, name), index.world.now()
        files, rule = [], ""
        for file in listed(state):
            why = WAITING if waiting else hidden(index.policy, file, state, taken, now)
            if why is not None and fits(file.version):
                files.append(file)
                rule = f"{file.filename}: {why.value}"
        return Hiding(files, rule) if files else None


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


@define(eq=False)
class DependencyCheck:
    """One check. `permission_for` returns the permission under which a project is read, and raises
    if the user may not read it.
    """

    index: Index
    permission_for: Callable[[ProjectName], UpstreamPermission]
    _states: dict[tuple[ProjectName, str], ReleaseState] = field(factory=dict, init=False)

    async def check(self, pins: Sequence[Pin]) -> list[ReleaseState]:
        """Return the state of each release, in the order of the pins."""
        by_project: dict[ProjectName, list[Pin]] = {}
        for pin in pins:
            by_project.setdefault(pin.project, []).append(pin)
        together = JobGroup(AT_ONCE)
        try:
            for name, each in by_project.items():

                async def look(name: ProjectName = name, each: list[Pin] = each) -> None:
                    await self._look(name, each)

                await together.add(look)
            await together.ended()
        finally:
            await together.cancel()
        return [self._states[pin.project, pin.version] for pin in pins]

    async def _look(self, name: ProjectName, pins: Iterable[Pin]) -> None:
        try:
            sources = await self.index.seen(name, self.permission_for(name))
        except (NoSuchProject, Forbidden, Unauthenticated):
            # alike, so that the answer does not tell whether a hidden project exists
            missing = str(NoSuchProject(name))
            self._put(ReleaseState(pin, gone=missing) for pin in pins)
        except PypidError as error:
            self._put(ReleaseState(pin, unknown=str(error)) for pin in pins)
        else:
            self._put(self._state(sources, pin) for pin in pins)

    def _put(self, states: Iterable[ReleaseState]) -> None:
        self._states.update({(state.pin.project, state.pin.version): state for state in states})

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

    def _holds(self, sources: ViewSources, pin: Pin) -> Iterator[Hold]:
        policy, state = self.index.policy, sources.upstream_state
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
        state, policy = sources.upstream_state, self.index.policy
        shown = sources.view.project.files
        if state is not None and may_show_upstream(policy, pin.project, sources.ours):
            taken = frozenset(
                file.filename
                for file in (sources.ours.files if isinstance(sources.ours, Project) else ())
            )
            for file in files_of(listed(state), pin.version):
                rule = hidden(policy, file, state, taken, self.index.world.now())
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

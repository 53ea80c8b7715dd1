"""Explain why a project is shown as it is, and why an upstream file is not available here, by what
is known here now. Nothing is fetched from upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from pypid.core.errors import NoSuchProject, PypidError, StorageDown
from pypid.core.model import File, Presence, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import exists, hidden, listed, may_show_upstream, silence, view
from pypid.core.presentation.explanation import Why, explain
from pypid.index.index import Index


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
        files, rule = [], ""
        for file in listed(state):
            why = hidden(index.policy, file, state, taken, index.world.now())
            if why is not None and fits(file.version):
                files.append(file)
                rule = f"{file.filename}: {why.value}"
        return Hiding(files, rule) if files else None

"""Explain why a project is shown as it is, by what is known here now. Nothing is fetched from
upstream.
"""

from __future__ import annotations

from pypid.core.errors import StorageDown
from pypid.core.model import Presence, Project
from pypid.core.packaging.names import ProjectName
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


async def _ours(index: Index, name: ProjectName) -> Project | Presence:
    """Return the local project as a client sees it: with the storage unavailable, a project that
    the catalog does not hold is unknown.
    """
    try:
        return await index.context.local_project(name)
    except StorageDown:
        return Presence.UNKNOWN
